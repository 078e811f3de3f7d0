"""Metrics of instance label maps, such as cells or nuclei: detection and shape of objects.

A label map contains integers (H, W) or (D, H, W): 0 is background, every other number is an object.
Objects can consist of several pieces, and numbers can be missing. Objects are matched one to one by
their IoU, without regard to classes.

Two kinds of pixels can be left out. Void is a bool mask of pixels without a label: they belong to
no target, and they are removed from predictions before the IoU is computed. A crowd is a target
that stands for a group of objects that were not drawn one by one: it is not a target itself. A
prediction without a match that is mostly void or crowd is not counted as wrong.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tfseg.metrics.overlaps import count_overlaps, image_overlaps

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
_ABOVE_HALF = np.nextafter(0.5, 1)


@dataclass(frozen=True)
class InstanceMatch:
    """The matched objects of a pair of label maps."""

    tp: int
    """Number of matched objects."""
    fp: int
    """Number of predicted objects without a match."""
    fn: int
    """Number of target objects without a match."""
    iou_sum: float
    """Sum of the IoU of the matched pairs."""
    pairs: tuple[tuple[int, int], ...]
    """(target number, predicted number) of the matched pairs, sorted by target number."""


def match_instances(target, prediction, threshold: float = 0.5) -> InstanceMatch:
    """Match target and predicted objects whose IoU is at least `threshold`.

    Args:
        target, prediction: integer label maps (H, W) or (D, H, W), numbers in [0, 2**31).
        threshold: in [0.5, 1]. At 0.5 and above, an object has at most one candidate, except for
            ties.

    Returns:
        The matched objects.

    Raises:
        ValueError: label maps are not non-negative integers or differ in shape, or the threshold is
            out of range.

    Example:
        >>> import numpy as np, tfseg
        >>> target, prediction = np.array([[1, 1, 0, 2]]), np.array([[5, 5, 5, 0]])
        >>> tfseg.metrics.match_instances(target, prediction).pairs
        ((1, 5),)
    """
    _check_threshold("match_instances", threshold)
    return _match(count_overlaps("match_instances", target, prediction), threshold)


def average_precision(
    targets: Iterable,
    predictions: Iterable,
    thresholds: Sequence[float] = THRESHOLDS,
    by_image: bool = False,
    void: Iterable | None = None,
    crowd: Iterable | None = None,
) -> dict:
    """Compute the average precision of a dataset, TP / (TP + FP + FN), and its F1 score.

    By default as in StarDist: objects match at an IoU of at least the threshold, and the counts are
    summed over all images before the division. With `by_image`, the score of the Data Science Bowl
    2018: objects match above the threshold, and each image has its own score, the mean over the
    thresholds; "mean_ap" is the mean of these. Unlike the average precision of COCO, it does not
    rank objects by confidence.

    Args:
        targets, predictions: label maps (H, W) or (D, H, W), one per image.
        thresholds: IoU that a match needs, each in [0.5, 1].
        by_image: average over images, without images that have no objects. By default, every
            object has the same weight.
        void, crowd: see `panoptic_quality`. As in COCO, a prediction without a match is not counted
            if the fraction of its pixels in one crowd (or in void) reaches the threshold.

    Returns:
        dict: "ap" (T,) float64, one per threshold; "mean_ap", a float; and "f1" (T,), the F1 score
        2 TP / (2 TP + FP + FN) per threshold. NaN if there are no objects.

    Raises:
        ValueError: see `match_instances`; or the arguments differ in length, or `void` or `crowd`
            are not as above.

    Example:
        >>> import numpy as np, tfseg
        >>> target, prediction = np.array([[1, 1, 0, 2]]), np.array([[5, 5, 5, 0]])
        >>> tfseg.metrics.average_precision([target], [prediction], thresholds=[0.5])["mean_ap"]
        0.5
    """
    for threshold in thresholds:
        _check_threshold("average_precision", threshold)
    if by_image:  # above instead of at least
        thresholds = [np.nextafter(threshold, 2) for threshold in thresholds]
    tables = image_overlaps("average_precision", targets, predictions, void, crowd, np.maximum)
    counts = [[_counts(_match(table, threshold)) for threshold in thresholds] for table in tables]
    counts = np.reshape(np.array(counts, "int64"), (-1, len(thresholds), 2))
    if not by_image:
        ap = ratio(*counts.sum(axis=0).T)
        return {"ap": ap, "mean_ap": float(np.mean(ap)), "f1": f1_of(ap)}
    scores = ratio(counts[..., 0], counts[..., 1])  # (images, T)
    mean_ap = mean_defined(mean_defined(scores, axis=1), axis=0)
    f1 = mean_defined(f1_of(scores), axis=0)
    return {"ap": mean_defined(scores, axis=0), "mean_ap": float(mean_ap), "f1": f1}


def _counts(match):
    return match.tp, match.tp + match.fp + match.fn


def ratio(part, total):
    """Return part / total of arrays; NaN where the total is 0."""
    return np.divide(part, total, out=np.full(np.shape(total), np.nan), where=total > 0)


def f1_of(precision):
    """Return 2 TP / (2 TP + FP + FN) of an array of TP / (TP + FP + FN)."""
    return 2 * precision / (1 + precision)


def mean_defined(values, axis):
    """Return the mean along an axis of the values that are not NaN; NaN if there are none."""
    defined = ~np.isnan(values)
    total, count = np.where(defined, values, 0).sum(axis), defined.sum(axis)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def panoptic_quality(
    targets: Iterable,
    predictions: Iterable,
    void: Iterable | None = None,
    crowd: Iterable | None = None,
) -> dict[str, float]:
    """Compute the panoptic quality of a dataset (arXiv:1801.00868), with all objects in one class.

    Objects match if their IoU is above 0.5. The counts are summed over all images before the
    division. Void and crowds are treated as in the paper and in panopticapi: void pixels do not
    affect the IoU, and a prediction without a match is not counted if more than half of its pixels
    are void or in crowds.

    Args:
        targets, predictions: label maps (H, W) or (D, H, W), one per image.
        void: bool masks of pixels without a label, of the shape of the targets, one per image, or
            None for an image without any.
        crowd: numbers of the targets that are crowds, one sequence per image, or None for an image
            without any. Readers mark them by row: `np.flatnonzero(sample["crowd"]) + 1`.

    Returns:
        dict of floats in [0, 1]: "pq" = "sq" * "rq"; "sq", segmentation quality, the mean IoU of
        the matched pairs, 0 if there are none; "rq", recognition quality, 2 TP / (2 TP + FP + FN).
        NaN if there are no objects.

    Raises:
        ValueError: see `match_instances`; or the arguments differ in length, or `void` or `crowd`
            are not as above.

    Example:
        >>> import numpy as np, tfseg
        >>> target, prediction = np.array([[1, 1, 1, 0, 2]]), np.array([[5, 5, 5, 5, 0]])
        >>> tfseg.metrics.panoptic_quality([target], [prediction])  # one match of IoU 3/4, one miss
        {'pq': 0.5, 'sq': 0.75, 'rq': 0.6666666666666666}
    """
    tables = image_overlaps("panoptic_quality", targets, predictions, void, crowd, np.add)
    matches = [_match(table, _ABOVE_HALF) for table in tables]
    tp = sum(match.tp for match in matches)
    errors = sum(match.fp + match.fn for match in matches)
    if tp + errors == 0:
        return {"pq": math.nan, "sq": math.nan, "rq": math.nan}
    sq = math.fsum(match.iou_sum for match in matches) / max(tp, 1)
    rq = 2 * tp / (2 * tp + errors)
    return {"pq": sq * rq, "sq": sq, "rq": rq}


def _check_threshold(owner, threshold):
    if not 0.5 <= threshold <= 1:
        raise ValueError(
            f"{owner}: threshold {threshold!r}, expected an IoU in [0.5, 1]. Below 0.5 an object "
            "can have several candidates, and the matching is ambiguous."
        )


def _match(overlaps, threshold):
    """Match objects one to one with IoU at least `threshold`, which is 0.5 or more."""
    kept = overlaps.matched(threshold)
    pairs = zip(overlaps.target[kept].tolist(), overlaps.prediction[kept].tolist(), strict=True)
    tp = len(kept)
    is_matched = np.isin(overlaps.predictions, overlaps.prediction[kept])
    is_wrong = ~is_matched & (overlaps.left_out < threshold)
    return InstanceMatch(
        tp=tp,
        fp=int(np.count_nonzero(is_wrong)),
        fn=len(overlaps.targets) - tp,
        iou_sum=math.fsum(overlaps.iou[kept]),  # a plain sum would depend on the order
        pairs=tuple(pairs),
    )
