import math

import numpy as np
import oracles
import pytest
from keras import ops

from tfseg.losses import BinaryCrossEntropy, CrossEntropy, Focal, TopK

LN2 = math.log(2)
# two pixels with probabilities (1/2, 1/4, 1/4) each; the first is of class 0, the second of class 2
HALVES = np.log([[[[0.5, 0.25, 0.25]] * 2]]).astype("float32")
LABELS = np.array([[[0, 2]]])
# one sigmoid channel of probability 3/4, twice: background, then foreground
SIGMOID = np.log([[[[3.0], [3.0]]]]).astype("float32")
BINARY = np.array([[[0, 1]]])


def array(tensor):
    return ops.convert_to_numpy(tensor)


def test_cross_entropy_is_in_nats():
    assert array(CrossEntropy(reduction="none")(LABELS, HALVES)) == pytest.approx(
        np.log([[[2, 4]]])
    )
    assert float(CrossEntropy()(LABELS, HALVES)) == pytest.approx(1.5 * LN2)
    assert float(CrossEntropy(reduction="sum")(LABELS, HALVES)) == pytest.approx(3 * LN2)


def test_class_weights_have_mean_1_over_the_pixels():
    # Weights 1 and 3, scaled to 1/2 and 3/2: (1/2 ln 2 + 3/2 ln 4) / 2 = 7/4 ln 2.
    assert float(CrossEntropy(class_weights=(1, 7, 3))(LABELS, HALVES)) == pytest.approx(1.75 * LN2)


def test_class_weight_of_a_soft_target_is_a_mean():
    # The second pixel is half class 0, half class 1: weight (1 + 7) / 2 = 4. That of the first is
    # 1. Scaled to 8/5 and 2/5.
    target = np.array([[[[1, 0, 0], [0.5, 0.5, 0]]]], "float32")
    expected = (0.4 * LN2 + 1.6 * 1.5 * LN2) / 2
    assert float(CrossEntropy(class_weights=(1, 7, 3))(target, HALVES)) == pytest.approx(expected)


def test_a_single_channel_has_weights_for_background_and_foreground():
    # ln 4 for the background, ln 4/3 for the foreground; weights 1 and 3 scaled to 1/2 and 3/2
    expected = (0.5 * math.log(4) + 1.5 * math.log(4 / 3)) / 2
    assert float(CrossEntropy(class_weights=(1, 3))(BINARY, SIGMOID)) == pytest.approx(expected)
    with pytest.raises(ValueError, match="must be 2 finite numbers"):
        CrossEntropy(class_weights=(3,))(BINARY, SIGMOID)


def test_class_weights_of_sigmoids_are_per_channel():
    # logits ln 3, so p = 3/4 everywhere; label 1: channels have loss ln 4, ln 4/3, ln 4, weights
    # 1 : 2 : 5
    logits = np.full((1, 1, 1, 3), math.log(3), "float32")
    expected = (6 * math.log(4) + 2 * math.log(4 / 3)) / 8
    for target in (np.array([[[1]]]), np.array([[[[0, 1, 0]]]], "float32")):
        loss = CrossEntropy(multi_label=True, class_weights=(1, 2, 5))
        assert float(loss(target, logits)) == pytest.approx(expected)
        loss = BinaryCrossEntropy(class_weights=(1, 2, 5))
        assert float(loss(target, logits)) == pytest.approx(3 * expected)


def test_the_mean_is_over_valid_pixels():
    labels = np.array([[[0, 255]], [[255, 255]]])
    logits = np.concatenate([HALVES, HALVES])
    assert float(CrossEntropy()(labels, logits)) == pytest.approx(LN2)


def test_a_sample_weight_scales_the_loss_of_its_pixel():
    weights = np.array([[[3.0, 0.5]]])
    assert float(CrossEntropy()(LABELS, HALVES, weights)) == pytest.approx(
        (3 * 1 + 0.5 * 2) / 2 * LN2
    )


def test_the_loss_of_a_certain_wrong_prediction():
    logits = np.array([[[[1e4, -1e4]]]], "float32")
    assert float(CrossEntropy()(np.array([[[1]]]), logits)) == 2e4
    assert float(CrossEntropy()(np.array([[[0]]]), logits[..., :1])) == 1e4
    assert float(CrossEntropy(multi_label=True)(np.array([[[1]]]), logits)) == 1e4
    # both classes are wrong
    assert float(BinaryCrossEntropy(multi_label=False)(np.array([[[1]]]), logits)) == 4e4
    assert float(BinaryCrossEntropy()(np.array([[[1]]]), logits)) == 2e4


@pytest.mark.parametrize(
    "loss", [CrossEntropy(), Focal(), BinaryCrossEntropy(multi_label=False), TopK(keep_fraction=1)]
)
def test_adding_a_constant_to_the_logits_of_a_pixel_changes_nothing(loss):
    # all of these numbers and their sums are exact in float32
    logits = np.array([[[[0, 1, 0.5], [2, 0.25, 0.5], [0, 1, 3]]]], "float32")
    labels = np.array([[[0, 1, 2]]])
    for constant in (4096, -16384):
        assert float(loss(labels, logits + constant)) == pytest.approx(
            float(loss(labels, logits)), rel=1e-6
        )


def test_label_smoothing():
    # e = 0.3 of 3 classes makes (0.8, 0.1, 0.1): 0.8 ln 2 + 0.2 ln 4 = 1.2 ln 2. Label 2: 0.1 ln 2
    # + 0.9 ln 4
    dense = np.eye(3, dtype="float32")[LABELS]
    for target in (LABELS, dense):
        losses = CrossEntropy(label_smoothing=0.3, reduction="none")(target, HALVES)
        assert array(losses) == pytest.approx(LN2 * np.array([[[1.2, 1.9]]]))


def test_label_smoothing_with_class_weights():
    # As torch.nn.CrossEntropyLoss(weight=(1, 7, 3), label_smoothing=0.3). In units of ln 2 the
    # classes have losses 1, 2, 2. Label 0: 0.7 * 1 * 1 + 0.1 * (1 * 1 + 7 * 2 + 3 * 2) = 2.8, label
    # 2: 0.7 * 3 * 2 + 2.1 = 6.3. Their sum is divided by 1 + 3.
    loss = CrossEntropy(class_weights=(1, 7, 3), label_smoothing=0.3)
    for target in (LABELS, np.eye(3, dtype="float32")[LABELS]):
        assert float(loss(target, HALVES)) == pytest.approx(9.1 / 4 * LN2)


@pytest.mark.parametrize("cls", [CrossEntropy, BinaryCrossEntropy])
def test_label_smoothing_with_class_weights_of_one_channel(cls):
    # The softmax over the logits (0, x) is the same model.
    loss = cls(class_weights=(1, 3), label_smoothing=0.2)
    two = np.concatenate([np.zeros_like(SIGMOID), SIGMOID], axis=-1)
    for labels in (BINARY, np.array([[[1, 255]]])):
        expected = float(CrossEntropy(class_weights=(1, 3), label_smoothing=0.2)(labels, two))
        assert float(loss(labels, SIGMOID)) == pytest.approx(expected)
        assert float(loss(labels.astype("float32"), SIGMOID)) == pytest.approx(expected)


@pytest.mark.parametrize("cls", [CrossEntropy, BinaryCrossEntropy])
def test_label_smoothing_of_sigmoids(cls):
    # e = 0.2 makes 0.1 and 0.9
    losses = cls(label_smoothing=0.2, reduction="none")(BINARY, SIGMOID)
    low, high = math.log(4 / 3), math.log(4)
    assert array(losses) == pytest.approx(
        np.array([[[0.1 * low + 0.9 * high, 0.9 * low + 0.1 * high]]])
    )
    # two channels: label 0 is smoothed to 0.9, 0.1
    logits = np.array([[[[math.log(3), 0]]]], "float32")
    expected = 0.1 * high + 0.9 * low + LN2
    if cls is CrossEntropy:
        expected /= 2
    loss = cls(multi_label=True, label_smoothing=0.2)
    for target in (np.array([[[0]]]), np.array([[[[1, 0]]]], "float32")):
        assert float(loss(target, logits)) == pytest.approx(expected)


def test_label_smoothing_out_of_range_is_an_error():
    for value in (1, -0.1):
        with pytest.raises(
            ValueError, match=r"CrossEntropy: label_smoothing=.* must be at least 0 and below 1"
        ):
            CrossEntropy(label_smoothing=value)


def test_binary_cross_entropy_of_a_softmax_counts_every_class():
    # class 0 of (1/2, 1/4, 1/4): -ln 1/2 - ln 3/4 - ln 3/4; class 2: -ln 1/2 - ln 3/4 - ln 1/4
    expected = [LN2 - 2 * math.log(3 / 4), LN2 - math.log(3 / 4) + 2 * LN2]
    losses = BinaryCrossEntropy(multi_label=False, reduction="none")(LABELS, HALVES)
    assert array(losses) == pytest.approx(np.array([[expected]]))


def test_binary_cross_entropy_of_a_softmax_is_exact_for_certain_predictions():
    # p = (1 - 2e-9, 1e-9, 1e-9): in float32 p is 1, and 1 - p would be 0
    logits = np.array([[[[math.log(1e9), 0, 0]]]], "float32")
    # class 1: -ln(1 - p0) - ln p1 - ln(1 - p2) = -ln 2e-9 - ln 1e-9
    value = float(BinaryCrossEntropy(multi_label=False)(np.array([[[1]]]), logits))
    assert value == pytest.approx(-math.log(2e-9) - math.log(1e-9))


def test_focal_reduces_the_loss_of_easy_pixels():
    # (1 - 1/2)**2 ln 2 and (1 - 1/4)**2 ln 4
    losses = Focal(gamma=2, reduction="none")(LABELS, HALVES)
    assert array(losses) == pytest.approx(LN2 * np.array([[[1 / 4, 9 / 8]]]))
    # a square root; finite gradients are in test_contract.py
    losses = Focal(gamma=0.5, reduction="none")(LABELS, HALVES)
    assert array(losses) == pytest.approx(
        LN2 * np.array([[[math.sqrt(1 / 2), 2 * math.sqrt(3 / 4)]]])
    )
    # p = 3/4: (3/4)**2 ln 4 for the background, (1/4)**2 ln 4/3 for the foreground
    losses = Focal(gamma=2, reduction="none")(BINARY, SIGMOID)
    assert array(losses) == pytest.approx(
        np.array([[[9 / 16 * math.log(4), 1 / 16 * math.log(4 / 3)]]])
    )


def test_focal_with_gamma_0_is_cross_entropy():
    labels, logits = draw(3)
    for options in ({}, {"multi_label": True}):
        expected = float(CrossEntropy(class_weights=(1, 2, 3), **options)(labels, logits))
        value = float(Focal(gamma=0, class_weights=(1, 2, 3), **options)(labels, logits))
        assert value == pytest.approx(expected, rel=1e-5)


# four pixels of one sigmoid with losses of 3, 1, 4 and 2 times ln 2: p of the true class is 1/8,
# 1/2, 1/16, 1/4
STEPS = -np.log(2.0 ** np.array([[[[3], [1], [4], [2]]]]) - 1).astype("float32")
FOREGROUND = np.ones((1, 1, 4), "uint8")


@pytest.mark.parametrize(
    ("keep_fraction", "expected"),
    [(1, 2.5), (0.75, 3), (0.5, 3.5), (0.3, 3.5), (0.25, 4), (0.01, 4)],
)
def test_topk_keeps_the_hardest_pixels(keep_fraction, expected):
    assert float(TopK(keep_fraction=keep_fraction)(FOREGROUND, STEPS)) == pytest.approx(
        expected * LN2
    )


def test_topk_keeps_a_fraction_of_the_valid_pixels():
    labels = np.array([[[1, 1, 255, 1]]])
    # half of the losses 3, 1 and 2, rounded up, are 3 and 2
    assert float(TopK(keep_fraction=0.5)(labels, STEPS)) == pytest.approx(2.5 * LN2)
    losses = TopK(keep_fraction=0.5, reduction="none")(labels, STEPS)
    assert array(losses) == pytest.approx(LN2 * np.array([[[3, 0, 0, 2]]]))
    assert float(TopK(keep_fraction=0.5, reduction="sum")(labels, STEPS)) == pytest.approx(5 * LN2)


@pytest.mark.parametrize(
    ("keep_fraction", "pixels", "kept"),
    [(0.3, 50, 15), (0.15, 100, 15), (0.7, 10, 7), (0.1, 30, 3)],
)
def test_topk_rounds_the_decimal_fraction(keep_fraction, pixels, kept):
    # 0.3 in float32 is slightly above 3/10
    labels = np.ones((1, 1, pixels), "uint8")
    losses = TopK(keep_fraction=keep_fraction, reduction="none")(
        labels, np.zeros((1, 1, pixels, 1), "float32")
    )
    assert np.count_nonzero(array(losses)) == kept


def test_topk_ranks_weighted_losses():
    # sample weights change 3, 1, 4, 2 to 3, 10, 4, 2
    weights = np.array([[[1, 10, 1, 1]]], "float32")
    losses = TopK(keep_fraction=0.5, reduction="none")(FOREGROUND, STEPS, weights)
    assert array(losses) == pytest.approx(LN2 * np.array([[[0, 10, 4, 0]]]))
    # p = 1/2 everywhere, so only class weights matter: 1 and 3, scaled to 1/2 and 3/2
    labels = np.array([[[0, 1, 0, 1]]])
    losses = TopK(keep_fraction=0.5, reduction="none", class_weights=(1, 3))(
        labels, np.zeros((1, 1, 4, 1), "float32")
    )
    assert array(losses) == pytest.approx(LN2 * np.array([[[0, 1.5, 0, 1.5]]]))


def test_topk_with_all_pixels_is_cross_entropy():
    labels, logits = draw(3)
    for options in ({}, {"multi_label": True}, {"class_weights": (1, 2, 3)}):
        expected = float(CrossEntropy(**options)(labels, logits))
        assert float(TopK(keep_fraction=1, **options)(labels, logits)) == pytest.approx(
            expected, rel=1e-6
        )


@pytest.mark.parametrize("keep_fraction", [0, -0.1, 1.5, float("nan")])
def test_keep_fraction_out_of_range_is_an_error(keep_fraction):
    with pytest.raises(ValueError, match="TopK: keep_fraction=.* must be above 0 and at most 1"):
        TopK(keep_fraction=keep_fraction)


def draw(channels):
    rng = np.random.default_rng(channels)
    labels = rng.choice([0, 1, 2, 255], (2, 3, 4), p=[0.3, 0.3, 0.1, 0.3])
    if channels == 1:
        labels[labels == 2] = 255
    return labels, rng.normal(0, 3, (2, 3, 4, channels)).astype("float32")


def soft(channels):
    rng = np.random.default_rng(8)
    dense = rng.dirichlet([0.5] * channels, (2, 3, 4)) if channels > 1 else rng.random((2, 3, 4, 1))
    dense[0, 1, 2] = 255
    return dense.astype("float32")


HEADS = pytest.mark.parametrize(("channels", "multi_label"), [(3, False), (1, False), (3, True)])
TARGETS = pytest.mark.parametrize("target", ["labels", "soft"])


def draw_target(channels, target):
    labels, logits = draw(channels)
    return (labels if target == "labels" else soft(channels)), logits


@HEADS
@TARGETS
@pytest.mark.parametrize("weigh", [False, True])
def test_cross_entropy_matches_the_slow_loop(channels, multi_label, target, weigh):
    target, logits = draw_target(channels, target)
    weights = ((1, 4) if channels == 1 else (1, 5, 0.2)) if weigh else None
    fast = CrossEntropy(class_weights=weights, multi_label=multi_label, reduction="none")(
        target, logits
    )
    slow = oracles.cross_entropy(target, logits, weights, sigmoid=multi_label or channels == 1)
    assert array(fast) == pytest.approx(slow, rel=1e-4, abs=1e-6)


@HEADS
@TARGETS
def test_binary_cross_entropy_matches_the_slow_loop(channels, multi_label, target):
    target, logits = draw_target(channels, target)
    fast = BinaryCrossEntropy(multi_label=multi_label, reduction="none")(target, logits)
    slow = oracles.binary_cross_entropy(target, logits, sigmoid=multi_label or channels == 1)
    assert array(fast) == pytest.approx(slow, rel=1e-4, abs=1e-5)


@HEADS
@TARGETS
@pytest.mark.parametrize("gamma", [0.5, 1, 3])
def test_focal_matches_the_slow_loop(channels, multi_label, target, gamma):
    target, logits = draw_target(channels, target)
    fast = Focal(gamma=gamma, multi_label=multi_label, reduction="none")(target, logits)
    slow = oracles.focal(target, logits, gamma, sigmoid=multi_label or channels == 1)
    assert array(fast) == pytest.approx(slow, rel=1e-4, abs=1e-5)


def test_several_classes_per_pixel():
    # classes 0 and 2, all logits 0: the loss of every channel is ln 2
    target = np.array([[[[1, 0, 1]]]], "float32")
    logits = np.zeros((1, 1, 1, 3), "float32")
    assert float(CrossEntropy(multi_label=True)(target, logits)) == pytest.approx(LN2)
    assert float(BinaryCrossEntropy()(target, logits)) == pytest.approx(3 * LN2)
    # a pixel without any class is background, not ignored: the loss of logit 3 is ln(1 + e^3)
    value = float(CrossEntropy(multi_label=True)(0 * target, logits + 3))
    assert value == pytest.approx(math.log(1 + math.exp(3)))


def test_a_huge_correct_logit_does_not_hide_the_loss_of_other_channels():
    # channels 1 and 2 with p = sigmoid(0.1) have loss ln(1 + e^0.1) each; that of channel 0 is 0
    logits = np.array([[[[1e4, 0.1, 0.1]]]], "float32")
    for target in (np.array([[[0]]]), np.array([[[[1, 0, 0]]]], "float32")):
        assert float(BinaryCrossEntropy()(target, logits)) == pytest.approx(
            2 * math.log(1 + math.exp(0.1)), rel=1e-5
        )
