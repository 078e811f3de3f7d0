import numpy as np
import oracles
import pytest
from keras import ops

from tfseg.ops import (
    box_area,
    box_iou,
    box_overlap,
    clip_boxes,
    crop_matrices,
    move_boxes,
    move_points,
)

IDENTITY = np.eye(3, dtype="float32")


def array(values):
    return ops.convert_to_tensor(np.array(values, "float32"))


def moved(boxes, matrix, **options):
    """Return boxes (N, 4) transformed by one matrix (3, 3)."""
    found = move_boxes(array(boxes)[None], array(matrix)[None], **options)
    return ops.convert_to_numpy(found)[0]


def covered(box, height=12, width=15):
    """Return (height, width), which pixels a box of whole numbers covers."""
    y, x = np.mgrid[:height, :width]
    return (x >= box[0]) & (x + 1 <= box[2]) & (y >= box[1]) & (y + 1 <= box[3])


def draw_boxes(count=60):
    rng = np.random.default_rng(4)
    first, second = rng.integers(0, (15, 12), (2, count, 2))
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], 1)


def test_areas():
    # 3 wide, 2 high; area 0.5; no width; negative width, height, both
    boxes = [
        [[1, 2, 4, 4], [0, 0, 0.5, 1], [3, 1, 3, 9]],
        [[4, 2, 1, 4], [1, 4, 4, 2], [4, 4, 1, 2]],
    ]
    assert ops.convert_to_numpy(box_area(array(boxes))).tolist() == [[6, 0.5, 0], [0, 0, 0]]


def test_areas_of_clipped_boxes_equal_numbers_of_pixels():
    boxes, regions = draw_boxes(), draw_boxes()[::-1]
    clipped = clip_boxes(array(boxes), array(regions))
    expected = [
        (covered(box) & covered(region)).sum() for box, region in zip(boxes, regions, strict=True)
    ]
    assert max(expected) > 0
    assert min(expected) == 0
    assert ops.convert_to_numpy(box_area(clipped)).tolist() == expected
    assert ops.convert_to_numpy(box_area(array(boxes))).tolist() == [
        covered(box).sum() for box in boxes
    ]


def test_clipping_by_hand():
    region = [10, 20, 30, 50]
    boxes = [[12, 22, 14, 24], [5, 10, 15, 25], [25, 45, 99, 99], [0, 0, 99, 99]]
    expected = [[12, 22, 14, 24], [10, 20, 15, 25], [25, 45, 30, 50], region]
    assert ops.convert_to_numpy(clip_boxes(array(boxes), array(region))).tolist() == expected
    # outside on the left, on the right and above: area 0, and no negative sides
    outside = ops.convert_to_numpy(
        clip_boxes(array([[0, 22, 5, 24], [40, 22, 45, 24], [12, 0, 14, 5]]), array(region))
    )
    assert (outside[:, 2:] >= outside[:, :2]).all()
    assert ops.convert_to_numpy(box_area(array(outside))).tolist() == [0, 0, 0]


def test_every_image_has_its_own_region():
    boxes = array(np.broadcast_to([0, 0, 9, 9], (2, 3, 4)))
    regions = array([[1, 2, 3, 4], [5, 6, 7, 8]])[:, None]
    clipped = ops.convert_to_numpy(clip_boxes(boxes, regions))
    assert (clipped[0] == [1, 2, 3, 4]).all()
    assert (clipped[1] == [5, 6, 7, 8]).all()


def test_iou_and_overlap_by_hand():
    boxes = [[[0, 0, 4, 4], [2, 1, 8, 3]], [[0, 0, 1, 1], [9, 9, 9, 9]]]
    others = [
        [[0, 0, 4, 2], [2, 2, 3, 3], [4, 0, 6, 4]],
        [[9, 9, 9, 9], [0, 0, 9, 9], [5, 5, 4, 4]],
    ]
    iou = ops.convert_to_numpy(box_iou(array(boxes), array(others)))
    expected = [[[8 / 16, 1 / 16, 0], [2 / 18, 1 / 12, 4 / 16]], [[0, 1 / 81, 0], [0, 0, 0]]]
    assert iou == pytest.approx(np.array(expected), rel=1e-6)
    overlap = ops.convert_to_numpy(box_overlap(array(boxes), array(others)))
    expected = [[[8 / 16, 1 / 16, 0], [2 / 12, 1 / 12, 4 / 12]], [[0, 1, 0], [0, 0, 0]]]
    assert overlap == pytest.approx(np.array(expected), rel=1e-6)


def test_iou_equals_the_slow_one():
    boxes, others = draw_boxes(20), draw_boxes()[:7]
    expected = [[oracles.box_iou(box, other) for other in others] for box in boxes]
    assert ops.convert_to_numpy(box_iou(array(boxes), array(others))) == pytest.approx(
        np.array(expected), rel=1e-6
    )


@pytest.mark.parametrize("overlap", [box_iou, box_overlap])
def test_overlaps_of_low_precision_boxes_are_computed_in_float32(overlap):
    # The areas overflow float16.
    found = overlap(
        np.array([[0, 0, 512, 512]], "float16"), np.array([[0, 0, 512, 256]], "float16")
    )
    assert ops.dtype(found) == "float32"
    assert ops.convert_to_numpy(found).tolist() == [[0.5]]


@pytest.mark.parametrize("overlap", [box_iou, box_overlap])
def test_overlaps_of_no_boxes(overlap):
    assert overlap(np.zeros((2, 0, 4)), np.zeros((2, 3, 4))).shape == (2, 0, 3)
    assert overlap(np.zeros((2, 3, 4)), np.zeros((2, 0, 4))).shape == (2, 3, 0)


def test_identity():
    boxes = draw_boxes()
    assert np.array_equal(moved(boxes, IDENTITY), boxes)


def test_shifts_and_magnification_by_hand():
    assert moved([[1, 2, 4, 7]], [[1, 0, 3], [0, 1, -2], [0, 0, 1]]).tolist() == [[4, 0, 7, 5]]
    # x -> 2 x + 0.5 maps the image border, the point -0.5, to itself, so coordinates double
    assert moved([[1, 2, 4, 7]], [[2, 0, 0.5], [0, 3, 1], [0, 0, 1]]).tolist() == [[2, 6, 8, 21]]


def test_flipped_and_rotated_boxes_by_hand():
    # flipped in an image of width 15: point x -> 14 - x, box (1, 4) -> (11, 14)
    assert moved([[1, 2, 4, 7]], [[-1, 0, 14], [0, 1, 0], [0, 0, 1]]).tolist() == [[11, 2, 14, 7]]
    # rotated by 90 degrees counter-clockwise: point (x, y) -> (y, 14 - x)
    assert moved([[1, 2, 4, 7]], [[0, 1, 0], [-1, 0, 14], [0, 0, 1]]).tolist() == [[2, 11, 7, 14]]
    # a square of side 2 around (4.5, 4.5), rotated by 45 degrees, has a box of side 2 sqrt 2
    half = np.sqrt(0.5)
    turn = [[half, -half, 0], [half, half, 0], [0, 0, 1]]
    x, y = 4.5 * (half - half) + 0.5, 4.5 * 2 * half + 0.5
    expected = [[x - 2 * half, y - 2 * half, x + 2 * half, y + 2 * half]]
    assert moved([[4, 4, 6, 6]], turn) == pytest.approx(np.array(expected), abs=1e-5)


def test_each_image_has_its_own_matrix():
    shift = np.stack([IDENTITY, IDENTITY])
    shift[1, 0, 2] = 5
    boxes = np.array([[[1, 2, 3, 4], [2, 2, 9, 9]], [[1, 2, 3, 4], [0, 0, 1, 1]]], "float32")
    found = ops.convert_to_numpy(move_boxes(array(boxes), array(shift)))
    assert found.tolist() == [boxes[0].tolist(), [[6, 2, 8, 4], [5, 0, 6, 1]]]


def test_integer_boxes_become_float():
    boxes = ops.convert_to_tensor(np.array([[[1, 2, 4, 7]]], "int32"))
    found = ops.convert_to_numpy(move_boxes(boxes, array(IDENTITY[None])))
    assert found.dtype == "float32"
    assert found.tolist() == [[[1, 2, 4, 7]]]


def test_a_batch_without_objects():
    found = move_boxes(ops.zeros((2, 0, 4)), array(np.stack([IDENTITY, IDENTITY])))
    assert tuple(found.shape) == (2, 0, 4)


def test_correction_of_transformed_points():
    def correction(x, y):
        assert len(x.shape) == len(y.shape) == 2
        return x + 1, 2 * y

    # sides at y = 2 and 7 are the points 1.5 and 6.5, doubled 3 and 13
    assert moved([[1, 2, 4, 7]], IDENTITY, correction=correction).tolist() == [[2, 3.5, 5, 13.5]]


def inverse_crop(perspective, size=(41, 61), center=(300.0, 400.0)):
    one = np.ones(1, "float32")
    turn = np.array([0.3], "float32"), np.array([0.1], "float32")
    matrices = crop_matrices(
        size,
        array([center]),
        array(0.5 * one),
        *map(array, turn),
        array(one),
        array(-one),
        array([perspective]),
    )
    return np.linalg.inv(ops.convert_to_numpy(matrices)[0].astype("float64"))


def projected(box, matrix, steps=20_001):
    """Return bounds of the points on a box' sides with depth 0.1 or more; None without any."""
    along = np.linspace(0, 1, steps)[:, None]
    corners = np.array([(box[i], box[j]) for i, j in ((0, 1), (2, 1), (2, 3), (0, 3))]) - 0.5
    points = np.concatenate([(1 - along) * corners[i] + along * corners[i - 1] for i in range(4)])
    x, y, depth = matrix @ np.stack([*points.T, np.ones(len(points))])
    seen = depth >= 0.1
    if not seen.any():
        return None
    x, y = x[seen] / depth[seen] + 0.5, y[seen] / depth[seen] + 0.5
    return x.min(), y.min(), x.max(), y.max()


CROP = np.array([0, 0, 61, 41], "float64")


@pytest.mark.parametrize("perspective", [(0.35, -0.2), (-0.3, 0.1), (0.0, 0.38)])
def test_boxes_in_perspective_contain_their_points(perspective):
    matrix = inverse_crop(perspective)
    # boxes from inside of the crop to far behind the horizon
    rng = np.random.default_rng(7)
    center = rng.uniform(0, 1, (80, 2)) * (800, 600)
    boxes = np.concatenate([center, center + rng.uniform(5, 150, (80, 2))], 1)
    found = moved(boxes, matrix)
    hidden, crossing = 0, 0
    for box, ours in zip(boxes, found, strict=True):
        theirs = projected(box, matrix)
        if theirs is None:
            hidden += 1
            assert ours.tolist() == [0, 0, 0, 0]
            continue
        corners = np.array([(box[i], box[j], 1) for i in (0, 2) for j in (1, 3)])
        crossing += (corners @ matrix[2]).min() < 0
        clipped = [
            np.clip(bounds, np.tile(CROP[:2], 2), np.tile(CROP[2:], 2)) for bounds in (ours, theirs)
        ]
        assert clipped[0] == pytest.approx(clipped[1], abs=0.05), box
    assert hidden > 0
    assert crossing > 0


def test_perspective_by_hand():
    # depth 1 + x / 10: points -0.5, 9.5 -> -0.5 / 0.95, 9.5 / 1.95; y -0.5, 4.5 -> largest at the
    # left, depth 0.95
    found = moved([[0, 0, 10, 5]], [[1, 0, 0], [0, 1, 0], [0.1, 0, 1]])
    expected = [[-0.5 / 0.95 + 0.5, -0.5 / 0.95 + 0.5, 9.5 / 1.95 + 0.5, 4.5 / 0.95 + 0.5]]
    assert found == pytest.approx(np.array(expected), abs=1e-5)


def test_points_behind_the_horizon_do_not_reappear():
    # depth 1 - x / 10: the horizon is at x = 10; depth 0.1 is at 9, which maps to 90
    matrix = [[1, 0, 0], [0, 1, 0], [-0.1, 0, 1]]
    behind, crossing = moved([[12, 0, 20, 5], [4.5, 0.5, 20, 5]], matrix)
    assert behind.tolist() == [0, 0, 0, 0]
    # from the point (4, 0) of depth 0.6 to (9, 4.5) of depth 0.1
    assert crossing == pytest.approx(np.array([4 / 0.6 + 0.5, 0.5, 90.5, 45.5]), rel=1e-4)


def test_points_are_transformed_and_nan_behind_the_horizon():
    # twice as large around the top left corner of pixel (0, 0), then 3 to the right: x -> 2 x + 3,
    # y -> 2 y; for pixel centers x -> 2 (x + 0.5) + 3 - 0.5
    matrix = np.array([[[2, 0, 3.5], [0, 2, 0.5], [0, 0, 1]]], "float32")
    points = np.array([[[0.5, 0.5], [4, 7.25]]], "float32")
    assert ops.convert_to_numpy(move_points(points, matrix)).tolist() == [[[4, 1], [11, 14.5]]]
    # the horizon is at x = 10 in pixel centers
    matrix = np.array([[[1, 0, 0], [0, 1, 0], [-0.1, 0, 1]]], "float32")
    moved = ops.convert_to_numpy(
        move_points(np.array([[[5.5, 2.5], [20.5, 2.5]]], "float32"), matrix)
    )
    assert moved[0, 0] == pytest.approx([5 / 0.5 + 0.5, 2 / 0.5 + 0.5])
    assert np.isnan(moved[0, 1]).all()
