"""Which object each anchor or proposal learns, and the sample of them that a loss counts."""

from keras import ops

# Values of `match_boxes` that are not the index of an object.
BACKGROUND_MATCH = -1
IGNORED_MATCH = -2


def match_boxes(similarity, high: float, low: float, low_quality: bool, valid=None):
    """Match each anchor to the object it is most similar to, if it is similar enough.

    Source: Faster R-CNN (arXiv:1506.01497, section 3.1.2), as in torchvision, with one difference:
    an object that overlaps no anchor is matched to none instead of to all.

    Args:
        similarity: (B, N, A) of N objects and A anchors, such as IoU. N may be 0. On equal
            similarity the first object counts.
        high: similarity from which an anchor is matched to an object.
        low: similarity below which an anchor is background. Between `low` and `high` it is ignored.
        low_quality: whether each valid object also gets the anchors of its own highest similarity,
            if that is above 0; all of them on ties. Such an anchor learns the object that it is
            itself most similar to.
        valid: (B, N) bool, False for padding, or None if all objects are valid.

    Returns:
        (B, A) int32: the index of the object, -1 for background, -2 for ignored.
    """
    similarity = ops.stop_gradient(ops.cast(similarity, "float32"))
    if valid is not None:
        similarity = ops.where(ops.cast(valid, "bool")[..., None], similarity, -1.0)
    if not similarity.shape[1]:  # 0 or unknown: argmax needs at least one object
        similarity = ops.pad(similarity, [[0, 0], [0, 1], [0, 0]], constant_values=-1.0)
    best = ops.max(similarity, axis=1)
    closest = ops.cast(ops.argmax(similarity, axis=1), "int32")
    matched = best >= high
    if low_quality:
        highest = ops.max(similarity, axis=2, keepdims=True)
        is_highest = ops.logical_and(similarity == highest, highest > 0)
        matched = ops.logical_or(matched, ops.any(is_highest, axis=1))
    unmatched = ops.where(best < low, BACKGROUND_MATCH, IGNORED_MATCH)
    return ops.where(matched, closest, ops.cast(unmatched, "int32"))


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
