import itertools

import keras
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from tfseg.metrics import CalibrationError

TENSORFLOW = keras.backend.backend() == "tensorflow"
# confidences are fixed-point numbers
CLOSE = {"abs": 1e-5} if TENSORFLOW else {"abs": 1e-4}


def draw(seed=0, shape=(6, 7, 5), classes=4, scale=2.0):
    rng = np.random.default_rng(seed)
    labels = rng.choice([*range(max(classes, 2)), 255], shape)
    return labels, rng.normal(0, scale, (*shape, classes)).astype("float32")


def measure(metric, *batches):
    for labels, logits in batches:
        metric.update_state(labels, logits)
    return metric


def test_two_bins_by_hand():
    # Confidence 0.7 twice, once correct; 0.9 four times, three times correct. They are in different
    # bins of width 1/4: (2 * |0.7 - 0.5| + 4 * |0.9 - 0.75|) / 6
    confidence = np.array([0.7, 0.7, 0.9, 0.9, 0.9, 0.9])
    correct = np.array([1, 0, 1, 1, 0, 1])
    y_pred = np.stack([confidence, 1 - confidence], -1)[None, None].astype("float32")
    metric = measure(
        CalibrationError(2, bins=4, from_logits=False), ((1 - correct)[None, None], y_pred)
    )
    assert float(metric.result()) == pytest.approx((2 * 0.2 + 4 * 0.15) / 6, **CLOSE)
    curve = metric.reliability_curve()
    assert curve["count"].tolist() == [0, 0, 2, 4]
    assert curve["confidence"] == pytest.approx([np.nan, np.nan, 0.7, 0.9], nan_ok=True, **CLOSE)
    assert curve["accuracy"] == pytest.approx([np.nan, np.nan, 0.5, 0.75], nan_ok=True)
    assert all(isinstance(values, np.ndarray) for values in curve.values())


def test_the_upper_edge_belongs_to_the_bin():
    y_pred = np.array([[[[0.5, 0.5], [0.25, 0.75], [0, 1]]]], "float32")
    metric = measure(
        CalibrationError(2, bins=4, from_logits=False), (np.zeros((1, 1, 3), int), y_pred)
    )
    assert metric.reliability_curve()["count"].tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("classes", [2, 4, 30])
@pytest.mark.parametrize("bins", [1, 15])
def test_matches_the_slow_loop(classes, bins):
    labels, logits = draw(1, classes=classes)
    metric = measure(CalibrationError(classes, bins=bins), (labels, logits))
    count, correct, confidences = oracles.reliability(
        labels, oracles.probabilities(logits.astype("float64"), False), bins
    )
    curve = metric.reliability_curve()
    assert curve["count"].tolist() == count.tolist()
    with np.errstate(invalid="ignore"):
        assert curve["accuracy"] == pytest.approx(correct / count, nan_ok=True)
        assert curve["confidence"] == pytest.approx(confidences / count, nan_ok=True, **CLOSE)
    assert float(metric.result()) == pytest.approx(
        np.abs(confidences - correct).sum() / count.sum(), **CLOSE
    )


@pytest.mark.parametrize("from_logits", [True, False])
def test_confidence_of_one_channel_is_that_of_the_predicted_side(from_logits):
    labels, logits = draw(2, classes=1)
    p = oracles.probabilities(logits.astype("float64"), True)
    y_pred = logits if from_logits else p.astype("float32")
    metric = measure(CalibrationError(1, bins=10, from_logits=from_logits), (labels, y_pred))
    two = measure(
        CalibrationError(2, bins=10, from_logits=False),
        (labels, np.concatenate([1 - p, p], -1).astype("float32")),
    )
    assert metric.reliability_curve()["count"].tolist() == two.reliability_curve()["count"].tolist()
    assert metric.reliability_curve()["accuracy"] == pytest.approx(
        two.reliability_curve()["accuracy"], nan_ok=True
    )
    assert float(metric.result()) == pytest.approx(float(two.result()), **CLOSE)


def test_logits_and_probabilities_agree():
    labels, logits = draw(3)
    p = oracles.probabilities(logits.astype("float64"), False).astype("float32")
    by_logits = measure(CalibrationError(4), (labels, logits))
    by_probabilities = measure(CalibrationError(4, from_logits=False), (labels, p))
    assert float(by_logits.result()) == pytest.approx(float(by_probabilities.result()), **CLOSE)


@pytest.mark.parametrize("classes", [127, 128, 150, 255, 257, 1000, 2100])
def test_many_equal_logits_do_not_overflow(classes):
    # Each of the C exponentials is 2**24 in fixed point, 2**20 under JAX: from 128 (2048) classes
    # on, their sum does not fit into int32. The confidence is 1 / C, and class 0 is wrong.
    logits = np.zeros((1, 1, 2, classes), "float32")
    metric = measure(CalibrationError(classes), (np.array([[[1, 2]]]), logits))
    assert float(metric.result()) == pytest.approx(1 / classes, **CLOSE)


def test_150_almost_equal_logits_match_the_slow_loop():
    labels, logits = draw(6, (1, 8, 8), classes=150, scale=0.1)
    metric = measure(CalibrationError(150), (labels, logits))
    expected = oracles.reliability(
        labels, oracles.probabilities(logits.astype("float64"), False), 15
    )
    count, correct, confidences = expected
    error = np.abs(confidences - correct).sum() / count.sum()
    assert float(metric.result()) == pytest.approx(error, **CLOSE)


def test_an_invalid_label_leaves_no_curve():
    labels, logits = draw(7)
    labels[0, 0, 0] = 4
    curve = measure(CalibrationError(4), (labels, logits)).reliability_curve()
    assert np.isnan(curve["confidence"]).all()
    assert np.isnan(curve["accuracy"]).all()
    assert curve["count"].sum() == (labels < 4).sum()


def test_calibrated_and_overconfident_models():
    # labels are drawn from the predicted probabilities, so only the sampling error is left
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4, 100, 100, 3)).astype("float32")
    p = oracles.probabilities(logits.astype("float64"), False)
    labels = (rng.random((4, 100, 100, 1)) > np.cumsum(p, -1)).sum(-1)
    assert float(measure(CalibrationError(3), (labels, logits)).result()) < 0.01
    assert float(measure(CalibrationError(3), (labels, 3 * logits)).result()) > 0.1  # overconfident


def states(metric):
    return [ops.convert_to_numpy(state).tolist() for state in metric.variables]


only_with_64_bits = pytest.mark.skipif(
    not TENSORFLOW, reason="JAX without x64 adds confidences in float32"
)


@only_with_64_bits
@pytest.mark.parametrize("classes", [1, 2, 5, 19])
@given(st.permutations(range(6)), st.lists(st.integers(0, 6), max_size=4))
@settings(deadline=None, max_examples=5)
def test_batch_size_and_order_do_not_change_a_digit(classes, order, cuts):
    labels, logits = draw(4, classes=classes)
    edges = [0, *sorted(cuts), 6]
    parts = [list(order[a:b]) for a, b in itertools.pairwise(edges) if a < b]
    whole = measure(CalibrationError(classes), (labels, logits))
    batched = measure(CalibrationError(classes), *((labels[part], logits[part]) for part in parts))
    assert states(batched) == states(whole)
    assert float(batched.result()) == float(whole.result())


@only_with_64_bits
def test_exponentials_do_not_depend_on_the_position_in_the_batch():
    # TensorFlow's exponentials do: of 63 pixels per image, those in a partly filled vector register
    # differ in the last bit
    labels, logits = draw(5, (64, 7, 9), classes=1)
    whole = states(measure(CalibrationError(1), (labels, logits)))
    for size in (3, 5):
        batches = ((labels[i : i + size], logits[i : i + size]) for i in range(0, 64, size))
        assert states(measure(CalibrationError(1), *batches)) == whole


@pytest.mark.skipif(not TENSORFLOW, reason="JAX keeps integers in 32 bits")
def test_counts_are_exact_beyond_32_bits():
    metric = CalibrationError(2, bins=2)
    metric.pixels.assign([0, 2**38])
    metric.correct.assign([0, 2**37])
    metric.confidences.assign([0, 3 * 2**60])  # 0.75 * 2**24 per pixel
    assert float(metric.result()) == 0.25
    measure(metric, (np.zeros((1, 1, 1), int), np.array([[[[100.0, 0]]]])))
    assert ops.convert_to_numpy(metric.pixels).tolist() == [0, 2**38 + 1]
    assert ops.convert_to_numpy(metric.confidences).tolist() == [0, 3 * 2**60 + 2**24]


@pytest.mark.parametrize("bins", [0, -3, 2.5])
def test_invalid_bins_are_an_error(bins):
    with pytest.raises(
        ValueError, match=f"CalibrationError: bins={bins} must be a whole number of at least 1"
    ):
        CalibrationError(3, bins=bins)
