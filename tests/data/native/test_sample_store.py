import numpy as np
import pytest
import tensorflow as tf

from tfseg.data import Arrays, Reader
from tfseg.data.native.sample_store import SampleStore, has_plain_samples

SIZES = [(3, 5), (4, 2)]


def arrays(dtype="uint8", count=3):
    images = [np.arange(h * w * 2).reshape(h, w, 2).astype(dtype) for h, w in SIZES]
    masks = [np.arange(h * w).reshape(h, w).astype(np.uint16) % count for h, w in SIZES]
    return Arrays(images, masks, [f"class{i}" for i in range(count)])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("count", [3, 300])
def test_samples_are_read_as_they_were_written(dtype, count):
    reader = arrays(dtype, count)
    assert has_plain_samples(reader)
    store = SampleStore(reader.sizes, reader.channels, reader.dtype, reader.mask_dtype)
    store.fill(reader.__getitem__)
    source = store.source(["a", "b"])
    for index in range(2):
        image, mask, problem = source.read(tf.constant(index, tf.int64))
        assert problem == 0
        assert (image.dtype, mask.dtype) == (dtype, reader.mask_dtype)
        assert np.array_equal(image, reader[index]["image"])
        assert np.array_equal(mask, reader[index]["mask"])


def test_tensorflow_shares_the_memory():
    store = SampleStore(np.array(SIZES), 2, np.float32, np.uint8)
    reader = arrays("float32")
    store.fill(reader.__getitem__)
    read = store.source(["a", "b"]).read
    store.fill(lambda index: {name: array + 1 for name, array in reader[index].items()})
    image, mask, _ = read(tf.constant(1, tf.int64))
    assert np.array_equal(image, reader[1]["image"] + 1)
    assert np.array_equal(mask, reader[1]["mask"] + 1)


def test_samples_of_another_shape_are_refused():
    # NumPy would repeat the one channel
    reader = arrays()
    store = SampleStore(reader.sizes, reader.channels, reader.dtype, reader.mask_dtype)
    message = r"Sample 0 has an array \(3, 5, 1\), expected \(3, 5, 2\)"
    with pytest.raises(ValueError, match=message):
        store.fill(lambda index: {**reader[index], "image": reader[index]["image"][..., :1]})


def test_readers_that_do_not_fit():
    class Boxes(Reader):
        fields = ("image", "boxes", "classes")

    assert not has_plain_samples(Boxes(["a", "b"], SIZES, 3, np.uint8))
    assert not has_plain_samples(arrays("uint32"))
