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
from conftest import draw_sample
from PIL import Image

from tfseg.data import Arrays, Augment, Folder, Reader, Resize, pipeline
from tfseg.data.readers.objects import boxes_of, relabeled
from tfseg.metrics import ConfusionMetrics

NAMES = ["ground", "disc", "band"]


def arrays(count=5, sizes=((48, 56),)):
    samples = [draw_sample(i, *sizes[i % len(sizes)]) for i in range(count)]
    return Arrays(*zip(*samples, strict=True), NAMES)


def epochs(dataset, count):
    return [[(image.numpy(), mask.numpy()) for image, mask in dataset] for _ in range(count)]


def same(first, second):
    return all(
        np.array_equal(a, b)
        for x, y in zip(first, second, strict=True)
        for a, b in zip(x, y, strict=True)
    )


def augmented(reader, batch_size=2, **options):
    return pipeline(
        reader, batch_size, Augment(32, scale=(0.8, 1.3), rotate=10, flip="both"), **options
    )


def test_without_augmentation_every_sample_comes_once_in_order():
    reader = arrays()
    dataset = pipeline(reader, batch_size=2)
    assert len(dataset) == 3
    images, masks = (np.concatenate(part) for part in zip(*epochs(dataset, 1)[0], strict=True))
    assert np.array_equal(images, [reader[i]["image"] for i in range(5)])
    assert np.array_equal(masks, [reader[i]["mask"] for i in range(5)])


def test_images_of_many_sizes_are_batched_by_size():
    reader = arrays(7, sizes=((48, 56), (50, 40), (48, 56)))
    dataset = pipeline(reader, batch_size=4)
    batches = epochs(dataset, 1)[0]
    assert len(dataset) == len(batches) == 3  # five and two of each size
    assert sorted(image.shape for image, _ in batches) == [
        (1, 48, 56, 3),
        (2, 50, 40, 3),
        (4, 48, 56, 3),
    ]
    assert sum(mask.sum(dtype=int) for _, mask in batches) == sum(
        reader[i]["mask"].sum() for i in range(7)
    )


def test_the_seed_and_the_epoch_fix_every_batch():
    reader = arrays()
    first, again = (epochs(augmented(reader, seed=3), 3) for _ in range(2))
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert not same(first[0], first[1])
    assert not same(first[0], epochs(augmented(reader, seed=4), 1)[0])


def test_a_later_start_continues_the_stream():
    reader = arrays()
    assert same(epochs(augmented(reader), 3)[2], epochs(augmented(reader, first_step=4), 1)[0])


def test_the_epoch_counter_outlives_its_python_name():
    dataset = augmented(arrays()).map(lambda image, mask: (image, mask))
    gc.collect()
    assert not same(*epochs(dataset, 2))


def test_an_epoch_visits_samples_at_most_once():
    reader = Arrays(
        [np.full((40, 40, 1), i, np.uint8) for i in range(7)],
        [np.zeros((40, 40), np.uint8)] * 7,
        NAMES,
    )
    for epoch in epochs(pipeline(reader, 3, Augment(8)), 4):
        values = [value for image, _ in epoch for value in image[:, 0, 0, 0]]
        assert len(epoch) == 2
        assert len(set(values)) == 6


def test_a_set_smaller_than_a_batch_repeats_itself():
    dataset = augmented(arrays(3), batch_size=8)
    assert len(dataset) == 1
    assert epochs(dataset, 1)[0][0][0].shape == (8, 32, 32, 3)


@pytest.mark.parametrize("size", [(20, 300), (9, 9), (200, 200)])
def test_images_smaller_and_larger_than_the_window_fit(size):
    rng = np.random.default_rng(0)
    images = [rng.integers(1, 256, (*size, 1), np.uint8) for _ in range(4)]
    reader = Arrays(images, [np.ones(size, np.uint8)] * 4, NAMES)
    (image, mask), *_ = epochs(pipeline(reader, 4, Augment(32)), 1)[0]
    inside = mask == 1
    assert set(np.unique(mask)) <= {1, 255}
    assert inside.sum((1, 2)).tolist() == [min(size[0], 32) * min(size[1], 32)] * 4
    assert np.array_equal(image[..., 0] > 0, inside)


def test_floating_and_many_channel_images_pass():
    images = np.random.default_rng(0).normal(size=(4, 40, 40, 5)).astype(np.float32)
    reader = Arrays(images, np.zeros((4, 40, 40), np.uint8), NAMES)
    assert epochs(augmented(reader), 1)[0][0][0].shape == (2, 32, 32, 5)
    assert np.array_equal(epochs(pipeline(reader, 4), 1)[0][0][0], images)


def test_the_end_of_an_epoch_does_not_wait_for_tensorflow_s_tuner():
    # with its thread asleep, dropping an iterator took up to a minute: too rare and too long to be timed here
    for dataset in (augmented(arrays()), pipeline(arrays())):
        assert dataset.options().autotune.enabled is False


# --- readers that the tests below read from


class Things(Reader):
    """Images with discs as objects: none in every third, else 1 to 3. `fields` as asked for."""

    def __init__(
        self,
        count=7,
        fields=("image", "mask", "instances", "boxes", "classes"),
        empty=lambda index: index % 3,
    ):
        super().__init__(NAMES, [(40, 44 + i % 2) for i in range(count)], 3, np.uint8)
        self.fields, self._empty = fields, empty

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        height, width = self.sizes[index]
        y, x = np.mgrid[:height, :width]
        instances = np.zeros((height, width), np.int32)
        for number in range(1, 1 + (index % 3 if self._empty(index) else 0)):
            instances[
                np.hypot(y - rng.uniform(9, 31), x - rng.uniform(12 * number - 8, 12 * number - 4))
                < 4
            ] = number
        instances, ids = relabeled(instances)
        classes = (1 + ids % 2).astype(np.int32)
        mask = np.array([0, *classes], np.uint8)[instances]
        image = rng.integers(0, 99, (height, width, 3), np.uint8) + np.uint8(50) * mask[..., None]
        sample = {
            "image": image,
            "mask": mask,
            "instances": instances,
            "boxes": boxes_of(instances),
            "classes": classes,
        }
        return {name: sample[name] for name in self.fields}


class Spy(Reader):
    """A reader that notes (index, shrink) of what is read."""

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
    """The arrays of a batch, whatever its labels are."""
    image, labels = batch
    return {
        "image": image.numpy(),
        **{name: array.numpy() for name, array in as_dict(labels).items()},
    }


def as_dict(labels):
    return labels if isinstance(labels, dict) else {"mask": labels}


def batches(dataset, count):
    """The first `count` batches of a stream, pass after pass."""
    found = []
    while len(found) < count:
        found += map(flat, dataset)
    return found[:count]


def digest(found):
    return hashlib.sha256(
        b"".join(batch[name].tobytes() for batch in found for name in sorted(batch))
    ).hexdigest()


def equal(first, second):
    return all(
        a.keys() == b.keys() and digest([a]) == digest([b])
        for a, b in zip(first, second, strict=True)
    )


# --- the same seed, the same batches

AUGMENT = Augment(24, scale=(0.7, 1.4), rotate=10, flip="both", contrast=0.2, noise=0.02)
MIXED = Augment(24, scale=(0.7, 1.4), crop="classes", mosaic=0.5, cutmix=0.3)
STREAMS = {
    "augmented": lambda **options: pipeline(
        arrays(7, ((40, 44), (44, 40))), 2, AUGMENT, seed=5, **options
    ),
    "mixed objects": lambda **options: pipeline(Things(), 3, MIXED, seed=5, **options),
    "whole": lambda **options: pipeline(arrays(7), 2, seed=5, shuffle=True, **options),
    "whole, padded": lambda **options: pipeline(
        Things(), 3, seed=5, shuffle=True, pad=True, **options
    ),
    "a small set": lambda **options: pipeline(arrays(3), 4, seed=5, shuffle=True, **options),
}


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_that_starts_anywhere_goes_on_as_the_undisturbed_one(stream):
    whole = batches(STREAMS[stream](), 12)
    assert len({digest([batch]) for batch in whole}) > 3  # small sets' batches may come again
    for step in (1, 3, 5):  # at an epoch's beginning and in its middle
        assert equal(batches(STREAMS[stream](first_step=step), 12 - step), whole[step:])


@pytest.mark.parametrize("stream", ["augmented", "mixed objects", "whole, padded"])
def test_the_number_of_threads_changes_nothing(stream):
    found = []
    for threads in (1, 2, 16):
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        options.threading.max_intra_op_parallelism = threads
        found.append(batches(STREAMS[stream]().with_options(options), 8))
    assert equal(found[0], found[1])
    assert equal(found[0], found[2])


def test_another_process_gives_the_same_batches():
    script = """
import sys
sys.path[:0] = sys.argv[1:]
from test_pipeline import STREAMS, batches, digest
print(*(digest(batches(STREAMS[name](), 5)) for name in ("mixed objects", "whole")))
"""
    here = Path(__file__).parent
    command = [sys.executable, "-c", script, str(here), str(here.parent)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert told == [digest(batches(STREAMS[name](), 5)) for name in ("mixed objects", "whole")]


def test_fit_goes_through_the_stream_without_a_gap():
    class Recorder(keras.Model):
        def train_step(self, data):
            seen.append(flat(data))
            return {"loss": tf.constant(0.0)}

    seen = []
    model = Recorder()
    model.compile(run_eagerly=True)
    model.fit(STREAMS["whole"](), epochs=3, verbose=0, shuffle=False)
    assert equal(seen, batches(STREAMS["whole"](), 9))


def test_a_large_or_negative_seed_is_a_seed_as_well():
    for seed in (2**40 + 3, -7):
        (image, mask), *_ = epochs(pipeline(arrays(4), 4, AUGMENT, seed=seed), 1)[0]
        assert (mask == 255).mean() < 0.2  # not a window of nowhere
        assert image.std() > 10


# --- what batches hold


def test_pieces_are_no_larger_than_windows_need(monkeypatch):
    shapes = []
    call = Augment.__call__
    monkeypatch.setattr(
        Augment,
        "__call__",
        lambda self, batch, keys: shapes.append(batch["image"].shape) or call(self, batch, keys),
    )
    augment = Augment(8)
    batches(pipeline(arrays(4), 2, augment), 2)
    assert {tuple(shape) for shape in shapes} == {(2, *augment.crop_sampler.canvas, 3)}
    assert max(augment.crop_sampler.canvas) < 20


def test_objects_of_a_batch_are_filled_up():
    reader = Things(5)
    dataset = pipeline(reader, 4)
    assert {
        name: (spec.dtype, spec.shape.as_list()) for name, spec in dataset.element_spec[1].items()
    } == {
        "mask": (tf.uint8, [None, 40, None]),
        "instances": (tf.int32, [None, 40, None]),
        "boxes": (tf.float32, [None, None, 4]),
        "classes": (tf.int32, [None, None]),
    }
    found = batches(dataset, 2)
    for batch, indices in zip(found, ([0, 2, 4], [1, 3]), strict=True):
        samples = [reader[i] for i in indices]
        count = max(len(sample["classes"]) for sample in samples)
        assert batch["boxes"].shape == (len(indices), count, 4)
        for i, sample in enumerate(samples):
            objects = len(sample["classes"])
            assert np.array_equal(batch["boxes"][i, :objects], sample["boxes"])
            assert batch["classes"][i].tolist() == sample["classes"].tolist() + [-1] * (
                count - objects
            )
            assert not batch["boxes"][i, objects:].any()
            assert all(
                np.array_equal(batch[name][i], sample[name])
                for name in ("image", "mask", "instances")
            )


def test_a_batch_without_any_object():
    reader = Things(4, empty=lambda index: 0)
    found = [*batches(pipeline(reader, 2), 2), *batches(pipeline(reader, 2, AUGMENT), 2)]
    for batch in found:
        assert batch["boxes"].shape == (2, 0, 4)
        assert batch["classes"].shape == (2, 0)
        assert not batch["instances"].any()
    (mixed, *_) = batches(pipeline(reader, 3, MIXED), 1)
    assert mixed["boxes"].shape == (3, 0, 4)


def test_augmented_objects_are_where_their_pixels_are():
    dataset = pipeline(Things(), 3, Augment(24, scale=(0.9, 1.2), flip="both"))
    assert dataset.element_spec[1]["boxes"].shape.as_list() == [3, None, 4]
    seen = 0
    for batch in batches(dataset, 6):
        for image, instances, boxes, classes, mask in zip(
            *(batch[name] for name in ("image", "instances", "boxes", "classes", "mask")),
            strict=True,
        ):
            assert image.shape == (24, 24, 3)
            assert set(np.unique(instances)) - {0} <= set(1 + np.flatnonzero(classes >= 0))
            assert not boxes[classes < 0].any()
            for number in set(np.unique(instances)) - {0}:
                ys, xs = np.nonzero(instances == number)
                x0, y0, x1, y1 = boxes[number - 1]
                assert (
                    np.abs(
                        [xs.min() - x0, ys.min() - y0, xs.max() + 1 - x1, ys.max() + 1 - y1]
                    ).max()
                    <= 1.5
                )
                assert set(np.unique(mask[instances == number])) == {classes[number - 1]}
                seen += 1
    assert seen > 5


@pytest.mark.parametrize("augment", [None, Augment(24, scale=(0.9, 1.2))])
def test_detection_needs_no_masks(augment):
    reader = Things(6, fields=("image", "boxes", "classes"))
    dataset = pipeline(reader, 2, augment)
    image, labels = next(iter(dataset))
    assert image.shape[0] == 2
    assert set(labels) == {"boxes", "classes"}
    assert sum((batch["classes"] >= 0).sum() for batch in batches(dataset, len(dataset))) > 0


def test_a_crop_by_classes_needs_masks():
    with pytest.raises(
        ValueError, match="pipeline: crop='classes' looks into masks, which this reader has not"
    ):
        pipeline(Things(fields=("image", "boxes", "classes")), 2, Augment(8, crop="classes"))


# --- whole samples


def test_a_training_stream_of_whole_samples():
    reader = arrays(5)
    dataset = pipeline(reader, 2, shuffle=True)
    assert (len(dataset), dataset.element_spec[0].shape.as_list()) == (2, [2, 48, 56, 3])
    known = [reader[i]["image"].tobytes() for i in range(5)]
    for epoch in epochs(dataset, 3):
        seen = [known.index(image.tobytes()) for images, _ in epoch for image in images]
        assert len(set(seen)) == 4
        masks = [mask for _, part in epoch for mask in part]
        assert all(
            np.array_equal(mask, reader[i]["mask"]) for i, mask in zip(seen, masks, strict=True)
        )


def test_whole_samples_of_many_sizes_need_one():
    reader = arrays(6, ((48, 56), (50, 40)))
    with pytest.raises(
        ValueError,
        match=r"the images differ in size\. Pass `resize`, or `pad=True`, or an `augment`",
    ):
        pipeline(reader, 2, shuffle=True)
    image, mask = next(iter(pipeline(reader, 2, shuffle=True, resize=Resize((24, 32)))))
    assert (image.shape, mask.shape) == ((2, 24, 32, 3), (2, 24, 32))
    for image, mask in pipeline(reader, 6, shuffle=True, pad=True):
        assert (image.shape, mask.shape) == ((6, 50, 56, 3), (6, 50, 56))


def test_padded_batches_hold_every_sample_in_order():
    reader = arrays(5, ((48, 56), (50, 40)))
    dataset = pipeline(reader, 2, pad=True)
    found = batches(dataset, 3)
    assert len(dataset) == 3
    assert [batch["image"].shape[:3] for batch in found] == [(2, 50, 56), (2, 50, 56), (1, 48, 56)]
    for i in range(5):
        image, mask = (found[i // 2][name][i % 2] for name in ("image", "mask"))
        height, width = reader.sizes[i]
        assert np.array_equal(image[:height, :width], reader[i]["image"])
        assert np.array_equal(mask[:height, :width], reader[i]["mask"])
        assert (mask == 255).sum() == mask.size - height * width
        assert image.sum(dtype=int) == reader[i]["image"].sum(dtype=int)


def test_resized_batches_come_in_order():
    reader = arrays(5, ((48, 56), (50, 40)))
    resize = Resize((36, 34))  # more than a half of the size, so that it is not read smaller
    found = batches(pipeline(reader, 3, resize=resize), 2)
    images = np.concatenate([batch["image"] for batch in found])
    assert np.array_equal(images, [resize(reader[i])["image"] for i in range(5)])
    assert len(pipeline(reader, 3, resize=Resize(20, "shorter"))) == 2  # three and two of a size


def test_arguments_are_checked():
    reader = arrays(3)
    for options in ({"resize": Resize(9)}, {"pad": True}, {"shuffle": False}):
        with pytest.raises(
            ValueError, match=r"are for whole images\. Leave out these, or `augment`"
        ):
            pipeline(reader, 2, Augment(8), **options)
    with pytest.raises(
        ValueError, match=r"pipeline: on_error='skipp' is unknown.*Did you mean 'skip'"
    ):
        pipeline(reader, on_error="skipp")
    with pytest.raises(ValueError, match=r"pipeline: batch_size=0 must be a whole number"):
        pipeline(reader, 0)
    with pytest.raises(ValueError, match=r"pipeline: the reader holds no sample"):
        pipeline(reader.subset([]))


# --- images read smaller


def test_small_windows_read_small_images():
    large = [draw_sample(i, 160, 200) for i in range(2)]
    reader = Arrays(*zip(*large, strict=True), NAMES)
    for augment, expected in (
        (Augment(32, scale=(0.1, 0.25)), 4),
        (Augment(32, scale=(0.2, 0.51)), 1),
        (Augment(32, scale=(0.2, 0.5), probability={"scale": 0.5}), 1),
    ):
        spy = Spy(reader)
        dataset = pipeline(spy, 1, augment)
        assert next(iter(dataset))[0].shape == (1, 32, 32, 3)
        assert {shrink for _, shrink in spy.seen} == {expected}
    spy = Spy(reader)
    batches(pipeline(spy, 2, resize=Resize(40)), 1)
    assert sorted(spy.seen) == [(0, 4), (1, 4)]


@pytest.mark.parametrize("crop", ["random", "center"])
def test_a_window_of_a_image_read_smaller_shows_the_same(crop):
    image, mask = draw_sample(1, 203, 251)
    reader = Arrays([cv2.GaussianBlur(image, (0, 0), 2)], [mask], NAMES)
    augment = Augment(64, scale=(0.3, 0.5), rotate=20, flip="both", crop=crop)
    dataset = pipeline(reader, 1, augment, seed=3)
    assert augment.crop_sampler.shrink == 2
    for number, batch in enumerate(batches(dataset, 6)):
        whole = augment.sample(reader[0], 3, number)
        assert np.abs(batch["image"][0] - whole["image"]).mean() < 2
        assert (batch["mask"][0] == whole["mask"]).mean() > 0.97


# --- samples that cannot be read


def broken_folder(folder, *names):
    for name in names:
        path = folder / "images" / f"{name}.jpg"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return Folder(folder / "images", folder / "masks", NAMES)


TRAINING = {"augment": AUGMENT}
KINDS = {
    "training": TRAINING,
    "whole": {"shuffle": True},
    "evaluation": {},
    "padded": {"pad": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_names_the_file(folder, kind):
    reader = broken_folder(folder, "p3")
    with pytest.raises(tf.errors.OpError, match=r"p3\.jpg is damaged"):
        batches(pipeline(reader, 3, **KINDS[kind]), 4)


@pytest.mark.parametrize("kind", ["training", "whole"])
def test_training_skips_to_the_next_sample_and_tells_once_a_pass(folder, kind):
    reader = broken_folder(folder, "p3", "p4")
    dataset = pipeline(reader, 3, on_error="skip", **KINDS[kind])
    for _ in range(2):
        iterator = iter(dataset)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = [flat(next(iterator))]
        with pytest.warns(
            UserWarning,
            match=r"(?s)^pipeline: 2 samples were skipped:\n  p3: .*p3\.jpg.*p4: .*p4\.jpg",
        ) as told:
            found += map(flat, iterator)
        assert len(told) == 1
        assert [len(batch["image"]) for batch in found] == [3, 3]
    if kind == "whole":
        stand_in = reader[5]["image"]
        assert (
            sum(np.array_equal(image, stand_in) for batch in found for image in batch["image"]) == 3
        )


def test_skipping_changes_nothing_where_all_is_well():
    for options in (TRAINING, {"shuffle": True}, {}):
        plain, skipping = (
            pipeline(arrays(), 2, on_error=kind, **options) for kind in ("raise", "skip")
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert equal(batches(plain, 7), batches(skipping, 7))
        assert len(plain) == len(skipping)
        assert plain.element_spec == skipping.element_spec


@pytest.mark.parametrize("options", [{}, {"pad": True}, {"resize": Resize((40, 30))}])
def test_evaluation_counts_skipped_samples_nowhere(folder, options):
    reader = broken_folder(folder, "p0", "p3")
    matrices = []
    for part, kind in ((reader, "skip"), (reader.subset([1, 2, 4, 5]), "raise")):
        metric = ConfusionMetrics(3)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for image, mask in pipeline(part, 2, on_error=kind, **options):
                metric.update_state(mask, tf.one_hot(tf.cast(image[..., 0], tf.int32) // 90, 3))
        matrices.append(np.asarray(metric.matrix))
        assert len(told) == (kind == "skip")
    assert matrices[0].sum() > 1000
    assert np.array_equal(*matrices)


@pytest.mark.parametrize("kind", KINDS)
def test_no_readable_sample_is_an_error(folder, kind):
    reader = broken_folder(folder, *(f"p{i}" for i in range(6)))
    with pytest.raises(
        tf.errors.OpError,
        match=r"none of the 6 samples can be read\. One of them: .*\.jpg is damaged",
    ):
        batches(pipeline(reader, 2, on_error="skip", **KINDS[kind]), 4)


@pytest.mark.parametrize("change", ["cut", "gone", "another size"])
@pytest.mark.parametrize("kind", ["training", "evaluation"])
def test_a_file_damaged_on_the_way_is_no_other_matter(folder, kind, change):
    reader = broken_folder(folder)
    streams = {
        name: pipeline(reader, 3, on_error=name, **KINDS[kind]) for name in ("raise", "skip")
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [len(batches(stream, 2)) for stream in streams.values()] == [2, 2]
    path = folder / "images" / "p2.jpg"
    if change == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif change == "gone":
        path.unlink()
    else:
        Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save(path)
    with pytest.raises(tf.errors.OpError, match="p2"):
        batches(streams["raise"], 2)
    with pytest.warns(UserWarning, match=r"1 sample was skipped:\n  p2: "):
        assert [len(batch["image"]) for batch in batches(streams["skip"], 2)] == [3, 3]


def test_fit_tells_of_what_it_skipped(folder):
    reader = broken_folder(folder, "p3")
    model = keras.Sequential([keras.layers.Conv2D(3, 1)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.warns(UserWarning, match=r"p3\.jpg is damaged") as told:
        model.fit(
            pipeline(reader, 2, on_error="skip", shuffle=True), epochs=3, verbose=0, shuffle=False
        )
    assert sum("1 sample was skipped" in str(warning.message) for warning in told) == 3


# --- what long trainings use up


def used():
    """(RSS in bytes, threads, open files) of this process."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return np.array(
        [resident, len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))]
    )


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("kind", ["training", "evaluation"])
def test_many_epochs_need_no_more_than_few(folder, kind, tmp_path):
    reader = Folder(folder / "images", folder / "masks", NAMES).subset(np.arange(64) % 6)
    dataset = pipeline(reader, 4, on_error="skip", cache=tmp_path / "cache", **KINDS[kind])
    figures = []
    for epochs_more in (5, 15):
        for batch in (batch for _ in range(epochs_more) for batch in dataset):
            assert len(batch) == 2
        gc.collect()
        figures.append(used())
    resident, threads, files = (figures[1] - figures[0]).tolist()
    assert resident < 6 * 2**20  # an epoch's samples are 0.7 MB: kept, they would be 10
    assert threads <= 2
    assert files <= 0
