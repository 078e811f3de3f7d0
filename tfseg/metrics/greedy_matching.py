"""Matching of detections to objects as in COCO: the best score chooses first."""

from typing import NamedTuple

import numpy as np


class Pairs(NamedTuple):
    """Detections and objects that overlap, sorted by detection, then by object."""

    detection: np.ndarray
    """(P,) index of the detection."""
    target: np.ndarray
    """(P,) index of the object."""
    iou: np.ndarray
    """(P,) float64 IoU; for a crowd, the fraction of the detection that lies in it."""


def box_overlaps(boxes, others, crowd):
    """Return the IoU of boxes; for a crowd, the fraction of the first box that lies in it.

    In float64 and in the order of operations of pycocotools, so that equal boxes give equal bits.

    Args:
        boxes: (D, 4) float64.
        others: (G, 4) float64.
        crowd: (G,) bool.

    Returns:
        (D, G) float64.
    """
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    sides = np.minimum(boxes[:, None, 2:], others[:, 2:]) - low
    inter = np.where((sides > 0).all(-1), sides[..., 0] * sides[..., 1], 0.0)
    areas = box_areas(boxes)[:, None]
    union = np.where(crowd, areas, areas + box_areas(others) - inter)
    return np.divide(inter, union, out=np.zeros_like(inter), where=inter > 0)


def box_areas(boxes):
    """Return (N,) areas of (N, 4) boxes."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def rank_within(groups):
    """Return (N,) how many earlier elements are in the same group.

    Example:
        >>> rank_within([7, 5, 7, 7, 5]).tolist()
        [0, 0, 1, 2, 1]
    """
    order = np.argsort(groups, kind="stable")
    ordered = np.asarray(groups)[order]
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return ranks


def match_greedily(pairs: Pairs, images, thresholds, ignored, crowd):
    """Let each detection, by descending score, take the best object that is still free.

    The best object is the one of the highest IoU; of equal IoU the last. An ignored object is only
    taken if no other can be, and a crowd can be taken by many. All images and settings are matched
    at once: step k handles the detection of rank k of every image.

    Args:
        pairs: the candidates.
        images: (D,) image of each detection; detections of an image in descending order of score.
        thresholds: (S,) lowest IoU of a match, one per setting.
        ignored: (G, S) bool: objects that do not count.
        crowd: (G,) bool: objects that can be matched many times; ignored in every setting.

    Returns:
        (D, S) int64: index of the matched object; -1 if there is none.
    """
    matches = np.full((len(images), len(thresholds)), -1)
    detections, first, counts = np.unique(pairs.detection, return_index=True, return_counts=True)
    turns = rank_within(images[detections])
    free = np.ones(ignored.shape, bool)
    order = np.argsort(turns, kind="stable")
    for now in np.split(order, np.flatnonzero(np.diff(turns[order])) + 1):
        if not len(now):  # there are no pairs at all
            break
        chosen = _best_targets(pairs, first[now], counts[now], thresholds, ignored, free)
        matches[detections[now]] = chosen
        row, setting = np.nonzero(chosen >= 0)
        taken = chosen[row, setting]
        free[taken, setting] = crowd[taken]
    return matches


def _best_targets(pairs, first, counts, thresholds, ignored, free):
    """Return (N, S) the best free target of N detections, each with its own run of pairs."""
    shape = len(first), len(thresholds)
    best, best_iou = np.full(shape, -1), np.zeros(shape)
    best_counts = np.zeros(shape, bool)  # whether the best target so far is not ignored
    for step in range(counts.max()):
        rows = np.flatnonzero(counts > step)
        pair = first[rows] + step
        target, iou = pairs.target[pair], pairs.iou[pair][:, None]
        fits = free[target] & (iou >= thresholds)
        is_counted = ~ignored[target]
        is_closer = (is_counted == best_counts[rows]) & (iou >= best_iou[rows])
        better = fits & (is_closer | (is_counted & ~best_counts[rows]))
        best[rows] = np.where(better, target[:, None], best[rows])
        best_iou[rows] = np.where(better, iou, best_iou[rows])
        best_counts[rows] = np.where(better, is_counted, best_counts[rows])
    return best
