import numpy as np
import pytest
import tensorflow as tf

from tfseg.data import Arrays, write_tfrecords
from tfseg.data.native.sample_decoder import sample_decoder

RNG = np.random.default_rng(0)
SIZES = [(13, 17), (9, 20), (13, 17)]


def records(folder, dtype="uint8", channels=3, count=3):
    """Write three samples, two of them in one file."""
    largest = 255 if dtype == "float16" else 2000
    shapes = [(*size, channels) for size in SIZES]
    images = [RNG.integers(0, largest, shape).astype(dtype) for shape in shapes]
    ignored = 255 if count <= 255 else 65535
    masks = [RNG.choice([0, 1, count - 1, ignored], size) for size in SIZES]
    reader = Arrays(images, masks, [f"class{i}" for i in range(count)])
    return write_tfrecords(reader, folder, shard_size=2)


@pytest.mark.parametrize(
    ("dtype", "channels", "count", "shrinks"),
    [
        ("uint8", 3, 3, (1, 2, 4)),
        ("uint8", 1, 300, (1, 2)),
        ("uint8", 4, 3, (1, 2)),
        ("uint16", 3, 3, (1, 2)),
        ("uint16", 2, 3, (1, 2)),
        ("int16", 1, 3, (1, 2)),
        ("float16", 1, 3, (1,)),
        ("float32", 5, 3, (1,)),
        ("int64", 1, 3, (1,)),
    ],
)
def test_records_are_those_of_the_reader(dtype, channels, count, shrinks, tmp_path):
    reader = records(tmp_path, dtype, channels, count).subset([2, 0, 1, 0])
    for shrink in shrinks:
        decode = tf.function(sample_decoder(reader, np.arange(4), shrink).read)
        for index in range(4):
            image, mask, is_sound = decode(tf.constant(index))
            expected = reader.read(index, shrink)
            assert is_sound
            assert image.dtype == dtype
            assert np.array_equal(image, expected["image"])
            assert np.array_equal(mask, expected["mask"])


def test_records_that_are_left_to_python(tmp_path):
    for dtype, shrink in (("int32", 1), ("float32", 2), ("float64", 2)):
        reader = records(tmp_path / dtype, dtype, 1)
        assert sample_decoder(reader, np.arange(3), shrink) is None


@pytest.mark.parametrize("position", [30, 3])  # in the content, and in the length
def test_damaged_records_raise(position, tmp_path):
    reader = records(tmp_path)
    decode = sample_decoder(reader, np.arange(3), 1).read
    path, offset = reader.places()[1]
    assert offset > 0
    data = bytearray(path.read_bytes())
    data[offset + position] ^= 1
    path.write_bytes(data)
    assert decode(0)[2]
    with pytest.raises(tf.errors.DataLossError):
        decode(1)
    path.unlink()
    with pytest.raises(tf.errors.NotFoundError):
        decode(0)


def test_other_class_ids_are_not_sound(tmp_path):
    class Wrong(Arrays):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return {**sample, "mask": sample["mask"] + np.uint8(index)}

    images = np.zeros((2, 4, 5, 1), np.uint8)
    reader = Wrong(images, np.full((2, 4, 5), 2, np.uint8), ["a", "b", "c"])
    decode = sample_decoder(write_tfrecords(reader, tmp_path), np.arange(2), 1).read
    assert decode(0)[2]
    assert not decode(1)[2]


def test_records_of_another_dtype_raise(tmp_path):
    class Wrong(Arrays):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return {**sample, "image": sample["image"].astype(["uint8", "uint16"][index])}

    reader = Wrong(np.zeros((2, 4, 5, 1), np.uint8), np.zeros((2, 4, 5), np.uint8), ["a"])
    decode = tf.function(sample_decoder(write_tfrecords(reader, tmp_path), np.arange(2), 1).read)
    assert decode(tf.constant(0))[2]
    with pytest.raises(tf.errors.InvalidArgumentError, match="another format or dtype"):
        decode(tf.constant(1))
