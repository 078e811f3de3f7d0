import numpy as np
import pytest
import tensorflow as tf

from tfseg.data import Arrays, Reader
from tfseg.data.native.sample_store import sample_store

SIZES = [(3, 5), (4, 2)]


def arrays(dtype="uint8", count=3):
    images = [np.arange(h * w * 2).reshape(h, w, 2).astype(dtype) for h, w in SIZES]
    masks = [np.arange(h * w).reshape(h, w).astype(np.uint16) % count for h, w in SIZES]
    return Arrays(images, masks, [f"class{i}" for i in range(count)])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("count", [3, 300])
def test_samples_are_read_as_they_were_written(dtype, count):
    reader = arrays(dtype, count)
    store = sample_store(reader)
    source = store.source()
    assert 1 not in store
    for index in (1, 0):
        assert not source.ready(np.array([0, 1]))
        store.write(index, reader[index])
    assert 1 in store
    assert source.ready(np.array([0, 1]))
    for index in range(2):
        image, mask, is_sound = source.read(tf.constant(index, tf.int64))
        assert is_sound
        sample, expected = store.read(index), reader[index]
        assert (image.dtype, mask.dtype) == (dtype, reader.mask_dtype)
        assert np.array_equal(image, expected["image"])
        assert np.array_equal(mask, expected["mask"])
        for name, array in expected.items():
            assert sample[name].dtype == array.dtype
            assert np.array_equal(sample[name], array)


def test_readers_that_do_not_fit():
    class Boxes(Reader):
        fields = ("image", "boxes", "classes")

    assert sample_store(Boxes(["a", "b"], SIZES, 3, np.uint8)) is None
    assert sample_store(arrays("uint32")) is None
