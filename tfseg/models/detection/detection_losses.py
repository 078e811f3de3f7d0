"""The losses of Faster and Mask R-CNN, as functions of arrays, in float32.

Each is a mean over the whole batch. Rows that are not `valid`, or not `positive`, have no gradient.
"""

from keras import ops

from tfseg.models.detection.heads import class_channel

BETA = 1 / 9  # where the smooth L1 loss changes from a parabola to a line


def objectness_loss(logits, positive, valid):
    """Return the binary cross entropy of sampled anchors.

    Args:
        logits: (B, S).
        positive: (B, S) bool, whether the anchor is matched to an object.
        valid: (B, S) bool, False for padding.

    Returns:
        () float32: the mean over all valid anchors; 0 if there are none.
    """
    logits = ops.where(valid, ops.cast(logits, "float32"), 0.0)
    target = ops.cast(positive, "float32")
    losses = ops.binary_crossentropy(target, logits, from_logits=True)
    return _sum_where(losses, valid) / _count(valid)


def box_loss(deltas, targets, positive, valid):
    """Return the smooth L1 loss of sampled boxes, beta 1 / 9.

    Args:
        deltas: (B, S, 4) predicted, see `ops.encode_boxes`.
        targets: (B, S, 4).
        positive: (B, S) bool, whether the box is matched to an object.
        valid: (B, S) bool, False for padding.

    Returns:
        () float32: the sum over positives, divided by the number of valid boxes.
    """
    difference = ops.cast(deltas, "float32") - ops.cast(targets, "float32")
    distance = ops.abs(ops.where(positive[..., None], difference, 0.0))
    parabola = 0.5 * ops.square(distance) / BETA
    losses = ops.where(distance < BETA, parabola, distance - 0.5 * BETA)
    return ops.sum(losses) / _count(valid)


def class_loss(logits, classes, valid):
    """Return the cross entropy of sampled proposals.

    Args:
        logits: (B, R, C + 1), background first.
        classes: (B, R) int32 channels: 0 for background, k + 1 for category k.
        valid: (B, R) bool, False for padding.

    Returns:
        () float32: the mean over all valid proposals; 0 if there are none.
    """
    logits = ops.where(valid[..., None], ops.cast(logits, "float32"), 0.0)
    losses = ops.sparse_categorical_crossentropy(classes, logits, from_logits=True)
    return _sum_where(losses, valid) / _count(valid)


def class_deltas(deltas, classes):
    """Return the four deltas of one class: (B, R, 4 (C + 1)), (B, R) channels -> (B, R, 4)."""
    per_class = ops.reshape(deltas, (*ops.shape(deltas)[:2], deltas.shape[2] // 4, 4))
    return class_channel(ops.swapaxes(per_class, 2, 3), classes)


def mask_loss(logits, classes, targets, positive):
    """Return the binary cross entropy of masks in the channel of the object's class.

    Args:
        logits: (B, R, s, s, C + 1), background first.
        classes: (B, R) int32 channels, see `class_loss`.
        targets: (B, R, s, s) in [0, 1].
        positive: (B, R) bool, whether the proposal is matched to an object.

    Returns:
        () float32: the mean over all pixels of positives; 0 if there are none.
    """
    targets = ops.cast(targets, "float32")
    counts = positive[..., None, None]
    chosen = ops.where(counts, class_channel(logits, classes), 0.0)
    losses = ops.binary_crossentropy(targets, chosen, from_logits=True)
    pixels = targets.shape[-1] * targets.shape[-2]
    return _sum_where(losses, counts) / (_count(positive) * pixels)


def _sum_where(values, condition):
    return ops.sum(ops.where(condition, values, 0.0))


def _count(condition):
    return ops.maximum(ops.sum(ops.cast(condition, "float32")), 1.0)
