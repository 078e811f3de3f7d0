import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from tfseg.metrics import (
    average_surface_distance,
    boundary_f1,
    boundary_iou,
    hausdorff_distance,
    surface_dice,
)

EVERY = (hausdorff_distance, average_surface_distance, surface_dice, boundary_f1, boundary_iou)
every_metric = pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.__name__)
DISTANCES = (hausdorff_distance, average_surface_distance)


def score(metric, target, prediction, *arguments):
    if metric is surface_dice and not arguments:
        arguments = (1,)
    result = metric(target, prediction, *arguments)
    assert type(result) is float
    return result


def draw(text):
    """Return a mask from rows of '.' and '#'."""
    return np.array([[pixel == "#" for pixel in row] for row in text.split()])


def slow_surface(mask):
    """Return positions (N, rank) of pixels with a neighbor outside, or beyond the edge."""
    padded = np.pad(mask, 1)
    steps = [step for axis in np.eye(mask.ndim, dtype=int) for step in (axis, -axis)]
    positions = np.argwhere(mask)
    return np.array(
        [p for p in positions if not all(padded[tuple(p + 1 + step)] for step in steps)]
    )


def slow_distances(target, prediction, spacing):
    """Return the distances from target to predicted surface and back, by all pairs."""
    first, second = (slow_surface(mask) * np.array(spacing) for mask in (target, prediction))
    table = np.sqrt(((first[:, None] - second) ** 2).sum(-1))
    return table.min(1), table.min(0)


def slow_rim(mask, distance):
    """Return the pixels with a pixel outside in the square of 2 * distance + 1 around them."""
    padded = np.pad(mask, distance)
    rim = np.zeros(mask.shape, bool)
    for place in np.argwhere(mask):
        rim[tuple(place)] = not padded[tuple(slice(x, x + 2 * distance + 1) for x in place)].all()
    return rim


def blobs(rng, shape, count):
    grid, mask = np.indices(shape), np.zeros(shape, bool)
    for _ in range(count):
        center, radius = rng.uniform(0, shape), rng.uniform(3, 9)
        mask |= sum((axis - x) ** 2 for axis, x in zip(grid, center, strict=True)) < radius**2
    return mask


def pair(seed, shape):
    """Return discs or balls, and the same shifted, with one more."""
    rng = np.random.default_rng(seed)
    target = blobs(rng, shape, 5)
    return target, np.roll(target, (1, -2), (0, 1)) | blobs(rng, shape, 1)


# Every pixel is surface. The distances are 0, 0, 1, 1 from the target's 4 pixels to the prediction,
# and 0, 0, 1, 2, 3 from the prediction's 5 pixels to the target.
TARGET = draw("....... .##.... .##.... .......")
PREDICTION = draw("....... .#####. ....... .......")


@pytest.mark.parametrize(
    ("percentile", "expected"),
    [
        (100, 3),
        (0, 0),
        (50, 1),  # 0.5 and 1
        (80, 2.2),  # position 0.8 * 4 = 3.2 of 0 0 1 2 3; pooled directions would give 1.4
        (95, 2.8),
    ],
)
def test_hausdorff_distance_by_hand(percentile, expected):
    assert score(hausdorff_distance, TARGET, PREDICTION, None, percentile) == pytest.approx(
        expected
    )
    assert score(hausdorff_distance, PREDICTION, TARGET, None, percentile) == pytest.approx(
        expected
    )


def test_average_surface_distance_by_hand():
    assert score(average_surface_distance, TARGET, PREDICTION) == pytest.approx((2 + 6) / 9)
    assert score(average_surface_distance, TARGET, PREDICTION, None, False) == pytest.approx(6 / 5)
    assert score(average_surface_distance, PREDICTION, TARGET, None, False) == pytest.approx(2 / 4)


def test_spacing_by_hand():
    # Rows are 2 apart, columns 0.5: 0, 0, 2, 2 and 0, 0, 0.5, 1, 1.5.
    assert score(hausdorff_distance, TARGET, PREDICTION, (2, 0.5)) == 2
    assert score(average_surface_distance, TARGET, PREDICTION, [2, 0.5]) == pytest.approx(
        (4 + 3) / 9
    )
    assert score(
        average_surface_distance, TARGET.T, PREDICTION.T, (0.5, 2), False
    ) == pytest.approx(3 / 5)
    assert score(surface_dice, TARGET, PREDICTION, 1, (2, 0.5)) == pytest.approx((2 + 4) / 9)
    assert score(boundary_f1, TARGET, PREDICTION, 1, (2, 0.5)) == pytest.approx(2 * 0.8 * 0.5 / 1.3)


@pytest.mark.parametrize(("tolerance", "near"), [(0, 4), (0.9, 4), (1, 7), (2, 8), (3, 9)])
def test_surface_dice_by_hand(tolerance, near):
    assert score(surface_dice, TARGET, PREDICTION, tolerance) == pytest.approx(near / 9)


@pytest.mark.parametrize(
    ("tolerance", "precision", "recall"),
    [(0, 2 / 5, 2 / 4), (1, 3 / 5, 1), (2, 4 / 5, 1), (3, 1, 1)],
)
def test_boundary_f1_by_hand(tolerance, precision, recall):
    expected = 2 * precision * recall / (precision + recall)
    assert score(boundary_f1, TARGET, PREDICTION, tolerance) == pytest.approx(expected)


def test_default_tolerance_of_boundary_f1():
    # 300 x 400 pixels: 0.0075 * 500 = 3.75, in units of pixels of size 2: 7.5.
    target = np.zeros((300, 400), bool)
    target[100, 100:150] = True
    for spacing in (None, (2, 2)):
        assert score(boundary_f1, target, np.roll(target, 3, 0), None, spacing) == 1
        assert score(boundary_f1, target, np.roll(target, 4, 0), None, spacing) == 0


@pytest.mark.parametrize("tolerance", [0.3, 0.7])
def test_a_distance_equal_to_the_tolerance_is_within_despite_rounding(tolerance):
    target, prediction = draw("#......."), np.roll(draw("#......."), round(tolerance * 10))
    for metric in (surface_dice, boundary_f1):
        assert score(metric, target, prediction, tolerance, (1, 0.1)) == 1
        assert score(metric, target, prediction, tolerance - 0.001, (1, 0.1)) == 0


@pytest.mark.parametrize(
    ("target", "prediction"),
    [
        # Diagonal neighbors do not count: the corners next to the hole are inside.
        ("##### ##### ##.## ##### #####", "##### #.#.# ##.## #.#.# #####"),
        # Pixels beyond the edge are outside: the full image has a surface.
        ("#### #### ####", "#### #..# ####"),
        ("##### ##### #####", "##### #...# #####"),
    ],
)
def test_masks_with_the_same_surface(target, prediction):
    target, prediction = draw(target), draw(prediction)
    for first, second in ((target, prediction), (prediction, target)):
        assert hausdorff_distance(first, second) == average_surface_distance(first, second) == 0
        assert surface_dice(first, second, 0) == boundary_f1(first, second, 0) == 1


def test_a_cube_and_its_shell_have_the_same_surface():
    cube = np.ones((3, 4, 5), bool)
    shell = cube.copy()
    shell[1, 1:3, 1:4] = False
    assert hausdorff_distance(cube, shell) == 0
    shell[1, 1, 0] = False  # now the nearest surface pixel is (1, 1, 1), at distance 1
    assert hausdorff_distance(cube, shell) == 1


def test_boundary_iou_by_hand():
    # Rims of 12 pixels of two 4 x 4 squares, one column apart: they share 3 pixels of the top row
    # and 3 of the bottom row.
    target = draw("....... .####.. .####.. .####.. .####.. .......")
    prediction = np.roll(target, 1, 1)
    assert score(boundary_iou, target, prediction, 1) == pytest.approx(6 / 18)
    # the rim is the whole square, so this is the IoU
    assert score(boundary_iou, target, prediction, 2) == pytest.approx(12 / 20)
    # 2 % of 9.2 is less than 1
    assert score(boundary_iou, target, prediction) == pytest.approx(6 / 18)


def test_the_rim_of_boundary_iou_uses_chessboard_distance():
    # All 24 pixels around the hole are next to it, also diagonally, or to the edge. The rim of the
    # full square has 16 pixels.
    assert score(
        boundary_iou, np.ones((5, 5), bool), draw("##### ##### ##.## ##### #####"), 1
    ) == pytest.approx(16 / 24)


@pytest.mark.parametrize("shape", [(60, 90), (20, 21), (150, 40)])
@pytest.mark.parametrize("distance", [None, 1, 3, 40])
def test_boundary_iou_matches_the_authors_code(shape, distance):
    # As in mask_to_boundary of github.com/bowenc0221/boundary-iou-api: 3 x 3 erosions with zeros
    # around the image.
    import cv2

    def rim(mask):
        times = distance or max(1, round(0.02 * np.sqrt(shape[0] ** 2 + shape[1] ** 2)))
        padded = cv2.copyMakeBorder(mask.astype("uint8"), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        return mask & ~cv2.erode(padded, np.ones((3, 3), "uint8"), iterations=times)[
            1:-1, 1:-1
        ].astype(bool)

    target, prediction = pair(4, shape)
    first, second = rim(target), rim(prediction)
    assert boundary_iou(target, prediction, distance) == pytest.approx(
        (first & second).sum() / (first | second).sum()
    )


masks = st.sampled_from([(5, 6), (1, 7), (3, 4, 3), (2, 1, 5)]).flatmap(
    lambda shape: st.tuples(*[arrays(bool, shape)] * 2)
)


@given(
    masks, st.tuples(*[st.sampled_from([0.3, 1.0, 2.5])] * 3), st.floats(0, 100), st.integers(0, 3)
)
@settings(deadline=None, max_examples=60)
def test_all_metrics_match_the_slow_definition(pair, spacing, percentile, tolerance):
    target, prediction = pair
    spacing = spacing[: target.ndim]
    if not (target.any() and prediction.any()):
        return
    ahead, back = slow_distances(target, prediction, spacing)
    expected = max(np.percentile(ahead, percentile), np.percentile(back, percentile))
    assert hausdorff_distance(target, prediction, spacing, percentile) == pytest.approx(expected)
    assert hausdorff_distance(target, prediction, spacing) == pytest.approx(
        max(ahead.max(), back.max())
    )
    both = np.concatenate([ahead, back])
    assert average_surface_distance(target, prediction, spacing) == pytest.approx(both.mean())
    assert average_surface_distance(target, prediction, spacing, False) == pytest.approx(
        back.mean()
    )
    limit = tolerance + 1e-6
    assert surface_dice(target, prediction, tolerance, spacing) == pytest.approx(
        (both <= limit).mean()
    )
    recall, precision = (ahead <= limit).mean(), (back <= limit).mean()
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0
    assert boundary_f1(target, prediction, tolerance, spacing) == pytest.approx(f1)
    first, second = slow_rim(target, tolerance + 1), slow_rim(prediction, tolerance + 1)
    expected = (first & second).sum() / (first | second).sum()
    assert boundary_iou(target, prediction, tolerance + 1) == pytest.approx(expected)


@every_metric
@given(masks)
@settings(deadline=None, max_examples=25)
def test_metrics_are_symmetric_and_equal_masks_are_perfect(metric, pair):
    target, prediction = pair
    assert score(metric, target, prediction) == pytest.approx(
        score(metric, prediction, target), nan_ok=True
    )
    if target.any():
        assert score(metric, target, target) == (0 if metric in DISTANCES else 1)


# Computed with MONAI 1.6.1 (float32), include_background=True: compute_hausdorff_distance with
# percentile None, 95 and 50, compute_average_surface_distance with symmetric True and False,
# compute_surface_dice with threshold 1.5. MedPy 0.5.2 gives the same for the first, fourth and
# fifth.
MONAI = [
    (0, (48, 64), None, (32.249031, 10.063009, 2.0, 2.440204, 3.360855, 0.531250)),
    (1, (40, 56), (0.8, 1.5), (26.119724, 22.152290, 1.6, 3.942562, 5.842673, 0.474074)),
    (2, (20, 24, 28), None, (9.055386, 7.176099, 1.732051, 1.950102, 2.435887, 0.562910)),
    (3, (16, 24, 20), (2.5, 0.7, 1.1), (9.621330, 5.543496, 1.1, 1.159237, 1.453416, 0.743023)),
]


@pytest.mark.parametrize(("seed", "shape", "spacing", "expected"), MONAI)
def test_values_of_monai(seed, shape, spacing, expected):
    target, prediction = pair(seed, shape)
    result = [
        hausdorff_distance(target, prediction, spacing, percentile) for percentile in (100, 95, 50)
    ]
    result += [
        average_surface_distance(target, prediction, spacing, symmetric)
        for symmetric in (True, False)
    ]
    result += [surface_dice(target, prediction, 1.5, spacing)]
    assert result == pytest.approx(expected, rel=3e-6)  # float32 percentiles


def test_padding_changes_nothing():
    target, prediction = pair(5, (30, 40))
    around = [
        np.pad(mask, ((20, 7), (3, 50))) for mask in (np.pad(target, 1), np.pad(prediction, 1))
    ]
    for metric, arguments in (
        (hausdorff_distance, ()),
        (surface_dice, (2,)),
        (boundary_f1, (2,)),
        (boundary_iou, (2,)),
    ):
        assert metric(*around, *arguments) == metric(target, prediction, *arguments)


def test_nuclei_match_the_distance_transform_of_scipy(shared_data):
    scipy = pytest.importorskip("scipy.ndimage")
    folder = shared_data / "dsb2018_fluo"
    for name in (folder / "val.txt").read_text().split()[:4]:
        target = np.array(Image.open(folder / "labels" / f"{name}.png")) > 0
        image = np.array(Image.open(folder / "images" / f"{name}.png"))[..., 0].astype(float)
        prediction = image > (image[target].mean() + image[~target].mean()) / 2
        first, second = (mask & ~scipy.binary_erosion(mask) for mask in (target, prediction))
        ahead = scipy.distance_transform_edt(~second, sampling=(1, 0.5))[first]
        back = scipy.distance_transform_edt(~first, sampling=(1, 0.5))[second]
        result = [hausdorff_distance(target, prediction, (1, 0.5), p) for p in (100, 95)]
        assert result == pytest.approx(
            [max(np.percentile(ahead, p), np.percentile(back, p)) for p in (100, 95)]
        )
        assert 0.3 < surface_dice(target, prediction, 2) < 1
        square = np.ones((3, 3))  # 7 times: 2 % of the diagonal, 362
        first, second = (
            mask & ~scipy.binary_erosion(mask, square, 7) for mask in (target, prediction)
        )
        assert boundary_iou(target, prediction) == pytest.approx(
            (first & second).sum() / (first | second).sum()
        )


@every_metric
@pytest.mark.parametrize("shape", [(4, 6), (3, 4, 5), (0, 5)])
def test_empty_masks(metric, shape):
    nothing, something = np.zeros(shape, bool), np.ones(shape, bool)
    assert math.isnan(score(metric, nothing, nothing))
    if something.any():
        worst = math.inf if metric in DISTANCES else 0
        assert score(metric, nothing, something) == score(metric, something, nothing) == worst


@every_metric
@pytest.mark.parametrize(
    ("target", "prediction", "words"),
    [
        (
            np.zeros((4, 5), bool),
            np.zeros((5, 4), bool),
            r"\(4, 5\) and prediction \(5, 4\), expected two masks",
        ),
        (
            np.zeros((2, 4, 5, 3), bool),
            np.zeros((2, 4, 5, 3), bool),
            r"\(2, 4, 5, 3\).*\(H, W\) or \(D, H, W\)",
        ),
        (np.zeros(5, bool), np.zeros(5, bool), r"\(5,\)"),
        (
            np.zeros((4, 5), "uint8"),
            np.zeros((4, 5), bool),
            "target is uint8, expected bool. Pass a class",
        ),
        (np.zeros((4, 5), bool), np.zeros((4, 5)), "prediction is float64"),
    ],
)
def test_invalid_masks_are_an_error(metric, target, prediction, words):
    with pytest.raises(ValueError, match=f"^{metric.__name__}: .*{words}"):
        score(metric, target, prediction)


@pytest.mark.parametrize("metric", EVERY[:-1], ids=lambda metric: metric.__name__)
@pytest.mark.parametrize(
    "spacing", [(1,), (1, 1, 1), (1, 0), (1, -2), (1, math.nan), (math.inf, 1), 2]
)
def test_an_invalid_spacing_is_an_error(metric, spacing):
    arguments = {"tolerance": 1} if metric is surface_dice else {}
    with pytest.raises(ValueError, match=r"spacing=.*expected 2 sizes above 0, one per axis"):
        metric(TARGET, PREDICTION, spacing=spacing, **arguments)


@pytest.mark.parametrize(
    ("metric", "arguments", "words"),
    [
        (hausdorff_distance, {"percentile": 101}, r"percentile=101 must be in \[0, 100\]"),
        (hausdorff_distance, {"percentile": -1}, "percentile=-1"),
        (hausdorff_distance, {"percentile": math.nan}, "percentile=nan"),
        (surface_dice, {"tolerance": -1}, "tolerance=-1 must be a finite number of at least 0"),
        (boundary_f1, {"tolerance": math.nan}, "tolerance=nan"),
        (boundary_iou, {"distance": 0}, "distance=0 must be a whole number of at least 1"),
        (boundary_iou, {"distance": 1.5}, "distance=1.5"),
    ],
)
def test_arguments_out_of_range_are_errors(metric, arguments, words):
    with pytest.raises(ValueError, match=f"{metric.__name__}: {words}"):
        metric(TARGET, PREDICTION, **arguments)
