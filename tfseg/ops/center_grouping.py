"""Instances from centers and offsets: each pixel joins the center that its offset points to.

The method is that of Panoptic-DeepLab (arXiv:1911.10194). Centers are row and column, with the
center of the first pixel at (0, 0), since the offsets of a pixel are added to its indices.
`nearest_centers` is for NumPy arrays.
"""

import numpy as np
from keras import ops

HEAT_THRESHOLD = 0.1
PEAK_WINDOW = 7
MAX_CENTERS = 200
BLOCK = 64  # pixels along a side: few centers are near all pixels of such a block
FLOAT32_MARGIN = 1 + 1e-5  # of squared distances, which float32 rounds


def find_centers(
    heat,
    threshold: float = HEAT_THRESHOLD,
    window: int = PEAK_WINDOW,
    max_centers: int = MAX_CENTERS,
):
    """Return the peaks of heat maps.

    Args:
        heat: (B, H, W), values in [0, 1].
        threshold: peaks must be above it.
        window: odd side of the square around a peak in which no pixel is higher. Of equal pixels in
            such a square only one is a peak.
        max_centers: number of rows to return per image.

    Returns:
        centers (B, max_centers, 2) float32, row and column; scores (B, max_centers) float32, their
        heat in descending order. Missing rows at the end are 0.

    Example:
        >>> from keras import ops
        >>> from tfseg.ops import find_centers
        >>> centers, scores = find_centers([[[0.0, 0.5, 0.25, 0.0]]], window=3, max_centers=2)
        >>> ops.convert_to_numpy(centers).tolist(), ops.convert_to_numpy(scores).tolist()
        ([[[0.0, 1.0], [0.0, 0.0]]], [[0.5, 0.0]])
    """
    heat = ops.cast(heat, "float32")
    batch, height, width = ops.shape(heat)
    is_peak = ops.logical_and(heat > threshold, heat == _window_max(heat, window))
    # These numbers differ within each window.
    rows, columns = ops.arange(height) % window, ops.arange(width) % window
    numbers = ops.cast(rows[:, None] * window + columns + 1, "float32")
    numbers = ops.where(is_peak, numbers, 0.0)
    is_peak = ops.logical_and(is_peak, numbers == _window_max(numbers, window))
    peaks = ops.reshape(ops.where(is_peak, heat, 0.0), (batch, height * width))
    scores, places = ops.top_k(ops.pad(peaks, [[0, 0], [0, max_centers]]), max_centers)
    places = ops.where(scores > 0, ops.cast(places, "int32"), 0)
    centers = ops.stack([places // width, places % width], axis=-1)
    return ops.cast(centers, "float32"), scores


def _window_max(values, window):
    """Return (B, H, W), the largest value in the square around each pixel."""
    pooled = ops.max_pool(
        values[..., None], window, strides=1, padding="same", data_format="channels_last"
    )
    return pooled[..., 0]


def group_pixels(offsets, centers, valid, things):
    """Return the number of the center that is nearest to where each pixel's offset points.

    Args:
        offsets: (B, H, W, 2) rows and columns from each pixel to the center of its object.
        centers: (B, K, 2) row and column.
        valid: (B, K) bool, True for the first rows of each image.
        things: (B, H, W) bool, which pixels belong to objects.

    Returns:
        (B, H, W) int32: 0 for no object, k + 1 for center k; of equally near ones the first.
    """
    targets = pixel_targets(offsets)
    centers = ops.cast(centers, "float32")
    count = ops.max(ops.sum(ops.cast(valid, "int32"), axis=1), initial=0)

    def is_left(k, nearest, ids):
        return k < count

    def compare(k, nearest, ids):
        center = ops.take(centers, k, axis=1)[:, None, None]
        distance = ops.sum(ops.square(targets - center), axis=-1)
        closer = ops.logical_and(distance < nearest, ops.take(valid, k, axis=1)[:, None, None])
        return k + 1, ops.where(closer, distance, nearest), ops.where(closer, k + 1, ids)

    start = ops.full_like(targets[..., 0], float("inf"))
    ids = ops.zeros_like(start, "int32")
    ids = ops.while_loop(is_left, compare, (ops.convert_to_tensor(0, "int32"), start, ids))[2]
    return ops.where(things, ids, 0)


def pixel_targets(offsets):
    """Return (B, H, W, 2) float32 row and column to which the offsets (B, H, W, 2) point."""
    offsets = ops.cast(offsets, "float32")
    _, height, width, _ = ops.shape(offsets)
    rows = offsets[..., 0] + ops.cast(ops.arange(height), "float32")[:, None]
    columns = offsets[..., 1] + ops.cast(ops.arange(width), "float32")
    return ops.stack([rows, columns], axis=-1)


def nearest_centers(targets: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Do what `group_pixels` does for one image with thousands of objects.

    Of the centers, each block of pixels is compared only with those that can be the nearest.

    Args:
        targets: (H, W, 2) NumPy row and column, such as those of `pixel_targets`.
        centers: (K, 2) NumPy row and column.

    Returns:
        (H, W) int32: k + 1 for center k, 0 without centers.
    """
    ids = np.zeros(targets.shape[:2], np.int32)
    if not len(centers):
        return ids
    rows, columns = np.moveaxis(targets, -1, 0).copy()  # sums along an axis of 2 are slow
    for top in range(0, targets.shape[0], BLOCK):
        for left in range(0, targets.shape[1], BLOCK):
            block = np.s_[top : top + BLOCK, left : left + BLOCK]
            near = _possible_centers(targets[block].reshape(-1, 2), centers)
            y, x = rows[block], columns[block]
            distances = [(y - row) ** 2 + (x - column) ** 2 for row, column in centers[near]]
            ids[block] = near[np.argmin(distances, axis=0)] + 1
    return ids


def _possible_centers(targets, centers):
    """Return the indices of centers that can be the nearest one of any target.

    No target is farther from its nearest center than the farthest corner of the box around the
    targets is from any center.
    """
    low, high = targets.min(0), targets.max(0)
    outside = np.maximum(np.maximum(low - centers, centers - high), 0)
    farthest = np.maximum(np.abs(centers - low), np.abs(centers - high))
    limit = (farthest**2).sum(1).min() * FLOAT32_MARGIN
    return np.flatnonzero((outside**2).sum(1) <= limit)


def describe_instances(ids, class_logits, center_scores, thing_ids):
    """Return the class and the score of each instance, and the mask that agrees with them.

    The class is the most frequent one of the instance's pixels. The score is the heat of the center
    times the mean probability of that class.

    Args:
        ids: (B, H, W) integers, 0 for no instance, k + 1 for instance k.
        class_logits: (B, H, W, C).
        center_scores: (B, K).
        thing_ids: T class ids in [0, C), those of object categories 0 to T - 1.

    Returns:
        classes (B, K) int32 from 0 to T - 1, -1 for instances without pixels; scores (B, K)
        float32, 0 for these; mask (B, H, W) int32, class ids in [0, C): that of the instance, and
        elsewhere the best one that is not a thing.
    """
    class_logits = ops.cast(class_logits, "float32")
    batch, rows = ops.shape(center_scores)
    classes, things = class_logits.shape[-1], len(thing_ids)
    thing_ids = ops.convert_to_tensor(thing_ids, "int32")
    probabilities = ops.take(ops.softmax(class_logits, axis=-1), thing_ids, axis=-1)
    best = ops.cast(ops.argmax(probabilities, axis=-1), "int32")
    # Sums per instance and category. Row 0 of each image collects the pixels of no instance.
    images = ops.reshape(ops.arange(batch, dtype="int32"), (-1, 1, 1))
    segments = ops.reshape(ids + images * (rows + 1), (-1,))
    values = ops.concatenate([ops.one_hot(best, things), probabilities], axis=-1)
    sums = ops.segment_sum(
        ops.reshape(values, (-1, 2 * things)), segments, num_segments=batch * (rows + 1)
    )
    sums = ops.reshape(sums, (batch, rows + 1, 2 * things))[:, 1:]
    votes, totals = sums[..., :things], sums[..., things:]
    sizes = ops.sum(votes, axis=-1)
    category = ops.cast(ops.argmax(votes, axis=-1), "int32")
    total = ops.take_along_axis(totals, category[..., None], axis=-1)[..., 0]
    scores = center_scores * total / ops.maximum(sizes, 1)
    found = sizes > 0
    category = ops.where(found, category, -1)
    chosen = ops.pad(ops.take(thing_ids, ops.maximum(category, 0)), [[0, 0], [1, 0]])
    of_instance = ops.take(ops.reshape(chosen, (-1,)), segments)
    is_thing = ops.any(ops.arange(classes)[:, None] == thing_ids, axis=-1)
    stuff = ops.argmax(ops.where(is_thing, -float("inf"), class_logits), axis=-1)
    of_instance = ops.reshape(of_instance, ops.shape(ids))
    mask = ops.where(ids > 0, of_instance, ops.cast(stuff, "int32"))
    return category, ops.where(found, scores, 0.0), mask


def thing_pixels(class_logits, thing_ids):
    """Return (B, H, W) bool: whether the class of a pixel, by its logits, is a thing.

    Args:
        class_logits: (B, H, W, C).
        thing_ids: class ids in [0, C).
    """
    best = ops.cast(ops.argmax(class_logits, axis=-1), "int32")
    return ops.any(best[..., None] == ops.convert_to_tensor(thing_ids, "int32"), axis=-1)
