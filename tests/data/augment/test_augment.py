import json
from dataclasses import asdict

import cv2
import numpy as np
import pytest
import tensorflow as tf
from conftest import draw_sample

from tfseg.data import Arrays, Augment, pipeline
from tfseg.data.augment import params
from tfseg.data.readers.objects import boxes_of, relabeled
from tfseg.ops import uniform

GEOMETRY = {
    "scale": (0.6, 1.8),
    "rotate": 40,
    "shear": 20,
    "translate": 0.1,
    "flip": "both",
    "perspective": 0.2,
    "elastic": 3,
}
COLOURS = {
    "brightness": 0.2,
    "contrast": 0.3,
    "saturation": 0.3,
    "hue": 20,
    "gamma": 0.3,
    "blur": 1.5,
    "noise": 0.05,
    "jpeg": 40,
}
ALL = {**GEOMETRY, **COLOURS, "cutout": 0.4, "probability": dict.fromkeys(params.KINDS, 0.8)}


def keys_of(count, seed=0, first=0):
    return np.stack([np.full(count, seed), first + np.arange(count)], 1)


def arrays(changed):
    return {name: np.asarray(value) for name, value in changed.items()}


def change(augment, count, seed=0, **sample):
    """`count` versions of one sample; without boxes not compiled, for that is done sooner."""
    batch, keys = (
        {name: np.stack([value] * count) for name, value in sample.items()},
        keys_of(count, seed),
    )
    if "boxes" in batch:
        return arrays(augment(batch, keys))
    batch = {name: tf.constant(value) for name, value in batch.items()}
    return arrays(augment.kernel(batch, tf.constant(keys, "int32")))


def random_batch(count, height, width, channels=3, dtype="uint8"):
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(1, 255, (count, height, width, channels)).astype(dtype),
        "mask": rng.integers(0, 9, (count, height, width), np.uint8),
        "instances": rng.integers(0, 2**20, (count, height, width), np.int32),
    }


def checkerboard(height=90, width=110, tile=12):
    y, x = np.mgrid[:height, :width]
    return ((y // tile + x // tile) % 2).astype(np.uint8)


# ---- what changes nothing ----


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_default_is_a_crop_that_changes_no_byte(dtype):
    batch = random_batch(4, 30, 40, dtype=dtype)
    if dtype == "uint16":
        batch["image"] *= 257
    changed = arrays(Augment((20, 16))(batch, keys_of(4, 1)))
    assert changed["image"].dtype == np.float32
    assert changed["mask"].dtype == np.uint8
    assert changed["instances"].dtype == np.int32
    corners = []
    for i in range(4):
        windows = np.lib.stride_tricks.sliding_window_view(batch["instances"][i], (20, 16))
        ((y, x),) = np.argwhere((windows == changed["instances"][i]).all((2, 3)))
        for name, values in changed.items():
            assert np.array_equal(values[i], batch[name][i, y : y + 20, x : x + 16]), name
        corners.append((y, x))
    assert len(set(corners)) > 1


def test_crops_reach_every_place():
    column = np.tile(np.arange(12, dtype=np.uint8)[:, None], (1, 12))
    masks = change(Augment(8), 64, image=column[..., None], mask=column)["mask"]
    assert set(masks[:, 0, 0]) == {0, 1, 2, 3, 4}


def test_identity_settings_change_no_byte():
    batch = random_batch(4, 24, 33)
    pairs = {
        name: (params.IDENTITY[kind],) * 2
        for name, kind in params.KINDS.items()
        if kind != "quality"
    }
    never = {
        **{name: (0.2, 0.3) for name in params.KINDS},
        "jpeg": 20,
        "probability": dict.fromkeys(params.KINDS, 0),
    }
    for options in (dict.fromkeys(pairs, 0), pairs, {"jpeg": None}, never):
        augment = Augment((24, 33), **options)
        assert augment.ranges == {}
        assert augment.crop_sampler.canvas == Augment((24, 33)).crop_sampler.canvas
    for name, values in arrays(augment(batch, keys_of(4))).items():
        assert np.array_equal(values, batch[name]), name


@pytest.mark.parametrize("name", params.KINDS)
def test_samples_for_which_nothing_was_drawn_keep_every_byte(name):
    value = {**GEOMETRY, **COLOURS, "cutout": 0.4}[name]
    batch, keys = random_batch(16, 24, 33), keys_of(16, 5)
    changed = arrays(Augment((24, 33), **{name: value}, probability={name: 0.5})(batch, keys))
    drawn = uniform(keys, len(params.STREAMS))[:, params.STREAMS[f"if {name}"]] < 0.5
    assert 3 <= drawn.sum() <= 13
    for kind in batch:
        same = np.array(
            [np.array_equal(a, b) for a, b in zip(changed[kind], batch[kind], strict=True)]
        )
        assert same[~drawn].all()
        if kind == "image" or name in GEOMETRY or (name, kind) == ("cutout", "mask"):
            assert same[drawn].mean() < 0.4  # some draws are too small to show
        else:
            assert same.all()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_undrawn_windows_of_larger_images_are_crops_to_the_byte(interpolation):
    batch, keys = random_batch(16, 41, 50), keys_of(16)
    moves = {name: value for name, value in GEOMETRY.items() if name != "flip"}
    augment = Augment(
        (24, 33), **moves, probability=dict.fromkeys(moves, 0.1), interpolation=interpolation
    )
    drawn = params.draw(keys, augment.ranges, augment.probabilities)
    still = np.all([drawn[name] == params.IDENTITY[params.KINDS[name]] for name in moves], axis=0)
    assert 4 <= still.sum() <= 14
    changed = arrays(augment(batch, keys))
    for i in np.flatnonzero(still):
        windows = np.lib.stride_tricks.sliding_window_view(batch["instances"][i], (24, 33))
        ((y, x),) = np.argwhere((windows == changed["instances"][i]).all((2, 3)))
        assert np.array_equal(changed["image"][i], batch["image"][i, y : y + 24, x : x + 33])


# ---- images and their masks move alike ----


def mover(name):
    options = {"all": GEOMETRY, "bicubic": {**GEOMETRY, "interpolation": "bicubic"}}.get(name)
    return Augment(64, **(options or {name: GEOMETRY[name]}), crop="center")


@pytest.mark.parametrize("name", [*GEOMETRY, "all", "bicubic"])
def test_image_and_mask_stay_aligned(name):
    board = checkerboard(70, 70)
    changed = change(
        mover(name), 32, image=board[..., None] * 200, mask=board, instances=board.astype("int32")
    )
    image, mask = changed["image"][..., 0], changed["mask"]
    inside = mask != 255
    # The nearest pixel weighs a fourth at least: its id may differ only where the image is between these bounds.
    certain = inside & ((image < 49) | (image > 151))
    assert certain.mean() > 0.5
    assert certain[inside].mean() > 0.85
    wrong = (image > 100)[certain] != (mask == 1)[certain]
    assert wrong.mean() <= (0.001 if name == "bicubic" else 0)  # bicubic looks two pixels far
    assert np.array_equal(changed["instances"], np.where(inside, mask, 0))


@pytest.mark.parametrize("name", [*GEOMETRY, "all", "bicubic"])
def test_the_center_of_mass_moves_alike(name):
    y, x = np.mgrid[:70, :70]
    disc = (np.hypot(y - 37, x - 32) < 14).astype(np.uint8)
    sample = {
        "image": disc[..., None] * np.uint8(255),
        "mask": disc,
        "instances": disc.astype("int32"),
    }
    changed = [change(mover(name), 32, seed, **sample) for seed in range(8)]
    image, mask = (np.concatenate([part[key] for part in changed]) for key in ("image", "mask"))
    weights = image[..., 0] / 255, (mask == 1).astype(float)
    shown = weights[1].sum((1, 2)) > 100
    assert shown.mean() > 0.8
    y, x = np.mgrid[:64, :64]
    centers = [
        np.stack([(w * y).sum((1, 2)), (w * x).sum((1, 2))])[:, shown] / w.sum((1, 2))[shown]
        for w in weights
    ]
    difference = centers[0] - centers[1]
    assert (
        np.abs(difference).max() < 0.75
    )  # rounding to whole pixels, which a shift does to all alike
    assert np.abs(difference.mean(1)).max() < 0.05  # no shift


def test_outside_is_filled_and_ignored():
    inside = {"image": np.full((20, 20, 1), 255, np.uint8), "mask": np.ones((20, 20), np.uint8)}
    inside["instances"] = np.ones((20, 20), np.int32)
    changed = change(Augment(40, fill=7), 1, **inside)
    image, mask = changed["image"][0, ..., 0], changed["mask"][0]
    assert set(np.unique(mask)) == {1, 255}
    assert (mask[10:30, 10:30] == 1).all()
    assert (mask == 1).sum() == 400
    assert np.array_equal(image, np.where(mask == 1, 255, 7))
    assert np.array_equal(changed["instances"][0], mask == 1)


def test_a_fill_may_differ_by_channel():
    image = np.full((4, 4, 3), 100, np.uint8)
    changed = change(Augment(6, fill=(1.5, 2, 3), brightness=(0.1, 0.1)), 1, image=image)["image"][
        0
    ]
    assert changed[0, 0].tolist() == pytest.approx(
        [27, 27.5, 28.5]
    )  # as a part of the image, it changes with it
    assert changed[3, 3].tolist() == pytest.approx([125.5] * 3)
    hole = change(
        Augment(4, fill=(1.5, 2, 3), brightness=(0.1, 0.1), cutout=(1, 1)), 1, image=image
    )["image"][0]
    assert hole[2, 2].tolist() == [1.5, 2, 3]


def test_extents_keep_the_window_off_the_padding():
    image, mask = np.zeros((60, 60, 1), np.uint8), np.full((60, 60), 255, np.uint8)
    mask[:40, :50] = 1
    changed = change(Augment(32), 16, image=image, mask=mask, extent=np.array([40, 50], "float32"))
    assert np.unique(changed["mask"]).tolist() == [1]


@pytest.mark.parametrize("flip", [None, "horizontal", "vertical", "both"])
def test_flips_mirror_half_of_the_images(flip):
    ramp = np.arange(16, dtype=np.uint8).reshape(4, 4)
    changed = change(Augment(4, flip=flip), 200, seed=3, image=ramp[..., None], mask=ramp)
    masks = changed["mask"]
    assert np.array_equal(changed["image"][..., 0], masks)
    kinds = {
        "as it was": ramp,
        "left-right": ramp[:, ::-1],
        "top-bottom": ramp[::-1],
        "both": ramp[::-1, ::-1],
    }
    counts = {
        name: sum(np.array_equal(mask, kind) for mask in masks) for name, kind in kinds.items()
    }
    assert sum(counts.values()) == 200
    expected = {
        None: {"as it was"},
        "horizontal": {"as it was", "left-right"},
        "vertical": {"as it was", "top-bottom"},
        "both": set(kinds),
    }[flip]
    assert {name for name, count in counts.items() if count} == expected
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
def test_geometry_is_that_of_opencv(options, angle, scale, size):
    image = cv2.GaussianBlur(
        np.random.default_rng(0).uniform(0, 255, (41, 50)).astype("float32"), (0, 0), 1
    )
    mask = checkerboard(41, 50, 5)
    changed = change(
        Augment(size, crop="center", fill=50, **options), 1, image=image[..., None], mask=mask
    )
    # OpenCV turns counter-clockwise as well; from the image's middle to the window's
    matrix = cv2.getRotationMatrix2D((24.5, 20), angle, scale)
    matrix[:, 2] += ((size[1] - 1) / 2 - 24.5, (size[0] - 1) / 2 - 20)
    theirs = cv2.warpAffine(
        image, matrix, size[::-1], None, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT, 50
    )
    assert (
        np.abs(changed["image"][0, ..., 0] - theirs).max() < 4
    )  # OpenCV may round coordinates to 1/32 pixel
    assert np.abs(changed["image"][0, ..., 0] - theirs).mean() < 0.5
    # the nearest pixel, but where two are about as near
    at = (
        np.stack(np.mgrid[: size[0], : size[1]][::-1], -1)
        @ (inverse := cv2.invertAffineTransform(matrix))[:, :2].T
    )
    x, y = np.moveaxis(at + inverse[:, 2], -1, 0)
    near = np.pad(mask, 64, constant_values=255)[
        np.floor(y + 64.5).astype(int), np.floor(x + 64.5).astype(int)
    ]
    clear = (np.abs(x % 1 - 0.5) > 0.01) & (np.abs(y % 1 - 0.5) > 0.01)
    assert np.array_equal(changed["mask"][0][clear], near[clear])


# ---- boxes ----


def objects(height=60, width=70, seed=0):
    """Rectangles that do not overlap, one in each cell of 15 x 14 pixels but some."""
    rng = np.random.default_rng(seed)
    instances = np.zeros((height, width), np.int32)
    for top in range(0, height - 14, 15):
        for left in range(0, width - 13, 14):
            if rng.uniform() < 0.8:
                y, x = rng.integers(0, 5, 2)
                down, across = rng.integers(4, 9, 2)
                instances[top + y : top + y + down, left + x : left + x + across] = (
                    instances.max() + 1
                )
    boxes = boxes_of(instances)
    classes = 10 + np.arange(len(boxes), dtype=np.int32)
    mask = np.where(instances > 0, instances + 9, 0).astype(np.uint8)
    return {
        "image": mask[..., None],
        "mask": mask,
        "instances": instances,
        "boxes": boxes,
        "classes": classes,
    }


def seen(instances):
    """{number: box} of the objects that have pixels."""
    dense, ids = relabeled(instances)
    return dict(zip(ids.tolist(), boxes_of(dense), strict=True))


def contains(outer, inner, tolerance):
    return (outer[:2] <= inner[:2] + tolerance).all() and (outer[2:] >= inner[2:] - tolerance).all()


@pytest.mark.parametrize(
    "options",
    [
        {"flip": "both"},
        {"scale": (0.5, 2.5), "flip": "both"},
        {"scale": (0.6, 0.9), "crop": "center", "translate": 0.3},
    ],
)
def test_boxes_are_those_of_the_moved_objects(options):
    changed = change(Augment((40, 48), **options), 32, **objects())
    assert changed["boxes"].dtype == np.float32
    assert changed["classes"].dtype == np.int32
    shown = 0
    for instances, boxes, classes in zip(
        *(changed[n] for n in ("instances", "boxes", "classes")), strict=True
    ):
        found = seen(instances)
        shown += len(found)
        assert set(found) == set(np.flatnonzero(classes >= 0) + 1)
        for number, box in found.items():
            assert classes[number - 1] == number + 9
            assert np.abs(boxes[number - 1] - box).max() <= 1
        assert (boxes[classes < 0] == 0).all()
        assert (boxes[..., 2:] <= (48, 40)).all()
        assert (boxes[..., :2] >= 0).all()
    assert shown > 100


def test_objects_of_which_less_than_a_tenth_shows_are_dropped():
    sample = objects()
    changed = change(Augment((24, 30)), 64, **sample)
    sizes = np.bincount(sample["instances"].ravel())
    dropped = 0
    for mask, instances, boxes, classes in zip(
        *(changed[n] for n in ("mask", "instances", "boxes", "classes")), strict=True
    ):
        pixels = np.bincount(mask[mask > 0] - 9, minlength=len(sizes))[
            1:
        ]  # masks do not know of objects
        share = pixels / sizes[1:]
        assert np.array_equal(classes >= 0, share >= 0.1)
        left = np.bincount(instances.ravel(), minlength=len(sizes))[1:]
        assert np.array_equal(left, np.where(share >= 0.1, pixels, 0))
        dropped += ((share > 0) & (share < 0.1)).sum()
        for number in np.flatnonzero(classes >= 0):
            assert boxes[number].tolist() == seen(instances)[number + 1].tolist()
    assert dropped > 1


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"rotate": 180}, 0.51),
        ({"rotate": 20, "shear": 20, "scale": (0.7, 1.5)}, 0.51),
        ({"perspective": 0.3, "rotate": 30}, 0.51),
        ({"elastic": 4}, 1.5),  # corners are moved: a side may bulge
        (GEOMETRY, 2),
    ],
)
def test_boxes_hold_the_moved_objects(options, tolerance):
    changed = change(Augment((40, 48), **options), 32, **objects())
    slack, shown = [], 0
    for instances, boxes, classes in zip(
        *(changed[n] for n in ("instances", "boxes", "classes")), strict=True
    ):
        for number, box in seen(instances).items():
            assert classes[number - 1] == number + 9
            assert contains(boxes[number - 1], box, tolerance), (number, boxes[number - 1], box)
            slack.append(np.abs(boxes[number - 1] - box).max())
            shown += 1
    assert shown > 100
    if "rotate" not in options:
        assert np.mean(slack) < 1.5


def test_boxes_do_not_depend_on_the_piece():
    augment, sample = Augment((24, 32), scale=(0.7, 1.4), rotate=20), objects(150, 160)
    for number in range(8):
        piece = augment.sample(sample, 4, number)
        whole = arrays(
            augment({name: value[None] for name, value in sample.items()}, np.array([[4, number]]))
        )
        for name, values in piece.items():
            assert np.array_equal(values, whole[name][0]), name


def test_samples_without_objects():
    sample = objects() | {"boxes": np.zeros((0, 4), "float32"), "classes": np.zeros(0, "int32")}
    sample["instances"] = np.zeros_like(sample["instances"])
    for augment, rows in (
        (Augment((24, 30), elastic=3), 0),
        (Augment((24, 30), mosaic=1, perspective=0.1), 0),
    ):
        changed = augment.sample(sample)
        assert changed["boxes"].shape == (rows, 4)
        assert changed["classes"].shape == (rows,)
        assert not changed["instances"].any()


def test_rows_that_fill_up_a_batch_stay_empty():
    few, many = objects(seed=1), objects(seed=2)
    more = len(many["boxes"]) - 3
    few["boxes"] = np.concatenate([few["boxes"][:3], np.zeros((more, 4), "float32")])
    few["classes"] = np.concatenate([few["classes"][:3], np.full(more, -1, "int32")])
    few["instances"] = np.where(few["instances"] <= 3, few["instances"], 0)
    augment = Augment((60, 70), flip="both")
    changed = arrays(augment({name: np.stack([few[name], many[name]]) for name in few}, keys_of(2)))
    assert changed["classes"][0].tolist() == [10, 11, 12] + [-1] * more
    assert changed["classes"][1].tolist() == many["classes"].tolist()
    assert not changed["boxes"][0, 3:].any()


@pytest.mark.parametrize("way", ["mosaic", "cutmix"])
def test_objects_of_mixed_windows(way):
    samples = []
    for i in range(6):
        sample = objects(seed=i)
        rows = 20 - len(sample["boxes"])  # filled up, as the pipeline does
        sample["classes"] = np.pad(sample["classes"] - 9 + 40 * i, (0, rows), constant_values=-1)
        sample["boxes"] = np.pad(sample["boxes"], ((0, rows), (0, 0)))
        # what a pixel shows: the class is the object's name
        shown = np.where(sample["instances"] > 0, sample["instances"] + 40 * i, 0)
        sample |= {
            "image": shown[..., None].astype("uint16"),
            "mask": (shown % 256).astype("uint8"),
        }
        samples.append(sample)
    augment = Augment((60, 70), **{way: 1.0}, flip="horizontal", value_range=(0, 1000))
    batch = {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
    hidden = partners = 0
    for seed in range(4):
        changed = arrays(augment(batch, keys_of(6, seed)))
        assert changed["boxes"].shape == (6, 80, 4)
        assert changed["classes"].shape == (6, 80)
        for i in range(6):
            shown, instances = changed["image"][i, ..., 0].astype(int), changed["instances"][i]
            assert np.array_equal(shown % 256, changed["mask"][i])
            classes, boxes = changed["classes"][i], changed["boxes"][i]
            found = seen(instances)
            assert set(found) == set(np.flatnonzero(classes >= 0) + 1)
            for number, box in found.items():
                assert set(shown[instances == number]) == {classes[number - 1]}
                assert contains(boxes[number - 1], box, 0.01)
                if way == "mosaic":
                    assert np.abs(boxes[number - 1] - box).max() < 0.01
            # what shows and has no number is less than a tenth of its object
            for name in np.setdiff1d(np.unique(shown[instances == 0]), 0):
                whole = sum((batch["image"] == name).sum((1, 2, 3)))
                assert (shown == name).sum() < 0.1 * whole
                hidden += 1
            partners += len({name // 40 for name in classes[classes >= 0].tolist()})
    assert hidden > 0
    assert partners / 24 > {"mosaic": 3, "cutmix": 1.5}[way]


def test_objects_without_boxes_keep_apart_in_mixed_windows():
    instances = np.stack([np.full((20, 20), number, np.int32) for number in (1, 3, 2, 0)])
    changed = arrays(
        Augment(20, mosaic=1.0)({"image": instances[..., None], "instances": instances}, keys_of(4))
    )
    # at most 3 an image: those of the next are numbered from 4, 7 and 10
    assert [np.unique(part).tolist() for part in changed["instances"]] == [
        [0, 1, 6, 8],
        [0, 3, 5, 10],
        [0, 2, 7, 12],
        [0, 4, 9, 11],
    ]


# ---- the seed and the number fix everything ----


def as_alone(one, other):
    """Whether two results are the same but for rounding."""
    return (one["mask"] == other["mask"]).mean() >= 0.999 and np.abs(
        one["image"] - other["image"]
    ).max() < 1e-2


# But jpeg: where a coefficient lies between two steps, rounding may decide for the other.
EVERYTHING = Augment(32, **{**ALL, "jpeg": None}, crop="classes")


def test_a_sample_is_the_same_alone_in_a_batch_and_in_any_order():
    samples = [dict(zip(("image", "mask"), draw_sample(i), strict=True)) for i in range(8)]
    keys = keys_of(8, 6, first=40)
    batch = {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
    together = arrays(EVERYTHING(batch, keys))
    reverse = arrays(EVERYTHING({name: values[::-1] for name, values in batch.items()}, keys[::-1]))
    for i, sample in enumerate(samples):
        one = {name: values[i] for name, values in together.items()}
        assert all(np.array_equal(values[7 - i], one[name]) for name, values in reverse.items())
        alone = EVERYTHING.sample(sample, 6, 40 + i)
        assert alone["image"].dtype == np.float32
        assert alone["mask"].dtype == np.uint8
        assert as_alone(alone, one)
        again = EVERYTHING.sample(sample, 6, 40 + i)
        assert all(np.array_equal(values, alone[name]) for name, values in again.items())
        for seed, number in ((6, 41 + i), (7, 40 + i)):
            assert not np.array_equal(
                EVERYTHING.sample(sample, seed, number)["image"], alone["image"]
            )
    # a tf.data stage does the same
    dataset = tf.data.Dataset.from_tensors((batch, keys)).map(EVERYTHING)
    assert dataset.element_spec["image"].shape == (8, 32, 32, 3)
    mapped = arrays(next(iter(dataset)))
    assert as_alone(mapped, together)


def test_the_pipeline_gives_every_sample_its_number():
    # the mask tells which image it is
    images = [draw_sample(i, 48 + 3 * i, 56)[0] for i in range(5)]
    reader = Arrays(
        images, [np.full(x.shape[:2], i, np.uint8) for i, x in enumerate(images)], list("abcde")
    )
    number = 6
    for image, mask in pipeline(reader, 2, EVERYTHING, seed=9, first_step=3):
        for one in zip(image.numpy(), mask.numpy(), strict=True):
            index = int(np.bincount(one[1].ravel(), minlength=256)[:255].argmax())
            assert as_alone(
                EVERYTHING.sample(reader[index], 9, number),
                dict(zip(("image", "mask"), one, strict=True)),
            )
            number += 1
    assert number == 10


# ---- colors ----


def gray(value, augment, channels=3):
    """What becomes of an even image's pixel."""
    return change(augment, 1, image=np.full((8, 8, channels), value, "float32"))["image"][0, 3, 3]


def test_color_changes_by_hand():
    assert gray(100, Augment(8, brightness=(0.1, 0.1))) == pytest.approx([125.5] * 3)
    assert gray(100, Augment(8, contrast=(2, 2))) == pytest.approx([72.5] * 3)  # 127.5 - 2 * 27.5
    assert gray(51, Augment(8, gamma=(2, 2))) == pytest.approx(
        [10.2] * 3, rel=1e-4
    )  # 255 * 0.2 ** 2
    assert gray((200, 100, 50), Augment(8, saturation=(1e-6, 1e-6))) == pytest.approx(
        [124.2] * 3, abs=0.01
    )
    turned = gray((200, 100, 50), Augment(8, hue=(120, 120)))  # luma stays
    assert turned @ (0.299, 0.587, 0.114) == pytest.approx(124.2, abs=0.01)
    assert turned.argmax() != 0


def test_colors_are_clipped_to_the_value_range():
    assert gray(250, Augment(8, brightness=(0.5, 0.5))).tolist() == [255] * 3
    assert gray(5, Augment(8, brightness=(-0.5, -0.5))).tolist() == [0] * 3
    assert (
        gray(300, Augment(8, brightness=(0.5, 0.5), value_range=(-1000, 1000))).tolist()
        == [1000] * 3
    )
    assert gray(300, Augment(8)).tolist() == [300] * 3  # nothing else is


@pytest.mark.parametrize("channels", [1, 3])
def test_color_changes_are_shares_of_the_value_range(channels):
    colors = (
        COLOURS
        if channels == 3
        else {n: v for n, v in COLOURS.items() if n not in ("saturation", "hue")}
    )
    image = draw_sample(0, 32, 40)[0][..., :channels].astype("float32")
    usual = change(Augment(32, **colors), 8, image=image)["image"]
    other = change(Augment(32, **colors, value_range=(-1, 1)), 8, image=image / 127.5 - 1)["image"]
    assert usual.std() > 10
    # jpeg rounds: a last digit may become a step
    assert np.mean(np.abs((other + 1) * 127.5 - usual) > 0.05) < 0.01


@pytest.mark.parametrize("channels", [1, 5])
def test_images_of_any_number_of_channels(channels):
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, (40, 50, channels)).astype("float32")
    augment = Augment(
        32, rotate=10, brightness=0.2, contrast=0.3, gamma=0.2, blur=1, noise=0.05, cutout=0.2
    )
    changed = change(augment, 4, image=image)["image"]
    assert changed.shape == (4, 32, 32, channels)
    assert np.isfinite(changed).all()
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert gray(100, Augment(8, contrast=(2, 2), brightness=(0.1, 0.1)), channels) == pytest.approx(
        [98] * channels
    )


def test_what_is_for_other_channels_is_refused():
    image = np.zeros((1, 8, 8, 5), "uint8")
    for options, why in (
        (
            {"saturation": 0.2},
            "saturation and hue want images of 3 channels; 5 came. Leave them out",
        ),
        ({"hue": 5, "contrast": 0.1}, "saturation and hue want images of 3 channels; 5 came"),
        ({"jpeg": 50}, "jpeg want images of 1 or 3 channels; 5 came"),
    ):
        with pytest.raises(ValueError, match=f"Augment: {why}"):
            Augment(8, **options)({"image": image}, keys_of(1))


def test_normalized_at_last():
    options, image = {"brightness": 0.3, "cutout": (0.3, 0.3)}, draw_sample(0)[0]
    mean, deviation = np.array([120, 110, 100]), np.array([60, 50, 40])
    usual = change(Augment(16, **options), 2, image=image)["image"]
    changed = change(Augment(16, **options, normalize=(mean, deviation)), 2, image=image)["image"]
    assert changed == pytest.approx((usual - mean) / deviation, abs=1e-4)
    assert gray(110, Augment(8, normalize=(100, 10))).tolist() == [1] * 3


def test_images_of_all_dtypes_become_the_same():
    augment = Augment(32, **GEOMETRY, brightness=0.1)
    image, mask = draw_sample(1)
    results = [
        change(augment, 8, image=image.astype(dtype), mask=mask)
        for dtype in ("uint8", "uint16", "float32")
    ]
    for result in results[:2]:
        assert np.array_equal(result["mask"], results[2]["mask"])
        assert (
            np.abs(result["image"] - results[2]["image"]).max() <= 0.51
        )  # averaged images are rounded
    assert np.array_equal(results[0]["image"], results[1]["image"])


def test_deep_images_keep_their_depth():
    image = np.random.default_rng(0).integers(0, 2**16, (40, 40, 1), np.uint16)
    changed = change(
        Augment(32, flip="both", brightness=(0.1, 0.1), value_range=(0, 65535)), 4, image=image
    )["image"]
    assert len(np.unique(changed)) > 900
    assert changed.max() == 65535


# ---- arguments ----


def test_arguments_are_checked():
    for options, why in (
        ({"size": 0}, "size=0 must be a whole number of at least 1"),
        ({"size": (8, -1)}, "size=-1 must be"),
        ({"size": 7.5}, "size=7.5 must be"),
        ({"size": (8, 8, 3)}, r"size=\(8, 8, 3\) must be a number or \(height, width\)"),
        ({"flip": "horizontl"}, "flip='horizontl' is unknown.*Did you mean 'horizontal'"),
        ({"crop": "center"}, "crop='center' is unknown.*Did you mean 'center'"),
        ({"interpolation": "cubic"}, "interpolation='cubic' is unknown.*Did you mean 'bicubic'"),
        ({"mosaic": 1.5}, "mosaic=1.5 is a probability and must be from 0 to 1"),
        ({"cutmix": -0.5}, "cutmix=-0.5 is a probability"),
        ({"perspective": 0.4}, "perspective=0.4 must lie within -0.4 and 0.4"),
        ({"perspective": (-0.5, 0)}, r"perspective=\(-0.5, 0\) must lie within"),
        ({"value_range": (255, 0)}, r"value_range=\(255, 0\) must be \(smallest, largest\)"),
        ({"normalize": (1, 2, 3)}, r"normalize=\(1, 2, 3\) must be \(mean, deviation\)"),
        ({"probability": {"blurr": 1}}, "probability of='blurr' is unknown.*Did you mean 'blur'"),
        ({"probability": {"blur": 2}}, "the probability of blur, 2, must be from 0 to 1"),
        ({"scale": (0, 1)}, r"scale=\(0, 1\) must be"),
        (
            {"elastic": 20, "perspective": 0.3, "size": 32},
            "perspective and elastic reach up to 0.3 and 20",
        ),
    ):
        with pytest.raises(ValueError, match=f"^Augment: {why}"):
            Augment(**{"size": 8, **options})


def test_sizes_must_be_known_where_it_is_compiled():
    image = tf.keras.Input((None, 40, 3), batch_size=2)
    with pytest.raises(
        ValueError, match=r"images of shape \(2, None, 40, 3\) came.*must know height and width"
    ):
        Augment(8).kernel({"image": image}, keys_of(2))


def test_classes_want_a_mask():
    image = np.zeros((1, 20, 20, 1), "uint8")
    with pytest.raises(ValueError, match='crop="classes" came without a mask'):
        Augment(8, crop="classes")({"image": image}, keys_of(1))
    with pytest.raises(ValueError, match='crop="classes" came without a mask'):
        Augment(8, crop="classes").sample({"image": image[0]})


def test_lists_arrays_and_tuples_are_one():
    augment = Augment(
        (8, 9),
        scale=(0.5, 2.0),
        normalize=((1, 2, 3), (4, 5, 6)),
        fill=(1, 2, 3),
        **{"rotate": 3.0},
    )
    listed = Augment(
        [8, 9],
        scale=[0.5, 2.0],
        normalize=[[1, 2, 3], np.array([4, 5, 6])],
        fill=np.arange(1, 4),
        rotate=3,
    )
    assert augment == listed
    assert Augment(**json.loads(json.dumps(asdict(augment)))) == augment
    assert Augment(np.int64(8)) == Augment(8) == Augment((8, 8))


def test_images_read_smaller_are_magnified():
    augment = Augment(8, scale=(0.25, 0.5), rotate=10)
    assert augment.crop_sampler.shrink == 2
    assert augment.scaled_by(1) is augment
    assert augment.scaled_by(2) == Augment(8, scale=(0.5, 1.0), rotate=10)
    assert Augment(8, scale=(0.5, 0.5)).scaled_by(2).ranges == {}


# ---- keypoints ----


@pytest.mark.parametrize(
    "options",
    [
        {
            "scale": (0.8, 1.4),
            "rotate": 40,
            "flip": "both",
            "shear": 15,
            "perspective": 0.2,
            "elastic": 3,
        },
        {"flip": "horizontal", "mosaic": 1.0},
        {"cutmix": 1.0, "rotate": 20},
    ],
    ids=["geometry", "mosaic", "cutmix"],
)
def test_keypoints_stay_on_their_objects(options):
    y, x = np.mgrid[:60, :70]
    centers = [(20, 14), (50, 22), (33, 45)]  # x, y of discs of radius 5
    instances = sum(
        (k + 1) * (np.hypot(x - cx, y - cy) < 5) for k, (cx, cy) in enumerate(centers)
    ).astype("int32")
    points = np.float32(centers) + 0.5
    boxes = np.concatenate([points - 5, points + 5], axis=1).astype("float32")
    sample = {"image": np.zeros((60, 70, 1), "uint8"), "instances": instances, "boxes": boxes}
    sample |= {"classes": np.array([0, 1, 2], "int32"), "keypoints": points}
    batch = {name: np.stack([values] * 6) for name, values in sample.items()}
    changed = arrays(Augment(48, **options)(batch, keys_of(6)))
    seen = hidden = 0
    for window, found in zip(changed["instances"], changed["keypoints"], strict=True):
        assert len(found) == (3 if options.keys() & {"scale"} else 12)
        for k, point in enumerate(found):
            if np.isnan(point).any():
                hidden += 1
                continue
            assert (point >= 0).all() and (point < 48).all()  # noqa: PT018
            at = window[int(point[1]), int(point[0])]
            assert at in (k + 1, 0)  # 0 where less than a tenth of the object is left
            seen += at == k + 1
    assert seen > 8
    assert hidden > 0
