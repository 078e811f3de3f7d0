"""Samples on disk that TensorFlow reads."""

import numpy as np
import tensorflow as tf

from tfseg.data.native.sample_decoder import sample_decoder
from tfseg.data.native.source import Source


def file_source(loader) -> Source | None:
    """Return the `Source` of the files of a loader's reader; None if TensorFlow cannot read them.

    It is ready as soon as Python has checked the first samples, see `Loader.accepted_range`.

    Args:
        loader: a `Loader`.
    """
    reader = loader.reader
    if set(reader.fields) != {"image", "mask"}:
        return None
    decoder = sample_decoder(reader, np.arange(len(reader)), loader.shrink)
    if decoder is None:
        return None
    sizes = tf.constant(loader.sizes, tf.int32)
    bounds = tf.Variable([0, 0], dtype=tf.float64, trainable=False)

    def ready(_):
        accepted = loader.accepted_range()
        if accepted is not None and reader.dtype != np.uint8:
            bounds.assign(accepted)
        return accepted is not None

    def read(index):
        image, mask, is_known = decoder.read(index)
        image = tf.cast(image, loader.dtypes["image"])
        is_sound = is_known & _has_size(image, sizes[index]) & _has_size(mask, sizes[index])
        if image.dtype != tf.uint8:
            is_sound &= _is_within(image, bounds)
        return image, tf.cast(mask, loader.dtypes["mask"]), is_sound

    return Source(ready, read)


def _has_size(array, size):
    return tf.reduce_all(tf.shape(array)[:2] == size)


def _is_within(image, bounds):
    """Return whether all values are in a range."""
    low, high = tf.reduce_min(image), tf.reduce_max(image)
    return (tf.cast(low, tf.float64) >= bounds[0]) & (tf.cast(high, tf.float64) <= bounds[1])
