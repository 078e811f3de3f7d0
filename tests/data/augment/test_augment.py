import json
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_augment import uncompiled

from conftest import draw_sample
from tfseg.data import Arrays, Augment, pipeline
from tfseg.data.augment.params import IDENTITY, KINDS, STREAMS, draw, to_params
from tfseg.data.readers.objects import BOX_FIELDS, boxes_around, relabel

GEOMETRY = {
    "scale": (0.6, 1.8),
    "rotate": 40,
    "shear": 20,
    "translate": 0.1,
    "flip": "both",
    "perspective": 0.2,
    "elastic": 3,
}
COLORS = {
    "brightness": 0.2,
    "contrast": 0.3,
    "saturation": 0.3,
    "hue": 20,
    "gamma": 0.3,
    "blur": 1.5,
    "noise": 0.05,
    "jpeg": 40,
}
ALL = {**GEOMETRY, **COLORS, "cutout": 0.4, "probability": dict.fromkeys(KINDS, 0.8)}


def keys_of(count, seed=0, first=0):
    return np.stack([np.full(count, seed), first + np.arange(count)], 1)


def arrays(changed):
    return {name: np.asarray(value) for name, value in changed.items()}


def change(augment, count, seed=0, **sample):
    """Return `count` versions of one sample."""
    batch = {name: np.stack([value] * count) for name, value in sample.items()}
    return arrays(uncompiled(augment)(batch, keys_of(count, seed)))


def random_batch(count, height, width, channels=3, dtype="uint8"):
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(1, 255, (count, height, width, channels)).astype(dtype),
        "mask": rng.integers(0, 9, (count, height, width), np.uint8),
        "instances": rng.integers(0, 2**20, (count, height, width), np.int32),
    }


def checkerboard(height, width, tile=12):
    y, x = np.mgrid[:height, :width]
    return ((y // tile + x // tile) % 2).astype(np.uint8)


def find_crop(instances, crop):
    """Return the corner (y, x) at which a crop is found in the instances of an image."""
    views = np.lib.stride_tricks.sliding_window_view(instances, crop.shape)
    ((y, x),) = np.argwhere((views == crop).all((2, 3)))
    return y, x


# ---- what changes nothing ----


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_default_is_an_exact_crop(dtype):
    batch = random_batch(4, 30, 40, dtype=dtype)
    if dtype == "uint16":
        batch["image"] *= 257
    augment = Augment((20, 16))
    changed = arrays((augment if dtype == "uint8" else uncompiled(augment))(batch, keys_of(4, 1)))
    assert changed["image"].dtype == np.float32
    assert changed["mask"].dtype == np.uint8
    assert changed["instances"].dtype == np.int32
    corners = []
    for i in range(4):
        y, x = find_crop(batch["instances"][i], changed["instances"][i])
        for name, values in changed.items():
            assert np.array_equal(values[i], batch[name][i, y : y + 20, x : x + 16]), name
        corners.append((y, x))
    assert len(set(corners)) > 1


def test_random_crops_reach_every_position():
    column = np.tile(np.arange(12, dtype=np.uint8)[:, None], (1, 12))
    masks = change(Augment(8), 64, image=column[..., None], mask=column)["mask"]
    assert set(masks[:, 0, 0]) == {0, 1, 2, 3, 4}


def test_identity_settings_change_no_byte():
    batch = random_batch(4, 24, 33)
    identities = {name: (IDENTITY[kind],) * 2 for name, kind in KINDS.items() if kind != "quality"}
    never = dict.fromkeys(KINDS, (0.2, 0.3)) | {"jpeg": 20}
    for options in (
        dict.fromkeys(identities, 0),
        identities,
        {"jpeg": None},
        {**never, "probability": dict.fromkeys(KINDS, 0)},
    ):
        augment = Augment((24, 33), **options)
        assert augment.ranges == {}
        assert augment.crop_sampler.canvas == Augment((24, 33)).crop_sampler.canvas
    for name, values in arrays(uncompiled(augment)(batch, keys_of(4))).items():
        assert np.array_equal(values, batch[name]), name


@pytest.mark.parametrize("name", KINDS)
def test_samples_without_the_operation_keep_every_byte(name):
    value = {**GEOMETRY, **COLORS, "cutout": 0.4}[name]
    batch, keys = random_batch(16, 24, 33), keys_of(16, 5)
    augment = uncompiled(Augment((24, 33), **{name: value}, probability={name: 0.5}))
    changed = arrays(augment(batch, keys))
    applied = draw(keys)[:, STREAMS[f"if {name}"]] < 0.5
    assert 3 <= applied.sum() <= 13
    for kind in batch:
        same = (changed[kind] == batch[kind]).reshape(16, -1).all(1)
        assert same[~applied].all()
        if kind == "image" or name in GEOMETRY or (name, kind) == ("cutout", "mask"):
            assert same[applied].mean() < 0.4  # some values are too small to be visible
        else:
            assert same.all()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_samples_without_any_operation_are_exact_crops(interpolation):
    batch, keys = random_batch(16, 41, 50), keys_of(16)
    colors = COLORS
    if interpolation == "bilinear":  # to compile all of them takes longer than the geometry
        colors = {"contrast": 0.3, "blur": 1.5}
    operations = {**GEOMETRY, **colors, "cutout": 0.4}
    del operations["flip"]
    rare = dict.fromkeys(operations, 0.1)
    augment = Augment((24, 33), **operations, probability=rare, interpolation=interpolation)
    if interpolation == "bicubic":
        augment = uncompiled(augment)
    params = to_params(draw(keys), augment.ranges, augment.probabilities)
    unchanged = np.all([params[name] == IDENTITY[KINDS[name]] for name in operations], axis=0)
    assert 2 <= unchanged.sum() <= 14
    changed = arrays(augment(batch, keys))
    for i in np.flatnonzero(unchanged):
        y, x = find_crop(batch["instances"][i], changed["instances"][i])
        assert np.array_equal(changed["image"][i], batch["image"][i, y : y + 24, x : x + 33])


# ---- images and their masks move alike ----


def geometric(name):
    options = {"all": GEOMETRY, "bicubic": {**GEOMETRY, "interpolation": "bicubic"}}
    return Augment(64, **options.get(name, {name: GEOMETRY.get(name)}), crop="center")


@pytest.mark.parametrize("name", [*GEOMETRY, "all", "bicubic"])
def test_image_and_mask_stay_aligned(name):
    board = checkerboard(70, 70)
    sample = {"image": board[..., None] * 200, "mask": board, "instances": board.astype("int32")}
    changed = change(geometric(name), 32, **sample)
    image, mask = changed["image"][..., 0], changed["mask"]
    inside = mask != 255
    # The nearest pixel has a weight of at least 1/4, so within these bounds the mask may differ.
    certain = inside & ((image < 49) | (image > 151))
    assert certain.mean() > 0.5
    assert certain[inside].mean() > 0.85
    wrong = (image > 100)[certain] != (mask == 1)[certain]
    assert wrong.mean() <= (0.001 if name == "bicubic" else 0)  # bicubic reads two pixels away
    assert np.array_equal(changed["instances"], np.where(inside, mask, 0))


def center_of_mass(weights):
    y, x = np.mgrid[:64, :64]
    total = weights.sum((1, 2))
    return np.stack([(weights * y).sum((1, 2)), (weights * x).sum((1, 2))]) / total


@pytest.mark.parametrize("name", [*GEOMETRY, "all", "bicubic"])
def test_image_and_mask_keep_the_same_center_of_mass(name):
    y, x = np.mgrid[:70, :70]
    disc = (np.hypot(y - 37, x - 32) < 14).astype(np.uint8)
    changed = change(geometric(name), 64, image=disc[..., None] * np.uint8(255), mask=disc)
    image, mask = changed["image"][..., 0] / 255, (changed["mask"] == 1).astype(float)
    visible = mask.sum((1, 2)) > 100
    assert visible.mean() > 0.8
    difference = center_of_mass(image[visible]) - center_of_mass(mask[visible])
    assert np.abs(difference).max() < 0.75  # masks are rounded to whole pixels
    assert np.abs(difference.mean(1)).max() < 0.1  # no systematic shift


def test_outside_the_image_is_filled_and_ignored():
    inside = {"image": np.full((20, 20, 1), 255, np.uint8), "mask": np.ones((20, 20), np.uint8)}
    inside["instances"] = np.ones((20, 20), np.int32)
    changed = change(Augment(40, fill=7), 1, **inside)
    image, mask = changed["image"][0, ..., 0], changed["mask"][0]
    assert set(np.unique(mask)) == {1, 255}
    assert (mask[10:30, 10:30] == 1).all()
    assert (mask == 1).sum() == 400
    assert np.array_equal(image, np.where(mask == 1, 255, 7))
    assert np.array_equal(changed["instances"][0], mask == 1)


def test_fill_per_channel():
    image = np.full((4, 4, 3), 100, np.uint8)
    options = {"fill": (1.5, 2, 3), "brightness": (0.1, 0.1)}
    changed = change(Augment(6, **options), 1, image=image)["image"][0]
    # The fill is a part of the image and gets brighter with it, by 25.5.
    assert changed[0, 0].tolist() == pytest.approx([27, 27.5, 28.5])
    assert changed[3, 3].tolist() == pytest.approx([125.5] * 3)
    blank = change(Augment(4, **options, cutout=(1, 1)), 1, image=image)["image"][0]
    assert blank[2, 2].tolist() == [1.5, 2, 3]


def test_extents_keep_crops_inside_the_image():
    image, mask = np.zeros((60, 60, 1), np.uint8), np.full((60, 60), 255, np.uint8)
    mask[:40, :50] = 1
    changed = change(Augment(32), 16, image=image, mask=mask, extent=np.array([40, 50], "float32"))
    assert np.unique(changed["mask"]).tolist() == [1]


@pytest.mark.parametrize(
    ("flip", "expected"),
    [
        (None, ["unchanged"]),
        ("horizontal", ["unchanged", "left-right"]),
        ("vertical", ["unchanged", "top-bottom"]),
        ("both", ["unchanged", "left-right", "top-bottom", "both"]),
    ],
)
def test_flips_mirror_half_of_the_images(flip, expected):
    ramp = np.arange(16, dtype=np.uint8).reshape(4, 4)
    changed = change(Augment(4, flip=flip), 200, seed=3, image=ramp[..., None], mask=ramp)
    assert np.array_equal(changed["image"][..., 0], changed["mask"])
    versions = {
        "unchanged": ramp,
        "left-right": ramp[:, ::-1],
        "top-bottom": ramp[::-1],
        "both": ramp[::-1, ::-1],
    }
    counts = {
        name: (changed["mask"] == version).all((1, 2)).sum() for name, version in versions.items()
    }
    assert sum(counts.values()) == 200
    assert [name for name, count in counts.items() if count] == expected
    assert min(counts[name] for name in expected) > 140 / len(expected)


@pytest.mark.parametrize(
    ("options", "angle", "scale"),
    [
        ({"scale": (2, 2)}, 0, 2),
        ({"scale": (1.3, 1.3)}, 0, 1.3),
        ({"rotate": (90, 90)}, 90, 1),
        ({"rotate": (30, 30), "scale": (1.5, 1.5)}, 30, 1.5),
        ({"rotate": (-17, -17)}, -17, 1),
    ],
)
@pytest.mark.parametrize("size", [(32, 32), (31, 32)])
def test_geometry_agrees_with_opencv(options, angle, scale, size):
    noise = np.random.default_rng(0).uniform(0, 255, (41, 50)).astype("float32")
    image = cv2.GaussianBlur(noise, (0, 0), 1)
    mask = checkerboard(41, 50, 5)
    augment = Augment(size, crop="center", fill=50, **options)
    changed = change(augment, 1, image=image[..., None], mask=mask)
    # OpenCV also turns counter-clockwise. From the center of the image to that of the crop:
    matrix = cv2.getRotationMatrix2D((24.5, 20), angle, scale)
    matrix[:, 2] += ((size[1] - 1) / 2 - 24.5, (size[0] - 1) / 2 - 20)
    expected = cv2.warpAffine(
        image, matrix, size[::-1], None, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT, 50
    )
    difference = np.abs(changed["image"][0, ..., 0] - expected)
    assert difference.max() < 4  # OpenCV may round coordinates to 1/32 pixel
    assert difference.mean() < 0.5
    # the nearest pixel, except where two are about equally near
    inverse = cv2.invertAffineTransform(matrix)
    crop_points = np.stack(np.mgrid[: size[0], : size[1]][::-1], -1)
    x, y = np.moveaxis(crop_points @ inverse[:, :2].T + inverse[:, 2], -1, 0)
    padded = np.pad(mask, 64, constant_values=255)
    nearest = padded[np.floor(y + 64.5).astype(int), np.floor(x + 64.5).astype(int)]
    clear = (np.abs(x % 1 - 0.5) > 0.01) & (np.abs(y % 1 - 0.5) > 0.01)
    assert np.array_equal(changed["mask"][0][clear], nearest[clear])


# ---- boxes ----


def objects(height=60, width=70, seed=0):
    """Return a sample of rectangles that do not overlap, in most cells of 15 x 14 pixels."""
    rng = np.random.default_rng(seed)
    instances = np.zeros((height, width), np.int32)
    for top in range(0, height - 14, 15):
        for left in range(0, width - 13, 14):
            if rng.uniform() < 0.8:
                y, x = np.array([top, left]) + rng.integers(0, 5, 2)
                down, right = rng.integers(4, 9, 2)
                instances[y : y + down, x : x + right] = instances.max() + 1
    boxes = boxes_around(instances)
    classes = 10 + np.arange(len(boxes), dtype=np.int32)
    mask = np.where(instances > 0, instances + 9, 0).astype(np.uint8)
    sample = {"image": mask[..., None], "mask": mask, "instances": instances}
    return sample | {"boxes": boxes, "classes": classes}


def boxes_by_number(instances):
    """Return {number: box} of the objects that have pixels."""
    dense, ids = relabel(instances)
    return dict(zip(ids.tolist(), boxes_around(dense), strict=True))


def contains(outer, inner, tolerance):
    return (outer[:2] <= inner[:2] + tolerance).all() and (outer[2:] >= inner[2:] - tolerance).all()


# Kernels of the property test; each is used at one shape of the batch.
PROPERTY = {
    "scale and flip": Augment((24, 28), scale=(0.5, 2.0), flip="both"),
    "all geometry": Augment(
        (24, 28), scale=(0.7, 1.5), rotate=30, shear=8, flip="both", perspective=0.05
    ),
    "mosaic": Augment((24, 28), scale=(0.8, 1.2), mosaic=0.6, cutmix=0.3),
}
SIDES = st.integers(1, 20)


@st.composite
def rectangles(draw):
    """Boxes in an image of 32 x 40, later ones on top of earlier ones; some without pixels."""
    boxes = []
    for _ in range(5):
        x, y = draw(st.integers(0, 39)), draw(st.integers(0, 31))
        boxes.append([x, y, min(x + draw(SIDES), 40), min(y + draw(SIDES), 32)])
    return np.array(boxes, "float32")


@pytest.mark.parametrize("name", PROPERTY)
@settings(max_examples=6, deadline=None)
@given(data=st.data(), number=st.integers(0, 10**6))
def test_boxes_and_instances_stay_consistent(name, data, number):
    augment = uncompiled(PROPERTY[name])
    boxes = np.stack([data.draw(rectangles()) for _ in range(2)])
    instances = np.zeros((2, 32, 40), np.int32)
    for image, some in zip(instances, boxes.astype(int), strict=True):
        for row, (x0, y0, x1, y1) in enumerate(some, start=1):
            image[y0:y1, x0:x1] = row
    areas = np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1)
    crowd = np.array([[False, True, False, False, True]] * 2)
    classes = np.array([[0, 1, 2, 3, 4], [5, 6, 7, -1, -1]], np.int32)
    batch = {
        "image": np.zeros((2, 32, 40, 1), np.uint8),
        "instances": np.where(np.isin(instances, [4, 5]) & [[[False]], [[True]]], 0, instances),
        "boxes": boxes,
        "classes": classes,
        "crowd": crowd,
        "areas": areas,
    }
    keys = np.array([[7, number], [7, number + 1]])
    changed = {key: np.asarray(value) for key, value in augment(batch, keys).items()}
    for i in range(2):
        check_rows(*(changed[key][i] for key in ("instances", *BOX_FIELDS)))
    if name == "scale and flip":
        check_visibility(augment, batch, changed, keys)


def check_rows(instances, boxes, classes, crowd, areas):
    """Check that what is dropped has nothing left, and that boxes enclose their pixels."""
    dropped = classes < 0
    assert not boxes[dropped].any()
    assert not crowd[dropped].any()
    assert not areas[dropped].any()
    sides = boxes[~dropped, 2:] - boxes[~dropped, :2]
    assert (sides > 0).all()
    assert (areas[~dropped] > 0).all()
    assert (boxes >= 0).all()
    assert (boxes <= (28, 24, 28, 24)).all()
    for number in set(np.unique(instances).tolist()) - {0}:
        assert not dropped[number - 1]
        y, x = np.nonzero(instances == number)
        pixels = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
        # masks are read at the nearest pixel, so an edge may be a pixel off
        assert (boxes[number - 1][:2] <= pixels[:2] + 1).all()
        assert (boxes[number - 1][2:] >= pixels[2:] - 1).all()


def check_visibility(augment, batch, changed, keys):
    """Compare what is kept with the visible fraction of each box, computed corner by corner."""
    params = to_params(draw(keys), augment.ranges, augment.probabilities)
    center = augment.crop_sampler.crop_center(
        params, np.full((2, 2), (32, 40), "float32"), None, np
    )
    for i in range(2):
        scale = params["scale"][i]
        signs = [-1 if params[f"flip_{axis}"][i] < 0.5 else 1 for axis in "xy"]
        for row, box in enumerate(batch["boxes"][i]):
            spans, visible = [], 1.0
            for axis, length in ((0, 28), (1, 24)):
                middle = center[i][1 - axis] + 0.5
                ends = (box[axis::2] - middle) * scale * signs[axis] + length / 2
                low, high = sorted(ends)
                shown = max(0.0, min(high, length) - max(low, 0))
                visible *= shown / (high - low)
                spans.append((max(low, 0), min(high, length)))
            if batch["classes"][i, row] < 0 or visible < 0.1 - 1e-4:
                assert changed["classes"][i, row] == -1
            elif visible > 0.1 + 1e-4:
                assert changed["classes"][i, row] == batch["classes"][i, row]
                assert changed["crowd"][i, row] == batch["crowd"][i, row]
                expected = [spans[0][0], spans[1][0], spans[0][1], spans[1][1]]
                np.testing.assert_allclose(changed["boxes"][i, row], expected, atol=1e-3)
                area = batch["areas"][i, row] * scale**2 * visible
                assert changed["areas"][i, row] == pytest.approx(area, rel=1e-3)


def crops_of(changed, *names):
    return zip(*(changed[name] for name in names), strict=True)


@pytest.mark.parametrize(
    "options",
    [
        {"flip": "both"},
        {"scale": (0.5, 2.5), "flip": "both"},
        {"scale": (0.6, 0.9), "crop": "center", "translate": 0.3},
    ],
)
def test_boxes_match_the_moved_objects(options):
    changed = change(Augment((40, 48), **options), 32, **objects())
    assert changed["boxes"].dtype == np.float32
    assert changed["classes"].dtype == np.int32
    count = 0
    for instances, boxes, classes in crops_of(changed, "instances", "boxes", "classes"):
        found = boxes_by_number(instances)
        count += len(found)
        assert set(found) == set(np.flatnonzero(classes >= 0) + 1)
        for number, box in found.items():
            assert classes[number - 1] == number + 9
            assert np.abs(boxes[number - 1] - box).max() <= 1
        assert (boxes[classes < 0] == 0).all()
        assert (boxes[..., 2:] <= (48, 40)).all()
        assert (boxes[..., :2] >= 0).all()
    assert count > 100


def test_objects_that_are_less_than_a_tenth_visible_are_removed():
    sample = objects()
    changed = change(Augment((24, 30)), 64, **sample)
    areas = np.bincount(sample["instances"].ravel())
    removed = 0
    for mask, instances, boxes, classes in crops_of(
        changed, "mask", "instances", "boxes", "classes"
    ):
        # The mask keeps the pixels of removed objects.
        pixels = np.bincount(mask[mask > 0] - 9, minlength=len(areas))[1:]
        visible = pixels / areas[1:]
        assert np.array_equal(classes >= 0, visible >= 0.1)
        left = np.bincount(instances.ravel(), minlength=len(areas))[1:]
        assert np.array_equal(left, np.where(visible >= 0.1, pixels, 0))
        removed += ((visible > 0) & (visible < 0.1)).sum()
        found = boxes_by_number(instances)
        for number in np.flatnonzero(classes >= 0):
            assert boxes[number].tolist() == found[number + 1].tolist()
    assert removed > 1


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"rotate": 180}, 0.51),
        ({"rotate": 20, "shear": 20, "scale": (0.7, 1.5)}, 0.51),
        ({"perspective": 0.3, "rotate": 30}, 0.51),
        ({"elastic": 4}, 1.5),  # the corners are moved, but a side may bulge
        (GEOMETRY, 2),
    ],
)
def test_boxes_contain_the_moved_objects(options, tolerance):
    changed = change(Augment((40, 48), **options), 32, **objects())
    slack = []
    for instances, boxes, classes in crops_of(changed, "instances", "boxes", "classes"):
        for number, box in boxes_by_number(instances).items():
            assert classes[number - 1] == number + 9
            assert contains(boxes[number - 1], box, tolerance), (number, boxes[number - 1], box)
            slack.append(np.abs(boxes[number - 1] - box).max())
    assert len(slack) > 100
    if "rotate" not in options:
        assert np.mean(slack) < 1.5


def test_boxes_of_pieces_are_those_of_whole_images():
    augment = uncompiled(Augment((24, 32), scale=(0.7, 1.4), rotate=20))
    sample = objects(150, 160)
    whole = {name: value[None] for name, value in sample.items()}
    for number in range(4):
        from_piece = augment.sample(sample, 4, number)
        from_whole = arrays(augment(whole, np.array([[4, number]])))
        for name, values in from_piece.items():
            assert np.array_equal(values, from_whole[name][0]), name


@pytest.mark.parametrize("options", [{"elastic": 3}, {"mosaic": 1, "perspective": 0.1}])
def test_samples_without_objects(options):
    sample = objects() | {"boxes": np.zeros((0, 4), "float32"), "classes": np.zeros(0, "int32")}
    sample["instances"] = np.zeros_like(sample["instances"])
    changed = uncompiled(Augment((24, 30), **options)).sample(sample)
    assert changed["boxes"].shape == (0, 4)
    assert changed["classes"].shape == (0,)
    assert not changed["instances"].any()


def test_padding_of_objects_stays_padding():
    few, many = objects(seed=1), objects(seed=2)
    padding = len(many["boxes"]) - 3
    few["boxes"] = np.concatenate([few["boxes"][:3], np.zeros((padding, 4), "float32")])
    few["classes"] = np.concatenate([few["classes"][:3], np.full(padding, -1, "int32")])
    few["instances"] = np.where(few["instances"] <= 3, few["instances"], 0)
    batch = {name: np.stack([few[name], many[name]]) for name in few}
    changed = arrays(uncompiled(Augment((60, 70), flip="both"))(batch, keys_of(2)))
    assert changed["classes"][0].tolist() == [10, 11, 12] + [-1] * padding
    assert changed["classes"][1].tolist() == many["classes"].tolist()
    assert not changed["boxes"][0, 3:].any()


def padded_objects(index, rows=20):
    """Return a sample whose image shows the class of the object at each pixel."""
    sample = objects(seed=index)
    padding = rows - len(sample["boxes"])
    classes = sample["classes"] - 9 + 40 * index
    shown = np.where(sample["instances"] > 0, sample["instances"] + 40 * index, 0)
    return {
        "image": shown[..., None].astype("uint16"),
        "mask": (shown % 256).astype("uint8"),
        "instances": sample["instances"],
        "boxes": np.pad(sample["boxes"], ((0, padding), (0, 0))),
        "classes": np.pad(classes, (0, padding), constant_values=-1),
    }


@pytest.mark.parametrize(("name", "images_per_crop"), [("mosaic", 3), ("cutmix", 1.5)])
def test_objects_of_mixed_crops(name, images_per_crop):
    samples = [padded_objects(index) for index in range(6)]
    augment = Augment((60, 70), **{name: 1.0}, flip="horizontal", value_range=(0, 1000))
    if name == "cutmix":
        augment = uncompiled(augment)
    batch = {key: np.stack([sample[key] for sample in samples]) for key in samples[0]}
    pixels = np.bincount(batch["image"].ravel())
    hidden = images = 0
    for seed in range(4):
        changed = arrays(augment(batch, keys_of(6, seed)))
        assert changed["boxes"].shape == (6, 80, 4)
        assert changed["classes"].shape == (6, 80)
        for image, mask, instances, boxes, classes in crops_of(
            changed, "image", "mask", "instances", "boxes", "classes"
        ):
            shown = image[..., 0].astype(int)
            assert np.array_equal(shown % 256, mask)
            found = boxes_by_number(instances)
            assert set(found) == set(np.flatnonzero(classes >= 0) + 1)
            for number, box in found.items():
                assert set(shown[instances == number]) == {classes[number - 1]}
                assert contains(boxes[number - 1], box, 0.01)
                if name == "mosaic":
                    assert np.abs(boxes[number - 1] - box).max() < 0.01
            # Pixels without a number belong to objects that are less than a tenth visible.
            for removed in np.setdiff1d(np.unique(shown[instances == 0]), 0):
                assert (shown == removed).sum() < 0.1 * pixels[removed]
                hidden += 1
            images += len({int(number) // 40 for number in classes[classes >= 0]})
    assert hidden > 0
    assert images / 24 > images_per_crop


def test_instances_without_boxes_stay_distinct_in_mixed_crops():
    instances = np.stack([np.full((20, 20), number, np.int32) for number in (1, 3, 2, 0)])
    batch = {"image": instances[..., None], "instances": instances}
    changed = arrays(uncompiled(Augment(20, mosaic=1.0))(batch, keys_of(4)))
    # at most 3 per image: the numbers of the next images start at 4, 7 and 10
    assert [np.unique(part).tolist() for part in changed["instances"]] == [
        [0, 1, 6, 8],
        [0, 3, 5, 10],
        [0, 2, 7, 12],
        [0, 4, 9, 11],
    ]


# ---- the seed and the number fix everything ----


def is_close(one, other):
    """Return whether two results are equal up to rounding."""
    same_mask = (one["mask"] == other["mask"]).mean() >= 0.999
    return same_mask and np.abs(one["image"] - other["image"]).max() < 1e-2


# Without JPEG: rounding decides about coefficients halfway between two quantization steps.
EVERYTHING = Augment(32, **{**ALL, "scale": (0.75, 1.8), "jpeg": None}, crop="classes")


def test_a_sample_does_not_depend_on_its_batch():
    samples = [dict(zip(("image", "mask"), draw_sample(i), strict=True)) for i in range(4)]
    keys = keys_of(4, 6, first=40)
    batch = {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
    together = arrays(EVERYTHING(batch, keys))
    reverse = arrays(EVERYTHING({name: values[::-1] for name, values in batch.items()}, keys[::-1]))
    assert all(np.array_equal(values[::-1], together[name]) for name, values in reverse.items())
    single = uncompiled(replace(EVERYTHING))  # to compile it for one sample takes seconds
    for i, sample in enumerate(samples):
        alone = single.sample(sample, 6, 40 + i)
        assert alone["image"].dtype == np.float32
        assert alone["mask"].dtype == np.uint8
        assert is_close(alone, {name: values[i] for name, values in together.items()})
    again = single.sample(sample, 6, 43)
    assert all(np.array_equal(values, alone[name]) for name, values in again.items())
    for seed, number in ((6, 44), (7, 43)):
        other = single.sample(sample, seed, number)
        assert not np.array_equal(other["image"], alone["image"])
    dataset = tf.data.Dataset.from_tensors((batch, keys)).map(EVERYTHING)
    assert dataset.element_spec["image"].shape == (4, 32, 32, 3)
    assert is_close(arrays(next(iter(dataset))), together)


def test_the_pipeline_numbers_its_samples(without_xla):
    # The mask shows which image it belongs to.
    images = [draw_sample(i, 48 + 3 * i, 56)[0] for i in range(5)]
    masks = [np.full(image.shape[:2], i, np.uint8) for i, image in enumerate(images)]
    reader = Arrays(images, masks, list("abcde"))
    number = 6
    for batch in pipeline(reader, 2, EVERYTHING, seed=9, first_step=3):
        for image, mask in zip(*(part.numpy() for part in batch), strict=True):
            index = int(np.bincount(mask.ravel(), minlength=256)[:255].argmax())
            expected = EVERYTHING.sample(reader[index], 9, number)
            assert is_close({"image": image, "mask": mask}, expected)
            number += 1
    assert number == 10


# ---- colors ----


def pixel_of(value, augment, channels=3):
    """Return what becomes of a pixel of an image of one color, in 0..255 by default."""
    augment = replace(augment, value_range=augment.value_range or (0, 255))
    return change(augment, 1, image=np.full((8, 8, channels), value, "float32"))["image"][0, 3, 3]


def test_color_operations():
    assert pixel_of(100, Augment(8, brightness=(0.1, 0.1))) == pytest.approx([125.5] * 3)
    # 127.5 - 2 * 27.5
    assert pixel_of(100, Augment(8, contrast=(2, 2))) == pytest.approx([72.5] * 3)
    # 255 * 0.2**2
    assert pixel_of(51, Augment(8, gamma=(2, 2))) == pytest.approx([10.2] * 3, rel=1e-4)
    # luma: 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    gray = pixel_of((200, 100, 50), Augment(8, saturation=(1e-6, 1e-6)))
    assert gray == pytest.approx([124.2] * 3, abs=0.01)
    rotated = pixel_of((200, 100, 50), Augment(8, hue=(120, 120)))  # keeps the luma
    assert rotated @ (0.299, 0.587, 0.114) == pytest.approx(124.2, abs=0.01)
    assert rotated.argmax() != 0


def test_colors_are_clipped_to_the_value_range():
    assert pixel_of(250, Augment(8, brightness=(0.5, 0.5))).tolist() == [255] * 3
    assert pixel_of(5, Augment(8, brightness=(-0.5, -0.5))).tolist() == [0] * 3
    wide = Augment(8, brightness=(0.5, 0.5), value_range=(-1000, 1000))
    assert pixel_of(300, wide).tolist() == [1000] * 3
    assert pixel_of(300, Augment(8)).tolist() == [300] * 3  # only color operations clip


@pytest.mark.parametrize("channels", [1, 3])
def test_color_operations_scale_with_the_value_range(channels):
    colors = dict(COLORS)
    if channels == 1:
        del colors["saturation"], colors["hue"]
    image = draw_sample(0, 32, 40)[0][..., :channels].astype("float32")
    usual = change(Augment(32, **colors, value_range=(0, 255)), 8, image=image)["image"]
    other = change(Augment(32, **colors, value_range=(-1, 1)), 8, image=image / 127.5 - 1)["image"]
    assert usual.std() > 10
    # JPEG rounds: a difference in the last digit may become one of a quantization step
    assert np.mean(np.abs((other + 1) * 127.5 - usual) > 0.05) < 0.01


@pytest.mark.parametrize("channels", [1, 5])
def test_images_of_any_number_of_channels(channels):
    image = np.random.default_rng(0).uniform(0, 255, (40, 50, channels)).astype("float32")
    augment = Augment(
        32, rotate=10, brightness=0.2, contrast=0.3, gamma=0.2, blur=1, noise=0.05, cutout=0.2
    )
    augment = replace(augment, value_range=(0, 255))
    changed = change(augment, 4, image=image)["image"]
    assert changed.shape == (4, 32, 32, channels)
    assert np.isfinite(changed).all()
    assert changed.min() >= 0
    assert changed.max() <= 255
    brighter = Augment(8, contrast=(2, 2), brightness=(0.1, 0.1))
    assert pixel_of(100, brighter, channels) == pytest.approx([98] * channels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"saturation": 0.2}, "saturation and hue must have images of 3 channels, but got 5"),
        ({"hue": 5, "contrast": 0.1}, "saturation and hue must have images of 3 channels"),
        ({"jpeg": 50}, "jpeg must have images of 1 or 3 channels, but got 5. Remove jpeg"),
    ],
)
def test_color_operations_check_the_number_of_channels(options, message):
    image = np.zeros((1, 8, 8, 5), "uint8")
    with pytest.raises(ValueError, match=f"Augment: {message}"):
        uncompiled(Augment(8, **options))({"image": image}, keys_of(1))


def test_normalization_is_applied_last():
    options, image = {"brightness": 0.3, "cutout": (0.3, 0.3)}, draw_sample(0)[0]
    mean, std = np.array([120, 110, 100]), np.array([60, 50, 40])
    usual = change(Augment(16, **options), 2, image=image)["image"]
    changed = change(Augment(16, **options, normalization=(mean, std)), 2, image=image)["image"]
    assert changed == pytest.approx((usual - mean) / std, abs=1e-4)
    assert pixel_of(110, Augment(8, normalization=(100, 10))).tolist() == [1] * 3


def test_images_of_all_dtypes_give_the_same_result():
    augment = Augment(32, **GEOMETRY, brightness=0.1, value_range=(0, 255))
    image, mask = draw_sample(1)
    uint8, uint16, floats = (
        change(augment, 8, image=image.astype(dtype), mask=mask)
        for dtype in ("uint8", "uint16", "float32")
    )
    assert np.array_equal(uint8["image"], uint16["image"])
    assert np.abs(uint8["image"] - floats["image"]).max() <= 0.51  # averages are rounded
    assert np.array_equal(uint8["mask"], floats["mask"])
    assert np.array_equal(uint16["mask"], floats["mask"])


@pytest.mark.parametrize("name", COLORS)
def test_color_operations_need_a_range_unless_images_are_uint8(name):
    image = draw_sample(0, 32, 32)[0]
    augment = uncompiled(Augment(32, **{name: COLORS[name]}))
    known = uncompiled(replace(augment, value_range=(0, 255)))
    assert np.array_equal(
        augment.sample({"image": image})["image"], known.sample({"image": image})["image"]
    )
    for dtype in ("uint16", "int16", "float32", "float64"):
        with pytest.raises(ValueError, match=f"^Augment: {name} of .* images .* Pass value_range="):
            augment.sample({"image": image.astype(dtype)})
    off = uncompiled(replace(augment, probability={name: 0}))
    assert off.sample({"image": image * 2.0})["image"].max() > 255  # nothing clips


def test_brightness_of_12_bit_images_is_a_fraction_of_their_range():
    image = np.full((8, 8, 1), 1000, "uint16")
    changed = change(Augment(8, brightness=(0.1, 0.1), value_range=(0, 4095)), 1, image=image)
    assert changed["image"] == pytest.approx(1409.5)


@pytest.mark.parametrize("crop", ["random", "classes"])
def test_more_than_255_classes(crop):
    mask = np.full((20, 20), 65535, "int32")
    mask[3, 4], mask[15, 16] = 255, 299
    augment = Augment(24, crop=crop, cutout=(0.2, 0.2), ignore_index=65535)
    masks = change(augment, 8, image=np.zeros((20, 20, 1), "uint8"), mask=mask)["mask"]
    assert masks.dtype == np.int32
    assert set(np.unique(masks)) == {255, 299, 65535}
    near = Augment(4, crop="classes", ignore_index=65535)
    masks = change(near, 16, image=np.zeros((20, 20, 1), "uint8"), mask=mask)["mask"]
    assert {frozenset(np.unique(crop).tolist()) for crop in masks} == {
        frozenset((255, 65535)),
        frozenset((299, 65535)),
    }


def test_16_bit_images_keep_their_precision():
    image = np.random.default_rng(0).integers(0, 2**16, (40, 40, 1), np.uint16)
    augment = Augment(32, flip="both", brightness=(0.1, 0.1), value_range=(0, 65535))
    changed = change(augment, 4, image=image)["image"]
    assert len(np.unique(changed)) > 900
    assert changed.max() == 65535


# ---- arguments ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size=0 must be a whole number of at least 1"),
        ({"size": (8, -1)}, "size=-1 must be"),
        ({"size": 7.5}, "size=7.5 must be"),
        ({"size": (8, 8, 3)}, r"size=\(8, 8, 3\) must be a number or \(height, width\)"),
        ({"flip": "horizontl"}, "flip='horizontl' is unknown.*Did you mean 'horizontal'"),
        ({"crop": "centr"}, "crop='centr' is unknown.*Did you mean 'center'"),
        ({"interpolation": "cubic"}, "interpolation='cubic' is unknown.*Did you mean 'bicubic'"),
        ({"mosaic": 1.5}, r"mosaic=1.5 must be a probability in \[0, 1\]"),
        ({"cutmix": -0.5}, "cutmix=-0.5 must be a probability"),
        ({"perspective": 0.4}, "perspective=0.4 must be between -0.4 and 0.4"),
        ({"perspective": (-0.5, 0)}, r"perspective=\(-0.5, 0\) must be between"),
        ({"value_range": (255, 0)}, r"value_range=\(255, 0\) must be \(lowest, highest\)"),
        ({"value_range": 255}, "value_range=255 must be"),
        ({"ignore_index": None}, "ignore_index=None must be an integer"),
        ({"normalization": (1, 2, 3)}, r"normalization=\(1, 2, 3\) must be \(mean, std\) or None"),
        ({"probability": {"blurr": 1}}, "probability of='blurr' is unknown.*Did you mean 'blur'"),
        ({"probability": {"blur": 2}}, "probability of blur is 2, but must be in"),
        ({"scale": (0, 1)}, r"scale=\(0, 1\) must be"),
        ({"elastic": 20, "perspective": 0.3, "size": 32}, "perspective up to 0.3 with elastic up"),
    ],
)
def test_invalid_arguments_raise(options, message):
    with pytest.raises(ValueError, match=f"^Augment: {message}"):
        Augment(**{"size": 8, **options})


def test_the_kernel_needs_known_sizes():
    image = tf.keras.Input((None, 40, 3), batch_size=2)
    with pytest.raises(
        ValueError,
        match=r"got images of shape \(2, None, 40, 3\), but height and width must be known",
    ):
        Augment(8).kernel({"image": image}, keys_of(2))


def test_class_crops_need_a_mask():
    image = np.zeros((1, 20, 20, 1), "uint8")
    augment = uncompiled(Augment(8, crop="classes"))
    with pytest.raises(ValueError, match='crop="classes" needs a mask'):
        augment({"image": image}, keys_of(1))
    with pytest.raises(ValueError, match='crop="classes" needs a mask'):
        augment.sample({"image": image[0]})


def test_lists_arrays_and_tuples_are_equal():
    options = {"normalization": ((1, 2, 3), (4, 5, 6)), "fill": (1, 2, 3)}
    augment = Augment((8, 9), scale=(0.5, 2.0), rotate=3.0, **options)
    options = {"normalization": [[1, 2, 3], np.array([4, 5, 6])], "fill": np.arange(1, 4)}
    assert Augment([8, 9], scale=[0.5, 2.0], rotate=3, **options) == augment
    assert Augment(**json.loads(json.dumps(asdict(augment)))) == augment
    assert Augment(np.int64(8)) == Augment(8) == Augment((8, 8))


def test_scaled_by():
    augment = Augment(8, scale=(0.25, 0.5), rotate=10)
    assert augment.crop_sampler.shrink == 2
    assert augment.scaled_by(1) is augment
    assert augment.scaled_by(2) == Augment(8, scale=(0.5, 1.0), rotate=10)
    assert Augment(8, scale=(0.5, 0.5)).scaled_by(2).ranges == {}


# ---- keypoints ----


@pytest.mark.parametrize(
    ("options", "points_per_crop"),
    [
        ({**GEOMETRY, "scale": (0.8, 1.4), "shear": 15}, 3),
        ({"flip": "horizontal", "mosaic": 1.0}, 12),
        ({"cutmix": 1.0, "rotate": 20}, 12),
    ],
    ids=["geometry", "mosaic", "cutmix"],
)
def test_keypoints_stay_on_their_objects(options, points_per_crop):
    y, x = np.mgrid[:60, :70]
    centers = [(20, 14), (50, 22), (33, 45)]  # x, y of discs of radius 5
    instances = np.zeros((60, 70), "int32")
    for number, (center_x, center_y) in enumerate(centers, 1):
        instances[np.hypot(y - center_y, x - center_x) < 5] = number
    points = np.float32(centers) + 0.5
    sample = {
        "image": np.zeros((60, 70, 1), "uint8"),
        "instances": instances,
        "boxes": np.concatenate([points - 5, points + 5], axis=1).astype("float32"),
        "classes": np.array([0, 1, 2], "int32"),
        "keypoints": points,
    }
    changed = change(Augment(48, **options), 6, **sample)
    on_object = invisible = 0
    for crop, crop_points in crops_of(changed, "instances", "keypoints"):
        assert len(crop_points) == points_per_crop
        for index, point in enumerate(crop_points):
            if np.isnan(point).any():
                invisible += 1
                continue
            assert (point >= 0).all()
            assert (point < 48).all()
            number = crop[int(point[1]), int(point[0])]
            assert number in (index + 1, 0)  # 0 if less than a tenth of the object is visible
            on_object += number == index + 1
    assert on_object > 8
    assert invisible > 0
