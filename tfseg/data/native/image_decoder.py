"""Decode image files with TensorFlow as `read_image` does."""

from functools import partial
from typing import NamedTuple

import tensorflow as tf

from tfseg.data.native.stored_bytes import bytes_reader
from tfseg.data.readers.file_scan import scan
from tfseg.data.readers.orientation import (
    COLUMNS_REVERSED,
    ROWS_REVERSED,
    UPRIGHT,
    is_sideways,
)
from tfseg.data.readers.pillow_files import open_image, orientation
from tfseg.data.readers.png_chunks import read_layout

# (color type, bits) of the PNGs that are read: see `PngLayout`.
GRAY_PNGS = {(0, 1), (0, 2), (0, 4), (0, 8), (4, 8), (0, 16)}
COLOR_PNGS = {(2, 8), (6, 8), (2, 16), (6, 16), (3, 1), (3, 2), (3, 4), (3, 8)}
EXACT_DTYPES = ("uint8", "uint16", "int8", "int16")  # of images that `block_means` averages
JPEG, PNG, DEEP_PNG = "JPEG", "PNG", "PNG of 16 bit"


class StoredImage(NamedTuple):
    """How an image is stored.

    Attributes:
        kind: JPEG, PNG or DEEP_PNG.
        turn: its orientation, 1 to 8.
        is_scaled: whether the decoder shrinks it.
        head, start: see `bytes_reader`.
    """

    kind: str
    turn: int = UPRIGHT
    is_scaled: bool = False
    head: bytes = b""
    start: int = 0


def image_decoder(files: list, channels: int, shrink: int):
    """Return a function that reads an image, if TensorFlow can read all of them.

    These are JPEGs in gray or RGB, and PNGs that are not animated, nor gray with alpha of 16 bit.

    Args:
        files: list of paths.
        channels: 1 or 3. Color images are not read as gray.
        shrink: 1, 2, 4 or 8, see `read_image`. No image is smaller.

    Returns:
        Function of the position of a file, which returns (H, W, channels) uint8, or uint16 if any
        image has 16 bit; or None.
    """
    stored = scan(lambda file: _stored_image(file, channels, shrink), files)
    if None in stored:
        return None
    read = bytes_reader(files, [image.head for image in stored], [image.start for image in stored])
    dtype = tf.uint16 if any(image.kind == DEEP_PNG for image in stored) else tf.uint8
    ways = sorted({image[:3] for image in stored})
    functions = [_decoder(*way, channels, shrink, dtype) for way in ways]
    if len(ways) == 1:
        return lambda index: functions[0](read(index))
    numbers = tf.constant([ways.index(image[:3]) for image in stored])

    def decode(index):
        data = read(index)
        branches = [partial(function, data) for function in functions]
        return tf.switch_case(numbers[index], branches)

    return decode


def _stored_image(file, channels, shrink):
    """Return the `StoredImage` of a file, or None if TensorFlow cannot read it."""
    layout = read_layout(file)
    if layout is None:
        return _stored_jpeg(file, channels, shrink)
    allowed = GRAY_PNGS | COLOR_PNGS if channels == 3 else GRAY_PNGS
    lacks_palette = layout.color_type == 3 and not layout.palette
    is_other = (layout.color_type, layout.bits) not in allowed
    if is_other or lacks_palette or layout.is_animated:
        return None
    kind = DEEP_PNG if layout.bits == 16 else PNG
    return StoredImage(kind, head=layout.head(), start=layout.start)


def _stored_jpeg(file, channels, shrink):
    try:
        with open_image(file) as image:
            turn, modes = orientation(image), ("L", "RGB") if channels == 3 else ("L",)
            if image.format not in ("JPEG", "MPO") or image.mode not in modes:
                return None
            # As `read_image` decides.
            is_scaled = turn == UPRIGHT or not any(side % shrink for side in image.size)
            return StoredImage(JPEG, turn, is_scaled)
    except (OSError, ValueError):
        return None


def _decoder(kind, turn, is_scaled, channels, shrink, dtype):
    """Return a function that decodes the bytes of one kind of image."""
    depth = tf.uint16 if kind == DEEP_PNG else tf.uint8

    def decode(data):
        if kind == JPEG:
            ratio = shrink if is_scaled else 1
            # As libjpeg does by default, and so Pillow.
            image = tf.io.decode_jpeg(data, channels, ratio, dct_method="INTEGER_ACCURATE")
        else:
            image = tf.io.decode_png(data, channels, depth)
        image = _upright(image, turn)
        return tf.cast(block_means(image, 1 if is_scaled else shrink), dtype)

    return decode


def _upright(image, turn):
    """Return stored pixels as the upright image shows them, see `orientation.upright`."""
    if is_sideways(turn):
        image = tf.transpose(image, [1, 0, 2])
    if turn in ROWS_REVERSED:
        image = tf.reverse(image, [0])
    return tf.reverse(image, [1]) if turn in COLUMNS_REVERSED else image


def block_means(image, shrink: int):
    """Average blocks of pixels of an image, one of `EXACT_DTYPES`; see `extract.block_means`."""
    if shrink == 1:
        return image
    size = tf.shape(image)[:2]
    missing = -size % shrink
    padded = tf.pad(image, [[0, missing[0]], [0, missing[1]], [0, 0]])
    rows, columns = tf.unstack((size + missing) // shrink)
    channels = image.shape[-1]
    # Sums of integers are exact in float32, in any order. Two of them, along one axis each, are
    # several times as fast as one along two axes.
    values = tf.reshape(tf.cast(padded, tf.float32), [rows, shrink, columns * shrink * channels])
    values = tf.reshape(tf.reduce_sum(values, axis=1), [rows * columns, shrink, channels])
    sums = tf.reshape(tf.reduce_sum(values, axis=1), [rows, columns, channels])
    counts = _block_lengths(size[0], shrink)[:, None] * _block_lengths(size[1], shrink)
    return tf.cast(tf.math.rint(sums / counts[..., None]), image.dtype)


def _block_lengths(length, shrink):
    """Return how many pixels each block has along an axis, as float32: 5, 2 -> 2, 2, 1."""
    return tf.cast(tf.minimum(shrink, length - tf.range(0, length, shrink)), tf.float32)
