"""Logits of large images window by window, inside a graph."""

import tensorflow as tf


def windowed(logits_of, window, overlap, classes):
    """Return a function like `logits_of` that holds the features of one window at a time, and the logits of the whole.

    The windows, and the weights with which they are averaged where they overlap, are those of
    `tfseg.inference.predict_logits`.

    Args:
        logits_of: function (B, H, W, C) -> (B, H, W, classes).
        window: side of the windows; smaller images go through whole.
        overlap: share of a window that the next one covers again at least.
        classes: channels of the logits.
    """

    def slide(image):
        height, width = tf.shape(image)[1], tf.shape(image)[2]
        tall, wide = tf.minimum(height, window), tf.minimum(width, window)
        weight = _hill(tall)[:, None, None] * _hill(wide)[None, :, None]
        rows, columns = _starts(height, window, overlap), _starts(width, window, overlap)
        count = tf.size(columns)

        def add(index, total, weights):
            y, x = rows[index // count], columns[index % count]
            logits = logits_of(image[:, y : y + tall, x : x + wide])
            around = [[0, 0], [y, height - y - tall], [x, width - x - wide], [0, 0]]
            return (
                index + 1,
                total + tf.pad(logits * weight, around),
                weights + tf.pad(weight, around[1:]),
            )

        total = tf.zeros((tf.shape(image)[0], height, width, classes))
        start = (0, total, tf.zeros((height, width, 1)))
        shapes = (
            tf.TensorShape([]),
            tf.TensorShape([None, None, None, classes]),
            tf.TensorShape([None, None, 1]),
        )
        last = tf.size(rows) * count
        _, total, weights = tf.while_loop(
            lambda index, *_: index < last,
            add,
            start,
            shapes,
            parallel_iterations=1,
            maximum_iterations=last,
        )
        return total / weights

    def logits(image):
        small = tf.reduce_all(tf.shape(image)[1:3] <= window)
        return tf.cond(small, lambda: logits_of(image), lambda: slide(image))

    return logits


def _starts(length, window, overlap):
    """() int32 -> (N,) int32: where windows begin along one side, evenly spaced."""
    spare = tf.maximum(0, length - window)
    count = -(-spare // max(1, int(window * (1 - overlap)))) + 1
    steps = tf.cast(tf.range(count), tf.float64) * tf.cast(spare, tf.float64)
    return tf.cast(tf.round(steps / tf.cast(tf.maximum(count - 1, 1), tf.float64)), tf.int32)


def _hill(length):
    """() int32 -> (length,) float32 weights that fall from the middle to the ends, never to 0."""
    return 1 - tf.abs(tf.linspace(-1.0, 1.0, length + 2)[1:-1])
