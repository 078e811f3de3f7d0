"""Samples in the files of a disk cache that TensorFlow reads."""

import os

import tensorflow as tf

from tfseg.data.cache import HEADER, stored_arrays
from tfseg.data.native.file_source import range_check
from tfseg.data.native.source import Source, name_tensor


def cache_source(loader, clipped=None) -> Source | None:
    """Fill a disk cache, and check all that is in it; return the `Source` of its files.

    None if TensorFlow cannot read them, since the samples have other dtypes than the reader says.

    Args:
        loader: a `Loader` of a `DiskCache`.
        clipped: (low, high) that color operations clip the images to; None if they do not.

    Raises:
        OSError, ValueError: a sample cannot be read, or is not as it should be.
    """
    loader.check_all()
    reader, sizes = loader.reader, loader.sizes
    dtype, mask_dtype = reader.dtype, reader.mask_dtype
    files = [reader.file(index, loader.shrink) for index in range(len(reader))]
    for file, size in zip(files, sizes.tolist(), strict=True):
        arrays = {"image": [dtype.str, [*size, reader.channels]], "mask": [mask_dtype.str, size]}
        if stored_arrays(file) != arrays:
            return None
    paths = tf.constant(list(map(os.fsencode, files)))
    image_bytes = sizes.prod(axis=1) * reader.channels * dtype.itemsize
    mask_bytes = sizes.prod(axis=1) * mask_dtype.itemsize
    shapes, sizes = tf.constant([[*size, reader.channels] for size in sizes]), tf.constant(sizes)
    starts, lengths = tf.constant(HEADER + image_bytes), tf.constant(image_bytes)
    mask_lengths = tf.constant(mask_bytes)
    range_problem = range_check(dtype, clipped)

    def read(index):
        content = tf.io.read_file(paths[index])
        image = tf.strings.substr(content, tf.constant(HEADER, tf.int64), lengths[index])
        image = tf.reshape(tf.io.decode_raw(image, dtype), shapes[index])
        mask = tf.strings.substr(content, starts[index], mask_lengths[index])
        mask = tf.reshape(tf.io.decode_raw(mask, mask_dtype), sizes[index])
        return tf.ensure_shape(image, [None, None, reader.channels]), mask, range_problem(image)

    names = name_tensor(f"{reader.name(index)} ({file})" for index, file in enumerate(files))
    return Source(read, names, clipped=clipped)
