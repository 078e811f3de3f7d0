"""Outputs of every export format: class ids, probabilities, uncertainty and run lengths."""

import math

import keras
import numpy as np
import tensorflow as tf

from tfseg.models import output_activation
from tfseg.models.layer_graph import is_graph


def require_logits(owner: str, model: keras.Model) -> None:
    """Raise a ValueError unless a model's only output is logits (B, H, W, K) or (B, K)."""
    if not is_graph(model) or not model.inputs:
        raise ValueError(
            f"{owner}: got the model {model.name!r} of the class {type(model).__name__}, whose "
            "layers and image shape are unknown; expected a functional model. Wrap it: "
            "image = keras.Input((None, None, 3)); keras.Model(image, model(image))."
        )
    activation = output_activation(model)
    if activation is not None:
        raise ValueError(
            f"{owner}: the model {model.name!r} ends in {activation}, expected logits: exports "
            f"apply the {activation} themselves. Export a model without this last activation."
        )
    if len(model.outputs) != 1 or len(model.output_shape) not in (2, 4):
        shapes = [tuple(output.shape) for output in model.outputs]
        raise ValueError(
            f"{owner}: the model {model.name!r} has outputs of shape {shapes}, expected logits "
            "(B, H, W, classes) or (B, classes). Export keras.Model(model.input, model.outputs[0])."
        )


def postprocess(logits) -> dict:
    """Return class ids and probabilities of logits.

    Args:
        logits: (..., C) float. C == 1 is a single sigmoid channel.

    Returns:
        dict with "class_ids" (...) uint8, or uint16 with more than 256 classes, and "probabilities"
        (..., C) float32. With one channel, the class is 1 where the probability exceeds 0.5.
    """
    logits = tf.cast(logits, tf.float32)  # a custom last layer may compute in bfloat16
    if logits.shape[-1] == 1:
        return {
            "class_ids": tf.cast(logits[..., 0] > 0, tf.uint8),
            "probabilities": tf.sigmoid(logits),
        }
    dtype = tf.uint8 if logits.shape[-1] <= 256 else tf.uint16
    return {
        "class_ids": tf.cast(tf.argmax(logits, axis=-1), dtype),
        "probabilities": tf.nn.softmax(logits),
    }


def ids_of_probabilities(probabilities):
    """Return the class ids of (..., C) probabilities as `postprocess` does, in NumPy."""
    if probabilities.shape[-1] == 1:
        return (probabilities[..., 0] > 0.5).astype(np.uint8)
    dtype = np.uint8 if probabilities.shape[-1] <= 256 else np.uint16
    return probabilities.argmax(-1).astype(dtype)


def with_class_ids(outputs: dict) -> dict:
    """Return the outputs of a file, with class ids if it gives probabilities alone."""
    if "probabilities" in outputs and "class_ids" not in outputs:
        return {**outputs, "class_ids": ids_of_probabilities(outputs["probabilities"])}
    return outputs


def uncertainty(probabilities):
    """Return the normalized entropy over the classes.

    Args:
        probabilities: (..., C) float32.

    Returns:
        (...) float32 in 0..1: 0 for a certain prediction, 1 if all classes are equally likely.
    """
    if probabilities.shape[-1] == 1:
        probabilities = tf.concat([probabilities, 1 - probabilities], -1)
    entropy = -tf.reduce_sum(tf.math.xlogy(probabilities, probabilities), -1)
    return entropy / math.log(probabilities.shape[-1])


def run_lengths(ids, classes: int):
    """Encode each class of a mask as COCO's uncompressed run lengths.

    Each string is JSON, {"size": [H, W], "counts": [...]}. The counts run down the columns and
    alternate between pixels outside and inside the class, starting outside.
    `pycocotools.mask.frPyObjects` reads it.

    Args:
        ids: (H, W) integer class ids.
        classes: number of classes.

    Returns:
        (classes,) string.
    """
    flat = tf.cast(tf.reshape(tf.transpose(ids), [-1]), tf.int32)

    def encode(class_id):
        return run_lengths_json(_run_stops(flat == class_id), tf.shape(ids))

    return tf.map_fn(encode, tf.range(classes), fn_output_signature=tf.string)


def run_lengths_json(stops, size):
    """Return COCO's uncompressed run lengths of one mask as JSON, () string.

    Args:
        stops: (N,) int64, 0 and the positions down the columns at which runs end, in ascending
            order. The runs alternate between pixels outside and inside, starting outside.
        size: (2,) int32, height and width of the mask.
    """
    counts = stops[1:] - stops[:-1]
    counts = tf.cond(counts[-1] > 0, lambda: counts, lambda: counts[:-1])
    listed = tf.strings.reduce_join(tf.strings.as_string(counts), separator=", ")
    height, width = tf.unstack(tf.strings.as_string(size))
    return tf.strings.join(['{"size": [', height, ", ", width, '], "counts": [', listed, "]}"])


def _run_stops(inside):
    """(N,) bool -> 0 and the positions at which runs end, the first of them outside.

    [1, 1, 0] is padded to [0, 1, 1, 0, 0]. Neighbors differ after 0 and 2 pixels, so with both ends
    the runs stop at 0, 0, 2, 3 and the counts are 0, 2, 1. A final count of 0 is dropped later.
    """
    padded = tf.pad(inside, [[1, 1]])
    changes = tf.where(padded[1:] != padded[:-1])[:, 0]
    return tf.concat([[0], changes, [tf.size(inside, tf.int64)]], 0)
