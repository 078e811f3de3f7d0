"""The adapted Rand error, the score of partitions such as the cells of a tissue."""

import math
from collections.abc import Iterable

import numpy as np

from tfseg.metrics.overlaps import check_pair, count_pairs, image_rows


def adapted_rand_error(targets: Iterable, predictions: Iterable) -> float:
    """Compute the adapted Rand error (doi:10.3389/fnana.2015.00142), averaged over images.

    Two pixels of a target are a pair. The error is 1 - F, where F is the harmonic mean of the
    fraction of pairs in one target that are also in one prediction, and the fraction of pairs in
    one prediction that are also in one target. Merging two cells costs much and a shifted border
    little, unlike in scores that count pixels. Pixels that are 0 in the target, such as
    membranes, are left out; those that are only 0 in the prediction count as one more object.

    Args:
        targets, predictions: integer label maps (H, W) or (D, H, W), one per image; 0 is
            background, any other number in [1, 2**31) an object.

    Returns:
        A float in [0, 1], 0 for equal partitions; NaN if no image has a pair.

    Raises:
        ValueError: label maps are not non-negative integers or differ in shape or number.

    Example:
        >>> import numpy as np, tfseg
        >>> target, prediction = np.array([[1, 1, 0, 2, 2]]), np.array([[5, 5, 5, 5, 5]])
        >>> tfseg.metrics.adapted_rand_error([target], [prediction])  # 2 of 6 pairs; F = 4 / 8
        0.5
    """
    errors = []
    columns = {"targets": targets, "predictions": predictions}
    for image, row in image_rows("adapted_rand_error", columns):
        target, prediction = check_pair(image, row["targets"], row["predictions"])
        errors.append(_error(*count_pairs(target, prediction)))
    errors = [error for error in errors if not math.isnan(error)]
    return math.fsum(errors) / len(errors) if errors else math.nan


def _error(target, prediction, pixels):
    """Return the error of an image from the pixels of each pair of objects.

    With t pairs of pixels in one target, p in one prediction and b in both, the fractions are b / t
    and b / p, and their harmonic mean is 2 b / (t + p).
    """
    in_target = target > 0
    target, prediction, pixels = target[in_target], prediction[in_target], pixels[in_target]
    both = _pairs(pixels)
    either = _pairs(_sums(target, pixels)) + _pairs(_sums(prediction, pixels))
    return 1 - 2 * both / either if either else math.nan


def _sums(numbers, pixels):
    """Return the pixels of each object."""
    return np.bincount(np.unique(numbers, return_inverse=True)[1], pixels).astype(np.int64)


def _pairs(pixels):
    """Return how many ordered pairs of different pixels objects of these sizes contain."""
    return sum(int(count) * (int(count) - 1) for count in pixels)
