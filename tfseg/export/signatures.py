"""The functions behind the signatures of a SavedModel."""

import tensorflow as tf

from tfseg.export.detection_outputs import blank_like, padded, spec_of
from tfseg.export.image_decoding import decode_image
from tfseg.export.postprocess import postprocess, run_lengths, uncertainty

EXTRA_OUTPUTS = ("probabilities", "uncertainty", "rle")


def array_signature(logits_of, shape, extra, dtype):
    """Return the tf.function image (B, H, W, C) -> dict of "class_ids" and the extra outputs.

    An empty batch returns empty outputs.

    Args:
        logits_of: function (B, H, W, C) float32 -> (B, H, W, K).
        shape: (H, W, C) of the image, with None for any size.
        extra: names out of `EXTRA_OUTPUTS`; "rle" applies to encoded images only.
        dtype: dtype of the images.
    """

    @tf.function(
        input_signature=[tf.TensorSpec((None, *shape), dtype, name="image")], autograph=False
    )
    def serve(image):
        # outside Python nobody checks the signature, and a gray image would broadcast
        image = tf.ensure_shape(image, (None, *shape))
        has_pixels, shown = image_or_blank(image, shape)
        outputs = _outputs(logits_of(tf.cast(shown, tf.float32)), extra)
        # 3 for class ids per pixel, 1 for class ids per image
        shared_axes = len(outputs["class_ids"].shape)
        return {
            name: _empty_unless(has_pixels, value, image, shared_axes)
            for name, value in outputs.items()
        }

    return serve


def image_or_blank(image, shape):
    """Return whether images have pixels, and the images, or one black image if they have none.

    An empty tensor crashes oneDNN's convolutions, so the model runs on a black image in its place.

    Args:
        image: (B, H, W, C).
        shape: (H, W, C) of the model's input, with None for any size.
    """
    has_pixels = tf.size(image) > 0
    blank = tf.zeros((1, *(side or 1 for side in shape[:2]), shape[2]), image.dtype)
    return has_pixels, tf.cond(has_pixels, lambda: image, lambda: blank)


def _outputs(logits, extra):
    outputs = postprocess(logits)
    if "uncertainty" in extra:
        outputs["uncertainty"] = uncertainty(outputs["probabilities"])
    return {name: value for name, value in outputs.items() if name == "class_ids" or name in extra}


def _empty_unless(has_pixels, value, image, shared_axes):
    """Return an output, or an empty one whose first `shared_axes` axes are those of the image."""

    def empty():
        shape = tf.concat([tf.shape(image)[:shared_axes], tf.shape(value)[shared_axes:]], 0)
        return tf.zeros(shape, value.dtype)

    output = tf.cond(has_pixels, lambda: value, empty)
    return tf.ensure_shape(output, (None, *value.shape[1:]))


def file_signature(logits_of, shape, extra, max_pixels, value_range=None):
    """Return the tf.function image_bytes (B,) string -> dict of outputs, file by file.

    Files may have different sizes. Outputs:

    "ok" (B,) bool: whether the bytes are a complete JPEG or PNG of at most `max_pixels` and of the
        range of values that the model was trained on. Otherwise the other outputs for this file
        are empty or 0.
    "reason" (B,) string: why `ok` is False; empty where it is True.

    For logits (B, H, W, K):

    "mask_png_bytes" (B,) string: class ids of each image at its own size.
    "class_pixels" (B, classes) int64: number of pixels per class.
    "rle" (B, classes) string, if it is among the extra outputs, see `run_lengths`.

    For logits (B, K): "class_ids" (B,) and the extra outputs.

    Args:
        logits_of: function (B, H, W, C) float32 -> (B, H, W, K) or (B, K).
        shape: (H, W, C) of the model's input, with None for any size.
        extra: names out of `EXTRA_OUTPUTS`.
        max_pixels: maximum height x width of an image.
        value_range: see `decode_image`.
    """

    def outputs_of(image):
        return _file_outputs(_logits_at_image_size(logits_of, image, shape), extra)

    return serve_files(outputs_of, shape[2], max_pixels, value_range)


def serve_files(outputs_of, channels: int, max_pixels: int, value_range=None):
    """Return the tf.function image_bytes (B,) string -> dict of outputs, file by file.

    Args:
        outputs_of: function of one image (H, W, C) float32 -> dict of its outputs, to which "ok"
            and "reason" are added. Outputs with an unknown number of rows are padded.
        channels, max_pixels, value_range: see `decode_image`.
    """

    def respond(file):
        image, reason = decode_image(file, channels, max_pixels, value_range)
        ok = reason == ""
        kept = {
            name: tf.where(ok, value, blank_like(name, value))
            for name, value in outputs_of(image).items()
        }
        return {"ok": ok, "reason": reason, **kept}

    one = tf.function(respond, autograph=False).get_concrete_function(tf.TensorSpec((), tf.string))
    spec = {name: spec_of(value) for name, value in one.structured_outputs.items()}

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False
    )
    def serve(image_bytes):
        image_bytes = tf.ensure_shape(image_bytes, [None])
        found = tf.map_fn(one, image_bytes, fn_output_signature=spec, parallel_iterations=1)
        return {name: padded(name, value) for name, value in found.items()}

    return serve


def _logits_at_image_size(logits_of, image, shape):
    """Return the logits (1, H, W, K) or (1, K) of an image (H, W, C).

    A model of fixed size gets the resized image, and its logits are resized back.
    """
    height, width = shape[:2]
    if height is None and width is None:
        return logits_of(image[None])
    size = (height or tf.shape(image)[0], width or tf.shape(image)[1])
    logits = logits_of(tf.image.resize(image[None], size, antialias=True))
    return logits if len(logits.shape) == 2 else tf.image.resize(logits, tf.shape(image)[:2])


def _file_outputs(logits, extra):
    """Return the outputs for one image from its logits (1, H, W, K) or (1, K)."""
    if len(logits.shape) == 2:
        return {name: value[0] for name, value in _outputs(logits, extra).items()}
    classes = max(2, logits.shape[-1])
    ids = postprocess(logits)["class_ids"][0]
    flat = tf.reshape(tf.cast(ids, tf.int32), [-1])
    counts = tf.math.bincount(flat, None, classes, classes, tf.int64)
    outputs = {
        "mask_png_bytes": tf.io.encode_png(ids[..., None]),
        "class_pixels": tf.ensure_shape(counts, [classes]),
    }
    if "rle" in extra:
        outputs["rle"] = tf.ensure_shape(run_lengths(ids, classes), [classes])
    return outputs
