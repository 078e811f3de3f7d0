"""Decode image files with TensorFlow as `read_image` does."""

import os
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf

from tfseg.data.native.png_files import png_reader
from tfseg.data.readers.orientation import UPRIGHT
from tfseg.data.readers.pillow_files import open_image, orientation
from tfseg.data.readers.png_chunks import read_layout

# (color type, bits) of the PNGs that are read: see `PngLayout`.
GRAY_PNGS = {(0, 8), (4, 8), (0, 16)}
COLOR_PNGS = {(2, 8), (6, 8), (2, 16), (6, 16)}


def image_decoder(files: list, channels: int, shrink: int):
    """Return a function that reads an image, if all are of one kind that TensorFlow can read.

    These are upright JPEGs, and PNGs of 8 or of 16 bit without a palette.

    Args:
        files: list of paths.
        channels: 1 or 3. Color images are not read as gray.
        shrink: 1, 2, 4 or 8, see `read_image`.

    Returns:
        Function of the position of a file, which returns (H, W, channels) uint8 or uint16; or None.
    """
    with ThreadPoolExecutor() as pool:
        layouts = list(pool.map(read_layout, files))
        if all(layout is not None for layout in layouts):
            return _png_decoder(files, layouts, channels, shrink)
        if any(layout is not None for layout in layouts):
            return None
        if not all(pool.map(lambda file: _is_plain_jpeg(file, channels), files)):
            return None
    paths = tf.constant(list(map(os.fsencode, files)))

    def decode(index):
        # As libjpeg does by default, and so Pillow.
        return tf.io.decode_jpeg(
            tf.io.read_file(paths[index]), channels, ratio=shrink, dct_method="INTEGER_ACCURATE"
        )

    return decode


def _is_plain_jpeg(file, channels):
    modes = ("L", "RGB") if channels == 3 else ("L",)
    try:
        with open_image(file) as image:
            is_upright = orientation(image) == UPRIGHT
            return image.format == "JPEG" and image.mode in modes and is_upright
    except (OSError, ValueError):
        return False


def _png_decoder(files, layouts, channels, shrink):
    kinds = {(layout.color_type, layout.bits) for layout in layouts}
    has_one_depth = len({bits for _, bits in kinds}) == 1
    allowed = GRAY_PNGS | COLOR_PNGS if channels == 3 else GRAY_PNGS
    if not has_one_depth or not kinds <= allowed:
        return None
    if any(layout.is_animated for layout in layouts):
        return None
    read = png_reader(files, layouts)
    dtype = tf.uint8 if layouts[0].bits == 8 else tf.uint16
    return lambda index: block_means(tf.io.decode_png(read(index), channels, dtype), shrink)


def block_means(image, shrink: int):
    """Average blocks of pixels of an integer image, see `extract.block_means`."""
    if shrink == 1:
        return image
    size = tf.shape(image)[:2]
    missing = -size % shrink
    padded = tf.pad(image, [[0, missing[0]], [0, missing[1]], [0, 0]])
    rows, columns = tf.unstack((size + missing) // shrink)
    blocks = tf.reshape(padded, [rows, shrink, columns, shrink, image.shape[-1]])
    # Sums of integers are exact in float32, in any order.
    sums = tf.reduce_sum(tf.cast(blocks, tf.float32), axis=[1, 3])
    counts = _block_lengths(size[0], shrink)[:, None] * _block_lengths(size[1], shrink)
    return tf.cast(tf.math.rint(sums / counts[..., None]), image.dtype)


def _block_lengths(length, shrink):
    """Return how many pixels each block has along an axis, as float32: 5, 2 -> 2, 2, 1."""
    return tf.cast(tf.minimum(shrink, length - tf.range(0, length, shrink)), tf.float32)
