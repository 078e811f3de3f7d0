import numpy as np
import pytest
from keras import ops

from tfseg.data.augment import mixing
from tfseg.data.augment.params import draw, read_probability

SIZE = (20, 32)
KEYS = np.stack([np.full(400, 2), np.arange(400)], 1).astype("int32")


def regions(cutmix, mosaic, keys=KEYS):
    drawn = draw(ops.convert_to_tensor(keys), {}, read_probability({}))
    return ops.convert_to_numpy(mixing.regions(drawn, SIZE, cutmix, mosaic))


def areas(boxes):
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def tensor(values, dtype="float32"):
    return ops.convert_to_tensor(np.array(values, dtype))


def numbers(values):
    return ops.convert_to_numpy(values).tolist()


def test_a_mosaic_tiles_the_window():
    boxes = regions(0, 1)
    assert boxes.shape == (400, 4, 4)
    assert (boxes % 1 == 0).all()
    assert (areas(boxes).sum(1) == 20 * 32).all()
    own, right, below, across = (boxes[:, k] for k in range(4))
    split = own[:, 2:]
    assert np.array_equal(own[:, :2], np.zeros((400, 2)))
    assert np.array_equal(
        right, np.stack([split[:, 0], 0 * split[:, 0], 0 * split[:, 0] + 32, split[:, 1]], 1)
    )
    assert np.array_equal(
        below, np.stack([0 * split[:, 0], split[:, 1], split[:, 0], 0 * split[:, 0] + 20], 1)
    )
    assert np.array_equal(across, np.concatenate([split, np.tile([32, 20], (400, 1))], 1))
    # about a point of the middle half
    assert split.min(0).tolist() == [8, 5]
    assert split.max(0).tolist() == [24, 15]


def test_cutmix_lays_one_rectangle_anywhere():
    boxes = regions(1, 0)
    assert np.array_equal(boxes[:, 0], np.tile([0, 0, 32, 20], (400, 1)))
    assert not areas(boxes[:, 2:]).any()
    sides = boxes[:, 1, 2:] - boxes[:, 1, :2]
    assert sides.min(0).tolist() == [8, 5]
    assert sides.max(0).tolist() == [24, 15]
    assert (boxes[:, 1, :2] >= 0).all()
    assert (boxes[:, 1, 2:] <= (32, 20)).all()
    places = boxes[:, 1, :2] / ((32, 20) - sides)
    assert places.min(0).tolist() == [0, 0]
    assert places.max(0).tolist() == [1, 1]


def test_how_often_windows_are_mixed():
    boxes = regions(0.25, 0.25)
    is_mosaic, is_mixed = areas(boxes[:, 3]) > 0, areas(boxes[:, 1]) > 0
    assert is_mosaic.mean() == pytest.approx(0.25, abs=4 * (3 / 16 / 400) ** 0.5)
    assert (is_mixed & ~is_mosaic).mean() == pytest.approx(0.25, abs=4 * (3 / 16 / 400) ** 0.5)
    alone = boxes[~is_mixed]
    assert np.array_equal(alone[:, 0], np.tile([0, 0, 32, 20], (len(alone), 1)))
    assert not areas(alone[:, 1:]).any()
    assert not areas(regions(0, 0)[:, 1:]).any()


# Three windows of 2 x 3 pixels. In the first the next one but one shows at the right, the next at the lower left;
# the second shows nothing else, the third the first one (the next, for it is the last) in the upper row.
EMPTY = [0, 0, 0, 0]
SHOWN = [
    [[0, 0, 3, 2], [0, 1, 2, 2], [2, 0, 3, 2], EMPTY],
    [[0, 0, 3, 2], EMPTY, EMPTY, EMPTY],
    [[0, 0, 3, 2], [0, 0, 3, 1], EMPTY, EMPTY],
]
VALUES = [[[1, 2, 3], [4, 5, 6]], [[10, 20, 30], [40, 50, 60]], [[0, 7, 8], [9, 7, 7]]]


def test_mixed_windows_by_hand():
    expected = [[[1, 2, 8], [40, 50, 7]], [[10, 20, 30], [40, 50, 60]], [[1, 2, 3], [9, 7, 7]]]
    for dtype in ("uint8", "int32", "float32"):
        found = mixing.mix(tensor(VALUES, dtype), tensor(SHOWN))
        assert ops.convert_to_numpy(found).dtype == dtype
        assert numbers(found) == expected
    colors = np.stack([VALUES, np.multiply(VALUES, 2)], -1)
    assert np.array_equal(
        numbers(mixing.mix(tensor(colors), tensor(SHOWN))),
        np.stack([expected, 2 * np.array(expected)], -1),
    )


def test_objects_of_other_windows_are_numbered_higher():
    # 100 objects an image: those of the next 100 higher, of the one after 200; 0 stays 0
    found = mixing.mix(tensor(VALUES, "int32"), tensor(SHOWN), tensor(100, "int32"))
    assert numbers(found) == [
        [[1, 2, 208], [140, 150, 207]],
        [[10, 20, 30], [40, 50, 60]],
        [[101, 102, 103], [9, 7, 7]],
    ]
    nothing = mixing.mix(tensor(np.zeros((3, 2, 3)), "int32"), tensor(SHOWN), tensor(100, "int32"))
    assert not np.any(numbers(nothing))


def test_mixed_boxes_by_hand():
    boxes = [
        [[0, 0, 2, 2], [1, -2, 3, 2]],
        [[0, 0, 4, 2], [0, 0, 0, 0]],
        [[2, 0, 3, 1], [0, 0, 1, 2]],
    ]
    classes = [[3, 4], [5, -1], [6, 7]]
    area = [[4, 8], [8, 0], [1, 2]]
    found, kinds, shares = mixing.mix_boxes(
        tensor(boxes), tensor(classes, "int32"), tensor(area), tensor(SHOWN)
    )
    assert numbers(kinds)[0] == [3, 4, 5, -1, 6, 7, 3, 4]
    assert numbers(kinds)[2] == [6, 7, 3, 4, 5, -1, 6, 7]
    # the first window. Its own two objects: of 4 pixels 2 show; of (1..3) x (0..2), half of the 8 within the window,
    # one. The next's: of 0..4 x 0..2 the two pixels of its region. The one's after: pixel (2, 0); nothing of the left.
    assert numbers(found)[0][:3] == [[0, 0, 2, 2], [1, 0, 3, 2], [0, 1, 2, 2]]
    assert numbers(found)[0][4] == [2, 0, 3, 1]
    assert numbers(shares)[0] == [0.5, 0.125, 0.25, 0, 1, 0, 0, 0]
    assert numbers(shares)[1] == [0.75, 0, 0, 0, 0, 0, 0, 0]
    # the third: its pixel (2, 0) is hidden, its left column half; of the first's two the upper row
    assert numbers(shares)[2] == [0, 0.5, 0.5, 0.25, 0, 0, 0, 0]
    assert numbers(found)[2][2:4] == [[0, 0, 2, 1], [1, 0, 3, 1]]


def test_without_partners_boxes_are_clipped_only():
    boxes, classes = tensor([[[-1, 0, 2, 3]]] * 3), tensor([[2]] * 3, "int32")
    found, kinds, shares = mixing.mix_boxes(
        boxes, classes, tensor([[9]] * 3), tensor(SHOWN)[1:2, :1]
    )
    assert numbers(found)[0] == [[0, 0, 2, 2]]
    assert numbers(kinds) == [[2]] * 3
    assert numbers(shares)[0] == [pytest.approx(4 / 9)]


def test_without_objects_there_are_no_boxes():
    found, kinds, shares = mixing.mix_boxes(
        tensor(np.zeros((3, 0, 4))),
        tensor(np.zeros((3, 0)), "int32"),
        tensor(np.zeros((3, 0))),
        tensor(SHOWN),
    )
    assert found.shape == (3, 0, 4)
    assert kinds.shape == shares.shape == (3, 0)


def test_points_show_where_their_image_does():
    # own point (0.5, 0.5), the next image's (0.5, 0.5), the one after's (2.5, 0.5): the last image's wrap around
    points = tensor([[[0.5, 0.5]], [[0.5, 0.5]], [[2.5, 0.5]]])
    found = numbers(mixing.mix_points(points, tensor(SHOWN)))
    seen = [[not np.isnan(point[0]) for point in window] for window in found]
    for window in range(3):
        for partner in range(len(np.asarray(SHOWN)[0])):
            px, py = [(0.5, 0.5), (0.5, 0.5), (2.5, 0.5)][(window + partner) % 3]
            x0, y0, x1, y1 = np.asarray(SHOWN)[window, partner]
            covered = any(
                a <= px < c and b <= py < d for a, b, c, d in np.asarray(SHOWN)[window, 1:]
            )
            expected = x0 <= px < x1 and y0 <= py < y1 and not (partner == 0 and covered)
            assert seen[window][partner] == expected, (window, partner)


def holes(**drawn):
    image, mask = np.full((1, 4, 10, 2), 9.0, "float32"), np.ones((1, 4, 10), "uint8")
    drawn = {name: tensor([value]) for name, value in drawn.items()}
    image, mask = mixing.cut_out(
        tensor(image), tensor(mask, "uint8"), drawn, np.array([1, 2], "float32")
    )
    return ops.convert_to_numpy(image)[0], ops.convert_to_numpy(mask)[0]


def test_a_hole_by_hand():
    # half of 4 rows and a fifth of 10 columns: 2 x 2 pixels, at half of the 2 and a quarter of the 8 left over
    image, mask = holes(cutout=0.2, cutout_y=0.5, hole_x=0.25, hole_y=0.5)
    expected = np.zeros((4, 10), bool)
    expected[1:3, 2:4] = True
    assert np.array_equal(mask == 255, expected)
    assert np.array_equal(mask == 1, ~expected)
    assert mask.dtype == "uint8"
    assert image[expected].tolist() == [[1, 2]] * 4
    assert (image[~expected] == 9).all()


@pytest.mark.parametrize("place", [0.0, 0.5, 0.99999])
def test_no_hole_and_all_hole(place):
    image, mask = holes(cutout=0.0, cutout_y=0.0, hole_x=place, hole_y=place)
    assert (mask == 1).all()
    assert (image == 9).all()
    image, mask = holes(cutout=1.0, cutout_y=1.0, hole_x=place, hole_y=place)
    assert (mask == 255).all()
    assert (image == (1, 2)).all()


def test_a_hole_without_a_mask():
    drawn = {name: tensor([0.5]) for name in ("cutout", "cutout_y", "hole_x", "hole_y")}
    image, mask = mixing.cut_out(tensor(np.ones((1, 4, 4, 1))), None, drawn, np.float32(0))
    assert mask is None
    assert ops.convert_to_numpy(image).sum() == 12
