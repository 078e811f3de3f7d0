import numpy as np
import oracles
import pytest
from keras import ops

from tfseg.losses import CrossEntropy, Dice, dice

# Labels 00/11, certain prediction 00/01: class 0 scores 2*2 / (2+3) = 4/5, class 1 scores 2*1 / (2+1) = 2/3.
LABELS = np.array([[[0, 0], [1, 1]]])
GUESS = np.array([[[0, 0], [0, 1]]])


def certain(guess, classes):
    return (100 * np.eye(classes)[guess]).astype("float32")


def test_one_wrong_pixel():
    assert float(Dice(smooth=0)(LABELS, certain(GUESS, 2))) == pytest.approx(1 - (4 / 5 + 2 / 3) / 2)


def test_smooth_is_added_above_and_below():
    # 5/6 and 3/4
    assert float(Dice()(LABELS, certain(GUESS, 2))) == pytest.approx(1 - (5 / 6 + 3 / 4) / 2)


def test_class_weights_weigh_the_classes_scores():
    loss = Dice(smooth=0, class_weights=(3, 1))
    assert float(loss(LABELS, certain(GUESS, 2))) == pytest.approx((3 * 1 / 5 + 1 * 1 / 3) / 4)


def test_a_class_absent_from_the_target_is_left_out():
    # class 2 is predicted once and never true; class 1 scores 2*1 / (2+1), class 0 is perfect
    guess = np.array([[[0, 0], [2, 1]]])
    assert float(Dice(smooth=0)(LABELS, certain(guess, 4))) == pytest.approx((0 + 1 / 3) / 2)


def test_a_single_channel_scores_the_foreground_alone():
    logits = np.where(GUESS == 1, 100.0, -100.0)[..., None].astype("float32")
    assert float(Dice(smooth=0)(LABELS, logits)) == pytest.approx(1 / 3)


def test_soft_probabilities_enter_as_they_are():
    # foreground probability 1/4 everywhere, 2 of 4 pixels true: 2 * 1/2 / (1 + 2)
    logits = np.full((1, 2, 2, 1), np.log(1 / 3), "float32")
    assert float(Dice(smooth=0)(LABELS, logits)) == pytest.approx(1 - 1 / 3)


def test_per_image_scores_images_by_themselves():
    labels = np.concatenate([LABELS, LABELS])
    logits = np.concatenate([certain(GUESS, 2), certain(LABELS, 2)])
    each = Dice(smooth=0, per_image=True, reduction="none")(labels, logits)
    assert ops.convert_to_numpy(each) == pytest.approx([4 / 15, 0], abs=1e-6)
    assert float(Dice(smooth=0, per_image=True)(labels, logits)) == pytest.approx(2 / 15)
    # together: class 0 scores 2*4 / (4+5), class 1 2*3 / (4+3)
    assert float(Dice(smooth=0)(labels, logits)) == pytest.approx(1 - (8 / 9 + 6 / 7) / 2)


def test_a_pixel_weight_enters_all_three_sums():
    # the wrong pixel counts 3 times: class 0 2*2 / (2+5), class 1 2*1 / (4+1)
    weights = np.array([[[1.0, 1.0], [3.0, 1.0]]])
    loss = Dice(smooth=0)(LABELS, certain(GUESS, 2), weights)
    assert float(loss) == pytest.approx(1 - (4 / 7 + 2 / 5) / 2)


def test_an_image_of_weight_0_is_as_good_as_not_there():
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 3, (2, 4, 5)), rng.normal(size=(2, 4, 5, 3)).astype("float32")
    assert float(Dice()(labels, logits, np.array([0, 1]))) == pytest.approx(float(Dice()(labels[1:], logits[1:])))


def test_several_classes_a_pixel():
    # Both classes in pixel 0, none in pixel 1; predicted: class 0 in both, class 1 in pixel 0.
    target = np.array([[[[1, 1], [0, 0]]]], "float32")
    logits = np.array([[[[100, 100], [100, -100]]]], "float32")
    # class 0: 2*1 / (1+2); class 1: 1
    assert float(Dice(smooth=0, multi_label=True)(target, logits)) == pytest.approx((1 / 3 + 0) / 2)


@pytest.mark.parametrize(("channels", "multi_label"), [(3, False), (1, False), (3, True)])
@pytest.mark.parametrize("dense", [False, True])
def test_it_matches_the_slow_loop(channels, multi_label, dense):
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 2, (2, 3, 4, channels)).astype("float32")
    weights = rng.random((2, 3, 4)).astype("float32")
    if dense:
        target = rng.dirichlet([0.5] * channels, (2, 3, 4)) if channels > 1 else rng.random((2, 3, 4, 1))
        target[1, 2, 0] = 255
        target = target.astype("float32")
    else:
        target = rng.choice([0, 1, 255, 9], (2, 3, 4), p=[0.4, 0.4, 0.1, 0.1])
    for smooth in (0.0, 0.7):
        losses, present = oracles.dice_by_class(target, logits, smooth, weights, sigmoid=multi_label or channels == 1)
        fast = dice(target, logits, weights, multi_label=multi_label, smooth=smooth)
        assert ops.convert_to_numpy(fast) == pytest.approx([losses[present].mean()], rel=1e-4)
        each = dice(target, logits, weights, multi_label=multi_label, smooth=smooth, per_image=True)
        for i, value in enumerate(ops.convert_to_numpy(each)):
            part = slice(i, i + 1)
            losses, present = oracles.dice_by_class(
                target[part], logits[part], smooth, weights[part], sigmoid=multi_label or channels == 1
            )
            assert value == pytest.approx(losses[present].mean(), rel=1e-4)


def test_one_sigmoid_channel_takes_the_two_weights_of_cross_entropy():
    labels, logits = [[[0, 1, 1]]], [[[[-1.0], [2.0], [-0.5]]]]
    plain = float(Dice()(labels, logits))
    assert plain > 0.1
    assert float(Dice(class_weights=(1, 5))(labels, logits)) == pytest.approx(plain)  # one class: no ratio
    assert float((CrossEntropy(class_weights=(1, 5)) + Dice(class_weights=(1, 5)))(labels, logits)) > plain
