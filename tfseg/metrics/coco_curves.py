"""Precision and recall of one class as COCO defines them."""

from typing import NamedTuple

import numpy as np

from tfseg.metrics.coco_records import Records
from tfseg.metrics.greedy_matching import match_greedily, rank_within

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
LARGEST_AREA = 1e10
# Areas in pixels, both ends included: all, small, medium, large.
AREA_RANGES = ((0, LARGEST_AREA), (0, 32**2), (32**2, 96**2), (96**2, LARGEST_AREA))


class Curves(NamedTuple):
    """Precision and recall of one class: A area ranges, T IoU thresholds, R recalls; or NaN.

    Attributes:
        precision: (A, T, R) highest precision at this recall or above.
        scores: (A, T, R) score at which the recall is reached; 0 if it is not.
        recall: (M, A, T) highest recall with the M limits of detections per image.
    """

    precision: np.ndarray
    scores: np.ndarray
    recall: np.ndarray


def class_curves(records: Records, limits) -> Curves:
    """Compute the curves of one class.

    Args:
        records: of the class.
        limits: M numbers of detections per image and class.
    """
    low, high = np.transpose(AREA_RANGES)
    ignored = records.crowd[:, None] | _is_outside(records.target_areas, low, high)
    matches = _match(records, ignored)
    order = np.argsort(-records.scores, kind="stable")
    ranks = rank_within(records.images)
    is_outside = _is_outside(records.areas, low, high)
    shape = len(AREA_RANGES), len(IOU_THRESHOLDS)
    precision = np.full((*shape, len(RECALLS)), np.nan)
    scores = np.full_like(precision, np.nan)
    recall = np.full((len(limits), *shape), np.nan)
    for area in range(len(AREA_RANGES)):
        num_targets = np.count_nonzero(~ignored[:, area])
        if num_targets == 0:
            continue
        found = matches[:, area]
        tp = found >= 0
        if tp.any():
            tp &= ~ignored[found, area]
        # a match with an ignored object is neither right nor wrong
        fp = (found < 0) & ~is_outside[:, area, None]
        recall[:, area] = [tp[ranks < limit].sum(0) / num_targets for limit in limits]
        for index in range(len(IOU_THRESHOLDS)):
            at = area, index
            precision[at], scores[at] = _sample_curve(
                tp[order, index], fp[order, index], records.scores[order], num_targets
            )
    return Curves(precision, scores, recall)


def _is_outside(areas, low, high):
    """Return (N, A) bool: which areas are outside of which range."""
    return (areas[:, None] < low) | (areas[:, None] > high)


def _match(records, ignored):
    """Return (D, A, T) the matched objects, -1 for none."""
    # An IoU of 1 that is computed as a little less must match at any threshold.
    thresholds = np.minimum(np.tile(IOU_THRESHOLDS, len(AREA_RANGES)), 1 - 1e-10)
    ignored = np.repeat(ignored, len(IOU_THRESHOLDS), axis=1)
    matches = match_greedily(records.pairs, records.images, thresholds, ignored, records.crowd)
    return matches.reshape(-1, len(AREA_RANGES), len(IOU_THRESHOLDS))


def _sample_curve(tp, fp, scores, num_targets):
    """Return the precision and the score at each of `RECALLS`; 0 where a recall is not reached."""
    tp, fp = np.cumsum(tp), np.cumsum(fp)
    precision = tp / (tp + fp + np.spacing(1))
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    position = np.searchsorted(tp / num_targets, RECALLS)
    precision, scores = np.append(precision, 0), np.append(scores, 0)
    return precision[position], scores[position]
