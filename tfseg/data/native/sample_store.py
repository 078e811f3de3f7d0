"""Samples in memory that TensorFlow reads without Python."""

import numpy as np
import tensorflow as tf

from tfseg.data.native.source import Source
from tfseg.data.readers import Reader

# Dtypes that `tf.io.decode_raw` reads.
DTYPES = ("uint8", "uint16", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


def sample_store(reader: Reader, shrink: int = 1) -> "SampleStore | None":
    """Return a store for samples read at 1 / `shrink` of their size; None if it does not suit them.

    Args:
        reader: a `Reader`. It must have images and masks only.
        shrink: see `Reader.read`.
    """
    if set(reader.fields) != {"image", "mask"} or str(reader.dtype) not in DTYPES:
        return None
    return SampleStore(-(-reader.sizes // shrink), reader.channels, reader.dtype, reader.mask_dtype)


class SampleStore:
    """Images and masks in memory. Python writes them, TensorFlow and Python read them.

    Args:
        sizes: (N, 2) heights and widths of the samples.
        channels: number of image channels.
        dtype: NumPy dtype of the images, one of `DTYPES`.
        mask_dtype: NumPy dtype of the masks.
    """

    def __init__(self, sizes, channels: int, dtype, mask_dtype):
        self._sizes = np.asarray(sizes, np.int64)
        self._suffixes = {"image": (channels,), "mask": ()}
        self._dtypes = {"image": np.dtype(dtype), "mask": np.dtype(mask_dtype)}
        # Strings, because tables of tensors need one size.
        self._tables = {
            name: tf.lookup.experimental.MutableHashTable(
                tf.int64, tf.string, "", experimental_is_anonymous=True
            )
            for name in self._dtypes
        }
        self._stored = set()

    def __contains__(self, index: int) -> bool:
        return index in self._stored

    def write(self, index: int, sample: dict) -> None:
        """Store a sample: a dict of "image" (H, W, C) and "mask" (H, W)."""
        key = tf.constant(index, tf.int64)
        for name, table in self._tables.items():
            array = np.asarray(sample[name], self._dtypes[name])
            table.insert(key, tf.constant(array.tobytes()))
        self._stored.add(index)

    def read(self, index: int) -> dict:
        """Return a sample as read-only NumPy arrays."""
        key = tf.constant(index, tf.int64)
        return {
            name: np.frombuffer(self._tables[name].lookup(key).numpy(), dtype).reshape(
                *self._sizes[index], *self._suffixes[name]
            )
            for name, dtype in self._dtypes.items()
        }

    def source(self) -> Source:
        """Return the `Source` of these samples. It is ready for batches that are stored."""
        sizes = tf.constant(self._sizes)

        def ready(indices):
            return self._stored.issuperset(indices.tolist())

        def array(name, index):
            flat = tf.io.decode_raw(self._tables[name].lookup(index), self._dtypes[name])
            suffix = self._suffixes[name]
            values = tf.reshape(flat, [sizes[index, 0], sizes[index, 1], *suffix])
            return tf.ensure_shape(values, [None, None, *suffix])

        def read(index):
            return array("image", index), array("mask", index), True

        return Source(ready, read)
