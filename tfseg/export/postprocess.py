"""What an export answers: classes and probabilities, the same from every kind of artifact."""

import math

import tensorflow as tf


def require_logits(owner, model):
    """Raise a ValueError unless a model gives logits and nothing else: (B, H, W, classes), or (B, classes)."""
    if len(model.outputs) != 1 or len(model.output_shape) not in (2, 4):
        raise ValueError(
            f"{owner}: the model {model.name!r} gives {[tuple(x.shape) for x in model.outputs]}, expected logits "
            "(B, H, W, classes) or (B, classes). Export keras.Model(model.input, model.outputs[0])."
        )


def postprocess(logits):
    """(..., C) logits -> {"class_ids": (...) uint8, "probabilities": (..., C) float32}.

    Class ids are uint16 where there are more than 256 classes. Of a single sigmoid channel the class is 1 where its
    probability is above one half.
    """
    logits = tf.cast(logits, tf.float32)  # a model that ends in a layer of bfloat16 gives such
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


def uncertainty(probabilities):
    """(..., C) -> (...) float32: the entropy over the classes, 0 where one is certain, 1 where all are alike."""
    if probabilities.shape[-1] == 1:
        probabilities = tf.concat([probabilities, 1 - probabilities], -1)
    entropy = -tf.reduce_sum(tf.math.xlogy(probabilities, probabilities), -1)
    return entropy / math.log(probabilities.shape[-1])


def run_lengths(ids, classes):
    """(H, W) class ids -> (classes,) string: each class as COCO's uncompressed run lengths, in JSON.

    {"size": [H, W], "counts": [...]}: down the columns, by turns the number of pixels outside and inside the class;
    `pycocotools.mask.frPyObjects` reads it.
    """
    flat = tf.cast(tf.reshape(tf.transpose(ids), [-1]), tf.int32)
    height, width = (tf.strings.as_string(tf.shape(ids)[axis]) for axis in (0, 1))

    def one(index):
        # framed so that it begins and ends outside: every run ends where two neighbors differ
        inside = tf.pad(flat == index, [[1, 1]])
        ends = tf.where(inside[1:] != inside[:-1])[:, 0]
        stops = tf.concat([[0], ends, [tf.size(flat, tf.int64)]], 0)
        counts = stops[1:] - stops[:-1]
        counts = tf.cond(counts[-1] > 0, lambda: counts, lambda: counts[:-1])
        text = tf.strings.reduce_join(tf.strings.as_string(counts), separator=", ")
        return tf.strings.join(['{"size": [', height, ", ", width, '], "counts": [', text, "]}"])

    return tf.map_fn(one, tf.range(classes), fn_output_signature=tf.string)
