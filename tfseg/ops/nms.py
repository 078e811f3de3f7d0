"""Non-maximum suppression: of boxes that overlap too much only the best one is kept."""

from keras import ops

from tfseg.ops.boxes import box_iou


def nms(boxes, scores, iou_threshold: float, max_outputs: int, classes=None, valid=None):
    """Keep the boxes that overlap no kept box of a higher score too much, per image.

    Greedy suppression, exact: a box is dropped if its IoU with a kept box of a higher score is
    above the threshold. On equal scores the earlier box counts as the higher one.

    Args:
        boxes: (B, N, 4) x_min, y_min, x_max, y_max in pixels.
        scores: (B, N), finite where valid, in any order.
        iou_threshold: in [0, 1]. Boxes whose IoU equals it are both kept.
        max_outputs: number of rows to return per image.
        classes: (B, N) integers, or None. If given, only boxes of the same class suppress each
            other.
        valid: (B, N) bool, False for padding, which is neither kept nor suppresses; or None if all
            boxes are valid.

    Returns:
        indices (B, max_outputs) int32 into N, by descending score, 0 for padding at the end; and
        kept (B, max_outputs) bool, False for padding.

    Example:
        >>> from keras import ops
        >>> from tfseg.ops import nms
        >>> boxes = [[[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.0], [5.0, 0.0, 9.0, 4.0]]]
        >>> indices, kept = nms(boxes, [[0.9, 0.8, 0.7]], iou_threshold=0.5, max_outputs=3)
        >>> ops.convert_to_numpy(indices).tolist(), ops.convert_to_numpy(kept).tolist()
        ([[0, 2, 0]], [[True, True, False]])
    """
    boxes = ops.stop_gradient(ops.cast(boxes, "float32"))
    scores = ops.stop_gradient(ops.cast(scores, "float32"))
    valid = ops.ones_like(scores, "bool") if valid is None else ops.cast(valid, "bool")
    scores = ops.where(valid, scores, -float("inf"))
    if (scores.shape[1] or 0) < max_outputs:  # fewer boxes than rows, or an unknown number
        missing = [[0, 0], [0, max_outputs - (scores.shape[1] or 0)]]
        boxes = ops.pad(boxes, [*missing, [0, 0]])
        scores = ops.pad(scores, missing, constant_values=-float("inf"))
        valid = ops.pad(valid, missing)
        classes = None if classes is None else ops.pad(classes, missing)
    order = ops.top_k(scores, ops.shape(scores)[1])[1]
    boxes = ops.take_along_axis(boxes, order[..., None], axis=1)
    suppresses = box_iou(boxes, boxes) > iou_threshold
    position = ops.arange(ops.shape(scores)[1])
    suppresses = ops.logical_and(suppresses, position[:, None] < position)
    if classes is not None:
        classes = ops.take_along_axis(classes, order, axis=1)
        suppresses = ops.logical_and(suppresses, classes[:, :, None] == classes[:, None])
    keep = _survivors(suppresses, ops.take_along_axis(valid, order, axis=1))
    return _first(keep, order, max_outputs)


def _survivors(suppresses, valid):
    """Return (B, N) which boxes, sorted by score, are suppressed by no survivor.

    The answer for the first k boxes is right after k rounds at the latest, and a round that
    changes nothing proves that the answer is right for all.
    """

    def differs(keep, previous):
        return ops.any(keep != previous)

    def update(keep, previous):
        hit = ops.any(ops.logical_and(suppresses, keep[:, :, None]), axis=1)
        return ops.logical_and(valid, ops.logical_not(hit)), keep

    return ops.while_loop(differs, update, (valid, ops.logical_not(valid)))[0]


def _first(keep, order, count):
    """Return the first `count` kept entries of `order` (B, N), and which of them exist."""
    length = ops.shape(keep)[1]
    ahead = ops.where(keep, length - ops.arange(length), 0)
    values, places = ops.top_k(ahead, count)
    kept = values > 0
    indices = ops.take_along_axis(order, places, axis=1)
    return ops.where(kept, ops.cast(indices, "int32"), 0), kept
