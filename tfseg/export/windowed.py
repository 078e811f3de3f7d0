"""Sliding-window inference inside a graph, for large images."""

import tensorflow as tf

from tfseg.ops import window_count


def windowed(logits_of, window: int, overlap: float, classes: int):
    """Return a function like `logits_of` that keeps features of one window at a time.

    Windows, and the weights by which overlapping logits are averaged, are those of
    `tfseg.inference.predict_logits`.

    Args:
        logits_of: function (B, H, W, C) -> (B, H, W, classes).
        window: side of the windows in pixels. Images that fit into one window run whole.
        overlap: minimum fraction of a window that the next window covers again, in [0, 1).
        classes: number of channels of the logits.
    """

    def logits(image):
        is_small = tf.reduce_all(tf.shape(image)[1:3] <= window)
        return tf.cond(
            is_small,
            lambda: logits_of(image),
            lambda: _slide(logits_of, image, window, overlap, classes),
        )

    return logits


def _slide(logits_of, image, window, overlap, classes):
    """Return the weighted mean of the logits of all windows, (B, H, W, classes)."""
    batch, height, width = tf.unstack(tf.shape(image)[:3])
    window_height = tf.minimum(height, window)
    window_width = tf.minimum(width, window)
    row_weights, column_weights = blend_weights(window_height), blend_weights(window_width)
    weight = row_weights[:, None, None] * column_weights[None, :, None]
    rows = window_starts(height, window, overlap)
    columns = window_starts(width, window, overlap)
    count = tf.size(rows) * tf.size(columns)

    def add_window(index, total, weights):
        y = rows[index // tf.size(columns)]
        x = columns[index % tf.size(columns)]
        logits = logits_of(image[:, y : y + window_height, x : x + window_width])
        margins = [
            [0, 0],
            [y, height - y - window_height],
            [x, width - x - window_width],
            [0, 0],
        ]
        total += tf.pad(logits * weight, margins)
        weights += tf.pad(weight, margins[1:])
        return index + 1, total, weights

    total = tf.zeros((batch, height, width, classes))
    weights = tf.zeros((height, width, 1))
    shapes = (
        tf.TensorShape([]),
        tf.TensorShape([None, None, None, classes]),
        tf.TensorShape([None, None, 1]),
    )
    _, total, weights = tf.while_loop(
        lambda index, *_: index < count,
        add_window,
        (0, total, weights),
        shapes,
        parallel_iterations=1,
        maximum_iterations=count,
    )
    return total / weights


def window_starts(length, window: int, overlap: float):
    """Return the starts that `tfseg.ops.window_corners` has along one axis, in a graph.

    Args:
        length: () int32 tensor, side of the image.
        window: side of the windows.
        overlap: minimum fraction of a window that the next window covers again, in [0, 1).

    Returns:
        (N,) int32.
    """
    spare = tf.maximum(0, length - window)
    count = window_count(spare, window, overlap)
    last = tf.cast(tf.maximum(count - 1, 1), tf.float64)
    starts = tf.cast(tf.range(count), tf.float64) * tf.cast(spare, tf.float64) / last
    return tf.cast(tf.round(starts), tf.int32)


def blend_weights(length):
    """Return `tfseg.ops.blend_weights` in a graph: () int32 -> (length,) float32."""
    return 1 - tf.abs(tf.linspace(-1.0, 1.0, length + 2)[1:-1])
