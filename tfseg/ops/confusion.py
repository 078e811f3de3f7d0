"""The confusion matrix and the scores computed from it."""

import numpy as np
from keras import ops

from tfseg.ops.masks import nan_where


def confusion_matrix(labels, predictions, num_classes: int, valid=None, per_image: bool = False):
    """Count pixels by (true class, predicted class).

    Args:
        labels, predictions: integers of one shape (B, ...), in [0, num_classes) wherever `valid`.
        num_classes: C.
        valid: bool of the same shape; pixels that are False are not counted. None counts all.
        per_image: return one matrix per image instead of one for the batch.

    Returns:
        (C, C) int32, or (B, C, C) with `per_image`; rows are true classes, columns predicted
        classes. One call can count up to 2**31 - 1 pixels.
    """
    # Each (true, predicted) pair is one bin: with 3 classes, true 1 and predicted 2 is bin 5.
    # With `per_image`, the bins of image 1 follow those of image 0, so that pair is bin 9 + 5.
    bins = ops.cast(labels, "int32") * num_classes + ops.cast(predictions, "int32")
    images = ops.shape(bins)[0] if per_image else 1
    if per_image:
        first = ops.arange(images, dtype="int32") * num_classes**2
        bins += ops.reshape(first, (-1,) + (1,) * (len(bins.shape) - 1))
    count = images * num_classes**2
    if valid is not None:
        bins = ops.where(valid, bins, count)  # an extra bin, dropped below
    bins = ops.reshape(bins, (-1,))
    # Not ops.bincount: inside a metric it does not compile under XLA.
    counts = ops.segment_sum(ops.ones_like(bins), bins, num_segments=count + 1)[:-1]
    shape = (num_classes, num_classes)
    return ops.reshape(counts, (-1, *shape) if per_image else shape)


def count_id_pairs(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Count pixels by (true class, predicted class), for NumPy arrays.

    Args:
        labels, predictions: integers (N,) in [0, num_classes).
        num_classes: C.

    Returns:
        (C, C) int64; rows are true classes, columns predicted classes.

    Example:
        >>> import numpy as np
        >>> from tfseg.ops import count_id_pairs
        >>> count_id_pairs(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    bins = labels.astype(np.int64, copy=False) * num_classes + predictions
    return np.bincount(bins, minlength=num_classes**2).reshape(num_classes, num_classes)


def channel_matrices(labels, predictions, valid):
    """Count pixels by (true, predicted) for each image and channel of multi-label masks.

    Args:
        labels, predictions: bool (B, ..., C).
        valid: bool (B, ...); pixels that are False are not counted.

    Returns:
        (B, C, 2, 2) int32: [[TN, FP], [FN, TP]], the layout of scikit-learn's
        `multilabel_confusion_matrix`.
    """
    spatial = tuple(range(1, len(labels.shape) - 1))
    valid = ops.expand_dims(valid, -1)
    labels = ops.logical_and(labels, valid)
    predictions = ops.logical_and(predictions, valid)

    def count(where):
        return ops.sum(ops.cast(where, "int32"), axis=spatial)

    tp = count(ops.logical_and(labels, predictions))
    positives = count(labels)
    predicted = count(predictions)
    tn = count(valid) - positives - predicted + tp
    rows = [ops.stack([tn, predicted - tp], -1), ops.stack([positives - tp, tp], -1)]
    return ops.stack(rows, -2)


def class_counts(matrix):
    """Return (tp, fp, fn, tn) of each class against all others.

    Args:
        matrix: (..., C, C) confusion matrix; rows are true classes, columns predicted classes.

    Returns:
        Four arrays (..., C) of the matrix' dtype.
    """
    tp = ops.diagonal(matrix, axis1=-2, axis2=-1)
    fn = ops.sum(matrix, axis=-1) - tp
    fp = ops.sum(matrix, axis=-2) - tp
    tn = ops.sum(tp + fn, axis=-1, keepdims=True) - tp - fn - fp
    return tp, fp, fn, tn


def channel_counts(matrices):
    """Return (tp, fp, fn, tn), each (..., C), of (..., C, 2, 2) `channel_matrices`."""
    return matrices[..., 1, 1], matrices[..., 0, 1], matrices[..., 1, 0], matrices[..., 0, 0]


def class_fraction(score: str, tp, fp, fn, tn):
    """Return numerator and denominator of a score.

    Args:
        score: "iou" TP / (TP + FP + FN) (Jaccard index), "dice" 2 TP / (2 TP + FP + FN) (F1),
            "precision" TP / (TP + FP), "recall" TP / (TP + FN) (sensitivity) or "specificity"
            TN / (TN + FP).
        tp, fp, fn, tn: floating counts of one shape.

    Returns:
        Two arrays of the counts' shape.
    """
    fractions = {
        "iou": (tp, tp + fp + fn),
        "dice": (2 * tp, 2 * tp + fp + fn),
        "precision": (tp, tp + fp),
        "recall": (tp, tp + fn),
        "specificity": (tn, tn + fp),
    }
    return fractions[score]


def agreement(matrix, zero_division: float | None = None):
    """Return Matthews' correlation coefficient and Cohen's kappa of a confusion matrix.

    The multi-class Matthews coefficient is Gorodkin's R_K (doi:10.1016/j.compbiolchem.2004.09.006).
    Both are 1 for a perfect prediction and 0 for chance agreement at the same class frequencies.
    They are 0 / 0 (NaN, or `zero_division`) if ground truth or prediction (for kappa: both) contain
    only one class.

    Args:
        matrix: (C, C) floating counts.
        zero_division: the value of 0 / 0; None for NaN.

    Returns:
        Two scalars.
    """
    true, predicted = ops.sum(matrix, axis=1), ops.sum(matrix, axis=0)
    # All terms below are multiplied by total**2, so that counts stay whole numbers.
    # Example: [[3, 1], [0, 4]]: total 8, true (4, 4), predicted (3, 5), chance 12 + 20 = 32,
    # above_chance 8 * 7 - 32 = 24, kappa = 24 / (64 - 32) = 0.75.
    total, chance = ops.sum(matrix), ops.sum(true * predicted)
    above_chance = total * ops.trace(matrix) - chance
    spread = ops.sqrt(
        (total * total - ops.sum(true * true)) * (total * total - ops.sum(predicted * predicted))
    )
    matthews = ratio(above_chance, spread, zero_division)
    kappa = ratio(above_chance, total * total - chance, zero_division)
    return matthews, kappa


def mean_ratio(numerator, denominator, weights=None, kept=None, zero_division: float | None = None):
    """Return the (weighted) mean over the last axis of numerator / denominator.

    Args:
        numerator, denominator: floating (..., C).
        weights: (..., C), or None for equal weights.
        kept: bool (C,), which entries take part; None for all.
        zero_division: the value of 0 / 0; None leaves these entries out.

    Returns:
        (...); NaN, or `zero_division`, where no entry or no weight is left.
    """
    values, has_score = split_ratio(numerator, denominator, zero_division)
    if kept is not None:
        has_score = ops.logical_and(has_score, kept)
    weights = ops.cast(has_score, values.dtype) * (1 if weights is None else weights)
    return ratio(ops.sum(values * weights, axis=-1), ops.sum(weights, axis=-1), zero_division)


def ratio(numerator, denominator, zero_division: float | None = None):
    """Return numerator / denominator; NaN, or `zero_division`, where the denominator is 0."""
    value, has_score = split_ratio(numerator, denominator, zero_division)
    # Without an undefined ratio, no NaN is computed: `enable_check_numerics` would report it.
    return value + nan_where(ops.logical_not(has_score), value.dtype)


def split_ratio(numerator, denominator, zero_division: float | None = None):
    """Return numerator / denominator, 0 where it has no value, and bool, whether it has one.

    The ratio has no value where the denominator is 0, unless `zero_division` is one.
    """
    empty = ops.equal(denominator, 0)
    fill = 0.0 if zero_division is None else zero_division
    value = ops.where(empty, fill, numerator / ops.where(empty, 1, denominator))
    has_value = ops.logical_not(empty) if zero_division is None else ops.ones_like(empty)
    return value, has_value
