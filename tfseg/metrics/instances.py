"""Metrics of instance label maps, such as cells or nuclei: detection and shape of objects.

A label map contains integers (H, W) or (D, H, W): 0 is background, every other number is an object.
Objects can consist of several pieces, and numbers can be missing. Objects are matched one to one by
their IoU, without regard to classes.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

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
    return _match(_overlaps("match_instances", target, prediction), threshold)


def average_precision(
    targets: Iterable, predictions: Iterable, thresholds: Sequence[float] = THRESHOLDS
) -> dict:
    """Compute the average precision of a dataset, TP / (TP + FP + FN).

    As in StarDist and the Data Science Bowl 2018. The counts are summed over all images before the
    division. Unlike the average precision of COCO, it does not rank objects by confidence.

    Args:
        targets, predictions: label maps (H, W) or (D, H, W), one per image.
        thresholds: IoU that a match needs, each in [0.5, 1].

    Returns:
        dict: "ap" (T,) float64, one per threshold, and "mean_ap", a float. NaN if there are no
        objects.

    Raises:
        ValueError: see `match_instances`; or there are more targets than predictions, or fewer.

    Example:
        >>> import numpy as np, tfseg
        >>> target, prediction = np.array([[1, 1, 0, 2]]), np.array([[5, 5, 5, 0]])
        >>> tfseg.metrics.average_precision([target], [prediction], thresholds=[0.5])["mean_ap"]
        0.5
    """
    for threshold in thresholds:
        _check_threshold("average_precision", threshold)
    tp, objects = np.zeros(len(thresholds)), np.zeros(len(thresholds))
    for table in _tables("average_precision", targets, predictions):
        matches = [_match(table, threshold) for threshold in thresholds]
        tp += [match.tp for match in matches]
        objects += [match.tp + match.fp + match.fn for match in matches]
    ap = np.divide(tp, objects, out=np.full(len(tp), np.nan), where=objects > 0)
    return {"ap": ap, "mean_ap": float(np.mean(ap))}


def panoptic_quality(targets: Iterable, predictions: Iterable) -> dict[str, float]:
    """Compute the panoptic quality of a dataset (arXiv:1801.00868), with all objects in one class.

    Objects match if their IoU is above 0.5. The counts are summed over all images before the
    division.

    Args:
        targets, predictions: label maps (H, W) or (D, H, W), one per image.

    Returns:
        dict of floats in [0, 1]: "pq" = "sq" * "rq"; "sq", segmentation quality, the mean IoU of
        the matched pairs, 0 if there are none; "rq", recognition quality, 2 TP / (2 TP + FP + FN).
        NaN if there are no objects.

    Raises:
        ValueError: see `match_instances`; or there are more targets than predictions, or fewer.

    Example:
        >>> import numpy as np, tfseg
        >>> target, prediction = np.array([[1, 1, 1, 0, 2]]), np.array([[5, 5, 5, 5, 0]])
        >>> tfseg.metrics.panoptic_quality([target], [prediction])  # one match of IoU 3/4, one miss
        {'pq': 0.5, 'sq': 0.75, 'rq': 0.6666666666666666}
    """
    tables = _tables("panoptic_quality", targets, predictions)
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


@dataclass(frozen=True)
class _Overlaps:
    """The pairs of objects that share pixels, with their IoU, and the numbers of objects."""

    target: np.ndarray
    prediction: np.ndarray
    iou: np.ndarray
    target_count: int
    prediction_count: int


def _tables(owner, targets, predictions):
    """Yield the overlaps of each image."""
    for index, (target, prediction) in enumerate(itertools.zip_longest(targets, predictions)):
        if prediction is None:
            raise ValueError(
                f"{owner}: {index} predictions, but more targets. Pass one prediction per target."
            )
        if target is None:
            raise ValueError(
                f"{owner}: {index} targets, but more predictions. Pass one prediction per target."
            )
        yield _overlaps(f"{owner}: image {index}", target, prediction)


def _overlaps(owner, target, prediction):
    """Count the pixels of every pair of objects.

    Both numbers of a pixel are packed into one, so that one sort counts all pairs. Example: target
    3 and prediction 5 become 3 * 2**32 + 5.
    """
    target = _check_label_map(owner, "target", target)
    prediction = _check_label_map(owner, "prediction", prediction)
    if target.shape != prediction.shape:
        raise ValueError(
            f"{owner}: target of shape {target.shape} and prediction of shape {prediction.shape} "
            "differ."
        )
    packed = (target << 32 | prediction).ravel()
    pairs, pixels = np.unique(packed[packed > 0], return_counts=True)
    target, prediction = pairs >> 32, pairs & (2**32 - 1)
    target_area, target_count = _areas(target, pixels)
    predicted_area, prediction_count = _areas(prediction, pixels)
    iou = pixels / (target_area + predicted_area - pixels)
    shared = (target > 0) & (prediction > 0)
    return _Overlaps(
        target[shared], prediction[shared], iou[shared], target_count, prediction_count
    )


def _areas(numbers, pixels):
    """Return the total area of each pair's object, and how many objects there are."""
    unique, index = np.unique(numbers, return_inverse=True)
    return np.bincount(index, pixels, len(unique))[index], int(np.count_nonzero(unique))


def _check_label_map(owner, name, labels):
    """Return a label map as int64; raise a ValueError if it is not one."""
    labels = np.asarray(labels)
    if labels.ndim not in (2, 3):
        raise ValueError(
            f"{owner}: {name} has shape {labels.shape}, expected a label map (H, W) or (D, H, W)."
        )
    if labels.dtype.kind not in "iu":
        raise ValueError(
            f"{owner}: {name} is {labels.dtype}, expected integers: 0 for background, 1, 2, ... "
            "for objects."
        )
    if labels.size and not (labels.min() >= 0 and labels.max() < 2**31):
        raise ValueError(
            f"{owner}: {name} has values from {labels.min()} to {labels.max()}, expected numbers "
            "in [0, 2**31)."
        )
    return labels.astype("int64")


def _match(overlaps, threshold):
    """Match objects one to one with IoU at least `threshold`, which is 0.5 or more.

    At such an IoU, the overlap is at least half of both objects. So an object has one candidate, or
    two with IoU 0.5 that are its exact halves and have no other candidate. Taking either of them
    gives a matching with the most pairs and the largest IoU.
    """
    kept = np.flatnonzero(overlaps.iou >= threshold)
    for numbers in (overlaps.prediction, overlaps.target):
        kept = kept[np.unique(numbers[kept], return_index=True)[1]]
    pairs = zip(overlaps.target[kept].tolist(), overlaps.prediction[kept].tolist(), strict=True)
    tp = len(kept)
    return InstanceMatch(
        tp=tp,
        fp=overlaps.prediction_count - tp,
        fn=overlaps.target_count - tp,
        iou_sum=math.fsum(overlaps.iou[kept]),  # a plain sum would depend on the order
        pairs=tuple(pairs),
    )
