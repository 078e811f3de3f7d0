"""The confusion matrix and the scores that follow from it."""

from keras import ops


def confusion_matrix(labels, predictions, num_classes, valid=None):
    """Count pixels by (true class, predicted class).

    Args:
        labels, predictions: integers of one shape, in [0, num_classes) wherever `valid`.
        num_classes: C.
        valid: bool of the same shape; pixels that are False are not counted. None counts all.

    Returns:
        (C, C) int32, true classes down, predicted classes across. One call holds up to 2**31 - 1 pixels.
    """
    cell = ops.cast(labels, "int32") * num_classes + ops.cast(predictions, "int32")
    if valid is not None:
        cell = ops.where(valid, cell, num_classes**2)  # one bin more, thrown away
    cell = ops.reshape(cell, (-1,))
    # Not ops.bincount: inside a metric it does not compile under XLA.
    counts = ops.segment_sum(ops.ones_like(cell), cell, num_segments=num_classes**2 + 1)
    return ops.reshape(counts[:-1], (num_classes, num_classes))


def class_scores(matrix):
    """Per-class scores of a (C, C) float confusion matrix (true classes down).

    Returns:
        dict of (C,) arrays: "iou" TP / (TP + FP + FN) (Jaccard index), "dice" 2 TP / (2 TP + FP + FN) (F1),
        "accuracy" TP / (TP + FN) (recall). A class without any pixel to divide by is NaN.
    """
    hit = ops.diagonal(matrix)
    truth = ops.sum(matrix, axis=1)
    predicted = ops.sum(matrix, axis=0)
    return {
        "iou": _ratio(hit, truth + predicted - hit),
        "dice": _ratio(2 * hit, truth + predicted),
        "accuracy": _ratio(hit, truth),
    }


def mean_present(scores):
    """Mean over the classes that have a score (macro average without NaN); NaN where none has."""
    has_score = ops.logical_not(ops.isnan(scores))
    total = ops.sum(ops.where(has_score, scores, 0))
    return _ratio(total, ops.sum(ops.cast(has_score, scores.dtype)))


def _ratio(numerator, denominator):
    empty = denominator == 0
    return ops.where(empty, float("nan"), numerator / ops.where(empty, 1, denominator))
