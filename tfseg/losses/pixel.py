"""Losses that are a sum over pixels."""

import keras
from keras import ops

from tfseg.losses.base import SegmentationLoss, Target, pixel_weights, safe_divide, weights_of


def cross_entropy(y_true, y_pred, from_logits=True, ignore_index=255, class_weights=None, multi_label=False):
    """Cross entropy of every pixel: -log p(true class), or its sigmoid form for C == 1 and `multi_label`.

    Args:
        y_true: integer labels (B, ...) or (B, ..., 1), or one-hot or soft targets (B, ..., C).
        y_pred: (B, ..., C) logits (or probabilities).
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.

    Returns:
        (B, ...) float32, 0 where ignored. Class weights are scaled so that their mean over the counted
        pixels is 1.
    """
    return _pixel_losses(y_true, y_pred, from_logits, ignore_index, class_weights, multi_label)[0]


def _pixel_losses(y_true, y_pred, from_logits, ignore_index, class_weights, multi_label):
    target = Target("CrossEntropy", y_true, y_pred, from_logits, ignore_index, multi_label)
    if target.sigmoid:
        losses, weight = _sigmoid(target, class_weights)
    else:
        losses, weight = _softmax(target, class_weights)
    weight = weight * target.valid
    weight = weight * safe_divide(ops.sum(target.valid), ops.sum(weight))
    return ops.where(target.valid > 0, losses * weight, 0.0), target.valid


def _softmax(target, class_weights):
    classes = target.logits.shape[-1]
    weights = weights_of("CrossEntropy", class_weights, classes)
    if target.labels is not None:
        losses = ops.sparse_categorical_crossentropy(target.labels, target.logits, from_logits=True)
        return losses, ops.take(weights, target.labels)
    losses = -ops.sum(target.dense * ops.log_softmax(target.logits), axis=-1)
    return losses, ops.sum(target.dense * weights, axis=-1)


def _sigmoid(target, class_weights):
    x, t = target.logits, target.dense
    losses = ops.softplus(x) - x * t
    classes = x.shape[-1]
    if classes == 1:
        background, foreground = ops.unstack(weights_of("CrossEntropy", class_weights, 2))
        return losses[..., 0], (background + (foreground - background) * t)[..., 0]
    weights = weights_of("CrossEntropy", class_weights, classes)
    return ops.sum(losses * weights, axis=-1) / ops.sum(weights), ops.ones_like(losses[..., 0])


@keras.saving.register_keras_serializable(package="tfseg")
class CrossEntropy(SegmentationLoss):
    """Mean cross entropy over the pixels that count.

    The mean is taken over the valid pixels of the whole batch, so an image that is mostly ignored does not
    outweigh the others. `sample_weight`, one an image (B,) or one a pixel (B, H, W), scales pixels' losses.
    Arguments: see `SegmentationLoss`.
    """

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Return the loss of a batch: a scalar, or (B, ...) for reduction "none"."""
        losses, valid = _pixel_losses(y_true, y_pred, **self.options)
        losses = losses * pixel_weights(self.name, sample_weight, valid)
        if self.reduction in ("none", None):
            return losses
        total = ops.sum(losses)
        return total if self.reduction == "sum" else safe_divide(total, ops.sum(valid))
