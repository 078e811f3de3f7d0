"""What the losses of a detector compare with: objects, sampled anchors and sampled proposals."""

from typing import NamedTuple

import numpy as np
from keras import ops

from tfseg.models.detection.proposals import image_box
from tfseg.models.detection.rows import take_rows
from tfseg.ops import (
    box_area,
    box_overlap,
    clip_boxes,
    encode_boxes,
    match_boxes,
    sample_matches,
)

# The values of `match_boxes` for anchors and proposals that belong to no object.
BACKGROUND = -1
IGNORED = -2
CROWD_OVERLAP = 0.5  # boxes that lie in a crowd by this fraction do not count as background
POSITIVE_ANCHORS = 0.5  # largest fractions of the samples that are matched to objects
POSITIVE_PROPOSALS = 0.25
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # of the deltas of the box head


class Objects(NamedTuple):
    """The objects of a batch, in pixels of the canvas, with one row of padding at the end.

    Attributes:
        boxes: (B, N, 4) float32, clipped to the image.
        classes: (B, N) int32 categories from 0, -1 for padding.
        valid: (B, N) bool: objects to detect. Not padding, boxes without area, and crowds.
        crowd: (B, N) bool: regions in which objects are not annotated one by one; None if the
            labels do not tell.
    """

    boxes: object
    classes: object
    valid: object
    crowd: object = None


class Sample(NamedTuple):
    """The anchors or proposals per image that a loss counts.

    Attributes:
        indices: (B, S) int32 into anchors or proposals.
        objects: (B, S) int32 index of the matched object, 0 for background.
        positive: (B, S) bool, whether matched to an object.
        valid: (B, S) bool, False for padding.
    """

    indices: object
    objects: object
    positive: object
    valid: object


def read_objects(labels: dict, image_size, scale=None) -> Objects:
    """Return the objects of a batch of labels.

    Args:
        labels: dict of "boxes" (B, N, 4) in pixels of the image, "classes" (B, N) with -1 for
            padding, and optionally "crowd" (B, N) bool.
        image_size: height and width that the image has in the canvas.
        scale: (4,) factors from the image to the canvas; None if it is not resized.
    """
    boxes = ops.cast(labels["boxes"], "float32")
    if scale is not None:
        boxes = boxes * scale
    classes = ops.cast(labels["classes"], "int32")
    boxes = ops.pad(boxes, ((0, 0), (0, 1), (0, 0)))  # so that no batch is without a row
    classes = ops.pad(classes, ((0, 0), (0, 1)), constant_values=-1)
    boxes = clip_boxes(boxes, image_box(*image_size))
    has_area = box_area(boxes) > 0
    valid = ops.logical_and(classes >= 0, has_area)
    if labels.get("crowd") is None:
        return Objects(boxes, classes, valid)
    crowd = ops.pad(ops.cast(labels["crowd"], "bool"), ((0, 0), (0, 1)))
    regions = ops.logical_and(crowd, has_area)
    return Objects(boxes, classes, ops.logical_and(valid, ops.logical_not(crowd)), regions)


def sample_anchors(anchors, objects: Objects, priorities, count: int) -> Sample:
    """Match anchors to objects, and draw those that the losses of the RPN count.

    An anchor is matched from an IoU of 0.7, or if it is the best of an object, and background below
    0.3. At most half of the sample is matched.

    Args:
        anchors: (A, 4).
        objects: `Objects`.
        priorities: (B, A) in [0, 1), see `ops.sample_matches`.
        count: number of anchors per image.
    """
    matches = match_boxes(objects.boxes, anchors, 0.7, 0.3, True, objects.valid)
    return _sample(ignore_crowds(matches, anchors, objects), priorities, count, POSITIVE_ANCHORS)


def sample_proposals(proposals, valid, objects: Objects, priorities, count: int) -> Sample:
    """Match proposals to objects, and draw those that the losses of the heads count.

    A proposal is matched from an IoU of 0.5. At most a quarter of the sample is matched.

    Args:
        proposals: (B, P, 4), see `add_objects`.
        valid: (B, P) bool, False for padding.
        objects: `Objects`.
        priorities: (B, P) in [0, 1), see `ops.sample_matches`.
        count: number of proposals per image.
    """
    matches = match_boxes(objects.boxes, proposals, 0.5, 0.5, False, objects.valid)
    matches = ignore_crowds(matches, proposals, objects)
    matches = ops.where(valid, matches, IGNORED)
    return _sample(matches, priorities, count, POSITIVE_PROPOSALS)


def _sample(matches, priorities, count, positive_fraction):
    indices, positive, valid = sample_matches(matches, priorities, count, positive_fraction)
    chosen = ops.maximum(take_rows(matches, indices), 0)
    return Sample(indices, ops.where(positive, chosen, 0), positive, valid)


def ignore_crowds(matches, boxes, objects: Objects):
    """Return the matches (B, A), with background that lies at least half in a crowd ignored."""
    if objects.crowd is None:
        return matches

    def inside():
        overlap = box_overlap(boxes, objects.boxes)
        overlap = ops.where(objects.crowd[:, None], overlap, 0.0)
        return ops.max(overlap, axis=2) >= CROWD_OVERLAP

    def outside():
        return ops.zeros_like(matches, "bool")

    in_crowd = ops.cond(ops.any(objects.crowd), inside, outside)
    return ops.where(ops.logical_and(in_crowd, matches == BACKGROUND), IGNORED, matches)


def add_objects(proposals, valid, objects: Objects):
    """Append the objects to the proposals, so that the heads always see them.

    Returns:
        (B, P + N, 4) boxes and (B, P + N) bool.
    """
    boxes = ops.concatenate([proposals, objects.boxes], axis=1)
    return boxes, ops.concatenate([valid, objects.valid], axis=1)


def anchor_targets(anchors, objects: Objects, sample: Sample):
    """Return (B, S, 4): the deltas that turn the sampled anchors into their objects."""
    boxes = ops.take(anchors, sample.indices, axis=0)
    return encode_boxes(take_rows(objects.boxes, sample.objects), boxes)


def proposal_targets(rois, objects: Objects, sample: Sample):
    """Return (B, R, 4): the deltas that turn the sampled proposals into their objects."""
    return encode_boxes(take_rows(objects.boxes, sample.objects), rois, BOX_WEIGHTS)


def class_targets(objects: Objects, sample: Sample, num_classes: int):
    """Return (B, R) int32 channels of the classes: 0 for background, k + 1 for category k.

    Classes out of range become the last one, as cross entropy would raise an error for them in some
    compilation modes only; see `invalid_class`.
    """
    classes = ops.clip(take_rows(objects.classes, sample.objects), 0, num_classes - 1)
    return ops.where(sample.positive, classes + 1, 0)


def invalid_class(labels: dict, num_classes: int):
    """Return () float32: NaN if a class is outside of -1 to `num_classes` - 1, otherwise 0."""
    classes = ops.cast(labels["classes"], "int32")
    invalid = ops.logical_or(classes >= num_classes, classes < -1)
    return ops.where(ops.any(invalid), np.float32(np.nan), np.float32(0))
