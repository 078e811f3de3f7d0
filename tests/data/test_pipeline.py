import gc
import hashlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from plain_augment import uncompiled

from conftest import draw_sample
from tfseg.data import Arrays, Augment, Folder, Reader, Resize, pipeline
from tfseg.data.readers.objects import BOX_FIELDS, boxes_around, object_arrays, relabel
from tfseg.metrics import ConfusionMetrics

NAMES = ["ground", "disc", "band"]
# Shared, so that their kernels are compiled or traced once for each shape of a batch: `AUGMENT` by
# XLA, for batches of 2; `MIXED` without XLA. `FLIPPED` runs eagerly.
AUGMENT = Augment(24, scale=(0.75, 1.4), rotate=10, flip="both", contrast=0.2, noise=0.02)
FLIPPED = uncompiled(Augment(24, flip="both"))
MIXED = Augment(24, scale=(0.75, 1.4), crop="classes", mosaic=0.5, cutmix=0.3)
MIXED.__dict__["_compiled"] = tf.function(MIXED.kernel, autograph=False)


# --- readers and batches


def arrays(count=5, sizes=((48, 56),)):
    samples = [draw_sample(i, *sizes[i % len(sizes)]) for i in range(count)]
    return Arrays(*zip(*samples, strict=True), NAMES)


class Discs(Reader):
    """Images with discs as objects: none in every third image, else one or two."""

    def __init__(self, count=7, fields=("image", "mask", "instances", "boxes", "classes")):
        super().__init__(NAMES, [(40, 44 + i % 2) for i in range(count)], 3, np.uint8)
        self.fields = fields

    def num_objects(self, index):
        return index % 3

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        height, width = self.sizes[index]
        y, x = np.mgrid[:height, :width]
        instances = np.zeros((height, width), np.int32)
        for number in range(1, 1 + self.num_objects(index)):
            center_y, center_x = rng.uniform(9, 31), rng.uniform(12 * number - 8, 12 * number - 4)
            instances[np.hypot(y - center_y, x - center_x) < 4] = number
        instances, ids = relabel(instances)
        classes = (1 + ids % 2).astype(np.int32)
        mask = np.array([0, *classes], np.uint8)[instances]
        image = rng.integers(0, 99, (height, width, 3), np.uint8) + np.uint8(50) * mask[..., None]
        sample = {
            "image": image,
            "mask": mask,
            "instances": instances,
            "boxes": boxes_around(instances),
            "classes": classes,
        }
        return {name: sample[name] for name in self.fields}


class NoObjects(Discs):
    def num_objects(self, index):
        return 0


class Spy(Reader):
    """A reader that records the (index, shrink) of everything that is read."""

    def __init__(self, reader):
        super().__init__(reader.class_names, reader.sizes, reader.channels, reader.dtype)
        self.reader, self.fields, self.seen = reader, reader.fields, []

    def read(self, index, shrink=1):
        self.seen.append((index, shrink))
        return self.reader.read(index, shrink)

    def __getitem__(self, index):
        return self.read(index)

    def name(self, index):
        return self.reader.name(index)


def flat(batch):
    """Return a batch as one dict of arrays."""
    image, labels = batch
    labels = labels if isinstance(labels, dict) else {"mask": labels}
    return {name: array.numpy() for name, array in ({"image": image} | labels).items()}


def batches(dataset, count):
    """Return the first `count` batches of a stream, pass after pass."""
    found = []
    while len(found) < count:
        found += map(flat, dataset)
    return found[:count]


def digest(found):
    data = b"".join(batch[name].tobytes() for batch in found for name in sorted(batch))
    return hashlib.sha256(data).hexdigest()


def equal(first, second):
    assert len(first) == len(second)
    return all(
        a.keys() == b.keys() and digest([a]) == digest([b])
        for a, b in zip(first, second, strict=True)
    )


# --- evaluation streams


def test_evaluation_returns_every_sample_once_in_order():
    reader = arrays()
    dataset = pipeline(reader, batch_size=2)
    assert len(dataset) == 3
    found = batches(dataset, 3)
    for name in ("image", "mask"):
        values = np.concatenate([batch[name] for batch in found])
        assert np.array_equal(values, [reader[i][name] for i in range(5)])


def test_evaluation_batches_images_by_size():
    reader = arrays(7, sizes=((48, 56), (50, 40), (48, 56)))
    dataset = pipeline(reader, batch_size=4)
    found = batches(dataset, 3)
    assert len(dataset) == len(list(dataset)) == 3  # five images of one size, two of the other
    assert sorted(batch["image"].shape for batch in found) == [
        (1, 48, 56, 3),
        (2, 50, 40, 3),
        (4, 48, 56, 3),
    ]
    total = sum(reader[i]["mask"].sum() for i in range(7))
    assert sum(batch["mask"].sum(dtype=int) for batch in found) == total


def test_images_of_float_dtype_and_many_channels(without_xla):
    images = np.random.default_rng(0).normal(size=(4, 40, 40, 5)).astype(np.float32)
    reader = Arrays(images, np.zeros((4, 40, 40), np.uint8), NAMES)
    (crops,) = batches(pipeline(reader, 4, AUGMENT, value_range=(-5, 5)), 1)
    assert crops["image"].shape == (4, 24, 24, 5)
    whole = batches(pipeline(reader, 4, value_range=(-5, 5)), 1)[0]["image"]
    assert np.array_equal(whole, images)


def test_padded_batches_keep_every_sample_in_order():
    reader = arrays(5, ((48, 56), (50, 40)))
    dataset = pipeline(reader, 2, pad=True)
    found = batches(dataset, 3)
    assert len(dataset) == 3
    assert [batch["image"].shape[:3] for batch in found] == [(2, 50, 56), (2, 50, 56), (1, 48, 56)]
    for i in range(5):
        image, mask = found[i // 2]["image"][i % 2], found[i // 2]["mask"][i % 2]
        height, width = reader.sizes[i]
        assert np.array_equal(image[:height, :width], reader[i]["image"])
        assert np.array_equal(mask[:height, :width], reader[i]["mask"])
        assert (mask == 255).sum() == mask.size - height * width
        assert image.sum(dtype=int) == reader[i]["image"].sum(dtype=int)


def test_resized_batches_are_in_order():
    reader = arrays(5, ((48, 56), (50, 40)))
    resize = Resize((36, 34))  # more than half of the size, so that images are not read smaller
    found = batches(pipeline(reader, 3, resize=resize), 2)
    images = np.concatenate([batch["image"] for batch in found])
    assert np.array_equal(images, [resize(reader[i])["image"] for i in range(5)])
    # three images of one size, two of the other
    assert len(pipeline(reader, 3, resize=Resize(20, "shorter"))) == 2


# --- training streams


def test_the_seed_and_the_epoch_fix_every_batch():
    reader = arrays()
    stream = pipeline(reader, 2, AUGMENT, seed=3)
    first, second = batches(stream, 4), batches(stream, 4)
    assert equal(batches(pipeline(reader, 2, AUGMENT, seed=3), 4), first)
    # the epoch counter belongs to the dataset, also if Python drops its other names
    mapped = pipeline(reader, 2, AUGMENT, seed=3).map(lambda image, mask: (image, mask))
    gc.collect()
    assert equal(batches(mapped, 8), first + second)
    assert not equal(first[:2], first[2:])
    assert not equal(first, batches(pipeline(reader, 2, AUGMENT, seed=4), 4))


def test_an_epoch_contains_every_sample_at_most_once(without_xla):
    images = [np.full((40, 40, 1), i, np.uint8) for i in range(7)]
    reader = Arrays(images, [np.zeros((40, 40), np.uint8)] * 7, NAMES)
    dataset = pipeline(reader, 3, Augment(8))
    for _ in range(4):
        epoch = [image.numpy() for image, _ in dataset]
        assert len(epoch) == 2
        assert len({value for image in epoch for value in image[:, 0, 0, 0]}) == 6


@pytest.mark.parametrize("size", [(20, 300), (9, 9), (200, 200)])
def test_crops_of_images_of_any_size(size, without_xla):
    rng = np.random.default_rng(0)
    images = [rng.integers(1, 256, (*size, 1), np.uint8) for _ in range(4)]
    reader = Arrays(images, [np.ones(size, np.uint8)] * 4, NAMES)
    (batch,) = batches(pipeline(reader, 4, Augment(32)), 1)
    inside = batch["mask"] == 1
    assert set(np.unique(batch["mask"])) <= {1, 255}
    assert inside.sum((1, 2)).tolist() == [min(size[0], 32) * min(size[1], 32)] * 4
    assert np.array_equal(batch["image"][..., 0] > 0, inside)


def test_training_on_whole_samples():
    reader = arrays(5)
    dataset = pipeline(reader, 2, shuffle=True)
    assert (len(dataset), dataset.element_spec[0].shape.as_list()) == (2, [2, 48, 56, 3])
    known = [reader[i]["image"].tobytes() for i in range(5)]
    for _ in range(3):
        epoch = list(dataset)
        seen = [known.index(image.numpy().tobytes()) for images, _ in epoch for image in images]
        assert len(set(seen)) == 4
        masks = [mask.numpy() for _, part in epoch for mask in part]
        for i, mask in zip(seen, masks, strict=True):
            assert np.array_equal(mask, reader[i]["mask"])


def test_training_on_whole_samples_needs_one_size():
    reader = arrays(6, ((48, 56), (50, 40)))
    with pytest.raises(
        ValueError, match=r"the images differ in size\. Pass `resize`, `pad=True` or an `augment`"
    ):
        pipeline(reader, 2, shuffle=True)
    image, mask = next(iter(pipeline(reader, 2, shuffle=True, resize=Resize((24, 32)))))
    assert (image.shape, mask.shape) == ((2, 24, 32, 3), (2, 24, 32))
    for image, mask in pipeline(reader, 6, shuffle=True, pad=True):
        assert (image.shape, mask.shape) == ((6, 50, 56, 3), (6, 50, 56))


STREAMS = {
    "augmented": lambda **options: pipeline(
        arrays(7, ((40, 44), (44, 40))), 2, AUGMENT, seed=5, **options
    ),
    "mixed objects": lambda **options: pipeline(Discs(), 3, MIXED, seed=5, **options),
    "whole": lambda **options: pipeline(arrays(7), 2, seed=5, shuffle=True, **options),
    "whole, padded": lambda **options: pipeline(
        Discs(), 3, seed=5, shuffle=True, pad=True, **options
    ),
    "smaller than a batch": lambda **options: pipeline(
        arrays(3), 4, seed=5, shuffle=True, **options
    ),
}


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_continues_from_any_step(stream):
    expected = batches(STREAMS[stream](), 8)
    assert len({digest([batch]) for batch in expected}) > 3  # small datasets may repeat a batch
    # in the first and in a later epoch
    for step in (1, 5) if stream == "whole" else (5,):
        assert equal(batches(STREAMS[stream](first_step=step), 8 - step), expected[step:])


def test_a_dataset_smaller_than_a_batch_repeats_itself():
    dataset = STREAMS["smaller than a batch"]()
    assert len(dataset) == 1
    assert batches(dataset, 1)[0]["image"].shape == (4, 48, 56, 3)


@pytest.mark.parametrize("stream", ["augmented", "mixed objects", "whole, padded"])
def test_the_number_of_threads_changes_nothing(stream):
    found = []
    for threads in (1, 16):
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        options.threading.max_intra_op_parallelism = threads
        found.append(batches(STREAMS[stream]().with_options(options), 4))
    assert equal(*found)


@pytest.mark.slow
def test_another_process_gives_the_same_batches():
    script = """
import sys
sys.path[:0] = sys.argv[1:]
from test_pipeline import STREAMS, batches, digest
print(*(digest(batches(STREAMS[name](), 3)) for name in ("mixed objects", "whole")))
"""
    here = Path(__file__).parent
    command = [sys.executable, "-c", script, str(here), str(here.parent)]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert found == [digest(batches(STREAMS[name](), 3)) for name in ("mixed objects", "whole")]


def test_fit_uses_every_batch_of_the_stream():
    class Recorder(keras.Model):
        def train_step(self, data):
            seen.append(flat(data))
            return {"loss": tf.constant(0.0)}

    seen = []
    model = Recorder()
    model.compile(run_eagerly=True)
    model.fit(STREAMS["whole"](), epochs=3, verbose=0, shuffle=False)
    assert equal(seen, batches(STREAMS["whole"](), 9))


@pytest.mark.parametrize("seed", [2**40 + 3, -7])
def test_seeds_can_be_large_or_negative(seed):
    (batch,) = batches(pipeline(arrays(2), 2, AUGMENT, seed=seed), 1)
    assert (batch["mask"] == 255).mean() < 0.2  # crops are inside the images
    assert batch["image"].std() > 10


def test_autotune_is_off():
    # With its thread asleep, the end of an epoch took up to a minute: too rare to be timed here.
    for dataset in (pipeline(arrays(), 2, AUGMENT), pipeline(arrays())):
        assert dataset.options().autotune.enabled is False


# --- what batches contain


def test_pieces_are_only_as_large_as_crops_need(monkeypatch):
    seen = []

    def spy(self, batch, keys):
        seen.append(batch)
        return {"image": np.zeros((2, 8, 8, 3), "float32"), "mask": np.zeros((2, 8, 8), "uint8")}

    monkeypatch.setattr(Augment, "__call__", spy)
    augment = Augment(8)
    batches(pipeline(arrays(4), 2, augment), 2)
    shapes = {tuple(batch["image"].shape) for batch in seen}
    assert shapes == {(2, *augment.crop_sampler.canvas, 3)}
    assert max(augment.crop_sampler.canvas) < 20
    # random numbers are drawn when the sample is read, and travel with it
    assert all("random" in batch for batch in seen)


def test_objects_of_a_batch_are_padded():
    reader = Discs(5)
    dataset = pipeline(reader, 4)
    labels_spec = dataset.element_spec[1]
    assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in labels_spec.items()} == {
        "mask": (tf.uint8, [None, 40, None]),
        "instances": (tf.int32, [None, 40, None]),
        "boxes": (tf.float32, [None, None, 4]),
        "classes": (tf.int32, [None, None]),
    }
    for batch, indices in zip(batches(dataset, 2), ([0, 2, 4], [1, 3]), strict=True):
        samples = [reader[i] for i in indices]
        most = max(len(sample["classes"]) for sample in samples)
        assert batch["boxes"].shape == (len(indices), most, 4)
        for i, sample in enumerate(samples):
            count = len(sample["classes"])
            assert np.array_equal(batch["boxes"][i, :count], sample["boxes"])
            assert not batch["boxes"][i, count:].any()
            padded = sample["classes"].tolist() + [-1] * (most - count)
            assert batch["classes"][i].tolist() == padded
            for name in ("image", "mask", "instances"):
                assert np.array_equal(batch[name][i], sample[name])


def test_batches_without_objects(without_xla):
    reader = NoObjects(4)
    found = [*batches(pipeline(reader, 2), 2), *batches(pipeline(reader, 2, AUGMENT), 2)]
    for batch in found:
        assert batch["boxes"].shape == (2, 0, 4)
        assert batch["classes"].shape == (2, 0)
        assert not batch["instances"].any()
    (mixed,) = batches(pipeline(reader, 3, MIXED), 1)
    assert mixed["boxes"].shape == (3, 0, 4)


def test_augmented_objects_match_their_pixels(without_xla):
    dataset = pipeline(Discs(), 3, Augment(24, scale=(0.9, 1.2), flip="both"))
    assert dataset.element_spec[1]["boxes"].shape.as_list() == [3, None, 4]
    count = 0
    for batch in batches(dataset, 6):
        assert batch["image"].shape == (3, 24, 24, 3)
        for mask, instances, boxes, classes in zip(
            batch["mask"], batch["instances"], batch["boxes"], batch["classes"], strict=True
        ):
            numbers = set(np.unique(instances)) - {0}
            assert numbers <= set(1 + np.flatnonzero(classes >= 0))
            assert not boxes[classes < 0].any()
            for number in numbers:
                y, x = np.nonzero(instances == number)
                expected = [x.min(), y.min(), x.max() + 1, y.max() + 1]
                assert np.abs(boxes[number - 1] - expected).max() <= 1.5
                assert set(np.unique(mask[instances == number])) == {classes[number - 1]}
                count += 1
    assert count > 5


@pytest.mark.parametrize("augment", [None, Augment(24, scale=(0.9, 1.2))])
def test_detection_needs_no_masks(augment, without_xla):
    dataset = pipeline(Discs(6, fields=("image", "boxes", "classes")), 2, augment)
    image, labels = next(iter(dataset))
    assert image.shape[0] == 2
    assert set(labels) == {"boxes", "classes"}
    assert sum((batch["classes"] >= 0).sum() for batch in batches(dataset, len(dataset))) > 0


class Squares(Reader):
    """Image i has i + 1 squares with sides of 3, 4, 5 ... pixels, which do not overlap."""

    fields = ("image", "instances", *BOX_FIELDS)

    def __init__(self, count=4):
        super().__init__(["square"], [(40, 60)] * count, 1, np.uint8)

    def __getitem__(self, index):
        instances = np.zeros((40, 60), np.int32)
        for number in range(index + 1):
            top, left, side = 20 * (number % 2), 12 * (number // 2), 3 + number
            instances[top : top + side, left : left + side] = number + 1
        boxes = boxes_around(instances)
        labels = object_arrays(boxes, np.zeros(len(boxes)), np.arange(len(boxes)) == 1)
        return {"image": instances[..., None].astype(np.uint8), "instances": instances, **labels}


def check_squares(batch, most):
    """Check that the largest squares are kept, in their order, with their pixels."""
    for image, instances, boxes, areas in zip(
        batch["image"], batch["instances"], batch["boxes"], batch["areas"], strict=True
    ):
        count = int(image.max())
        kept = min(count, most)
        sides = 3 + np.arange(count - kept, count)
        expected = np.where(image[..., 0] > count - kept, image[..., 0] - (count - kept), 0)
        assert np.array_equal(instances, expected)
        assert (boxes[:kept, 2] - boxes[:kept, 0]).tolist() == sides.tolist()
        assert areas.tolist() == [*(sides**2).tolist(), *[0] * (most - kept)]


def test_max_objects_keeps_the_largest_and_reports_the_others():
    dataset = pipeline(Squares(), 2, max_objects=2)
    shapes = {name: spec.shape.as_list() for name, spec in dataset.element_spec[1].items()}
    assert shapes == {
        "instances": [None, 40, 60],
        "boxes": [None, 2, 4],
        "classes": [None, 2],
        "crowd": [None, 2],
        "areas": [None, 2],
    }
    message = r"2 samples have more objects than max_objects .*\n  2: 1\n  3: 2$"
    with pytest.warns(UserWarning, match=message):
        first, second = batches(dataset, 2)
    assert first["classes"].tolist() == [[0, -1], [0, 0]]
    assert first["crowd"].tolist() == [[False, False], [False, True]]
    assert second["crowd"].tolist() == [[True, False], [False, False]]
    check_squares(first, 2)
    check_squares(second, 2)
    batches(dataset, 2)  # a warning would be an error: every sample is named once


def test_max_objects_of_training_streams(without_xla):
    whole = pipeline(Squares(), 2, shuffle=True, max_objects=3)
    assert whole.element_spec[1]["boxes"].shape.as_list() == [2, 3, 4]
    with pytest.warns(UserWarning, match=r"1 sample has more objects .*\n  3: 1$"):
        found = batches(whole, 2)
    crops = pipeline(Squares(), 2, Augment((40, 60)), max_objects=3)
    assert crops.element_spec[1]["classes"].shape.as_list() == [2, 3]
    with pytest.warns(UserWarning, match=r"1 sample has more objects .*\n  3: 1$"):
        found += batches(crops, 2)
    for batch in found:
        check_squares(batch, 3)


def test_a_mosaic_is_cut_back_to_max_objects(without_xla):
    # Mosaics show objects of four images: up to 4 x 4, before the cut.
    augment = Augment((40, 60), mosaic=1.0)
    everything = batches(pipeline(Squares(), 4, augment, max_objects=16), 1)[0]
    counts = (everything["classes"] >= 0).sum(axis=1)
    assert everything["boxes"].shape == (4, 16, 4)
    assert counts.max() > 3
    with pytest.warns(UserWarning, match="more objects than max_objects"):
        few = batches(pipeline(Squares(), 4, augment, max_objects=3), 1)[0]
    for i in range(4):
        areas = np.sort(box_areas(everything["boxes"][i]))[::-1]
        assert np.sort(box_areas(few["boxes"][i]))[::-1].tolist() == areas[:3].tolist()
        kept = few["classes"][i] >= 0
        assert kept.sum() == min(counts[i], 3)
        assert set(np.unique(few["instances"][i])) - {0} <= set(np.flatnonzero(kept) + 1)
        for number in set(np.unique(few["instances"][i])) - {0}:
            y, x = np.nonzero(few["instances"][i] == number)
            found = [x.min(), y.min(), x.max() + 1, y.max() + 1]
            assert found == few["boxes"][i][number - 1].tolist()


def box_areas(boxes):
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)


def test_max_objects_needs_objects():
    with pytest.raises(ValueError, match="max_objects=3 needs objects, but .* only image, mask"):
        pipeline(arrays(3), 2, max_objects=3)
    with pytest.raises(ValueError, match="max_objects=0 must be a whole number"):
        pipeline(Squares(), 2, max_objects=0)


class Broken(Squares):
    def __getitem__(self, index):
        if index == 1:
            raise OSError("broken")
        return super().__getitem__(index)


def test_max_objects_with_samples_that_cannot_be_read():
    dataset = pipeline(Broken(), 2, max_objects=5, on_error="skip")
    with pytest.warns(UserWarning, match="1 sample was skipped"):
        first, _ = batches(dataset, 2)
    assert first["boxes"].shape == (2, 5, 4)
    assert (first["classes"][1] == -1).all()


def test_class_crops_need_masks():
    reader = Discs(fields=("image", "boxes", "classes"))
    with pytest.raises(
        ValueError, match="pipeline: crop='classes' needs masks, but this reader has none"
    ):
        pipeline(reader, 2, Augment(8, crop="classes"))


def test_invalid_arguments_raise():
    reader = arrays(3)
    for options in ({"resize": Resize(9)}, {"pad": True}, {"shuffle": False}):
        with pytest.raises(ValueError, match="are for whole images, but `augment` takes crops"):
            pipeline(reader, 2, Augment(8), **options)
    with pytest.raises(
        ValueError, match=r"pipeline: on_error='skipp' is unknown.*Did you mean 'skip'"
    ):
        pipeline(reader, on_error="skipp")
    with pytest.raises(ValueError, match=r"pipeline: batch_size=0 must be a whole number"):
        pipeline(reader, 0)
    with pytest.raises(ValueError, match=r"pipeline: the reader is empty"):
        pipeline(reader.subset([]))


# --- images read smaller


@pytest.mark.parametrize(
    ("augment", "expected"),
    [
        (Augment(32, scale=(0.1, 0.25)), 4),
        (Augment(32, scale=(0.2, 0.51)), 1),
        (Augment(32, scale=(0.2, 0.5), probability={"scale": 0.5}), 1),
    ],
)
def test_images_are_read_at_the_size_that_crops_need(augment, expected, without_xla):
    spy = Spy(arrays(2, ((160, 200),)))
    assert next(iter(pipeline(spy, 1, augment)))[0].shape == (1, 32, 32, 3)
    assert {shrink for _, shrink in spy.seen} == {expected}


def test_images_are_read_at_the_size_that_resizing_needs():
    spy = Spy(arrays(2, ((160, 200),)))
    batches(pipeline(spy, 2, resize=Resize(40)), 1)
    assert sorted(spy.seen) == [(0, 4), (1, 4)]


@pytest.mark.parametrize("crop", ["random", "center"])
def test_crops_of_images_read_smaller_show_the_same(crop, without_xla):
    image, mask = draw_sample(1, 203, 251)
    reader = Arrays([cv2.GaussianBlur(image, (0, 0), 2)], [mask], NAMES)
    augment = Augment(64, scale=(0.3, 0.5), rotate=20, flip="both", crop=crop)
    assert augment.crop_sampler.shrink == 2
    for number, batch in enumerate(batches(pipeline(reader, 1, augment, seed=3), 3)):
        expected = augment.sample(reader[0], 3, number)
        assert np.abs(batch["image"][0] - expected["image"]).mean() < 2
        assert (batch["mask"][0] == expected["mask"]).mean() > 0.97


# --- samples that cannot be read


def damage(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def damaged_folder(folder, *names):
    for name in names:
        damage(folder / "images" / f"{name}.jpg")
    return Folder(folder / "images", folder / "masks", NAMES)


KINDS = {
    "training": {"augment": FLIPPED},
    "whole": {"shuffle": True},
    "evaluation": {},
    "padded": {"pad": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_errors_name_the_file(folder, kind):
    reader = damaged_folder(folder, "p3")
    # Of few samples, all are checked when the pipeline is opened, unless Python reads them.
    with pytest.raises((OSError, tf.errors.OpError), match=r"p3\.jpg is damaged"):
        batches(pipeline(reader, 3, **KINDS[kind]), 4)


@pytest.mark.parametrize("kind", ["training", "whole"])
def test_training_skips_to_the_next_sample_and_warns_once_per_pass(folder, kind):
    reader = damaged_folder(folder, "p3", "p4")
    dataset = pipeline(reader, 3, on_error="skip", **KINDS[kind])
    for _ in range(2):
        iterator = iter(dataset)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = [flat(next(iterator))]
        message = r"(?s)^pipeline: 2 samples were skipped:\n  p3: .*p3\.jpg.*p4: .*p4\.jpg"
        with pytest.warns(UserWarning, match=message) as raised:
            found += map(flat, iterator)
        assert len(raised) == 1
        assert [len(batch["image"]) for batch in found] == [3, 3]
    if kind == "whole":  # p5 itself, and in place of p3 and p4
        images = [image for batch in found for image in batch["image"]]
        assert sum(np.array_equal(image, reader[5]["image"]) for image in images) == 3


@pytest.mark.parametrize("kind", ["training", "whole", "evaluation"])
def test_skip_changes_nothing_if_all_samples_can_be_read(kind):
    expected = pipeline(arrays(), 2, on_error="raise", **KINDS[kind])
    dataset = pipeline(arrays(), 2, on_error="skip", **KINDS[kind])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert equal(batches(expected, 4), batches(dataset, 4))
    assert len(expected) == len(dataset)
    assert expected.element_spec == dataset.element_spec


@pytest.mark.parametrize("options", [{}, {"pad": True}, {"resize": Resize((40, 30))}])
def test_evaluation_does_not_count_skipped_samples(folder, options):
    reader = damaged_folder(folder, "p0", "p3")

    def confusion_matrix(reader, on_error):
        metric = ConfusionMetrics(3)
        for image, mask in pipeline(reader, 2, on_error=on_error, **options):
            metric.update_state(mask, tf.one_hot(tf.cast(image[..., 0], tf.int32) // 90, 3))
        return np.asarray(metric.matrix)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = confusion_matrix(reader.subset([1, 2, 4, 5]), "raise")
    with pytest.warns(UserWarning, match="2 samples were skipped") as raised:
        matrix = confusion_matrix(reader, "skip")
    assert len(raised) == 1
    assert matrix.sum() > 1000
    assert np.array_equal(matrix, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_dataset_without_readable_samples_raises(folder, kind):
    reader = damaged_folder(folder, *(f"p{i}" for i in range(6)))
    message = r"none of the 6 samples can be read\. The last error: .*\.jpg is damaged"
    with pytest.raises(tf.errors.OpError, match=message):
        batches(pipeline(reader, 2, on_error="skip", **KINDS[kind]), 4)


def shrink_image(file):
    Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save(file)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("training", damage),
        ("training", shrink_image),
        ("evaluation", Path.unlink),
        ("evaluation", shrink_image),
    ],
)
def test_files_can_be_damaged_between_passes(folder, kind, change):
    reader = damaged_folder(folder)
    raising = pipeline(reader, 3, on_error="raise", **KINDS[kind])
    skipping = pipeline(reader, 3, on_error="skip", **KINDS[kind])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(batches(raising, 2)) == len(batches(skipping, 2)) == 2
    change(folder / "images" / "p2.jpg")
    with pytest.raises(tf.errors.OpError, match="p2"):
        batches(raising, 2)
    with pytest.warns(UserWarning, match=r"1 sample was skipped:\n  p2: "):
        assert [len(batch["image"]) for batch in batches(skipping, 2)] == [3, 3]


def test_fit_warns_about_skipped_samples(folder):
    dataset = pipeline(damaged_folder(folder, "p3"), 2, on_error="skip", shuffle=True)
    model = keras.Sequential([keras.layers.Conv2D(3, 1)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.warns(UserWarning, match=r"p3\.jpg is damaged") as raised:
        model.fit(dataset, epochs=3, verbose=0, shuffle=False)
    # `fit` may end before the warning of the last pass.
    assert sum("1 sample was skipped" in str(warning.message) for warning in raised) in (2, 3)


# --- resources of long trainings


def resources():
    """Return (resident bytes, threads, open files) of this process."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    threads, files = os.listdir("/proc/self/task"), os.listdir("/proc/self/fd")
    return np.array([resident, len(threads), len(files)])


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("kind", ["training", "evaluation"])
def test_many_epochs_use_no_more_resources_than_few(folder, kind, tmp_path):
    reader = Folder(folder / "images", folder / "masks", NAMES).subset(np.arange(64) % 6)
    options = {"augment": AUGMENT} if kind == "training" else {}
    dataset = pipeline(reader, 2, on_error="skip", cache=tmp_path / "cache", **options)
    used = []
    for epochs in (3, 8):
        for _ in range(epochs):
            assert sum(1 for _ in dataset) == 32
        gc.collect()
        used.append(resources())
    resident, threads, files = (used[1] - used[0]).tolist()
    assert resident < 4 * 2**20  # the samples of an epoch are 0.7 MB: 8 of them would be 5.6 MB
    assert threads <= 2
    assert files <= 0
