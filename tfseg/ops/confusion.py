"""The confusion matrix and the scores that follow from it."""

import keras
from keras import ops


def top_class(scores):
    """Return the class of the highest score a pixel, the first of equals: (..., C) floating -> (...) int32."""
    classes = scores.shape[-1]
    if classes == 2:
        return ops.cast(scores[..., 1] > scores[..., 0], "int32")
    # The same numbers either way. Keras' argmax makes three passes more over the scores; top_k is three times as
    # fast on a processor, but sorts under XLA, which is Keras' default wherever there is an accelerator.
    if keras.backend.backend() == "tensorflow" and not keras.distribution.list_devices("gpu"):
        return ops.top_k(scores, 1)[1][..., 0]
    return ops.argmax(scores, axis=-1)


def confusion_matrix(labels, predictions, num_classes, valid=None, per_image=False):
    """Count pixels by (true class, predicted class).

    Args:
        labels, predictions: integers of one shape (B, ...), in [0, num_classes) wherever `valid`.
        num_classes: C.
        valid: bool of the same shape; pixels that are False are not counted. None counts all.
        per_image: count each image of the batch by itself.

    Returns:
        (C, C) int32, or (B, C, C) with `per_image`; true classes down, predicted classes across. One call holds
        up to 2**31 - 1 pixels.
    """
    cell = ops.cast(labels, "int32") * num_classes + ops.cast(predictions, "int32")
    images = ops.shape(cell)[0] if per_image else 1
    if per_image:
        first = ops.arange(images, dtype="int32") * num_classes**2
        cell += ops.reshape(first, (-1,) + (1,) * (len(cell.shape) - 1))
    cells = images * num_classes**2
    if valid is not None:
        cell = ops.where(valid, cell, cells)  # one bin more, thrown away
    cell = ops.reshape(cell, (-1,))
    # Not ops.bincount: inside a metric it does not compile under XLA.
    counts = ops.segment_sum(ops.ones_like(cell), cell, num_segments=cells + 1)[:-1]
    return ops.reshape(counts, (-1,) * per_image + (num_classes, num_classes))


def channel_matrices(truth, predictions, valid):
    """Count the pixels of each image and channel by (true, predicted), where several classes share a pixel.

    Args:
        truth, predictions: bool (B, ..., C).
        valid: bool (B, ...); pixels that are False are not counted.

    Returns:
        (B, C, 2, 2) int32: [[TN, FP], [FN, TP]], as scikit-learn's `multilabel_confusion_matrix` lays them out.
    """
    spatial = tuple(range(1, len(truth.shape) - 1))
    valid = ops.expand_dims(valid, -1)
    truth, predictions = ops.logical_and(truth, valid), ops.logical_and(predictions, valid)

    def total(where):
        return ops.sum(ops.cast(where, "int32"), axis=spatial)

    hit, true, predicted = (
        total(ops.logical_and(truth, predictions)),
        total(truth),
        total(predictions),
    )
    rest = total(valid) - true - predicted + hit
    return ops.stack([ops.stack([rest, predicted - hit], -1), ops.stack([true - hit, hit], -1)], -2)


def class_counts(matrix):
    """Return TP, FP, FN and TN of each class against the rest, (..., C) each, of a (..., C, C) confusion matrix."""
    hit = ops.diagonal(matrix, axis1=-2, axis2=-1)
    missed = ops.sum(matrix, axis=-1) - hit
    wrong = ops.sum(matrix, axis=-2) - hit
    rest = ops.sum(hit + missed, axis=-1, keepdims=True) - hit - missed - wrong
    return hit, wrong, missed, rest


def channel_counts(matrices):
    """Return TP, FP, FN and TN, (..., C) each, of (..., C, 2, 2) `channel_matrices`."""
    return matrices[..., 1, 1], matrices[..., 0, 1], matrices[..., 1, 0], matrices[..., 0, 0]


def class_score(score, hit, wrong, missed, rest, zero_division=None):
    """Return a score of floating counts TP, FP, FN, TN of any one shape: an array of that shape.

    Args:
        score: "iou" TP / (TP + FP + FN) (Jaccard index), "dice" 2 TP / (2 TP + FP + FN) (F1), "precision"
            TP / (TP + FP), "recall" TP / (TP + FN) (sensitivity) or "specificity" TN / (TN + FP).
        hit, wrong, missed, rest: TP, FP, FN, TN.
        zero_division: what 0 / 0 gives; None for NaN.
    """
    parts = {
        "iou": (hit, hit + wrong + missed),
        "dice": (2 * hit, 2 * hit + wrong + missed),
        "precision": (hit, hit + wrong),
        "recall": (hit, hit + missed),
        "specificity": (rest, rest + wrong),
    }
    return ratio(*parts[score], zero_division)


def agreement(matrix, zero_division=None):
    """Return Matthews' correlation coefficient and Cohen's kappa of a (C, C) floating confusion matrix.

    Matthews' is that for C classes, Gorodkin's R_K (doi:10.1016/j.compbiolchem.2004.09.006). Both are 1 for a perfect
    prediction and 0 for what chance would give with the same shares of classes. They are 0 / 0 (NaN, or
    `zero_division`) where truth or prediction (for kappa: both) hold one class only.
    """
    true, predicted = ops.sum(matrix, axis=1), ops.sum(matrix, axis=0)
    # every figure below is a share of pixels times total**2
    total, chance = ops.sum(matrix), ops.sum(true * predicted)
    beyond_chance = total * ops.trace(matrix) - chance
    spread = ops.sqrt(
        (total * total - ops.sum(true * true)) * (total * total - ops.sum(predicted * predicted))
    )
    kappa = ratio(beyond_chance, total * total - chance, zero_division)
    return ratio(beyond_chance, spread, zero_division), kappa


def mean_present(scores, weights=None, zero_division=None):
    """Mean over the last axis of the scores that are not NaN, each with its weight; NaN where none is left."""
    has_score = ops.logical_not(ops.isnan(scores))
    weights = ops.cast(has_score, scores.dtype) * (1 if weights is None else weights)
    return ratio(
        ops.sum(ops.where(has_score, scores, 0) * weights, axis=-1),
        ops.sum(weights, axis=-1),
        zero_division,
    )


def ratio(numerator, denominator, zero_division=None):
    """Return numerator / denominator; where the denominator is 0, NaN or `zero_division`."""
    empty = denominator == 0
    blank = float("nan") if zero_division is None else zero_division
    return ops.where(empty, blank, numerator / ops.where(empty, 1, denominator))
