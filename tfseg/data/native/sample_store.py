"""Samples in memory that TensorFlow reads without a copy of them."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from tfseg.data.native.source import SOUND, Source, name_tensor
from tfseg.data.readers import Reader

# Dtypes that TensorFlow shares with NumPy.
DTYPES = ("uint8", "uint16", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
ALIGNMENT = 64  # bytes; TensorFlow copies arrays that start elsewhere


class SampleStore:
    """Images and masks in memory, one after the other in one array each.

    Args:
        sizes: (N, 2) heights and widths of the samples.
        channels: number of image channels.
        dtype: NumPy dtype of the images, one of `DTYPES`.
        mask_dtype: NumPy dtype of the masks.
    """

    def __init__(self, sizes, channels: int, dtype, mask_dtype):
        self._sizes = np.asarray(sizes, np.int64)
        self._images = _Rows(self._sizes, (channels,), dtype)
        self._masks = _Rows(self._sizes, (), mask_dtype)

    def fill(self, load) -> None:
        """Store all samples, read by several threads.

        Args:
            load: function of a position that returns a dict of "image" (H, W, C) and "mask"
                (H, W).
        """
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(lambda index: self._store(index, load(index)), range(len(self))):
                pass  # raises what a thread raised

    def __len__(self) -> int:
        return len(self._sizes)

    def _store(self, index, sample):
        for rows, array in ((self._images, sample["image"]), (self._masks, sample["mask"])):
            if rows[index].shape != array.shape:
                raise ValueError(
                    f"Sample {index} has an array {array.shape}, expected {rows[index].shape}."
                )
            rows[index][...] = array

    def source(self, names: tf.Tensor) -> Source:
        """Return the `Source` of the samples, after `fill`.

        Args:
            names: see `Source`.
        """
        images, masks = self._images.reader(), self._masks.reader()
        return Source(lambda index: (images(index), masks(index), SOUND), names)


class _Rows:
    """Arrays of different sizes in one array of aligned memory."""

    def __init__(self, sizes, suffix, dtype):
        dtype = np.dtype(dtype)
        self._sizes, self._suffix = sizes, suffix
        self._lengths = sizes.prod(axis=1) * int(np.prod(suffix))
        step = ALIGNMENT // dtype.itemsize
        self._starts = np.cumsum([0, *(-(-self._lengths // step) * step)])
        memory = np.empty(self._starts[-1] + step, dtype)
        first = -memory.ctypes.data % ALIGNMENT // dtype.itemsize
        self._values = memory[first : first + self._starts[-1]]

    def __getitem__(self, index):
        start, length = self._starts[index], self._lengths[index]
        return self._values[start : start + length].reshape(*self._sizes[index], *self._suffix)

    def reader(self):
        """Return a function of a position, a tensor, that returns the array there."""
        # Shared, not copied: `tf.constant` would take the memory twice.
        values = tf.experimental.dlpack.from_dlpack(self._values.__dlpack__())
        starts, lengths = tf.constant(self._starts), tf.constant(self._lengths)
        sizes, suffix = tf.constant(self._sizes), self._suffix

        def read(index):
            flat = values[starts[index] : starts[index] + lengths[index]]
            array = tf.reshape(flat, tf.concat([sizes[index], suffix], 0))
            return tf.ensure_shape(array, [None, None, *suffix])

        return read


def has_plain_samples(reader: Reader) -> bool:
    """Return whether samples of a reader are images and masks of dtypes that TensorFlow shares."""
    return set(reader.fields) == {"image", "mask"} and str(reader.dtype) in DTYPES


def stored_source(loader) -> Source:
    """Read all samples of a `Loader` into memory; return their `Source`.

    Raises:
        OSError, ValueError: a sample cannot be read.
    """
    reader = loader.reader
    store = SampleStore(loader.sizes, reader.channels, reader.dtype, reader.mask_dtype)
    store.fill(loader.sample)
    return store.source(name_tensor(map(reader.name, range(len(reader)))))
