"""Decoding of JPEG and PNG bytes inside a graph, where a bad file must not stop the others."""

import tensorflow as tf

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"


def decode_image(file, channels: int, max_pixels: int, value_range=None):
    """Decode one image like `tfseg.data.read_image`, but without applying the EXIF orientation.

    Args:
        file: () string, bytes of a JPEG or PNG. 16-bit PNGs keep their values; alpha is dropped.
        channels: 1 or 3.
        max_pixels: maximum height x width, checked in the header before anything is decoded.
        value_range: (low, high), the values of the images that the model was trained on. Files of
            another range are refused: 8-bit files if `high` is above 255, and 16-bit files with
            values above 255 otherwise. None accepts both.

    Returns:
        (image, reason): (H, W, channels) float32 and () string. The reason is empty, or says why
        the file was refused; the image is then one black pixel.
    """
    size = _first_or(tf.zeros(2, tf.int32), file, _header_size)
    reason = _header_reason(file, size, max_pixels)
    if value_range is not None and value_range[1] > 255:
        reason = _or_else(reason, _bit_depth(file) < 16, _too_shallow(value_range))

    def decode(file):
        with tf.control_dependencies([tf.debugging.Assert(reason == "", [reason])]):
            return _decode(tf.identity(file), channels), True

    blank = tf.zeros((1, 1, channels))
    image, decoded = _first_or((blank, False), file, decode)
    reason = _or_else(reason, ~decoded, "The file is damaged or cut off.")
    if value_range is not None and value_range[1] <= 255:
        reason = _or_else(reason, tf.reduce_max(image) > 255, _too_deep(value_range))
        image = tf.cond(reason == "", lambda: image, lambda: blank)
    return image, reason


def _first_or(default, file, function):
    """Return a function of a file, or a default if it fails.

    tf.data is the only part of a TensorFlow graph that continues after an operation fails.
    """
    results = tf.data.Dataset.from_tensors(file).map(function).ignore_errors()
    return results.concatenate(tf.data.Dataset.from_tensors(default)).take(1).get_single_element()


def _or_else(reason, condition, sentence):
    """Return the reason; a sentence if it is empty and the condition holds."""
    return tf.where((reason == "") & condition, sentence, reason)


def _is_png(file):
    return tf.strings.substr(file, 0, len(PNG_SIGNATURE)) == PNG_SIGNATURE


def _is_jpeg(file):
    return tf.strings.substr(file, 0, len(JPEG_SIGNATURE)) == JPEG_SIGNATURE


def _header_size(file):
    """() string -> (2,) int32 height and width in the header of a PNG or JPEG."""
    return tf.cond(_is_png(file), lambda: _png_size(file), lambda: _jpeg_size(file))


def _header_reason(file, size, max_pixels):
    """Return why a file cannot be decoded as far as its first bytes say it, or an empty string."""
    pixels = tf.reduce_prod(tf.cast(size, tf.int64))
    height, width = tf.unstack(tf.strings.as_string(size))
    parts = ["The image has ", height, " x ", width, f" pixels, more than {max_pixels} in all."]
    reason = tf.constant("")
    reason = _or_else(reason, tf.strings.length(file) == 0, "The file is empty.")
    is_known = _is_png(file) | _is_jpeg(file)
    reason = _or_else(reason, ~is_known, "The file is not a JPEG or PNG.")
    reason = _or_else(reason, tf.reduce_any(size <= 0), "The file is damaged: it has no size.")
    return _or_else(reason, pixels > max_pixels, tf.strings.join(parts))


def _too_shallow(value_range):
    low, high = value_range
    return (
        "The file has 8 bits per channel, but the model was trained on values from "
        f"{low:g} to {high:g}. Send 16-bit PNGs."
    )


def _too_deep(value_range):
    low, high = value_range
    return (
        "The file has values above 255, but the model was trained on values from "
        f"{low:g} to {high:g}. Convert it to 8 bits per channel."
    )


def _decode(file, channels):
    """() string, PNG or JPEG -> (H, W, channels) float32."""
    rgb = tf.cond(_is_png(file), lambda: _decode_png(file), lambda: _decode_jpeg(file))
    return rgb if channels == 3 else _to_gray(rgb)


def _png_size(file):
    """() string -> (2,) int32 height and width in the header."""
    width_height = tf.strings.substr(file, 16, 8)
    size = tf.io.decode_raw(width_height, tf.int32, little_endian=False)[::-1]
    return tf.ensure_shape(size, (2,))  # shorter if the file ends before


def _jpeg_size(file):
    return tf.image.extract_jpeg_shape(file)[:2]


def _bit_depth(file):
    """Return the bits per channel in the header of a PNG; 8 for other files."""
    return tf.cond(
        _is_png(file) & (tf.strings.length(file) > 24),
        lambda: tf.cast(tf.io.decode_raw(tf.strings.substr(file, 24, 1), tf.uint8)[0], tf.int32),
        lambda: 8,
    )


def _decode_png(file):
    return tf.cond(
        _bit_depth(file) == 16,
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
