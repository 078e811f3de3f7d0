"""Metrics of instance label maps, such as cells or nuclei: which object was found, and how well it was drawn.

A label map holds integers (H, W) or (D, H, W): 0 is background, every other number an object, which need not be in one
piece nor numbered without gaps. Objects are matched by their IoU, one to one; classes are not told apart.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
_ABOVE_HALF = np.nextafter(0.5, 1)


@dataclass(frozen=True)
class InstanceMatch:
    """The matched objects of one pair of label maps."""

    tp: int
    """Objects that were found."""
    fp: int
    """Predicted objects that match none."""
    fn: int
    """True objects that were not found."""
    iou_sum: float
    """Sum of the IoU of the matched pairs."""
    pairs: tuple
    """The matched (true number, predicted number), in the order of the true numbers."""


def match_instances(truth, prediction, threshold=0.5):
    """Match true and predicted objects whose IoU is at least `threshold`.

    Args:
        truth, prediction: integer label maps (H, W) or (D, H, W), numbers in [0, 2**31).
        threshold: in [0.5, 1]. From one half up, an object has no second candidate, but for ties.

    Returns:
        InstanceMatch.

    Raises:
        ValueError: label maps that are not whole numbers from 0 or differ in shape, or a threshold out of range.
    """
    _check_threshold("match_instances", threshold)
    return _match(_overlaps("match_instances", truth, prediction), threshold)


def average_precision(truths, predictions, thresholds=THRESHOLDS):
    """Average precision of a dataset, as StarDist and the Data Science Bowl 2018 report it: TP / (TP + FP + FN).

    The counts are summed over all images before the division. (It ranks nothing by confidence, unlike the average
    precision of COCO.)

    Args:
        truths, predictions: label maps (H, W) or (D, H, W), as many of the one as of the other: a sequence of
            images, so put a single one into a list.
        thresholds: the IoU an object needs to count as found, each in [0.5, 1].

    Returns:
        dict: "ap" (T,) float64, one a threshold, and "mean_ap", a float. NaN if there is no object at all.

    Raises:
        ValueError: see `match_instances`; or not as many truths as predictions.
    """
    for threshold in thresholds:
        _check_threshold("average_precision", threshold)
    found, objects = np.zeros(len(thresholds)), np.zeros(len(thresholds))
    for table in _tables("average_precision", truths, predictions):
        matches = [_match(table, threshold) for threshold in thresholds]
        found += [match.tp for match in matches]
        objects += [match.tp + match.fp + match.fn for match in matches]
    ap = np.divide(found, objects, out=np.full(len(found), np.nan), where=objects > 0)
    return {"ap": ap, "mean_ap": float(np.mean(ap))}


def panoptic_quality(truths, predictions):
    """Panoptic quality of a dataset (arXiv:1801.00868), all objects being of one class.

    Objects match if their IoU is above one half. The counts are summed over all images before the division.

    Args:
        truths, predictions: label maps (H, W) or (D, H, W), as many of the one as of the other: a sequence of
            images, so put a single one into a list.

    Returns:
        dict of floats in [0, 1]: "pq" = "sq" * "rq"; "sq", segmentation quality, the mean IoU of the matched pairs,
        0 if there are none; "rq", recognition quality, 2 TP / (2 TP + FP + FN). NaN if there is no object at all.

    Raises:
        ValueError: see `match_instances`; or not as many truths as predictions.
    """
    matches = [
        _match(table, _ABOVE_HALF) for table in _tables("panoptic_quality", truths, predictions)
    ]
    tp = sum(match.tp for match in matches)
    wrong = sum(match.fp + match.fn for match in matches)
    if tp + wrong == 0:
        return {"pq": math.nan, "sq": math.nan, "rq": math.nan}
    sq = math.fsum(match.iou_sum for match in matches) / max(tp, 1)
    rq = 2 * tp / (2 * tp + wrong)
    return {"pq": sq * rq, "sq": sq, "rq": rq}


def _check_threshold(owner, threshold):
    if not 0.5 <= threshold <= 1:
        raise ValueError(
            f"{owner}: threshold {threshold!r}, expected an IoU in [0.5, 1]. Below one half an object may have several "
            "candidates, and which pairs match is no longer plain."
        )


@dataclass(frozen=True)
class _Overlaps:
    """The pairs of objects that share pixels, and how many objects there are."""

    truth: np.ndarray
    prediction: np.ndarray
    iou: np.ndarray
    true_objects: int
    predicted_objects: int


def _tables(owner, truths, predictions):
    """Yield the overlaps of one image after the other."""
    for index, (truth, prediction) in enumerate(itertools.zip_longest(truths, predictions)):
        if truth is None or prediction is None:
            few, many = (
                ("predictions", "truths") if prediction is None else ("truths", "predictions")
            )
            raise ValueError(
                f"{owner}: {index} {few}, but more {many}. Pass as many of the one as of the other."
            )
        yield _overlaps(f"{owner}: image {index}", truth, prediction)


def _overlaps(owner, truth, prediction):
    """Count the pixels of every pair of objects, by one sort of the foreground."""
    truth, prediction = _labels(owner, "truth", truth), _labels(owner, "prediction", prediction)
    if truth.shape != prediction.shape:
        raise ValueError(
            f"{owner}: truth of shape {truth.shape} and prediction of shape {prediction.shape} differ."
        )
    both = (truth << 32 | prediction).ravel()
    pairs, pixels = np.unique(both[both > 0], return_counts=True)
    truth, prediction = pairs >> 32, pairs & (2**32 - 1)
    true_area, true_objects = _areas(truth, pixels)
    predicted_area, predicted_objects = _areas(prediction, pixels)
    iou = pixels / (true_area + predicted_area - pixels)
    shared = (truth > 0) & (prediction > 0)
    return _Overlaps(
        truth[shared], prediction[shared], iou[shared], true_objects, predicted_objects
    )


def _areas(labels, pixels):
    """The whole area of each pair's object, and the number of objects."""
    numbers, place = np.unique(labels, return_inverse=True)
    return np.bincount(place, pixels, len(numbers))[place], int(np.count_nonzero(numbers))


def _labels(owner, name, labels):
    """A label map as int64, or a ValueError."""
    labels = np.asarray(labels)
    if labels.ndim not in (2, 3):
        raise ValueError(
            f"{owner}: {name} of shape {labels.shape}, expected a label map (H, W) or (D, H, W)."
        )
    if labels.dtype.kind not in "iu":
        raise ValueError(
            f"{owner}: {name} is {labels.dtype}, expected integers: 0 background, 1.. the objects."
        )
    if labels.size and not (labels.min() >= 0 and labels.max() < 2**31):
        raise ValueError(
            f"{owner}: {name} from {labels.min()} to {labels.max()}, expected numbers in [0, 2**31)."
        )
    return labels.astype("int64")


def _match(overlaps, threshold):
    """One-to-one matches of IoU at least `threshold`, which is one half or more.

    At such an IoU the overlap is half of either object, or more. So an object has one candidate, or two that share
    it in exact halves and lie wholly within it: they have no other candidate, and the same IoU of one half. Taking
    either of them is a largest matching, and one of largest IoU.
    """
    kept = np.flatnonzero(overlaps.iou >= threshold)
    for labels in (overlaps.prediction, overlaps.truth):
        kept = kept[np.unique(labels[kept], return_index=True)[1]]
    pairs = tuple(
        zip(overlaps.truth[kept].tolist(), overlaps.prediction[kept].tolist(), strict=True)
    )
    tp = len(pairs)
    iou_sum = math.fsum(overlaps.iou[kept])  # a plain sum would depend on the order of the numbers
    return InstanceMatch(
        tp, overlaps.predicted_objects - tp, overlaps.true_objects - tp, iou_sum, pairs
    )
