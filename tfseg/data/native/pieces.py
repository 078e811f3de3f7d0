"""`CropSampler.extract` with TensorFlow: the piece of an image that a random crop needs."""

import numpy as np
import tensorflow as tf
from keras import ops

from tfseg.data.augment.crop import CropSampler
from tfseg.data.augment.params import draw, to_params


def piece_placer(sampler: CropSampler, sizes, canvas, seed: int):
    """Return a function that draws the random numbers of a batch and places its pieces.

    NumPy computes them for the whole batch at once, as `CropSampler.extract` does for a sample.

    Args:
        sampler: the `CropSampler`.
        sizes: (N, 2) heights and widths of the samples.
        canvas: (height, width) of the pieces.
        seed: random seed.

    Returns:
        Function of the (B,) positions of samples and their (B,) numbers in the stream. It returns a
        tuple of arrays with B rows, each of which the function of `piece_cutter` takes.
    """
    canvas = np.asarray(canvas)

    def place(indices, numbers):
        keys = np.stack([np.full_like(numbers, seed), numbers], axis=1)
        random = draw(keys)
        params = to_params(random, sampler.ranges, sampler.probabilities)
        extents = sizes[indices].astype("float32")
        # With `crop="classes"` places are only known with the masks: these corners are not used.
        pixels = np.zeros_like(extents) if sampler.crop == "classes" else None
        corners = sampler.piece_corners(params, extents, pixels, canvas)
        return indices, keys, random, extents, corners.astype("int32")

    return place


def piece_cutter(read, sampler: CropSampler, canvas):
    """Return a function that cuts a piece out of a sample, as `CropSampler.extract` does.

    Args:
        read: see `Source`.
        sampler: the `CropSampler`.
        canvas: (height, width) of the pieces.

    Returns:
        Function of tensors: the sample's position, its key (2,), its random numbers, its height and
        width (2,) float32, and the (2,) int32 corner of the piece, which is not used with
        `crop="classes"`. It returns a dict as `CropSampler.extract` does, with "index" and "key",
        and whether the sample is as Python would read it.
    """

    def cut(index, key, random, extent, corner):
        image, mask, is_sound = read(index)
        pixel = tf.zeros([2])
        if sampler.crop == "classes":
            params = to_params(random[None], sampler.ranges, sampler.probabilities)
            pixel = class_pixel(mask, params, sampler.ignore_index)
            center = sampler.crop_center(params, extent[None], pixel[None], ops)[0]
            corner = _piece_corner(center, extent, canvas, 2**sampler.levels)
        return {
            "image": _cut(image, corner, canvas, 0),
            "mask": _cut(mask, corner, canvas, sampler.ignore_index),
            "index": index,
            "key": key,
            "random": random,
            "extent": extent,
            "corner": tf.cast(corner, tf.float32),
            "class_pixel": pixel,
        }, is_sound

    return cut


def class_pixel(mask, params, ignore_index: int):
    """Choose a random pixel of a random class as `crop.class_pixel` does.

    Args:
        mask: (H, W) integer class ids.
        params: parameters of one sample from `to_params`.
        ignore_index: mask value of pixels without a label, above all class ids.

    Returns:
        (2,) float32 (y, x); the center of the image if every pixel is ignored.
    """
    width = tf.shape(mask)[1]
    ids = tf.reshape(tf.cast(mask, tf.int32), [-1])
    counts = tf.math.bincount(ids, minlength=ignore_index, maxlength=ignore_index)
    present = tf.where(counts > 0)[:, 0]

    def of_class():
        chosen = _nth(present, params["class"][0])
        pixel = _nth(tf.where(ids == tf.cast(chosen, tf.int32))[:, 0], params["pixel"][0])
        pixel = tf.cast(pixel, tf.int32)
        return tf.cast(tf.stack([pixel // width, pixel % width]), tf.float32)

    def middle():
        return (tf.cast(tf.shape(mask), tf.float32) - 1) / 2

    return tf.cond(tf.size(present) > 0, of_class, middle)


def _nth(values, fraction):
    """Return the value at a fraction of a list: 0.5 of three is the second."""
    count = tf.size(values)
    number = tf.cast(fraction * tf.cast(count, tf.float32), tf.int32)
    return values[tf.minimum(number, count - 1)]


def _piece_corner(center, extent, canvas, block):
    """Return the (y, x) int32 corner of a piece, see `CropSampler.piece_corners`.

    It may be one block off, since TensorFlow rounds exponentials differently. That changes no crop:
    both pieces contain what it shows.
    """
    side = tf.constant(canvas, tf.float32)
    corner = tf.clip_by_value(center + 0.5 - side / 2, 0, tf.maximum(extent - side, 0))
    return block * tf.cast(tf.math.ceil(corner / block), tf.int32)


def _cut(array, corner, canvas, fill):
    """Return the piece of an array at a corner, padded to the size of the canvas."""
    end = corner + canvas
    piece = array[corner[0] : end[0], corner[1] : end[1]]
    missing = canvas - tf.shape(piece)[:2]
    shape = [*canvas, *array.shape[2:]]

    def pad():
        padding = tf.concat([missing, tf.zeros([array.shape.rank - 2], tf.int32)], 0)
        padding = tf.stack([tf.zeros_like(padding), padding], axis=1)
        return tf.pad(piece, padding, constant_values=tf.constant(fill, array.dtype))

    piece = tf.cond(tf.reduce_any(missing > 0), pad, lambda: piece)
    return tf.ensure_shape(piece, shape)
