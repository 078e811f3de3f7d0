import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tfseg.data.augment import mixing
from tfseg.data.augment.params import draw, read_probabilities, to_params

SIZE = (20, 32)
KEYS = np.stack([np.full(400, 2), np.arange(400)], 1).astype("int32")


def regions(cutmix, mosaic):
    params = to_params(draw(ops.convert_to_tensor(KEYS)), {}, read_probabilities({}))
    return ops.convert_to_numpy(mixing.mixing_regions(params, SIZE, cutmix, mosaic))


def areas(boxes):
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def tensor(values, dtype="float32"):
    return ops.convert_to_tensor(np.array(values, dtype))


def numbers(values):
    return ops.convert_to_numpy(values).tolist()


def test_a_mosaic_covers_the_crop_with_four_quarters():
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
    # they meet at a point of the middle half
    assert split.min(0).tolist() == [8, 5]
    assert split.max(0).tolist() == [24, 15]


def test_cutmix_pastes_one_rectangle_at_any_position():
    boxes = regions(1, 0)
    assert np.array_equal(boxes[:, 0], np.tile([0, 0, 32, 20], (400, 1)))
    assert not areas(boxes[:, 2:]).any()
    sides = boxes[:, 1, 2:] - boxes[:, 1, :2]
    assert sides.min(0).tolist() == [8, 5]
    assert sides.max(0).tolist() == [24, 15]
    assert (boxes[:, 1, :2] >= 0).all()
    assert (boxes[:, 1, 2:] <= (32, 20)).all()
    positions = boxes[:, 1, :2] / ((32, 20) - sides)
    assert positions.min(0).tolist() == [0, 0]
    assert positions.max(0).tolist() == [1, 1]


def test_crops_are_mixed_with_their_probability():
    boxes = regions(0.25, 0.25)
    is_mosaic, is_mixed = areas(boxes[:, 3]) > 0, areas(boxes[:, 1]) > 0
    assert is_mosaic.mean() == pytest.approx(0.25, abs=4 * (3 / 16 / 400) ** 0.5)
    assert (is_mixed & ~is_mosaic).mean() == pytest.approx(0.25, abs=4 * (3 / 16 / 400) ** 0.5)
    alone = boxes[~is_mixed]
    assert np.array_equal(alone[:, 0], np.tile([0, 0, 32, 20], (len(alone), 1)))
    assert not areas(alone[:, 1:]).any()
    assert not areas(regions(0, 0)[:, 1:]).any()


# Three crops of 2 x 3 pixels. The first shows the third at the right and the second at the lower
# left. The second shows only itself. The third shows the first, which follows it, in the upper row.
EMPTY = [0, 0, 0, 0]
REGIONS = [
    [[0, 0, 3, 2], [0, 1, 2, 2], [2, 0, 3, 2], EMPTY],
    [[0, 0, 3, 2], EMPTY, EMPTY, EMPTY],
    [[0, 0, 3, 2], [0, 0, 3, 1], EMPTY, EMPTY],
]
VALUES = [[[1, 2, 3], [4, 5, 6]], [[10, 20, 30], [40, 50, 60]], [[0, 7, 8], [9, 7, 7]]]


def test_mix():
    expected = [[[1, 2, 8], [40, 50, 7]], [[10, 20, 30], [40, 50, 60]], [[1, 2, 3], [9, 7, 7]]]
    for dtype in ("uint8", "int32", "float32"):
        found = mixing.mix(tensor(VALUES, dtype), tensor(REGIONS))
        assert ops.convert_to_numpy(found).dtype == dtype
        assert numbers(found) == expected
    colors = np.stack([VALUES, np.multiply(VALUES, 2)], -1)
    assert np.array_equal(
        numbers(mixing.mix(tensor(colors), tensor(REGIONS))),
        np.stack([expected, 2 * np.array(expected)], -1),
    )


def test_object_numbers_of_other_crops_are_shifted():
    # 100 objects per image: + 100 for the next image, + 200 for the one after it; 0 stays 0
    found = mixing.mix(tensor(VALUES, "int32"), tensor(REGIONS), tensor(100, "int32"))
    assert numbers(found) == [
        [[1, 2, 208], [140, 150, 207]],
        [[10, 20, 30], [40, 50, 60]],
        [[101, 102, 103], [9, 7, 7]],
    ]
    nothing = mixing.mix(
        tensor(np.zeros((3, 2, 3)), "int32"), tensor(REGIONS), tensor(100, "int32")
    )
    assert not np.any(numbers(nothing))


def test_mix_boxes():
    boxes = [
        [[0, 0, 2, 2], [1, -2, 3, 2]],
        [[0, 0, 4, 2], [0, 0, 0, 0]],
        [[2, 0, 3, 1], [0, 0, 1, 2]],
    ]
    classes = [[3, 4], [5, -1], [6, 7]]
    area = [[4, 8], [8, 0], [1, 2]]
    found, kinds, visible = mixing.mix_boxes(
        tensor(boxes), tensor(classes, "int32"), tensor(area), tensor(REGIONS)
    )
    assert numbers(kinds)[0] == [3, 4, 5, -1, 6, 7, 3, 4]
    assert numbers(kinds)[2] == [6, 7, 3, 4, 5, -1, 6, 7]
    # The first crop. Its own two objects: 2 of 4 pixels are visible; of (1..3) x (0..2), half of
    # whose 8 pixels are in the crop, one. The next image's: of 0..4 x 0..2 the two pixels of its
    # region. The third's: pixel (2, 0), and nothing of its left column.
    assert numbers(found)[0][:3] == [[0, 0, 2, 2], [1, 0, 3, 2], [0, 1, 2, 2]]
    assert numbers(found)[0][4] == [2, 0, 3, 1]
    assert numbers(visible)[0] == [0.5, 0.125, 0.25, 0, 1, 0, 0, 0]
    assert numbers(visible)[1] == [0.75, 0, 0, 0, 0, 0, 0, 0]
    # The third: pixel (2, 0) is hidden, the left column half; the upper row of the first's two.
    assert numbers(visible)[2] == [0, 0.5, 0.5, 0.25, 0, 0, 0, 0]
    assert numbers(found)[2][2:4] == [[0, 0, 2, 1], [1, 0, 3, 1]]


def test_mix_boxes_inside_map():
    # the graph optimizer of tf.data must not change the shapes
    boxes, classes = tensor([[[0, 0, 20, 10]]] * 3), tensor([[1]] * 3, "int32")
    random = draw(KEYS[:3])

    def mixed(boxes):
        params = to_params(ops.convert_to_tensor(random), {}, read_probabilities({}))
        regions = mixing.mixing_regions(params, SIZE, 0, 1)
        return mixing.mix_boxes(boxes, classes, tensor([[200]] * 3), regions)

    stage = tf.autograph.experimental.do_not_convert(mixed)
    (mapped,) = tf.data.Dataset.from_tensors(boxes).map(stage)
    for found, expected in zip(mapped, mixed(boxes), strict=True):
        assert np.allclose(found, expected)


def test_mix_boxes_of_one_image_only_clips():
    boxes, classes = tensor([[[-1, 0, 2, 3]]] * 3), tensor([[2]] * 3, "int32")
    found, kinds, visible = mixing.mix_boxes(
        boxes, classes, tensor([[9]] * 3), tensor(REGIONS)[1:2, :1]
    )
    assert numbers(found)[0] == [[0, 0, 2, 2]]
    assert numbers(kinds) == [[2]] * 3
    assert numbers(visible)[0] == [pytest.approx(4 / 9)]


def test_mix_boxes_without_objects():
    found, kinds, visible = mixing.mix_boxes(
        tensor(np.zeros((3, 0, 4))),
        tensor(np.zeros((3, 0)), "int32"),
        tensor(np.zeros((3, 0))),
        tensor(REGIONS),
    )
    assert found.shape == (3, 0, 4)
    assert kinds.shape == visible.shape == (3, 0)


def test_mix_points():
    # images 0 and 1 have the point (0.5, 0.5), image 2 has (2.5, 0.5), and image 0 follows image 2
    points = tensor([[[0.5, 0.5]], [[0.5, 0.5]], [[2.5, 0.5]]])
    found = numbers(mixing.mix_points(points, tensor(REGIONS)))
    visible = [[not np.isnan(point[0]) for point in crop] for crop in found]
    for crop in range(3):
        for partner in range(len(np.asarray(REGIONS)[0])):
            px, py = [(0.5, 0.5), (0.5, 0.5), (2.5, 0.5)][(crop + partner) % 3]
            x0, y0, x1, y1 = np.asarray(REGIONS)[crop, partner]
            covered = any(
                a <= px < c and b <= py < d for a, b, c, d in np.asarray(REGIONS)[crop, 1:]
            )
            expected = x0 <= px < x1 and y0 <= py < y1 and not (partner == 0 and covered)
            assert visible[crop][partner] == expected, (crop, partner)


def blanked(**params):
    image, mask = np.full((1, 4, 10, 2), 9.0, "float32"), np.ones((1, 4, 10), "uint8")
    params = {name: tensor([value]) for name, value in params.items()}
    fill = np.array([1, 2], "float32")
    image, mask = mixing.cutout(tensor(image), tensor(mask, "uint8"), params, fill, 255)
    return ops.convert_to_numpy(image)[0], ops.convert_to_numpy(mask)[0]


def test_cutout():
    # half of 4 rows and a fifth of 10 columns: 2 x 2 pixels, after half of the other 2 rows and a
    # quarter of the other 8 columns
    image, mask = blanked(cutout=0.2, cutout_y=0.5, hole_x=0.25, hole_y=0.5)
    expected = np.zeros((4, 10), bool)
    expected[1:3, 2:4] = True
    assert np.array_equal(mask == 255, expected)
    assert np.array_equal(mask == 1, ~expected)
    assert mask.dtype == "uint8"
    assert image[expected].tolist() == [[1, 2]] * 4
    assert (image[~expected] == 9).all()


@pytest.mark.parametrize("position", [0.0, 0.5, 0.99999])
def test_cutout_of_nothing_and_of_everything(position):
    image, mask = blanked(cutout=0.0, cutout_y=0.0, hole_x=position, hole_y=position)
    assert (mask == 1).all()
    assert (image == 9).all()
    image, mask = blanked(cutout=1.0, cutout_y=1.0, hole_x=position, hole_y=position)
    assert (mask == 255).all()
    assert (image == (1, 2)).all()


def test_cutout_without_a_mask():
    params = {name: tensor([0.5]) for name in ("cutout", "cutout_y", "hole_x", "hole_y")}
    image, mask = mixing.cutout(tensor(np.ones((1, 4, 4, 1))), None, params, np.float32(0), 255)
    assert mask is None
    assert ops.convert_to_numpy(image).sum() == 12
