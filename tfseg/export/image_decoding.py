"""JPEG and PNG bytes -> images, inside a graph, where no bad file may stop the others."""

from functools import partial

import tensorflow as tf

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"


def decode(file, channels, max_pixels):
    """Decode one image as `tfseg.data.read_image` does, but for EXIF: how the camera was held is left alone.

    Args:
        file: () string, bytes of a JPEG or PNG; PNGs of 16 bit keep their values, alpha is dropped.
        channels: 1 or 3.
        max_pixels: the header's height x width may be so much, or nothing is decoded.

    Returns:
        ((H, W, channels) float32, () bool). The image is 1 x 1 and black, and the bool False, if the bytes are no
        such image, or a damaged or too large one.
    """
    # `tf.data` is the only thing in TensorFlow's graphs that goes on after an operation has failed.
    picture = tf.data.Dataset.from_tensors(file).map(
        partial(_picture, channels=channels, max_pixels=max_pixels)
    )
    blank = tf.data.Dataset.from_tensors((tf.zeros((1, 1, channels)), False))
    return picture.ignore_errors().concatenate(blank).take(1).get_single_element()


def _picture(file, channels, max_pixels):
    is_png = tf.strings.substr(file, 0, len(PNG)) == PNG
    is_jpeg = tf.strings.substr(file, 0, len(JPEG)) == JPEG
    size = tf.case(
        [(is_png, lambda: _png_size(file)), (is_jpeg, lambda: _jpeg_size(file))],
        lambda: tf.zeros(2, tf.int32),
    )
    pixels = tf.reduce_prod(tf.cast(size, tf.int64))
    fits = tf.reduce_all(size > 0) & (pixels <= max_pixels)
    with tf.control_dependencies([tf.debugging.Assert(fits, [size])]):
        file = tf.identity(file)
    colors = tf.cond(is_png, lambda: _decode_png(file), lambda: _decode_jpeg(file))
    return colors if channels == 3 else _luma(colors), True


def _png_size(file):
    """() string -> (2,) int32 height and width in the header."""
    return tf.io.decode_raw(tf.strings.substr(file, 16, 8), tf.int32, little_endian=False)[::-1]


def _jpeg_size(file):
    return tf.image.extract_jpeg_shape(file)[:2]


def _decode_png(file):
    deep = tf.io.decode_raw(tf.strings.substr(file, 24, 1), tf.uint8)[0] == 16
    return tf.cond(
        deep,
        lambda: tf.cast(tf.io.decode_png(file, 3, tf.uint16), tf.float32),
        lambda: tf.cast(tf.io.decode_png(file, 3), tf.float32),
    )


def _decode_jpeg(file):
    # The accurate transform is Pillow's.
    return tf.cast(tf.io.decode_jpeg(file, 3, dct_method="INTEGER_ACCURATE"), tf.float32)


def _luma(colors):
    """(H, W, 3) -> (H, W, 1), whole numbers; ITU-R BT.601 in the fixed point of Pillow, gray stays as it is."""
    weights = tf.constant([19595, 38470, 7471], tf.int64)
    total = tf.reduce_sum(tf.cast(colors, tf.int64) * weights, -1, keepdims=True)
    return tf.cast(tf.bitwise.right_shift(total + 0x8000, tf.constant(16, tf.int64)), tf.float32)
