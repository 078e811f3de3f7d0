"""Decoding of JPEG and PNG bytes inside a graph, where a bad file must not stop the others."""

from functools import partial

import tensorflow as tf

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"


def decode_image(file, channels: int, max_pixels: int):
    """Decode one image like `tfseg.data.read_image`, but without applying the EXIF orientation.

    Args:
        file: () string, bytes of a JPEG or PNG. 16-bit PNGs keep their values; alpha is dropped.
        channels: 1 or 3.
        max_pixels: maximum height x width, checked in the header before anything is decoded.

    Returns:
        (image, ok): (H, W, channels) float32 and () bool. If the bytes are not a JPEG or PNG, are
        damaged, or exceed `max_pixels`, `ok` is False and the image is one black pixel.
    """
    # tf.data is the only part of a TensorFlow graph that continues after an operation fails
    decode = partial(_decode_checked, channels=channels, max_pixels=max_pixels)
    image = tf.data.Dataset.from_tensors(file).map(decode)
    blank = tf.data.Dataset.from_tensors((tf.zeros((1, 1, channels)), False))
    return image.ignore_errors().concatenate(blank).take(1).get_single_element()


def _decode_checked(file, channels, max_pixels):
    is_png = tf.strings.substr(file, 0, len(PNG_SIGNATURE)) == PNG_SIGNATURE
    is_jpeg = tf.strings.substr(file, 0, len(JPEG_SIGNATURE)) == JPEG_SIGNATURE
    size = tf.case(
        [(is_png, lambda: _png_size(file)), (is_jpeg, lambda: _jpeg_size(file))],
        lambda: tf.zeros(2, tf.int32),
    )
    pixels = tf.reduce_prod(tf.cast(size, tf.int64))
    fits = tf.reduce_all(size > 0) & (pixels <= max_pixels)
    with tf.control_dependencies([tf.debugging.Assert(fits, [size])]):
        file = tf.identity(file)
    rgb = tf.cond(is_png, lambda: _decode_png(file), lambda: _decode_jpeg(file))
    image = rgb if channels == 3 else _to_gray(rgb)
    return image, True


def _png_size(file):
    """() string -> (2,) int32 height and width in the header."""
    width_height = tf.strings.substr(file, 16, 8)
    return tf.io.decode_raw(width_height, tf.int32, little_endian=False)[::-1]


def _jpeg_size(file):
    return tf.image.extract_jpeg_shape(file)[:2]


def _decode_png(file):
    bit_depth = tf.io.decode_raw(tf.strings.substr(file, 24, 1), tf.uint8)[0]
    return tf.cond(
        bit_depth == 16,
        lambda: tf.cast(tf.io.decode_png(file, 3, tf.uint16), tf.float32),
        lambda: tf.cast(tf.io.decode_png(file, 3), tf.float32),
    )


def _decode_jpeg(file):
    # INTEGER_ACCURATE is the transform that Pillow uses
    return tf.cast(tf.io.decode_jpeg(file, 3, dct_method="INTEGER_ACCURATE"), tf.float32)


def _to_gray(rgb):
    """(H, W, 3) -> (H, W, 1) integers, by ITU-R BT.601 in Pillow's fixed-point arithmetic.

    The weights are 0.299, 0.587 and 0.114 times 2^16 and sum to 2^16, so gray stays unchanged.
    Red (255, 0, 0) gives (255 * 19595 + 2^15) >> 16 = 76.
    """
    weights = tf.constant([19595, 38470, 7471], tf.int64)
    total = tf.reduce_sum(tf.cast(rgb, tf.int64) * weights, -1, keepdims=True)
    return tf.cast(tf.bitwise.right_shift(total + 0x8000, tf.constant(16, tf.int64)), tf.float32)
