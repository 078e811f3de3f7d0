"""Batches that TensorFlow reads are equal to the bit to those that Python reads."""

import os
import re
import sys

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from conftest import draw_sample
from tfseg.data import Arrays, Augment, Folder, Resize, pipeline, reading_error, write_tfrecords
from tfseg.data.loading import Loader

NAMES = ["ground", "disc", "band"]
COUNT = 6
pytestmark = pytest.mark.usefixtures("without_xla")


def write_folder(folder, sizes=((48, 56),), suffix="jpg", mask_values=(0, 1, 2), convert=None):
    """Write six images and masks; the sizes repeat."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for index in range(COUNT):
        image, mask = draw_sample(index, *sizes[index % len(sizes)])
        image = image if convert is None else convert(image, index)
        cv2.imwrite(str(folder / "images" / f"p{index}.{suffix}"), image[..., ::-1])
        mask = np.array(mask_values)[mask]
        mask = mask.astype(np.uint8 if mask.max() < 256 else np.uint16)
        Image.fromarray(mask).save(folder / "masks" / f"p{index}.png")
    return folder


def reader_of(folder, names=NAMES, **options):
    return Folder(folder / "images", folder / "masks", names, **options)


@pytest.fixture
def files(tmp_path):
    return write_folder(tmp_path)


@pytest.fixture
def reread(monkeypatch):
    """List the samples that Python reads."""
    seen, sample = [], Loader.sample

    def spy(loader, index):
        seen.append(index)
        return sample(loader, index)

    monkeypatch.setattr(Loader, "sample", spy)
    return seen


def augmented_in_graph(loader, batch_size, augment, max_objects):
    """Return a stage that rounds as a kernel without XLA in a graph does."""

    def stage(batch):
        batch.pop("index")
        return augment(batch, batch.pop("key"))

    return stage


def by_python(monkeypatch, reader, *arguments, **options):
    """Create a pipeline that Python reads."""
    with monkeypatch.context() as patch:
        module = sys.modules["tfseg.data.pipeline"]
        patch.setattr(module, "has_plain_samples", lambda reader: False)
        if hasattr(Augment._compiled, "fget"):  # without XLA, which rounds alike everywhere
            streams = sys.modules["tfseg.data.python_streams"]
            patch.setattr(streams, "_augmented", augmented_in_graph)
        dataset = pipeline(reader, *arguments, **options)
    assert dataset.read_by == "Python"
    return dataset


def batches(dataset, passes):
    return [(image.numpy(), mask.numpy()) for _ in range(passes) for image, mask in dataset]


def compare(monkeypatch, reread, reader, batch_size, augment, passes=3, **options):
    """Check that both read the same, and that TensorFlow reads the last pass."""
    expected = batches(by_python(monkeypatch, reader, batch_size, augment, **options), passes)
    dataset = pipeline(reader, batch_size, augment, **options)
    assert dataset.read_by == "TensorFlow"
    found = batches(dataset, passes - 1)
    del reread[:]
    found += batches(dataset, 1)
    assert not reread
    assert len(found) == len(expected)
    for pair, expected_pair in zip(found, expected, strict=True):
        for array, expected_array in zip(pair, expected_pair, strict=True):
            assert array.dtype == expected_array.dtype
            assert np.array_equal(array, expected_array)
    return found


AUGMENTS = {
    "crop": Augment(24),
    "center": Augment(24, crop="center", translate=0.3),
    "classes": Augment(24, crop="classes", scale=(0.8, 1.3)),
    "classes read smaller": Augment(12, crop="classes", scale=(0.3, 0.5)),
    "scaled and rotated": Augment(24, scale=(0.7, 1.4), rotate=30, flip="both", noise=0.02),
    "levels": Augment(12, scale=(0.2, 0.9), rotate=10),
    "levels of classes": Augment(12, scale=(0.2, 0.9), crop="classes"),
    "read at a half": Augment(12, scale=(0.3, 0.5), rotate=20),
    "read at a quarter": Augment(8, scale=(0.15, 0.25)),
    "larger than the images": Augment(70, scale=(0.9, 1.2)),
    "everything": Augment(
        24, scale=0.3, shear=8, perspective=0.1, elastic=2, mosaic=0.4, cutmix=0.4, cutout=0.3
    ),
}


@pytest.mark.parametrize("augment", AUGMENTS)
def test_files_are_read_as_by_python(augment, files, monkeypatch, reread):
    found = compare(monkeypatch, reread, reader_of(files), 3, AUGMENTS[augment], seed=3)
    assert {value for _, mask in found for value in np.unique(mask)} >= {0, 1, 2}


@pytest.mark.parametrize(
    ("augment", "source"),
    [("classes", "files"), ("levels", "files"), ("read at a half", "files"), ("levels", "memory")],
)
def test_images_of_different_sizes(augment, source, tmp_path, monkeypatch, reread):
    write_folder(tmp_path, sizes=((48, 56), (61, 43), (34, 90), (41, 41)), suffix="png")
    options = {"cache": "memory"} if source == "memory" else {}
    reader = reader_of(tmp_path)
    compare(monkeypatch, reread, reader, 3, AUGMENTS[augment], seed=-7, **options)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("augment", [None, "classes", "read at a half"])
def test_samples_in_a_folder_are_read_as_by_python(augment, dtype, tmp_path, monkeypatch, reread):
    samples = [draw_sample(i, *size) for i, size in enumerate([(48, 56), (61, 43)] * 3)]
    images = [image.astype(dtype) for image, _ in samples]
    reader = Arrays(images, [mask for _, mask in samples], NAMES)
    augment = None if augment is None else AUGMENTS[augment]
    for _ in range(2):  # the second pipeline finds the files of the first
        compare(monkeypatch, reread, reader, 3, augment, 2, cache=tmp_path / "cache")


@pytest.mark.parametrize("augment", ["classes", "read at a half"])
def test_samples_in_memory_are_read_as_by_python(augment, monkeypatch, reread):
    samples = [draw_sample(i) for i in range(COUNT)]
    reader = Arrays(*zip(*samples, strict=True), NAMES)
    compare(monkeypatch, reread, reader, 3, AUGMENTS[augment], cache="memory", seed=2**40 + 3)


def test_a_stream_continues_from_any_step(files, monkeypatch, reread):
    augment = AUGMENTS["scaled and rotated"]
    full = compare(monkeypatch, reread, reader_of(files), 2, augment, seed=3)
    later = compare(monkeypatch, reread, reader_of(files), 2, augment, 2, seed=3, first_step=4)
    for pair, expected in zip(later, full[4:], strict=False):
        assert all(map(np.array_equal, pair, expected))


def test_a_dataset_smaller_than_a_batch(files, monkeypatch, reread):
    reader = reader_of(files).subset([4, 1, 2])
    compare(monkeypatch, reread, reader, 5, AUGMENTS["crop"])


def test_parts_of_a_folder(files, monkeypatch, reread):
    train, _ = reader_of(files).split(0.3)
    compare(monkeypatch, reread, train.subset([2, 0, 2, 1]), 2, AUGMENTS["crop"])


def test_tiles(files, monkeypatch, reread):
    tiles = reader_of(files).tiles(30)
    compare(monkeypatch, reread, tiles.subset([7, 3, 0]), 2, None, 2, shuffle=True)


def test_records(files, tmp_path, monkeypatch, reread):
    records = write_tfrecords(reader_of(files), tmp_path / "records", shard_size=4)
    compare(monkeypatch, reread, records, 3, None, 2)
    dataset = pipeline(records, 2)
    path, offset = records.places()[5]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(tf.errors.OpError) as caught:
        batches(dataset, 1)
    assert re.search(rf"p5 \({path}, byte {offset}\): a file is missing", str(caught.value))


def deep(image, index):
    return image.astype(np.uint16) * (100 + index)


def test_deep_images(tmp_path, monkeypatch, reread):
    reader = reader_of(write_folder(tmp_path, suffix="png", convert=deep))
    assert reader.dtype == np.float32
    options = {"value_range": (0, 65535)}
    found = compare(monkeypatch, reread, reader, 2, AUGMENTS["read at a half"], **options)
    assert max(image.max() for image, _ in found) > 20000


@pytest.mark.parametrize(
    ("names", "mask_values", "options"),
    [
        (["disc"], (0, 255, 255), {}),  # read as 0 and 1
        (NAMES, (0, 1, 11), {"ignore_value": 11}),
        (NAMES, (9, 30, 200), {"mask_values": {9: 2, 30: 0, 200: 1}}),
        ([f"class{i}" for i in range(300)], (255, 7, 299), {}),
        ([f"class{i}" for i in range(300)], (255, 7, 65535), {}),
    ],
)
def test_values_of_masks(names, mask_values, options, tmp_path, monkeypatch, reread):
    reader = reader_of(write_folder(tmp_path, mask_values=mask_values), names, **options)
    found = compare(monkeypatch, reread, reader, 2, None)
    assert found[0][1].dtype == reader.mask_dtype


@pytest.mark.parametrize("source", ["files", "memory"])
@pytest.mark.parametrize("kind", ["evaluation", "several sizes", "shuffled"])
def test_whole_images(kind, source, tmp_path, monkeypatch, reread):
    sizes = ((48, 56), (61, 43)) if kind == "several sizes" else ((48, 56),)
    reader = reader_of(write_folder(tmp_path, sizes))
    options = {"cache": "memory"} if source == "memory" else {}
    size = 4
    if kind == "shuffled":
        size = 3  # so that a pass contains all samples
        options |= {"shuffle": True, "seed": 3, "first_step": 1}
    found = compare(monkeypatch, reread, reader, size, None, **options)
    specs = pipeline(reader, size, **options).element_spec
    assert specs == by_python(monkeypatch, reader, size, **options).element_spec
    shapes = [image.shape for image, _ in found]
    assert len(shapes) == 6
    assert (
        set(shapes)
        == {
            "evaluation": {(4, 48, 56, 3), (2, 48, 56, 3)},
            "several sizes": {(3, 48, 56, 3), (3, 61, 43, 3)},
            "shuffled": {(3, 48, 56, 3)},
        }[kind]
    )


# --- samples that are not as they should be


def damage(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def corrupt(file):
    content = bytearray(file.read_bytes())
    content[60:90] = bytes(30)
    file.write_bytes(content)


def save_mask(value, size=(48, 56)):
    def change(file):
        mask = np.zeros(size, np.uint8)
        mask[5, 7] = value
        Image.fromarray(mask).save(file)

    return change


def save_image(file):
    Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save(file)


UNREADABLE = r"p2 \(.*p2\.jpg, .*p2\.png\): a file is missing or damaged, or its size has changed"
CHANGES = {
    "truncated image": ("images/p2.jpg", damage, UNREADABLE),
    "truncated mask": ("masks/p2.png", damage, UNREADABLE),
    "corrupt mask": ("masks/p2.png", corrupt, UNREADABLE),
    "no image": ("images/p2.jpg", lambda file: file.unlink(), UNREADABLE),
    "empty mask": ("masks/p2.png", lambda file: file.write_bytes(b""), UNREADABLE),
    "small image": ("images/p2.jpg", save_image, UNREADABLE),
    "small mask": ("masks/p2.png", save_mask(1, (48, 55)), UNREADABLE),
    "unknown value": (
        "masks/p2.png",
        save_mask(9),
        r"p2 \(.*\): the mask contains values that map to no class \(known: 0, 1, 2, 255\)",
    ),
}


@pytest.mark.parametrize(
    ("change", "options"),
    [(change, {}) for change in CHANGES]
    + [("truncated image", {"augment": AUGMENTS["crop"]})]
    + [("unknown value", {"augment": AUGMENTS["classes"]})]
    + [("truncated image", {"batch_size": 1})],
)
def test_errors_name_the_sample(change, options, files):
    file, function, message = CHANGES[change]
    dataset = pipeline(reader_of(files), **({"batch_size": 3} | options))
    batches(dataset, 2)
    function(files / file)
    with pytest.raises(tf.errors.OpError) as caught:
        batches(dataset, 1)
    with pytest.raises(OSError, match=message):
        raise reading_error(caught.value)


def test_images_that_colors_would_clip_raise(tmp_path):
    def bright(image, index):
        return image.astype(np.uint16) * (250 if index == 5 else 1)

    reader = reader_of(write_folder(tmp_path, suffix="png", convert=bright))
    indices = [0, 1, 2, 3, 4] * 30 + [5] + [0] * 30
    augment = Augment(24, contrast=0.2, value_range=(0, 255))
    dataset = pipeline(reader.subset(indices), 1, augment)
    assert dataset.read_by == "TensorFlow"
    with pytest.raises(tf.errors.OpError, match=r"p5 .*: the image has values outside of 0\.\.255"):
        batches(dataset, 1)


def test_values_a_little_out_of_range_are_clipped(tmp_path):
    def bright(image, index):
        return np.full_like(image, 257, np.uint16)

    reader = reader_of(write_folder(tmp_path, suffix="png", convert=bright))
    augment = Augment(24, contrast=(1, 1.00001), value_range=(0, 255))
    found = batches(pipeline(reader, 3, augment), 1)
    assert max(image.max() for image, _ in found) == 255


def test_the_first_samples_are_checked_when_a_pipeline_is_opened(tmp_path):
    reader = reader_of(write_folder(tmp_path, mask_values=(0, 9, 1)))
    with pytest.raises(ValueError, match=r"p\d\.png contains values that map to no class: 9"):
        pipeline(reader, 2)


def test_names_that_are_not_utf_8(files):
    for folder, suffix in (("images", ".jpg"), ("masks", ".png")):
        old = files / folder / f"p2{suffix}"
        old.rename(files / folder / (os.fsdecode(b"m\xfcller") + suffix))
    dataset = pipeline(reader_of(files), 3)
    assert dataset.read_by == "TensorFlow"
    assert len(batches(dataset, 1)) == 2
    damage(next((files / "images").glob("m*ller.jpg")))
    with pytest.raises(tf.errors.OpError, match=r"m.+xfcller"):
        batches(dataset, 1)


# --- what is left to Python


def test_samples_of_a_single_class_are_all_checked(tmp_path):
    reader = reader_of(write_folder(tmp_path, mask_values=(255, 255, 1)), NAMES)
    with pytest.warns(UserWarning, match="the masks contain the class 'disc'"):
        dataset = pipeline(reader, 2, AUGMENTS["crop"])
    assert dataset.read_by == "TensorFlow"
    many = reader.subset(np.arange(70) % COUNT)
    dataset = pipeline(many, 2, AUGMENTS["crop"])
    assert dataset.read_by == "Python"
    with pytest.warns(UserWarning, match="the masks contain the class 'disc'"):
        batches(dataset, 1)


class Changed(Folder):
    """A reader of a user that changes what a folder contains."""

    def read(self, index, shrink=1):
        sample = super().read(index, shrink)
        return {**sample, "image": 255 - sample["image"]}


def test_other_readers_are_left_to_python(files):
    folders = files / "images", files / "masks", NAMES
    assert pipeline(Changed(*folders), 2, AUGMENTS["crop"]).read_by == "Python"
    reader = Folder(*folders)
    assert pipeline(reader.tiles(30).subset([2, 0]), 2).read_by == "Python"
    assert pipeline(reader, 2, AUGMENTS["crop"], on_error="skip").read_by == "Python"
    assert pipeline(reader, 2, pad=True).read_by == "Python"
    assert pipeline(reader, 2, shuffle=True, resize=Resize(20)).read_by == "Python"
    objects = Folder(files / "images", files / "masks", ["disc"], instances=True)
    assert pipeline(objects, 2, AUGMENTS["crop"], cache="memory").read_by == "Python"


@pytest.mark.slow
def test_compiled_batches_are_equal_too(files, monkeypatch, reread):
    monkeypatch.undo()
    augment = Augment(24, scale=(0.4, 1.4), rotate=10, contrast=0.2)
    expected = batches(by_python(monkeypatch, reader_of(files), 2, augment), 3)
    for pair, expected_pair in zip(
        batches(pipeline(reader_of(files), 2, augment), 3), expected, strict=True
    ):
        assert all(map(np.array_equal, pair, expected_pair))
