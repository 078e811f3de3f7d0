import math

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from tfseg.losses import (
    MCC,
    CrossEntropy,
    Dice,
    FocalTversky,
    GeneralizedDice,
    Jaccard,
    Lovasz,
    Tversky,
)
from tfseg.losses.region import dice, generalized_dice, jaccard, matthews, tversky

# Labels 00/11, certain prediction 00/01. Class 0: 2 true positives, 1 false positive. Class 1: 1
# true positive, 1 false negative. Dice is 2*2 / (2+3) = 4/5 for class 0 and 2*1 / (2+1) = 2/3 for
# class 1.
LABELS = np.array([[[0, 0], [1, 1]]])
PREDICTED = np.array([[[0, 0], [0, 1]]])


def certain(predicted, classes):
    return (100 * np.eye(classes)[predicted]).astype("float32")


def single(predicted):
    """Return one sigmoid channel, of the foreground."""
    return np.where(predicted == 1, 100.0, -100.0)[..., None].astype("float32")


def value(loss, labels=LABELS, predicted=PREDICTED, weights=None):
    return float(
        loss(labels, certain(predicted, int(max(labels.max(), predicted.max())) + 1), weights)
    )


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (dice, 10 / 15),  # I = 5, P = 8, T = 7
        (jaccard, 5 / 10),
        (lambda *sums, smooth: tversky(*sums, 0.25, 2, smooth), 5 / (5 + 0.25 * 3 + 2 * 2)),
    ],
)
def test_scores_are_ratios_of_sums(function, expected):
    sums = [ops.convert_to_tensor([x], "float32") for x in (5.0, 8.0, 7.0)]
    assert float(function(*sums, smooth=0)[0]) == pytest.approx(expected)
    nothing = [ops.convert_to_tensor([0.0])] * 3
    assert float(function(*nothing, smooth=0)[0]) == 1
    assert float(function(*nothing, smooth=2.0)[0]) == 1


def test_generalized_dice_of_sums():
    # w = 1/9 and 1: 2 (2/9 + 1) / (5/9 + 3) = 22/32; with factors 3 and 1 w = 1/3 and 1: 10/14
    sums = [ops.convert_to_tensor([x], "float32") for x in ((2.0, 1.0), (2.0, 2.0), (3.0, 1.0))]
    assert float(generalized_dice(*sums, smooth=0)[0]) == pytest.approx(22 / 32)
    factors = ops.convert_to_tensor([[3.0, 1.0]])
    assert float(generalized_dice(*sums, factors, smooth=0)[0]) == pytest.approx(10 / 14)


def test_matthews_of_sums():
    # 20 pixels: TP = 5, FP = 3, FN = 2, TN = 10; (5 * 10 - 3 * 2) / sqrt(8 * 7 * 13 * 12)
    sums = [ops.convert_to_tensor([x], "float32") for x in (5.0, 8.0, 7.0, 20.0)]
    assert float(matthews(*sums)[0]) == pytest.approx(44 / math.sqrt(8 * 7 * 13 * 12))


def test_dice_of_one_wrong_pixel():
    assert value(Dice(smooth=0)) == pytest.approx(1 - (4 / 5 + 2 / 3) / 2)
    assert value(Dice()) == pytest.approx(
        1 - (5 / 6 + 3 / 4) / 2
    )  # 1 added to numerator and denominator


def test_jaccard_of_one_wrong_pixel():
    assert value(Jaccard(smooth=0)) == pytest.approx(1 - (2 / 3 + 1 / 2) / 2)
    assert value(Jaccard()) == pytest.approx(1 - (3 / 4 + 2 / 3) / 2)


def test_alpha_weights_false_positives_and_beta_false_negatives():
    options = {"alpha": 0.2, "beta": 0.7}
    assert value(Tversky(smooth=0, **options)) == pytest.approx(1 - (2 / 2.2 + 1 / 1.7) / 2)
    assert value(Tversky(smooth=3, **options)) == pytest.approx(1 - (5 / 5.2 + 4 / 4.7) / 2)
    # only the foreground: a false negative, then a false positive
    assert float(Tversky(smooth=0, **options)(LABELS, single(PREDICTED))) == pytest.approx(
        1 - 1 / 1.7
    )
    assert float(Tversky(smooth=0, **options)(PREDICTED, single(LABELS))) == pytest.approx(
        1 - 1 / 1.2
    )


def test_tversky_generalizes_dice_and_jaccard():
    labels, logits = draw()
    assert float(Tversky(smooth=0.5)(labels, logits)) == pytest.approx(
        float(Dice(smooth=1)(labels, logits)), rel=1e-6
    )
    same = Tversky(alpha=1, beta=1)
    assert float(same(labels, logits)) == pytest.approx(float(Jaccard()(labels, logits)), rel=1e-6)


def test_focal_tversky_is_the_mean_over_classes_of_powers():
    loss = FocalTversky(smooth=0, alpha=0.2, beta=0.7, gamma=2)
    assert value(loss) == pytest.approx((math.sqrt(1 - 2 / 2.2) + math.sqrt(1 - 1 / 1.7)) / 2)
    # the default beta is above alpha, so a miss has a larger loss than a false alarm:
    # 1 - 1/1.7 = 0.7/1.7 and 1 - 1/1.3 = 0.3/1.3
    assert float(FocalTversky(smooth=0)(LABELS, single(PREDICTED))) == pytest.approx(
        (0.7 / 1.7) ** 0.75
    )
    assert float(FocalTversky(smooth=0)(PREDICTED, single(LABELS))) == pytest.approx(
        (0.3 / 1.3) ** 0.75
    )


def test_squared_dice():
    # p = 1/4 everywhere, 2 of 4 pixels are foreground: 2 * 1/2 / (4/16 + 2); not squared 1 / (1 +
    # 2)
    logits = np.full((1, 2, 2, 1), np.log(1 / 3), "float32")
    assert float(Dice(smooth=0)(LABELS, logits)) == pytest.approx(1 - 1 / 3)
    assert float(Dice(smooth=0, squared=True)(LABELS, logits)) == pytest.approx(1 - 1 / 2.25)
    # squares of a soft target: 2 * 4/8 / (4/16 + 4/4)
    half = np.full((1, 2, 2, 1), 0.5, "float32")
    assert float(Dice(smooth=0, squared=True)(half, logits)) == pytest.approx(1 - 1 / 1.25)


def test_log_cosh_is_applied_per_class():
    expected = (math.log(math.cosh(1 / 5)) + math.log(math.cosh(1 / 3))) / 2
    assert value(Dice(smooth=0, log_cosh=True)) == pytest.approx(expected, rel=1e-5)


def test_generalized_dice_weights_classes_by_inverse_squared_size():
    # labels 0001, prediction 0011: I = (2, 1), P = (2, 2), T = (3, 1), so w = (1/9, 1):
    # 2 (2/9 + 1) / (5/9 + 3) = 22/32
    labels, predicted = np.array([[[0, 0, 0, 1]]]), np.array([[[0, 0, 1, 1]]])
    assert value(GeneralizedDice(smooth=0), labels, predicted) == pytest.approx(1 - 22 / 32)
    # class weights 3 : 1 make w = (1/3, 1): 2 (2/3 + 1) / (5/3 + 3) = 10/14
    assert value(
        GeneralizedDice(smooth=0, class_weights=(3, 1)), labels, predicted
    ) == pytest.approx(1 - 10 / 14)
    # smooth is in pixels: w is scaled by 3, so that sum(w T) = 3 (3/9 + 1) = 4 pixels:
    # (22/3 + 1) / (32/3 + 1) = 25/35
    assert value(GeneralizedDice(smooth=1), labels, predicted) == pytest.approx(1 - 25 / 35)


def test_generalized_dice_over_all_classes_counts_false_positives_of_an_absent_class():
    # labels 0000, prediction 0011; class 0: w = 1/16, class 1: w = 1 (like one of a single pixel)
    # 2 (2/16) / (6/16 + 2) = 4/38
    labels, predicted = np.array([[[0, 0, 0, 0]]]), np.array([[[0, 0, 1, 1]]])
    assert value(GeneralizedDice(smooth=0), labels, predicted) == pytest.approx(1 - 2 * 2 / 6)
    assert value(GeneralizedDice(smooth=0, average_over="all"), labels, predicted) == pytest.approx(
        1 - 4 / 38
    )


def test_mcc_of_one_wrong_pixel():
    # TP = 1, TN = 2, FP = 0, FN = 1: (1 * 2 - 0) / sqrt(1 * 2 * 2 * 3); the same for class 0, where
    # positives and negatives are swapped
    assert value(MCC()) == pytest.approx(1 - 2 / math.sqrt(12))
    assert float(MCC()(LABELS, single(PREDICTED))) == pytest.approx(1 - 2 / math.sqrt(12))


def test_mcc_is_2_if_all_pixels_are_wrong():
    assert value(MCC(), LABELS, 1 - LABELS) == pytest.approx(2, rel=1e-5)


def test_mcc_matches_scikit_learn_on_hard_predictions():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 4, (2, 6, 7))
    predicted = np.where(rng.random(labels.shape) < 0.4, labels, rng.integers(0, 4, labels.shape))
    by_class = [
        1 - metrics.matthews_corrcoef(labels.ravel() == c, predicted.ravel() == c) for c in range(4)
    ]
    assert len({round(v, 3) for v in by_class}) == 4
    assert float(MCC()(labels, certain(predicted, 4))) == pytest.approx(np.mean(by_class), rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_mcc_excludes_a_class_that_covers_everything(seed):
    # sums of 400 weights in float32, taken in two orders, differ in their last digits
    rng = np.random.default_rng(seed)
    weights = rng.random((1, 20, 20)).astype("float32")
    logits = rng.normal(size=(1, 20, 20, 2)).astype("float32")
    ones = np.ones((1, 20, 20), "uint8")
    assert float(MCC()(0 * ones, logits, weights)) == 0
    assert float(MCC(multi_label=True)(0 * ones, logits, weights)) == 0
    assert float(MCC()(ones, logits[..., :1], weights)) == 0


@pytest.mark.parametrize("sign", [1, -1])
def test_mcc_of_an_almost_constant_prediction_is_1(sign):
    # p is within about 1e-6 of 1 (or 0), so float32 sums of p equal the number of pixels except for
    # rounding
    rng = np.random.default_rng(0)
    values = []
    for size in np.arange(14, 18, 0.2):
        labels = (rng.random((1, 10, 10)) < 0.7).astype("uint8")
        logits = (sign * rng.normal(size, 1, (1, 10, 10, 1))).astype("float32")
        values.append(float(MCC()(labels, logits)))
        values.append(float(MCC()(labels, np.concatenate([-logits / 2, logits / 2], -1))))
    assert values == pytest.approx([1] * len(values), abs=0.05)


def test_class_weights_of_the_mean_over_classes():
    loss = Dice(smooth=0, class_weights=(3, 1))
    assert value(loss) == pytest.approx((3 * 1 / 5 + 1 * 1 / 3) / 4)


# class 2 is predicted once and absent, class 3 is never predicted and absent; class 0 is perfect
ABSENT = np.array([[[0, 0], [2, 1]]])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (0 + 1 / 3) / 2),
        ({"average_over": "all"}, (0 + 1 / 3 + 1 + 0) / 4),
        ({"include_background": False}, 1 / 3),
        ({"include_background": False, "average_over": "all"}, (1 / 3 + 1 + 0) / 3),
        ({"class_weights": (2, 1, 5, 5)}, (0 + 1 / 3) / 3),
        ({"class_weights": (2, 1, 4, 1), "average_over": "all"}, (0 + 1 / 3 + 4 * 1 + 0) / 8),
        (
            {"class_weights": (2, 1, 4, 1), "average_over": "all", "include_background": False},
            (1 / 3 + 4 * 1 + 0) / 6,
        ),
    ],
)
def test_classes_in_the_mean(options, expected):
    assert float(Dice(smooth=0, **options)(LABELS, certain(ABSENT, 4))) == pytest.approx(expected)


def test_a_single_channel_scores_only_the_foreground():
    for options in ({}, {"include_background": False}, {"average_over": "all"}):
        assert float(Dice(smooth=0, **options)(LABELS, single(PREDICTED))) == pytest.approx(1 / 3)


def test_per_image_averages_over_images():
    labels = np.concatenate([LABELS, LABELS])
    logits = np.concatenate([certain(PREDICTED, 2), certain(LABELS, 2)])
    each = Dice(smooth=0, per_image=True, reduction="none")(labels, logits)
    assert ops.convert_to_numpy(each) == pytest.approx([4 / 15, 0], abs=1e-6)
    assert float(Dice(smooth=0, per_image=True)(labels, logits)) == pytest.approx(2 / 15)
    assert float(Dice(smooth=0, per_image=True, reduction="sum")(labels, logits)) == pytest.approx(
        4 / 15
    )
    # together: class 0 scores 2*4 / (4+5), class 1 2*3 / (4+3)
    assert float(Dice(smooth=0)(labels, logits)) == pytest.approx(1 - (8 / 9 + 6 / 7) / 2)
    assert ops.convert_to_numpy(Dice(smooth=0, reduction="none")(labels, logits)).shape == (1,)


def test_present_classes_are_those_of_each_image():
    # class 1 is only in the first image, with score 2/3; the second image contains only class 0,
    # predicted in 3 of 4 pixels
    labels, predicted = np.concatenate([LABELS, 0 * LABELS]), np.concatenate([PREDICTED, PREDICTED])
    each = Dice(smooth=0, per_image=True, reduction="none")(labels, certain(predicted, 2))
    assert ops.convert_to_numpy(each) == pytest.approx([4 / 15, 1 - 2 * 3 / 7])


def test_a_pixel_weight_applies_to_all_three_sums():
    # The wrong pixel counts 3 times: class 0 2*2 / (2+5), class 1 2*1 / (4+1). The mean weight,
    # here 3/2 of 1, 1, 3 and 1, is also a factor of the loss.
    weights = np.array([[[1.0, 1.0], [3.0, 1.0]]])
    assert value(Dice(smooth=0), weights=weights) == pytest.approx(1.5 * (1 - (4 / 7 + 2 / 5) / 2))
    # smooth is still in pixels: sums are divided by 3/2
    expected = 1 - ((4 / 1.5 + 1) / (7 / 1.5 + 1) + (2 / 1.5 + 1) / (5 / 1.5 + 1)) / 2
    assert value(Dice(), weights=weights) == pytest.approx(1.5 * expected)


def test_an_image_of_weight_0_is_ignored():
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 3, (2, 4, 5)), rng.normal(size=(2, 4, 5, 3)).astype("float32")
    # sums are divided by the mean weight 1/2, so that one image counts as two
    expected = float(Dice(smooth=1)(labels[1:], logits[1:])) / 2
    assert float(Dice(smooth=2)(labels, logits, np.array([0, 1]))) == pytest.approx(
        expected, rel=1e-6
    )


def test_several_classes_per_pixel():
    # Both classes in pixel 0, none in pixel 1; predicted: class 0 in both, class 1 in pixel 0.
    target = np.array([[[[1, 1], [0, 0]]]], "float32")
    logits = np.array([[[[100, 100], [100, -100]]]], "float32")
    # class 0: 2*1 / (1+2); class 1: 1
    assert float(Dice(smooth=0, multi_label=True)(target, logits)) == pytest.approx((1 / 3 + 0) / 2)


def draw(channels=3, dense=False):
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 2, (2, 3, 4, channels)).astype("float32")
    if not dense:
        return rng.choice([*range(max(channels, 2)), 255], (2, 3, 4)), logits
    target = (
        rng.dirichlet([0.5] * channels, (2, 3, 4)) if channels > 1 else rng.random((2, 3, 4, 1))
    )
    target[1, 2, 0] = 255
    return target.astype("float32"), logits


def generalized_dice_of_counts(tp, fp, fn, tn):
    w = 1 / (tp + fn) ** 2
    return 1 - 2 * (w * tp).sum() / (w * (2 * tp + fp + fn)).sum()


# losses as functions of tp, fp, fn, tn: per class, or one for all classes
BY_COUNTS = {
    "dice": (Dice(smooth=0), lambda tp, fp, fn, tn: 1 - 2 * tp / (2 * tp + fp + fn)),
    "jaccard": (Jaccard(smooth=0), lambda tp, fp, fn, tn: 1 - tp / (tp + fp + fn)),
    "tversky": (
        Tversky(smooth=0, alpha=0.1, beta=1.3),
        lambda tp, fp, fn, tn: 1 - tp / (tp + 0.1 * fp + 1.3 * fn),
    ),
    "focal tversky": (
        FocalTversky(smooth=0, alpha=0.1, beta=1.3, gamma=1.5),
        lambda tp, fp, fn, tn: (1 - tp / (tp + 0.1 * fp + 1.3 * fn)) ** (1 / 1.5),
    ),
    "generalized dice": (GeneralizedDice(smooth=0), generalized_dice_of_counts),
    "mcc": (
        MCC(),
        lambda tp, fp, fn, tn: (
            1
            - (tp * tn - fp * fn)
            / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))  # Matthews 1975
        ),
    ),
}


@pytest.mark.parametrize(("channels", "multi_label"), [(3, False), (1, False), (3, True)])
@pytest.mark.parametrize(
    ("dense", "weigh"), [(False, True), (True, False)], ids=["labels and weights", "soft"]
)
@pytest.mark.parametrize(("loss", "of_counts"), BY_COUNTS.values(), ids=BY_COUNTS)
def test_matches_the_slow_count(loss, of_counts, channels, multi_label, dense, weigh):
    target, logits = draw(channels, dense)
    weights = np.random.default_rng(6).uniform(1, 4, (2, 3, 4)).astype("float32") if weigh else None
    scale = weights[counted(target)].mean() if weigh else 1
    loss = type(loss).from_config({**loss.get_config(), "multi_label": multi_label})
    counts = oracles.soft_confusion(target, logits, weights, sigmoid=multi_label or channels == 1)
    assert float(loss(target, logits, weights)) == pytest.approx(
        scale * np.mean(of_counts(*counts)), rel=1e-4
    )


def counted(target):
    """Return (B, H, W), which pixels of `draw`'s targets count."""
    return target[..., 0] != 255 if target.ndim == 4 else (target != 255)


@pytest.mark.parametrize(("channels", "multi_label"), [(3, False), (1, False), (3, True)])
@pytest.mark.parametrize("dense", [False, True], ids=["labels", "soft"])
def test_squared_dice_matches_the_slow_sum(channels, multi_label, dense):
    target, logits = draw(channels, dense)
    expected = oracles.squared_dice_by_class(target, logits, sigmoid=multi_label or channels == 1)
    loss = Dice(smooth=0, squared=True, multi_label=multi_label)
    assert float(loss(target, logits)) == pytest.approx(expected.mean(), rel=1e-5)


@pytest.mark.slow
def test_a_class_of_more_than_2_24_pixels_is_counted_exactly():
    # 17.6 million pixels of class 0, p = 1/2: 2 (n / 2) / (n / 2 + n); a float32 that grows by 1 at
    # a time stops at 16 777 216
    labels = np.zeros((1, 4200, 4200), "uint8")
    loss = Dice(smooth=0)(labels, np.zeros((1, 4200, 4200, 2), "float32"))
    assert float(loss) == pytest.approx(1 / 3, rel=1e-4)


def test_one_sigmoid_channel_accepts_the_two_weights_of_cross_entropy():
    labels, logits = [[[0, 1, 1]]], [[[[-1.0], [2.0], [-0.5]]]]
    for loss in (Dice, Jaccard, MCC, Lovasz, GeneralizedDice):
        plain = float(loss()(labels, logits))
        assert plain > 0.1
        assert float(loss(class_weights=(1, 5))(labels, logits)) == pytest.approx(
            plain
        )  # one class: no ratio
    total = CrossEntropy(class_weights=(1, 5)) + Dice(class_weights=(1, 5))
    assert float(total(labels, logits)) > float(Dice()(labels, logits))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    labels=st.lists(st.booleans(), min_size=2, max_size=9),
    predicted=st.lists(st.booleans(), min_size=9, max_size=9),
    alpha=st.floats(0, 2),
    beta=st.floats(0, 2),
)
def test_more_false_positives_never_reduce_the_loss(labels, predicted, alpha, beta):
    predicted = predicted[: len(labels)]
    more = [p or not t for t, p in zip(labels, predicted, strict=True)]
    labels = np.array(labels, "uint8")[None, None]
    before = float(Tversky(alpha=alpha, beta=beta)(labels, single(np.array(predicted))[None, None]))
    assert (
        float(Tversky(alpha=alpha, beta=beta)(labels, single(np.array(more))[None, None]))
        >= before - 1e-6
    )


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (Dice, {"smooth": -1}, "Dice: smooth=-1 must be a finite number of at least 0"),
        (Dice, {"average_over": "presen"}, "Did you mean 'present'"),
        (Tversky, {"alpha": -0.1}, "Tversky: alpha=-0.1 must be a finite number of at least 0"),
        (Tversky, {"beta": float("inf")}, "Tversky: beta=inf must be a finite number"),
        (FocalTversky, {"gamma": 0}, "FocalTversky: gamma=0 must be a finite number above 0"),
    ],
)
def test_arguments_out_of_range_are_errors(cls, options, message):
    with pytest.raises(ValueError, match=message):
        cls(**options)
