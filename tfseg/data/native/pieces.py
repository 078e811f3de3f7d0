"""`CropSampler.extract` with TensorFlow: the piece of an image that a random crop needs."""

import tensorflow as tf
from keras import ops

from tfseg.data.augment.crop import CropSampler
from tfseg.data.augment.params import draw, to_params


def piece_placer(sampler: CropSampler, sizes, canvas, seed: int):
    """Return a function that draws the random numbers of a batch and places its pieces.

    Args:
        sampler: the `CropSampler`.
        sizes: (N, 2) heights and widths of the samples.
        canvas: (height, width) of the pieces.
        seed: random seed.

    Returns:
        Function of tensors, the (B,) positions of samples and their (B,) numbers in the stream. It
        returns a tuple of tensors with B rows, each of which the function of `piece_cutter` takes.
    """
    sizes = tf.constant(sizes, tf.float32)

    def place(indices, numbers):
        keys = tf.stack([tf.fill(tf.shape(numbers), tf.constant(seed, tf.int64)), numbers], axis=1)
        random = draw(keys)
        extents = tf.gather(sizes, indices)
        # With `crop="classes"` places are only known with the masks.
        corners = tf.zeros_like(extents, tf.int32)
        if sampler.crop != "classes":
            params = to_params(random, sampler.ranges, sampler.probabilities)
            centers = sampler.crop_center(params, extents, None, ops)
            corners = _piece_corners(centers, extents, canvas, 2**sampler.levels)
        return indices, keys, random, extents, corners

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
        `crop="classes"`. It returns a dict as `CropSampler.extract` does, with "key", and
        what is wrong with the sample.
    """

    def cut(index, key, random, extent, corner):
        image, mask, problem = read(index)
        pixel = tf.zeros([2])
        if sampler.crop == "classes":
            params = to_params(random[None], sampler.ranges, sampler.probabilities)
            pixel = class_pixel(mask, params, sampler.ignore_index)
            center = sampler.crop_center(params, extent[None], pixel[None], ops)[0]
            corner = _piece_corners(center, extent, canvas, 2**sampler.levels)
        return {
            "image": _cut(image, corner, canvas, 0),
            "mask": _cut(mask, corner, canvas, sampler.ignore_index),
            "key": key,
            "random": random,
            "extent": extent,
            "corner": tf.cast(corner, tf.float32),
            "class_pixel": pixel,
        }, problem

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


def _piece_corners(centers, extents, canvas, block):
    """Return the (..., 2) int32 (y, x) corners of pieces, see `CropSampler.piece_corners`.

    They may be one block off, since TensorFlow rounds exponentials differently. That changes no
    crop: both pieces contain what it shows.
    """
    side = tf.constant(canvas, tf.float32)
    corners = tf.clip_by_value(centers + 0.5 - side / 2, 0.0, tf.maximum(extents - side, 0.0))
    return block * tf.cast(tf.math.ceil(corners / block), tf.int32)


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
