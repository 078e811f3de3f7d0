"""What a SavedModel answers: the functions behind its signatures."""

import tensorflow as tf

from tfseg.export.answer import answer, run_lengths, uncertainty
from tfseg.export.decoding import decode

EXTRA_OUTPUTS = ("probabilities", "uncertainty", "rle")


def serving(logits_of, shape, extra, dtype):
    """Return the function image (B, H, W, C) -> "class_ids" and the extra outputs; a batch of none gives none.

    Args:
        logits_of: function (B, H, W, C) float32 -> (B, H, W, K).
        shape: of the image, without the batch; None where any is taken.
        extra: of `EXTRA_OUTPUTS`; "rle" is for encoded pictures only.
        dtype: of the images.
    """

    @tf.function(input_signature=[tf.TensorSpec((None, *shape), dtype, name="image")], autograph=False)
    def serve(image):
        image = tf.ensure_shape(image, (None, *shape))  # outside Python nobody else looks, and grey would broadcast
        # An empty tensor crashes oneDNN's convolutions: a black pixel goes in its place, and its answer is cut off.
        some = tf.size(image) > 0
        blank = tf.zeros((1, *(side or 1 for side in shape[:2]), shape[2]), dtype)
        answers = answer(logits_of(tf.cast(tf.cond(some, lambda: image, lambda: blank), tf.float32)))
        if "uncertainty" in extra:
            answers["uncertainty"] = uncertainty(answers["probabilities"])
        kept = [name for name in answers if name == "class_ids" or name in extra]
        return {name: _none_of_none(answers[name], image, some) for name in kept}

    return serve


def _none_of_none(value, image, some):
    """Return an answer, or an empty one of the image's own batch, height and width."""
    empty = tf.zeros(tf.concat([tf.shape(image)[:3], tf.shape(value)[3:]], 0), value.dtype)
    kept = tf.cond(some, lambda: value, lambda: empty)
    return tf.ensure_shape(kept, (None, *value.shape[1:]))


def encoded(logits_of, shape, extra, classes, max_pixels):
    """Return the function image_bytes (B,) string -> answers to files of mixed sizes, each by itself.

    "mask_png_bytes" (B,) string: the class ids of each picture at its own size; empty for a bad one.
    "class_pixels" (B, classes) int64: how many pixels have each class; 0 for a bad one.
    "ok" (B,) bool: whether the bytes were a JPEG or PNG, whole, and of at most `max_pixels`.
    "rle" (B, classes) string, if it is among the extra outputs, see `run_lengths`.
    """
    spec = {
        "mask_png_bytes": tf.TensorSpec((), tf.string),
        "class_pixels": tf.TensorSpec((classes,), tf.int64),
        "ok": tf.TensorSpec((), tf.bool),
    }
    if "rle" in extra:
        spec["rle"] = tf.TensorSpec((classes,), tf.string)

    def respond(file):
        picture, ok = decode(file, shape[2], max_pixels)
        ids = answer(_at_size(logits_of, picture, shape))["class_ids"][0]
        counts = tf.math.bincount(tf.reshape(tf.cast(ids, tf.int32), [-1]), None, classes, classes, tf.int64)
        answers = {"mask_png_bytes": tf.io.encode_png(ids[..., None]), "class_pixels": counts}
        if "rle" in extra:
            answers["rle"] = run_lengths(ids, classes)
        return {"ok": ok, **{name: tf.where(ok, value, tf.zeros_like(value)) for name, value in answers.items()}}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False)
    def serve(image_bytes):
        image_bytes = tf.ensure_shape(image_bytes, [None])
        return tf.map_fn(respond, image_bytes, fn_output_signature=spec, parallel_iterations=1)

    return serve


def _at_size(logits_of, picture, shape):
    """Return logits (1, H, W, K) of a picture (H, W, C), for a model that takes this size or any."""
    if None in shape[:2]:
        return logits_of(picture[None])
    small = tf.image.resize(picture[None], shape[:2], antialias=True)
    return tf.image.resize(logits_of(small), tf.shape(picture)[:2])
