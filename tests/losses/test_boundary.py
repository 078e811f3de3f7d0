import numpy as np
import oracles
import pytest
from keras import ops

from tfseg.losses import Boundary, CLDice, HausdorffDistance
from tfseg.losses.boundary import (
    boundary,
    boundary_distance,
    cl_dice,
    hausdorff_distance,
    signed_distance,
    soft_skeleton,
)

SPATIAL = pytest.mark.parametrize("cls", [Boundary, HausdorffDistance, CLDice])
# one sigmoid channel; the object is the last three of five pixels
ROW = np.array([[[0, 0, 1, 1, 1]]])


def array(tensor):
    return ops.convert_to_numpy(tensor)


def logits_of(probabilities):
    """Return one channel (1, 1, W, 1)."""
    p = np.asarray(probabilities, "float64")
    return (np.log(p) - np.log1p(-p)).astype("float32").reshape(1, 1, -1, 1)


def certain(mask):
    """Return logits (B, ..., 1) of bool (B, ...)."""
    return np.where(mask, 100.0, -100.0).astype("float32")[..., None]


def test_signed_distance_is_0_on_the_innermost_pixels():
    # outside: distance to the object; inside: 0 on its rim, then -1, -2
    assert array(signed_distance(ROW[..., None] > 0)).ravel().tolist() == [2, 1, 0, -1, -2]
    for constant in (np.zeros((1, 2, 3, 1), bool), np.ones((1, 2, 3, 1), bool)):
        assert not array(signed_distance(constant)).any()


def test_boundary_of_a_row():
    # p = 1/4: 1/4 (2 + 1) outside, (1/4 - 1)(0 - 1 - 2) inside, over 5 pixels
    assert float(Boundary()(ROW, logits_of([0.25] * 5))) == pytest.approx((0.75 + 2.25) / 5)
    # asymmetric: 0.1 * 2 + 0.2 * 1 + 0 + 0.3 * 1 + 0.5 * 2
    assert float(Boundary()(ROW, logits_of([0.1, 0.2, 0.9, 0.7, 0.5]))) == pytest.approx(1.7 / 5)


def test_hausdorff_distance_of_a_row():
    # d_t = 2 1 1 2 3. With p = 1/4 no pixel is above 0.5, so d_p = 0:
    # (1/16)(4 + 1) + (9/16)(1 + 4 + 9) = 131/16
    assert float(HausdorffDistance()(ROW, logits_of([0.25] * 5))) == pytest.approx(131 / 16 / 5)
    # the first pixel at 3/4: d_p = 1 1 2 3 4, so d_t**2 + d_p**2 = 5 2 5 13 25
    # (9/16) 5 + (1/16) 2 + (9/16)(5 + 13 + 25) = 434/16
    logits = logits_of([0.75, 0.25, 0.25, 0.25, 0.25])
    assert float(HausdorffDistance()(ROW, logits)) == pytest.approx(434 / 16 / 5)
    # d_t + d_p = 3 2 3 5 7: (9/16) 3 + (1/16) 2 + (9/16) 15 = 164/16
    assert float(HausdorffDistance(alpha=1)(ROW, logits)) == pytest.approx(164 / 16 / 5)


def test_plain_functions():
    # signed distance 2 1 0 -1 -2, p - t = 1/4 1/4 -3/4 -3/4 -3/4
    mask, p = ROW[..., None] > 0, np.full((1, 1, 5, 1), 0.25, "float32")
    expected = [0.5, 0.25, 0, 0.75, 1.5]
    assert array(boundary(ops.convert_to_tensor(p), mask)).ravel().tolist() == expected
    # d_t = 2 1 1 2 3 and, for 1 0 0 0 0, d_p = 1 1 2 3 4; (p - t)**2 = 1/16 1/16 9/16 9/16 9/16
    predicted = np.array([1, 0, 0, 0, 0]).reshape(1, 1, 5, 1) > 0
    values = hausdorff_distance(ops.convert_to_tensor(p), mask, predicted, alpha=1)
    expected = np.array([3 / 16, 2 / 16, 27 / 16, 45 / 16, 63 / 16])
    assert array(values).ravel() == pytest.approx(expected)
    # precision (2 + 1) / (3 + 1), recall (4 + 1) / (9 + 1); 2 * 3/4 * 1/2 / (5/4)
    sums = [ops.convert_to_tensor([x], "float32") for x in (2.0, 3.0, 4.0, 9.0)]
    assert float(cl_dice(*sums, smooth=1.0)[0]) == pytest.approx(3 / 5)


def test_farther_errors_have_larger_loss():
    labels = np.zeros((1, 9, 9), "uint8")
    labels[0, 4, 1:3] = 1
    for loss in (Boundary(), HausdorffDistance()):
        values = []
        for column in (4, 5, 8):
            prediction = labels.copy()
            prediction[0, 4, column] = 1
            values.append(float(loss(labels, certain(prediction == 1))))
        assert values == sorted(values)
        assert values[0] > 0


# a bar three rows thick; its centerline is row 2
BAR = np.zeros((1, 5, 7), "uint8")
BAR[0, 1:4] = 1
LINE = np.zeros((1, 5, 7), "uint8")
LINE[0, 2] = 1


def test_the_skeleton_of_a_bar_is_its_centerline():
    for iterations in (1, 4):
        skeleton = soft_skeleton(BAR[..., None].astype("float32"), iterations)
        assert np.array_equal(array(skeleton)[..., 0], LINE)
    assert np.array_equal(array(soft_skeleton(LINE[..., None].astype("float32"), 2))[..., 0], LINE)


def test_cl_dice_of_lines():
    loss = CLDice(smooth=0, iterations=2)
    # bar and line have the same centerline, which is inside of both
    assert float(loss(BAR, certain(LINE == 1))) == pytest.approx(0, abs=1e-6)
    assert float(loss(LINE, certain(BAR == 1))) == pytest.approx(0, abs=1e-6)
    # 3 of the 7 pixels are predicted, nothing else: precision 1, recall 3/7; 2 * 3/7 / (10/7)
    part = LINE.copy()
    part[0, 2, 3:] = 0
    assert float(loss(LINE, certain(part == 1))) == pytest.approx(1 - 6 / 10)
    # smooth 1: precision (3 + 1) / (3 + 1), recall (3 + 1) / (7 + 1)
    assert float(CLDice(smooth=1, iterations=2)(LINE, certain(part == 1))) == pytest.approx(
        1 - 1 / 1.5
    )
    # a line at the bar's rim is inside of the bar, but the bar's centerline is not in the line
    rim = np.roll(LINE, -1, axis=1)
    assert float(loss(BAR, certain(rim == 1))) == pytest.approx(1)


def test_cl_dice_of_a_float64_volume():
    target, logits = draw(2, (2, 4, 5, 6))
    expected = slow("cl_dice", target, logits, sigmoid=False)
    logits = ops.convert_to_tensor(logits.astype("float64"))
    tight = 1e-9 if ops.dtype(logits) == "float64" else 1e-4  # JAX has no float64 by default
    assert float(LOSSES["cl_dice"](target, logits)) == pytest.approx(expected, rel=tight)


def test_cl_dice_excludes_the_background_by_default():
    labels = LINE.copy()
    logits = np.random.default_rng(0).normal(size=(1, 5, 7, 2)).astype("float32")
    without = float(CLDice()(labels, logits))
    with_background = float(CLDice(include_background=True)(labels, logits))
    background = float(CLDice(include_background=True, class_weights=(1, 0))(labels, logits))
    assert with_background == pytest.approx((without + background) / 2)
    assert without != pytest.approx(background, rel=1e-2)


def draw(channels=3, shape=(2, 6, 7), dense=False):
    """Return blobs, with some ignored pixels."""
    rng = np.random.default_rng(len(shape) + channels)
    labels = (rng.random(shape) < 0.25).astype("int64")
    labels[:, 2:4, 1:4] = max(channels, 2) - 1
    logits = rng.normal(0, 2, (*shape, channels)).astype("float32")
    if dense:
        target = np.eye(channels)[labels] if channels > 1 else labels[..., None]
        target = (
            0.8 * target + 0.2 * rng.dirichlet([1] * channels, shape)
            if channels > 1
            else 0.9 * target
        )
        target[1, 0, 1] = 255
        return target.astype("float32"), logits
    labels[0, 0, 2], labels[1, 3, 2] = 255, 255
    return labels, logits


def dense_and_valid(target, channels):
    """Return dense targets and which pixels count; ignored pixels are outside of every class."""
    valid = np.zeros(target.shape[: target.ndim - (target.dtype.kind == "f")], bool)
    dense = np.zeros((*valid.shape, channels))
    for place, t in oracles.pixels(target, channels):
        if t is not None:
            valid[place], dense[place] = True, t
    return dense, valid


def slow(name, target, logits, sigmoid, iterations=2, alpha=1.5):
    """Return the mean over images and (present) classes of the mean over pixels."""
    dense, valid = dense_and_valid(target, logits.shape[-1])
    p = oracles.probabilities(logits.astype("float64"), sigmoid)
    values = []
    for i in range(len(logits)):
        for c in range(logits.shape[-1]):
            t, q, counts = dense[i, ..., c], p[i, ..., c], valid[i]
            mask = t > 0.5
            assert mask.any()
            if name == "boundary":
                loss_map = (q - mask) * oracles.signed_distance(mask)
            elif name == "hausdorff":
                distance = oracles.boundary_distance(mask) ** alpha
                distance += oracles.boundary_distance((q > 0.5) & counts) ** alpha
                loss_map = (q - mask) ** 2 * distance
            else:
                values.append(oracles.cl_dice(np.where(counts, q, 0), t, iterations, 0.5))
                continue
            values.append(loss_map[counts].mean())
    return np.mean(values)


LOSSES = {
    "boundary": Boundary(per_image=True),
    "hausdorff": HausdorffDistance(alpha=1.5, per_image=True),
    "cl_dice": CLDice(smooth=0.5, iterations=2, per_image=True, include_background=True),
}


@pytest.mark.parametrize(("channels", "multi_label"), [(3, False), (1, False), (3, True)])
@pytest.mark.parametrize("dense", [False, True], ids=["labels", "soft"])
@pytest.mark.parametrize("name", LOSSES)
def test_matches_the_slow_loop(name, channels, multi_label, dense):
    target, logits = draw(channels, dense=dense)
    loss = type(LOSSES[name]).from_config({**LOSSES[name].get_config(), "multi_label": multi_label})
    expected = slow(name, target, logits, sigmoid=multi_label or channels == 1)
    assert float(loss(target, logits)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_volumes_match_the_slow_loop(name):
    target, logits = draw(2, (2, 4, 5, 6))
    expected = slow(name, target, logits, sigmoid=False)
    assert float(LOSSES[name](target, logits)) == pytest.approx(expected, rel=1e-4)


def test_distances_match_scipy():
    # as in one_hot2dist of the authors' repository (LIVIAETS/boundary-loss)
    distance = pytest.importorskip("scipy.ndimage").distance_transform_edt
    mask = np.random.default_rng(3).random((2, 9, 11, 2)) < 0.4
    signed, both = array(signed_distance(mask)), array(boundary_distance(mask))
    for i, c in np.ndindex(2, 2):
        inside = mask[i, ..., c]
        outside = ~inside
        expected = distance(outside) * outside - (distance(inside) - 1) * inside
        assert signed[i, ..., c] == pytest.approx(expected, rel=1e-6)
        assert both[i, ..., c] == pytest.approx(distance(inside) + distance(outside), rel=1e-6)


@SPATIAL
def test_images_in_a_batch_do_not_affect_each_other(cls):
    labels, logits = draw(1)
    each = [float(cls()(labels[i : i + 1], logits[i : i + 1])) for i in range(2)]
    assert float(cls(per_image=True)(labels, logits)) == pytest.approx(np.mean(each), rel=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: HausdorffDistance(alpha=0),
            "HausdorffDistance: alpha=0 must be a finite number above 0",
        ),
        (lambda: CLDice(iterations=0), "CLDice: iterations=0 must be a whole number of at least 1"),
        (lambda: CLDice(smooth=-1), "CLDice: smooth=-1 must be a finite number of at least 0"),
    ],
)
def test_arguments_out_of_range_are_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
