"""Sliding-window inference inside a graph, for large images."""

import tensorflow as tf

from tfseg.ops import window_count


def windowed(logits_of, window: int, overlap: float, classes: int, stride: int):
    """Return a function like `logits_of` that keeps features of one window at a time.

    Windows, and the weights by which overlapping logits are averaged, are those of
    `tfseg.inference.predict_logits`. The time is proportional to the number of pixels.

    Args:
        logits_of: function (B, H, W, C) -> (B, H, W, classes).
        window: side of the windows in pixels. Images that fit into one window run whole.
        overlap: minimum fraction of a window that the next window covers again, in [0, 1).
        classes: number of channels of the logits.
        stride: windows start at multiples of it, see `tfseg.models.output_stride`.
    """

    def logits(image):
        is_small = tf.reduce_all(tf.shape(image)[1:3] <= window)
        return tf.cond(
            is_small,
            lambda: logits_of(image),
            lambda: _slide(logits_of, image, window, overlap, classes, stride),
        )

    return logits


def _slide(logits_of, image, window, overlap, classes, stride):
    """Return the weighted mean of the logits of all windows, (B, H, W, classes)."""
    batch, height, width = tf.unstack(tf.shape(image)[:3])
    row_weights = blend_weights(tf.minimum(height, window))
    column_weights = blend_weights(tf.minimum(width, window))
    rows = window_starts(height, window, overlap, stride)
    columns = window_starts(width, window, overlap, stride)
    count = tf.size(rows) * tf.size(columns)

    def add_window(index, total):
        top, left = rows[index // tf.size(columns)], columns[index % tf.size(columns)]
        # the last window of an axis may reach over the border and is cut there
        bottom, right = tf.minimum(top + window, height), tf.minimum(left + window, width)
        logits = logits_of(image[:, top:bottom, left:right])
        weight = row_weights[: bottom - top, None, None] * column_weights[: right - left, None]
        # updates the tensor in place: adding a padded window would walk over the whole image
        total = tf.raw_ops.TensorStridedSliceUpdate(
            input=total,
            begin=[0, top, left, 0],
            end=[batch, bottom, right, classes],
            strides=[1, 1, 1, 1],
            value=total[:, top:bottom, left:right] + logits * weight,
        )
        return index + 1, total

    shapes = (tf.TensorShape([]), tf.TensorShape([None, None, None, classes]))
    _, total = tf.while_loop(
        lambda index, _: index < count,
        add_window,
        (0, tf.zeros((batch, height, width, classes))),
        shapes,
        parallel_iterations=1,
        maximum_iterations=count,
    )
    row_sums = _weight_sums(rows, row_weights, height)
    column_sums = _weight_sums(columns, column_weights, width)
    return total / (row_sums[:, None, None] * column_sums[:, None])


def _weight_sums(starts, weights, length):
    """Return the sum of the weights of all windows at each position of an axis, (length,).

    Example: windows of weights (1, 2) that start at 0 and 1 sum up to (1, 2 + 1, 2).
    """
    positions = starts[:, None] + tf.range(tf.size(weights))
    weights = tf.broadcast_to(weights, tf.shape(positions))
    reach = tf.reduce_max(positions) + 1  # beyond the border if the last window is cut
    return tf.math.unsorted_segment_sum(weights, positions, reach)[:length]


def window_starts(length, window: int, overlap: float, stride: int = 1):
    """Return the starts that `tfseg.ops.window_corners` has along one axis, in a graph.

    Args:
        length: () int32 tensor, side of the image.
        window: side of the windows.
        overlap: minimum fraction of a window that the next window covers again, in [0, 1).
        stride: the starts are multiples of it; windows smaller than it start anywhere.

    Returns:
        (N,) int32.
    """
    stride = stride if stride <= window else 1
    spare = tf.maximum(0, length - window)
    count = window_count(spare, window, overlap, stride)
    last = tf.cast(tf.maximum(count - 1, 1), tf.float64)
    units = tf.cast(-(-spare // stride), tf.float64)  # -(-a // b) rounds up
    steps = tf.round(tf.cast(tf.range(count), tf.float64) * units / last)
    return stride * tf.cast(steps, tf.int32)


def blend_weights(length):
    """Return `tfseg.ops.blend_weights` in a graph: () int32 -> (length,) float32."""
    return 1 - tf.abs(tf.linspace(-1.0, 1.0, length + 2)[1:-1])
