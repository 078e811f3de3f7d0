"""All scores of a confusion matrix."""

import numpy as np
from keras import ops

from tfseg.metrics.base import FLOAT
from tfseg.ops import (
    agreement,
    channel_counts,
    class_counts,
    class_fraction,
    mean_ratio,
    nan_where,
    ratio,
)

SCORES = ("iou", "dice", "precision", "recall", "specificity")
SINGLE_LABEL_SCORES = ("matthews", "cohen_kappa")
AVERAGES = ("mean", "micro", "weighted", "per_image")
REPORTABLE = (
    *SCORES,
    *(f"{average}_{score}" for average in AVERAGES for score in SCORES),
    "pixel_accuracy",
    "mean_accuracy",
    *SINGLE_LABEL_SCORES,
)


def scores_of(matrix, zero_division: float | None = None, ignore_index: int | None = None) -> dict:
    """Compute all scores of a confusion matrix, except the averages "per_image".

    Args:
        matrix: (C, C) counts, rows are true classes, columns predicted classes; or, for multi-label
            masks, (C, 2, 2), [[TN, FP], [FN, TP]] of each channel.
        zero_division: the value of 0 / 0: None for no score (NaN), 0.0 or 1.0.
        ignore_index: a class whose pixels were ignored. It has no score (NaN), and it is left out
            of "mean_", "micro_" and "weighted_" scores.

    Returns:
        dict of float64 (under JAX float32). For each of the scores "iou", "dice", "precision",
        "recall", "specificity":

        - "<score>" (C,), per class, NaN where it has none;
        - "mean_<score>", the mean over the classes that have one (macro average);
        - "micro_<score>", the score of the summed counts of all classes;
        - "weighted_<score>", the mean weighted by the number of true pixels;

        and "pixel_accuracy", the fraction of correct pixels, or of correct decisions for (C, 2, 2);
        "mean_accuracy", equal to "mean_recall"; for (C, C), "matthews" and "cohen_kappa".

    Example:
        >>> import tfseg
        >>> scores = tfseg.metrics.scores_of([[3, 1], [0, 4]])
        >>> print(f"{scores['mean_iou']:.3f}, {scores['pixel_accuracy']:.3f}")
        0.775, 0.875
    """
    matrix = ops.cast(matrix, FLOAT)  # before anything else: JAX would truncate int64 to 32 bits
    names = [name for name in REPORTABLE if not name.startswith("per_image")]
    if len(matrix.shape) == 3:
        names = [name for name in names if name not in SINGLE_LABEL_SCORES]
    return compute_scores(names, matrix, zero_division, ignore_index)


def compute_scores(
    names, matrix, zero_division: float | None = None, ignore_index: int | None = None
) -> dict:
    """Return {name: score} for some of the names of `scores_of`."""
    matrix = ops.cast(matrix, FLOAT)
    counts, kept = _counts(matrix), kept_classes(matrix.shape, ignore_index)
    return {name: _compute_score(name, matrix, counts, kept, zero_division) for name in names}


def _compute_score(name, matrix, counts, kept, zero_division):
    if name in SINGLE_LABEL_SCORES:
        return agreement(matrix, zero_division)[SINGLE_LABEL_SCORES.index(name)]
    if name == "pixel_accuracy":
        return _pixel_accuracy(matrix, kept, zero_division)
    if name == "mean_accuracy":
        name = "mean_recall"
    average, _, score = name.rpartition("_")
    if average == "micro":
        sums = [ops.sum(ops.where(kept, count, 0)) for count in counts]
        return ratio(*class_fraction(score, *sums), zero_division)
    fraction = class_fraction(score, *counts)
    if average == "":
        excluded = nan_where(np.logical_not(kept), FLOAT)
        return ratio(*fraction, zero_division) + excluded
    tp, _, fn, _ = counts
    weights = tp + fn if average == "weighted" else None
    return mean_ratio(*fraction, weights, kept, zero_division)


def _pixel_accuracy(matrix, kept, zero_division):
    if len(matrix.shape) == 3:
        matrix = ops.where(kept[:, None, None], matrix, 0)
        return ratio(ops.sum(matrix[:, 0, 0] + matrix[:, 1, 1]), ops.sum(matrix), zero_division)
    return ratio(ops.trace(matrix), ops.sum(matrix), zero_division)


def _counts(matrix):
    """Return (tp, fp, fn, tn) of (C, C) or (C, 2, 2)."""
    return channel_counts(matrix) if len(matrix.shape) == 3 else class_counts(matrix)


def kept_classes(shape, ignore_index: int | None):
    """Return (C,) bool NumPy, False for the class `ignore_index`.

    Args:
        shape: of the matrix, (C, C) or (C, 2, 2).
        ignore_index: as in `scores_of`.
    """
    classes = shape[0]
    first = 1 if len(shape) == 3 and classes == 1 else 0  # a single channel is class 1
    return np.arange(first, first + classes) != ignore_index
