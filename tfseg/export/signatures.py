"""What a SavedModel answers: the functions behind its signatures."""

import tensorflow as tf

from tfseg.export.image_decoding import decode
from tfseg.export.postprocess import postprocess, run_lengths, uncertainty

EXTRA_OUTPUTS = ("probabilities", "uncertainty", "rle")


def serving(logits_of, shape, extra, dtype):
    """Return the function image (B, H, W, C) -> "class_ids" and the extra outputs; a batch of none gives none.

    Args:
        logits_of: function (B, H, W, C) float32 -> (B, H, W, K).
        shape: of the image, without the batch; None where any is taken.
        extra: of `EXTRA_OUTPUTS`; "rle" is for encoded images only.
        dtype: of the images.
    """

    @tf.function(
        input_signature=[tf.TensorSpec((None, *shape), dtype, name="image")], autograph=False
    )
    def serve(image):
        image = tf.ensure_shape(
            image, (None, *shape)
        )  # outside Python nobody else looks, and gray would broadcast
        # An empty tensor crashes oneDNN's convolutions: a black pixel goes in its place, and its answer is cut off.
        some = tf.size(image) > 0
        blank = tf.zeros((1, *(side or 1 for side in shape[:2]), shape[2]), dtype)
        answers = _answers(
            logits_of(tf.cast(tf.cond(some, lambda: image, lambda: blank), tf.float32)), extra
        )
        counted = len(answers["class_ids"].shape)  # one answer a pixel, or one an image
        return {name: _none_of_none(value, image, some, counted) for name, value in answers.items()}

    return serve


def _answers(logits, extra):
    answers = postprocess(logits)
    if "uncertainty" in extra:
        answers["uncertainty"] = uncertainty(answers["probabilities"])
    return {name: value for name, value in answers.items() if name == "class_ids" or name in extra}


def _none_of_none(value, image, some, counted):
    """Return an answer, or an empty one that has the first `counted` sides of the image."""

    def empty():  # made only where it is the answer
        return tf.zeros(
            tf.concat([tf.shape(image)[:counted], tf.shape(value)[counted:]], 0), value.dtype
        )

    kept = tf.cond(some, lambda: value, empty)
    return tf.ensure_shape(kept, (None, *value.shape[1:]))


def encoded(logits_of, shape, extra, max_pixels):
    """Return the function image_bytes (B,) string -> answers to files of mixed sizes, each by itself.

    "ok" (B,) bool: whether the bytes were a JPEG or PNG, whole, and of at most `max_pixels`. What else is answered of a
    file that is not is empty, or 0. Of logits for each pixel:

    "mask_png_bytes" (B,) string: the class ids of each image at its own size.
    "class_pixels" (B, classes) int64: how many pixels have each class.
    "rle" (B, classes) string, if it is among the extra outputs, see `run_lengths`.

    Of logits for each image: "class_ids" (B,) and the extra outputs.
    """

    def respond(file):
        picture, ok = decode(file, shape[2], max_pixels)
        answers = _of_file(_at_size(logits_of, picture, shape), extra)
        return {
            "ok": ok,
            **{name: tf.where(ok, value, tf.zeros_like(value)) for name, value in answers.items()},
        }

    one = tf.function(respond, autograph=False).get_concrete_function(tf.TensorSpec((), tf.string))
    spec = {
        name: tf.TensorSpec(value.shape, value.dtype)
        for name, value in one.structured_outputs.items()
    }

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False
    )
    def serve(image_bytes):
        image_bytes = tf.ensure_shape(image_bytes, [None])
        return tf.map_fn(one, image_bytes, fn_output_signature=spec, parallel_iterations=1)

    return serve


def _at_size(logits_of, picture, shape):
    """Return the logits (1, H, W, K), or (1, K), of an image (H, W, C), which is resized for a model of fixed size."""
    if shape[0] is None and shape[1] is None:
        return logits_of(picture[None])
    height, width = (side or tf.shape(picture)[axis] for axis, side in enumerate(shape[:2]))
    logits = logits_of(tf.image.resize(picture[None], (height, width), antialias=True))
    return logits if len(logits.shape) == 2 else tf.image.resize(logits, tf.shape(picture)[:2])


def _of_file(logits, extra):
    """Return the answers to one image, of its logits (1, H, W, K) or (1, K)."""
    if len(logits.shape) == 2:
        return {name: value[0] for name, value in _answers(logits, extra).items()}
    classes = max(2, logits.shape[-1])
    ids = postprocess(logits)["class_ids"][0]
    counts = tf.math.bincount(
        tf.reshape(tf.cast(ids, tf.int32), [-1]), None, classes, classes, tf.int64
    )
    answers = {
        "mask_png_bytes": tf.io.encode_png(ids[..., None]),
        "class_pixels": tf.ensure_shape(counts, [classes]),
    }
    if "rle" in extra:
        answers["rle"] = tf.ensure_shape(run_lengths(ids, classes), [classes])
    return answers
