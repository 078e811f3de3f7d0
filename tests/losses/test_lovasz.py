from itertools import product

import numpy as np
import oracles
import pytest
from keras import ops

from tfseg.losses import Lovasz
from tfseg.losses.lovasz import lovasz


def value(errors, true, weight=None):
    weight = np.ones(len(errors)) if weight is None else weight
    return float(lovasz(*(ops.convert_to_tensor(x, "float32") for x in (errors, true, weight))))


def test_errors_in_descending_order_times_their_increase_of_the_jaccard_loss():
    # Labels 1 0 1, errors 0.2 0.5 0.4. With the second pixel wrong the Jaccard loss is 1 - 2/3,
    # with the third one, too, 1 - 1/3, with all 1: 0.5 / 3 + 0.4 / 3 + 0.2 / 3.
    assert value([0.2, 0.5, 0.4], [1, 0, 1]) == pytest.approx(1.1 / 3)
    # labels 1 0 0: 1 - 1/2 for the largest error, then 1 - 1/3, then 1: 0.7 / 2 + 0.6 / 6 + 0.3 / 3
    assert value([0.3, 0.7, 0.6], [1, 0, 0]) == pytest.approx(0.55)


def test_for_errors_of_0_and_1_it_is_the_jaccard_loss():
    labels, errors = np.array(list(product(product([0, 1], repeat=4), repeat=2))).transpose(1, 0, 2)
    prediction = labels ^ errors
    union, overlap = (labels | prediction).sum(-1), (labels & prediction).sum(-1)
    arrays = [x.astype("float32") for x in (errors, labels, np.ones_like(labels))]
    expected = 1 - np.divide(overlap, union, out=np.ones(256), where=union > 0)
    assert ops.convert_to_numpy(lovasz(*arrays)) == pytest.approx(expected, abs=1e-6)


def test_matches_the_slow_loop():
    rng = np.random.default_rng(0)
    for _ in range(5):
        errors, true = rng.random(12).astype("float32"), rng.integers(0, 2, 12)
        expected = oracles.lovasz(errors.tolist(), true)
        assert value(errors, true) == pytest.approx(expected, rel=1e-5)


def test_a_pixel_of_weight_2_counts_as_two_pixels():
    errors, true = [0.2, 0.9, 0.4, 0.7], [1, 0, 1, 1]
    expected = oracles.lovasz([0.2, 0.9, 0.9, 0.4, 0.7], [1, 0, 0, 1, 1])
    assert value(errors, true, [1, 2, 1, 1]) == pytest.approx(expected)
    assert value(errors, true, [3, 6, 3, 3]) == pytest.approx(expected)


def test_is_at_most_1_and_0_without_errors():
    assert value([1, 1, 1], [0, 1, 1]) == 1
    assert value([0, 0, 0], [0, 1, 1]) == 0
    # an absent class: its largest false positive
    assert value([0.2, 0.6, 0.1], [0, 0, 0]) == pytest.approx(0.6)
    assert value([0.0, 0.0], [0, 0], [0, 0]) == 0


def draw(channels):
    rng = np.random.default_rng(channels)
    labels = rng.choice([*range(max(channels, 2)), 255], (2, 3, 4))
    return labels, rng.normal(0, 2, (2, 3, 4, channels)).astype("float32")


def slow(labels, logits, sigmoid):
    """Return the mean over present classes of the slow loop over the counted pixels."""
    p = oracles.probabilities(logits.astype("float64"), sigmoid)
    pixels = [
        (t, p[place]) for place, t in oracles.pixels(labels, logits.shape[-1]) if t is not None
    ]
    values = []
    for c in range(logits.shape[-1]):
        true = [t[c] > 0.5 for t, _ in pixels]
        if any(true):
            values.append(oracles.lovasz([abs(t[c] - q[c]) for t, q in pixels], true))
    return np.mean(values)


@pytest.mark.parametrize(("channels", "multi_label"), [(3, False), (1, False), (3, True)])
def test_lovasz_softmax_and_sigmoid_match_the_slow_loop(channels, multi_label):
    labels, logits = draw(channels)
    sigmoid = multi_label or channels == 1
    loss = Lovasz(multi_label=multi_label)
    assert float(loss(labels, logits)) == pytest.approx(slow(labels, logits, sigmoid), rel=1e-5)
    each = [slow(labels[i : i + 1], logits[i : i + 1], sigmoid) for i in range(2)]
    loss = Lovasz(multi_label=multi_label, per_image=True, reduction="none")
    assert ops.convert_to_numpy(loss(labels, logits)) == pytest.approx(each, rel=1e-5)


def test_a_soft_target_belongs_to_the_classes_above_0_5():
    # one sigmoid at p = 1/2: errors |t - p| = 0.3, 0.1, 0.4; the first and last are foreground
    target = np.array([[[[0.8], [0.4], [0.9]]]], "float32")
    loss = Lovasz()(target, np.zeros((1, 1, 3, 1), "float32"))
    assert float(loss) == pytest.approx(oracles.lovasz([0.3, 0.1, 0.4], [1, 0, 1]))


@pytest.mark.parametrize(("channels", "multi_label"), [(3, False), (1, False), (3, True)])
def test_sample_weights_equal_repeated_pixels(channels, multi_label):
    rng = np.random.default_rng(7)
    labels = rng.integers(0, max(channels, 2), (1, 1, 9))
    logits = rng.normal(0, 2, (1, 1, 9, channels)).astype("float32")
    counts = [1, 3, 2, 1, 1, 4, 1, 2, 1]
    expected = Lovasz(multi_label=multi_label)(
        labels.repeat(counts, axis=2), logits.repeat(counts, axis=2)
    )
    value = Lovasz(multi_label=multi_label)(labels, logits, np.array(counts).reshape(1, 1, 9))
    assert float(value) / np.mean(counts) == pytest.approx(float(expected), rel=1e-5)
