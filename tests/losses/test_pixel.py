import math

import numpy as np
import pytest
from keras import ops
from oracles import cross_entropy as slow_cross_entropy

from tfseg.losses import CrossEntropy, cross_entropy

# two pixels with probabilities (1/2, 1/4, 1/4) each; the first is of class 0, the second of class 2
HALVES = np.log([[[[0.5, 0.25, 0.25]] * 2]]).astype("float32")
LABELS = np.array([[[0, 2]]])


def test_the_loss_is_the_surprise_in_nats():
    losses = ops.convert_to_numpy(cross_entropy(LABELS, HALVES))
    assert losses == pytest.approx(np.log([[[2, 4]]]))
    assert float(CrossEntropy()(LABELS, HALVES)) == pytest.approx(1.5 * math.log(2))
    assert float(CrossEntropy(reduction="sum")(LABELS, HALVES)) == pytest.approx(3 * math.log(2))


def test_class_weights_have_a_mean_of_1_over_the_pixels():
    # Weights 1 and 3, scaled to 1/2 and 3/2: (1/2 ln 2 + 3/2 ln 4) / 2 = 7/4 ln 2.
    assert float(CrossEntropy(class_weights=(1, 7, 3))(LABELS, HALVES)) == pytest.approx(1.75 * math.log(2))


def test_a_single_channel_takes_a_weight_for_background_and_foreground():
    logits = np.log([[[[3.0], [3.0]]]]).astype("float32")  # probability 3/4
    labels = np.array([[[0, 1]]])
    # ln 4 for the background, ln 4/3 for the foreground; weights 1 and 3 scaled to 1/2 and 3/2
    expected = (0.5 * math.log(4) + 1.5 * math.log(4 / 3)) / 2
    assert float(CrossEntropy(class_weights=(1, 3))(labels, logits)) == pytest.approx(expected)
    with pytest.raises(ValueError, match="must be 2 finite numbers"):
        CrossEntropy(class_weights=(3,))(labels, logits)


def test_the_mean_is_over_the_pixels_that_count():
    labels = np.array([[[0, 255]], [[255, 255]]])
    logits = np.concatenate([HALVES, HALVES])
    assert float(CrossEntropy()(labels, logits)) == pytest.approx(math.log(2))


def test_a_sample_weight_scales_its_pixel():
    weights = np.array([[[3.0, 0.5]]])
    assert float(CrossEntropy()(LABELS, HALVES, weights)) == pytest.approx((3 * 1 + 0.5 * 2) / 2 * math.log(2))


def test_a_certain_wrong_prediction_costs_its_logit():
    logits = np.array([[[[1e4, -1e4]]]], "float32")
    assert float(CrossEntropy()(np.array([[[1]]]), logits)) == 2e4
    assert float(CrossEntropy()(np.array([[[0]]]), logits[..., :1])) == 1e4
    assert float(CrossEntropy(multi_label=True)(np.array([[[1]]]), logits)) == 1e4


def draw(channels):
    rng = np.random.default_rng(channels)
    labels = rng.choice([0, 1, 2, 255, 7, -1], (2, 3, 4), p=[0.3, 0.3, 0.1, 0.1, 0.1, 0.1])
    return labels, rng.normal(0, 3, (2, 3, 4, channels)).astype("float32")


def soft(channels):
    rng = np.random.default_rng(8)
    dense = rng.dirichlet([0.5] * channels, (2, 3, 4)) if channels > 1 else rng.random((2, 3, 4, 1))
    dense[0, 1, 2] = 255
    return dense.astype("float32")


@pytest.mark.parametrize(
    ("channels", "multi_label", "class_weights"),
    [(3, False, None), (3, False, (1, 5, 0.2)), (1, False, None), (1, False, (1, 4)), (3, True, (1, 5, 0.2))],
)
def test_it_matches_the_slow_loop(channels, multi_label, class_weights):
    labels, logits = draw(channels)
    for target in (labels, soft(channels)):
        fast = cross_entropy(target, logits, class_weights=class_weights, multi_label=multi_label)
        slow = slow_cross_entropy(target, logits, class_weights, sigmoid=multi_label or channels == 1)
        assert ops.convert_to_numpy(fast) == pytest.approx(slow, rel=1e-4, abs=1e-6)


def test_several_classes_a_pixel():
    # classes 0 and 2 are there, all logits 0: every channel costs ln 2
    target = np.array([[[[1, 0, 1]]]], "float32")
    logits = np.zeros((1, 1, 1, 3), "float32")
    assert float(CrossEntropy(multi_label=True)(target, logits)) == pytest.approx(math.log(2))
    # a pixel without any class is background, not ignored: logit 3 costs ln(1 + e^3) in each channel
    value = float(CrossEntropy(multi_label=True)(0 * target, logits + 3))
    assert value == pytest.approx(math.log(1 + math.exp(3)))
