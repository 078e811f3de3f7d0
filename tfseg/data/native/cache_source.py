"""Samples in the files of a disk cache that TensorFlow reads."""

import os
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf

from tfseg.data.cache import HEADER
from tfseg.data.native.file_source import range_check
from tfseg.data.native.source import Source
from tfseg.data.native.stored_bytes import REST


def cache_source(loader, clipped=None) -> Source:
    """Write the samples that a disk cache lacks; return the `Source` of its files.

    Args:
        loader: a `Loader` of a `DiskCache`.
        clipped: (low, high) that color operations clip the images to; None if they do not.

    Raises:
        OSError, ValueError: a sample cannot be read.
    """
    reader = loader.reader
    files = [reader.file(index, loader.shrink) for index in range(len(reader))]
    dtype, mask_dtype = reader.dtype, reader.mask_dtype
    pixels = loader.sizes.prod(axis=1)
    image_bytes = pixels * reader.channels * dtype.itemsize
    _write_missing(loader, files, HEADER + image_bytes + pixels * mask_dtype.itemsize)
    paths = tf.constant(list(map(os.fsencode, files)))
    sizes, lengths = tf.constant(loader.sizes), tf.constant(image_bytes, tf.int32)
    range_problem = range_check(dtype, clipped)

    def read(index):
        content = tf.io.read_file(paths[index])
        end = HEADER + lengths[index]
        image = tf.io.decode_raw(tf.strings.substr(content, HEADER, lengths[index]), dtype)
        mask = tf.io.decode_raw(tf.strings.substr(content, end, REST), mask_dtype)
        shape = tf.concat([sizes[index], [reader.channels]], 0)
        image = tf.ensure_shape(tf.reshape(image, shape), [None, None, reader.channels])
        return image, tf.reshape(mask, sizes[index]), range_problem(image)

    names = [f"{reader.name(index)} ({file})" for index, file in enumerate(files)]
    return Source(read, names, clipped=clipped)


def _write_missing(loader, files, lengths):
    """Write the files of samples that are missing or not whole, by several threads."""

    def write(index):
        file = files[index]
        if not file.exists() or file.stat().st_size != lengths[index]:
            loader.sample(index)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(write, range(len(files))):
            pass  # raises what a thread raised
