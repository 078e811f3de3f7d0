import math

import keras
import numpy as np
import pytest
from plain_augment import uncompiled

from tfseg.data import Augment, Reader, pipeline
from tfseg.data.augment.tight_boxes import is_tilted
from tfseg.data.readers.objects import BOX_FIELDS, boxes_around, object_arrays

SIDE = 96


def disc(x, y):
    return (x - 40) ** 2 + (y - 52) ** 2 < 22**2


def ellipse(x, y):
    return ((x - 50) / 30) ** 2 + ((y - 46) / 9) ** 2 < 1


def l_shape(x, y):
    inside = (x > 30) & (x < 66) & (y > 24) & (y < 70)
    return inside & ((x < 38) | (y > 62))


def bar(x, y):
    return (x > 44) & (x < 70) & (y > 25) & (y < 80)


SHAPES = [disc, ellipse, l_shape]


def centers(side, count):
    """Return x and y of the centers of count x count pixels on a square of the given side."""
    steps = (np.arange(count) + 0.5) * side / count
    return np.meshgrid(steps, steps)


def sample_of(*shapes):
    """Return a sample with the shapes as objects, the later ones on top, and their whole boxes."""
    instances = np.zeros((SIDE, SIDE), np.int32)
    boxes = []
    for number, shape in enumerate(shapes, start=1):
        inside = shape(*centers(SIDE, SIDE))
        instances[inside] = number
        boxes.append(boxes_around(inside.astype(int))[0])
    labels = object_arrays(boxes, np.zeros(len(boxes)))
    return {"image": np.zeros((SIDE, SIDE, 1), np.uint8), "instances": instances, **labels}


def rotated(x, y, angle):
    """Turn points counter-clockwise around the middle of the image; y points down."""
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x, y = x - SIDE / 2, y - SIDE / 2
    return c * x + s * y + SIDE / 2, c * y - s * x + SIDE / 2


def box_of_points(x, y):
    return np.array([x.min(), y.min(), x.max(), y.max()])


def tight_box(shape, angle):
    """Return the box around a rotated shape, from a mask of 16 x 16 points per pixel."""
    x, y = centers(SIDE, 16 * SIDE)
    inside = shape(x, y)
    return box_of_points(*rotated(x[inside], y[inside], angle))


def hull(box, angle):
    """Return the box around a rotated box."""
    x0, y0, x1, y1 = box
    return box_of_points(*rotated(np.array([x0, x1, x1, x0]), np.array([y0, y0, y1, y1]), angle))


def rotate(sample, angle, **options):
    augment = uncompiled(Augment(SIDE, rotate=(angle, angle), crop="center", **options))
    return augment.sample(sample)


@pytest.mark.parametrize("angle", [30, 45])
@pytest.mark.parametrize("shape", SHAPES)
def test_boxes_are_tight_around_rotated_objects(shape, angle):
    sample = sample_of(shape)
    found = rotate(sample, angle)["boxes"][0]
    assert np.abs(found - tight_box(shape, angle)).max() <= 1
    assert np.abs(found - hull(sample["boxes"][0], angle)).max() > 2


def test_without_masks_boxes_are_around_the_rotated_boxes():
    sample = sample_of(*SHAPES)
    sample.pop("instances")
    for found, box in zip(rotate(sample, 30)["boxes"], sample["boxes"], strict=True):
        np.testing.assert_allclose(found, hull(box, 30).clip(0, SIDE), atol=1e-3)


def test_objects_that_are_not_shown_whole_get_boxes_around_the_rotated_boxes():
    sample = sample_of(disc, bar)  # the bar covers the right side of the disc
    boxes = rotate(sample, 30)["boxes"]
    np.testing.assert_allclose(boxes[0], hull(sample["boxes"][0], 30), atol=1e-3)
    assert np.abs(boxes[1] - tight_box(bar, 30)).max() <= 1
    sample = sample_of(l_shape)
    sample["boxes"] -= np.float32([2, 0, 0, 0])  # the pixels are 2 from the left side
    boxes = rotate(sample, 30)["boxes"]
    np.testing.assert_allclose(boxes[0], hull(sample["boxes"][0], 30), atol=1e-3)
    sample["boxes"] += np.float32([1, 0, 0, 0])
    assert np.abs(rotate(sample, 30)["boxes"][0] - tight_box(l_shape, 30)).max() <= 1


def test_quarter_turns_keep_exact_boxes():
    sample = sample_of(disc)
    sample["boxes"] += np.float32([0.25, -0.5, 0.125, 1])
    for angle in (0, 90, -180):
        found = rotate(sample, angle, shear=(0, 0), elastic=5, probability={"elastic": 0})
        np.testing.assert_allclose(
            found["boxes"][0], hull(sample["boxes"][0], angle), atol=1e-4, rtol=0
        )


def test_is_tilted():
    names = ("rotate", "shear", "perspective", "perspective_y", "elastic")
    params = {name: np.zeros(8, "float32") for name in names}
    params["rotate"][:3] = (90, -180, 45)
    for position, name in enumerate(names[1:], start=3):
        params[name][position] = 0.5
    assert is_tilted(params).tolist() == [False, False, *[True] * 5, False]


def test_an_object_whose_pixels_are_all_outside_is_removed():
    # The crop of 40 x 40 shows the empty quarter of the L's box, turned by 5 degrees.
    sample = sample_of(l_shape)
    sample = {
        name: values[:, 20:] if name in ("image", "instances") else values
        for name, values in sample.items()
    }
    sample["boxes"] = sample["boxes"] - np.float32([20, 0, 20, 0])
    augment = uncompiled(Augment((26, 16), rotate=(5, 5), crop="center"))
    changed = augment.sample(sample)
    assert not changed["instances"].any()
    assert changed["classes"].tolist() == [-1]
    assert not changed["boxes"].any()
    assert not changed["areas"].any()
    sample.pop("instances")
    assert augment.sample(sample)["classes"].tolist() == [0]


OPTIONS = {
    "scale": (0.7, 1.4),
    "rotate": 60,
    "shear": 10,
    "flip": "both",
    "perspective": 0.1,
    "elastic": 3,
    "probability": {"rotate": 0.7, "shear": 0.5, "perspective": 0.5, "elastic": 0.5},
}


class Shapes(Reader):
    """Images with one to four objects, which may cover each other; image i is i + 1 everywhere."""

    fields = ("image", "instances", *BOX_FIELDS)

    def __init__(self, count=4):
        super().__init__(["shape"], [(SIDE, SIDE)] * count, 1, np.uint8)

    def __getitem__(self, index):
        sample = sample_of(*SHAPES[index % 3 :], *SHAPES[:1] * (index > 2))
        return {**sample, "image": np.full((SIDE, SIDE, 1), index + 1, np.uint8)}


def row_of(batch, row):
    return {name: keras.ops.convert_to_numpy(values)[row] for name, values in batch.items()}


def check_equal(found, expected):
    """Compare the objects of two crops; masks read at the nearest pixel may differ at few."""
    rows = len(expected["classes"])
    assert found["classes"].tolist()[:rows] == expected["classes"].tolist()
    assert np.mean(found["instances"] == expected["instances"]) > 0.999
    assert np.abs(found["boxes"][:rows] - expected["boxes"]).max() <= 1.01
    np.testing.assert_allclose(found["areas"][:rows], expected["areas"], rtol=1e-4, atol=1e-3)


def test_the_pipeline_gives_the_boxes_of_samples():
    reader = Shapes()
    augment = uncompiled(Augment((40, 48), **OPTIONS))
    number = 0
    for images, labels in pipeline(reader, 4, augment, seed=3).repeat(2):
        for row in range(4):
            sample = reader[round(float(images[row].numpy().max())) - 1]
            check_equal(row_of(labels, row), augment.sample(sample, 3, number))
            number += 1
    assert number == 8


def test_pieces_have_the_boxes_of_whole_images():
    augment = uncompiled(Augment((20, 24), **{**OPTIONS, "scale": (0.9, 1.4)}))
    assert max(augment.crop_sampler.canvas) < SIDE
    sample = sample_of(*SHAPES)
    whole = {name: values[None] for name, values in sample.items()}
    for number in range(8):
        piece = augment.sample(sample, 4, number)
        changed = augment(whole, np.array([[4, number]]))
        for name in ("boxes", "classes", "areas", "instances"):
            expected = keras.ops.convert_to_numpy(changed[name])[0]
            assert np.array_equal(piece[name], expected), name


@pytest.mark.parametrize("mixing", [{"mosaic": 1.0}, {"cutmix": 1.0}])
def test_boxes_of_mixed_crops_are_tight(mixing):
    samples = [sample_of(shape) for shape in (disc, ellipse, l_shape, disc)]
    samples[1]["boxes"] += np.float32([-3, 0, 0, 0])  # loose
    batch = {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
    augment = uncompiled(Augment((70, 80), rotate=(20, 70), **mixing))
    changed = augment(batch, np.stack([np.full(4, 5), np.arange(4)], 1))
    count = {True: 0, False: 0}
    for image in range(4):
        crop = row_of(changed, image)
        assert len(crop["boxes"]) == 4
        for row in np.flatnonzero(crop["classes"] >= 0):
            y, x = np.nonzero(crop["instances"] == row + 1)
            tight = [x.min(), y.min(), x.max() + 1, y.max() + 1]
            is_tight = crop["boxes"][row].tolist() == tight
            assert is_tight == ((image + row) % 4 != 1)  # row k is of the k-th next image
            count[is_tight] += 1
    assert count[True] > 4
    assert count[False] > 0


@pytest.mark.slow
def test_compiled_equals_eager():
    samples = [sample_of(*SHAPES), sample_of(*SHAPES[::-1])]
    batch = {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
    keys = np.array([[6, 0], [6, 1]])
    augment = uncompiled(Augment(40, **OPTIONS, mosaic=0.5))
    expected = augment(batch, keys)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        run = tf.function(lambda *batch: augment(*batch), jit_compile=True, autograph=False)
    else:
        import jax

        run = jax.jit(lambda *batch: augment(*batch))
    found = run(batch, keys)
    for row in range(2):
        check_equal(row_of(found, row), row_of(expected, row))
