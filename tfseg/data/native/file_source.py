"""Samples on disk that TensorFlow reads."""

import numpy as np
import tensorflow as tf

from tfseg.data.native.sample_decoder import sample_decoder
from tfseg.data.native.source import OUT_OF_RANGE, SOUND, UNKNOWN_VALUES, Source, name_tensor
from tfseg.data.value_range import accepted_bounds, can_be_clipped


def file_source(loader, clipped=None) -> Source | None:
    """Return the `Source` of the files of a loader's reader; None if TensorFlow cannot read them.

    Args:
        loader: a `Loader`.
        clipped: (low, high) that color operations clip the images to; None if they do not.
    """
    reader = loader.reader
    decoder = sample_decoder(reader, np.arange(len(reader)), loader.shrink)
    if decoder is None:
        return None
    sizes, dtypes = tf.constant(loader.sizes, tf.int32), loader.dtypes
    range_problem = range_check(reader.dtype, clipped)

    def read(index):
        image, mask, is_known = decoder.read(index)
        for array in (image, mask):
            tf.debugging.assert_equal(tf.shape(array)[:2], sizes[index])
        image = tf.cast(image, dtypes["image"])
        problem = tf.where(is_known, range_problem(image), UNKNOWN_VALUES)
        return image, tf.cast(mask, dtypes["mask"]), problem

    names = name_tensor(
        f"{reader.name(index)} ({files})" for index, files in enumerate(decoder.files)
    )
    return Source(read, names, decoder.table, clipped)


def range_check(dtype, clipped):
    """Return a function of an image that returns `OUT_OF_RANGE` or `SOUND`.

    Args:
        dtype: of the images.
        clipped: see `file_source`.
    """
    if clipped is None or not can_be_clipped(dtype, clipped):
        return lambda image: SOUND
    low, high = accepted_bounds(clipped)

    def check(image):
        if image.dtype.is_floating:  # Python warns of NaN
            image = tf.where(tf.math.is_finite(image), image, tf.constant(low, image.dtype))
        lowest, highest = tf.reduce_min(image), tf.reduce_max(image)
        is_within = (tf.cast(lowest, tf.float64) >= low) & (tf.cast(highest, tf.float64) <= high)
        return tf.where(is_within, SOUND, OUT_OF_RANGE)

    return check
