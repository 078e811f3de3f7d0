"""What COCO's average precision keeps of each image, and all of it by class."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tfseg.metrics.detection_inputs import Detections, Targets
from tfseg.metrics.greedy_matching import Pairs, box_overlaps
from tfseg.metrics.object_regions import region_overlaps


class ImageRecord(NamedTuple):
    """An image without its boxes and masks: classes, scores, areas, and the pairs that overlap.

    Attributes:
        classes: (D,) of the detections, which are in descending order of score.
        scores: (D,).
        areas: (D,) of the detections, in pixels.
        target_classes: (G,) of the objects.
        target_areas: (G,), in pixels.
        crowd: (G,) bool: which objects are crowds.
        pairs: detections and objects of the same class.
    """

    classes: np.ndarray
    scores: np.ndarray
    areas: np.ndarray
    target_classes: np.ndarray
    target_areas: np.ndarray
    crowd: np.ndarray
    pairs: Pairs

    @classmethod
    def of(cls, targets: Targets, detections: Detections, min_iou: float):
        """Compare the boxes of an image, or its masks if there are any."""
        same_class = detections.classes[:, None] == targets.classes
        if targets.regions is None:
            iou = box_overlaps(detections.boxes, targets.boxes, targets.crowd)
        else:
            iou = _mask_overlaps(targets, detections)
        detection, target = np.nonzero(same_class & (iou >= min_iou))
        return cls(
            detections.classes,
            detections.scores,
            detections.areas,
            targets.classes,
            targets.areas,
            targets.crowd,
            Pairs(detection, target, iou[detection, target]),
        )


class Records(NamedTuple):
    """Detections and objects of one class in all images.

    Attributes:
        images: (D,) image of each detection, ascending.
        scores: (D,) descending within an image.
        areas: (D,) of the detections, in pixels.
        target_areas: (G,) of the objects, in pixels.
        crowd: (G,) bool: which objects are crowds.
        pairs: the detections and objects that overlap.
    """

    images: np.ndarray
    scores: np.ndarray
    areas: np.ndarray
    target_areas: np.ndarray
    crowd: np.ndarray
    pairs: Pairs


def split_by_class(images: Sequence[ImageRecord], num_classes: int) -> Iterator[Records]:
    """Yield the records of classes 0, 1, ... over all images, in the order of the images."""
    numbers = np.repeat(np.arange(len(images)), [len(image.classes) for image in images])
    classes = _join([image.classes for image in images])
    target_classes = _join([image.target_classes for image in images])
    scores, areas, target_areas, crowd = (
        _join([getattr(image, name) for image in images])
        for name in ("scores", "areas", "target_areas", "crowd")
    )
    pairs = _join_pairs(images)
    rows_of_class = _groups(classes, num_classes)
    targets_of_class = _groups(target_classes, num_classes)
    pairs_of_class = _groups(classes[pairs.detection], num_classes)
    for rows, targets, which in zip(rows_of_class, targets_of_class, pairs_of_class, strict=True):
        yield Records(
            numbers[rows],
            scores[rows],
            areas[rows],
            target_areas[targets],
            crowd[targets],
            Pairs(
                np.searchsorted(rows, pairs.detection[which]),
                np.searchsorted(targets, pairs.target[which]),
                pairs.iou[which],
            ),
        )


def _join(arrays):
    return np.concatenate(arrays) if arrays else np.zeros(0, np.int64)


def _join_pairs(images):
    """Return the pairs of all images, with indices into the joined detections and objects."""
    detections = np.cumsum([0] + [len(image.classes) for image in images])
    targets = np.cumsum([0] + [len(image.target_classes) for image in images])
    pairs = [image.pairs for image in images]
    return Pairs(
        _join([pair.detection + start for pair, start in zip(pairs, detections, strict=False)]),
        _join([pair.target + start for pair, start in zip(pairs, targets, strict=False)]),
        _join([pair.iou for pair in pairs]),
    )


def _groups(classes, num_classes):
    """Return the positions of each class, ascending."""
    order = np.argsort(classes, kind="stable")
    return np.split(order, np.searchsorted(classes[order], np.arange(1, num_classes)))


def _mask_overlaps(targets, detections):
    """Return (D, G) IoU of masks; 0 for different classes."""
    iou = np.zeros((len(detections.classes), len(targets.classes)))
    for class_id in np.intersect1d(targets.classes, detections.classes):
        rows = np.flatnonzero(detections.classes == class_id)
        columns = np.flatnonzero(targets.classes == class_id)
        iou[np.ix_(rows, columns)] = region_overlaps(
            "CocoAP",
            [detections.regions[row] for row in rows],
            [targets.regions[column] for column in columns],
            targets.crowd[columns],
        )
    return iou
