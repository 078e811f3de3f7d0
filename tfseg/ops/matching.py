"""Which object each anchor or proposal learns, and the sample of them that a loss counts."""

from keras import ops

from tfseg.ops.boxes import SMALLEST_AREA, box_area

# Values of `match_boxes` that are not the index of an object.
BACKGROUND_MATCH = -1
IGNORED_MATCH = -2


def match_boxes(objects, boxes, high: float, low: float, low_quality: bool, valid=None):
    """Match each box, such as an anchor, to the object it overlaps most, if it does so enough.

    Source: Faster R-CNN (arXiv:1506.01497, section 3.1.2), as in torchvision, with one difference:
    an object that overlaps no box is matched to none instead of to all. The objects are compared
    one after the other, so padding at their end takes no time, and memory grows with A alone.

    Args:
        objects: (B, N, 4) x_min, y_min, x_max, y_max in pixels. N may be 0.
        boxes: (A, 4), or (B, A, 4).
        high: IoU from which a box is matched to an object. Of equal IoU the first object counts.
        low: IoU below which a box is background. Between `low` and `high` it is ignored.
        low_quality: whether each valid object also gets the boxes of its own highest IoU, if that
            is above 0; all of them on ties. Such a box learns the object that it overlaps most.
        valid: (B, N) bool, False for padding, or None if all objects are valid.

    Returns:
        (B, A) int32: the index of the object, -1 for background, -2 for ignored.

    Example:
        >>> from keras import ops
        >>> from tfseg.ops import match_boxes
        >>> objects = [[[0.0, 0.0, 8.0, 8.0]]]
        >>> boxes = [[0.0, 0.0, 8.0, 7.0], [0.0, 0.0, 8.0, 4.0], [8.0, 0.0, 16.0, 8.0]]
        >>> matches = match_boxes(objects, boxes, high=0.7, low=0.3, low_quality=True)
        >>> ops.convert_to_numpy(matches).tolist()
        [[0, -2, -1]]
    """
    objects = ops.stop_gradient(ops.cast(objects, "float32"))
    boxes = ops.stop_gradient(ops.cast(boxes, "float32"))
    batch, count = ops.shape(objects)[:2]
    valid = ops.ones((batch, count), "bool") if valid is None else ops.cast(valid, "bool")
    # one row of padding, since JAX cannot trace reading from no rows
    objects = ops.pad(objects, ((0, 0), (0, 1), (0, 0)))
    valid = ops.pad(valid, ((0, 0), (0, 1)))
    end = ops.max(ops.where(valid, ops.arange(1, count + 2, dtype="int32"), 0))
    iou_with = _iou_function(boxes)

    def unfinished(index, *_):
        return index < end

    def add_object(index, best, closest, forced):
        iou = iou_with(ops.take(objects, index, axis=1))
        iou = ops.where(ops.take(valid, index, axis=1)[:, None], iou, -1.0)
        if low_quality:
            highest = ops.max(iou, axis=1, keepdims=True)
            is_highest = ops.logical_and(iou == highest, highest > 0)
            forced = ops.logical_or(forced, is_highest)
        return index + 1, ops.maximum(best, iou), ops.where(iou > best, index, closest), forced

    zeros = ops.zeros((batch, ops.shape(boxes)[-2]), "int32")
    start = (0, ops.cast(zeros - 1, "float32"), zeros, ops.cast(zeros, "bool"))
    _, best, closest, forced = ops.while_loop(unfinished, add_object, start)
    unmatched = ops.cast(ops.where(best < low, BACKGROUND_MATCH, IGNORED_MATCH), "int32")
    return ops.where(ops.logical_or(best >= high, forced), closest, unmatched)


def _iou_function(boxes):
    """Return a function of one object per image (B, 4) that returns its IoU with boxes (B, A).

    The same as `box_iou`, without splitting the boxes again for each object.
    """
    left, top, right, bottom = (boxes[..., side] for side in range(4))
    areas = box_area(boxes)

    def iou_with(objects):
        width = ops.minimum(objects[:, 2:3], right) - ops.maximum(objects[:, 0:1], left)
        height = ops.minimum(objects[:, 3:4], bottom) - ops.maximum(objects[:, 1:2], top)
        inter = ops.maximum(width, 0) * ops.maximum(height, 0)
        union = box_area(objects)[:, None] + areas - inter
        return inter / ops.maximum(union, SMALLEST_AREA)

    return iou_with


def sample_matches(matches, priorities, count: int, positive_fraction: float):
    """Draw `count` anchors per image, at most a fraction of them matched to objects.

    With independent uniform priorities the sample is a uniformly random subset of the positives
    and of the negatives. Background fills the places that positives leave; positives never fill
    those of missing background. Source: Faster R-CNN (arXiv:1506.01497, section 3.1.3), as in
    torchvision.

    Args:
        matches: (B, A) int32 of `match_boxes`; -2 is never drawn.
        priorities: (B, A) in [0, 1). The largest are drawn; of equal ones the first.
        count: number of anchors to draw.
        positive_fraction: the largest fraction of positives, in [0, 1]; the number is rounded down.

    Returns:
        indices (B, count) int32, positives first, then background, then 0 for padding; and two
        (B, count) bool: which are positive, and which are not padding.
    """
    priorities = ops.stop_gradient(ops.cast(priorities, "float32"))
    most = int(count * positive_fraction)
    positives, found = _draw(priorities, matches >= 0, count, most)
    negatives, free = _draw(priorities, matches == BACKGROUND_MATCH, count, count)
    found = found[:, None]
    free = ops.minimum(free[:, None], count - found)
    place = ops.arange(count, dtype="int32")[None]
    positive = place < found
    valid = place < found + free
    # Row `place` of the sample is positive number `place` or negative number `place - found`.
    drawn = ops.concatenate([positives, negatives], axis=1)
    indices = ops.take_along_axis(drawn, ops.where(positive, place, most + place - found), axis=1)
    return ops.where(valid, ops.cast(indices, "int32"), 0), positive, valid


def _draw(priorities, allowed, count, most):
    """Return (B, most) indices by descending priority, and how many of them are allowed (B,)."""
    ranked = ops.where(allowed, priorities, -1.0)
    if (ranked.shape[1] or 0) < count:  # fewer anchors than places, or an unknown number
        ranked = ops.pad(ranked, [[0, 0], [0, count]], constant_values=-1.0)
    values, indices = ops.top_k(ranked, most)
    return indices, ops.sum(ops.cast(values >= 0, "int32"), axis=1)
