"""Losses that compare regions: ratios of sums over pixels."""

import keras
from keras import ops

from tfseg.losses.base import SegmentationLoss, Target, pixel_weights, safe_divide, weights_of


def dice(
    y_true,
    y_pred,
    sample_weight=None,
    from_logits=True,
    ignore_index=255,
    class_weights=None,
    multi_label=False,
    smooth=1.0,
    per_image=False,
):
    """Soft Dice loss (V-Net, arXiv:1606.04797): 1 - mean over classes of (2 I + s) / (P + T + s).

    I, P and T are the sums of p t, p and t over the pixels that count: of the whole batch, or of each image.
    Only classes present in the target enter the mean: a class that is neither there nor predicted costs nothing.

    Args:
        y_true: integer labels (B, ...) or (B, ..., 1), or one-hot or soft targets (B, ..., C).
        y_pred: (B, ..., C) logits (or probabilities).
        sample_weight: weight of each image (B,) or pixel (B, ...) in the three sums, or None.
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`. Class weights apply to
            the classes' scores.
        smooth: s, added to numerator and denominator.
        per_image: sum over each image's pixels instead of the batch's.

    Returns:
        float32 in [0, 1]: (1,) for the batch, (B,) with `per_image`. 0 where no class is present.
    """
    target = Target("Dice", y_true, y_pred, from_logits, ignore_index, multi_label)
    weight = target.valid * pixel_weights("Dice", sample_weight, target.valid)
    overlap, predicted, truth = region_sums(target, weight, per_image)
    score = safe_divide(2 * overlap + smooth, predicted + truth + smooth)
    classes = target.logits.shape[-1]
    # a single sigmoid channel scores the foreground alone, the second of its two weights
    weights = weights_of("Dice", class_weights, max(classes, 2))[-classes:]
    present = ops.cast(truth > 0, "float32") * weights
    return safe_divide(ops.sum(present * (1 - score), axis=-1), ops.sum(present, axis=-1))


def region_sums(target, weight, per_image):
    """Weighted sums (I, P, T) of p t, p and t, each (1, C), or (B, C) with `per_image`."""
    classes = target.logits.shape[-1]
    groups = ops.shape(weight)[0] if per_image else 1
    flat = lambda x: ops.reshape(x, (groups, -1, classes))  # noqa: E731
    probabilities = target.probabilities()
    predicted = ops.sum(flat(probabilities * weight[..., None]), axis=1)
    if target.labels is None:
        dense = target.dense * weight[..., None]
        return ops.sum(flat(probabilities * dense), axis=1), predicted, ops.sum(flat(dense), axis=1)
    # p of the true class is exp(-cross entropy): no one-hot tensor of the target is ever made
    hit = ops.exp(-ops.sparse_categorical_crossentropy(target.labels, target.logits, from_logits=True))
    group = ops.reshape(ops.arange(groups) * classes, (-1,) + (1,) * (len(weight.shape) - 1))
    segment = ops.reshape(target.labels + ops.cast(group, "int32"), (-1,))
    by_class = lambda x: ops.reshape(  # noqa: E731
        ops.segment_sum(ops.reshape(x, (-1,)), segment, num_segments=groups * classes), (groups, classes)
    )
    return by_class(hit * weight), predicted, by_class(weight)


@keras.saving.register_keras_serializable(package="tfseg")
class Dice(SegmentationLoss):
    """Soft Dice loss over the batch, or the mean of the images' with `per_image`; see `dice`."""

    def __init__(
        self,
        from_logits=True,
        ignore_index=255,
        class_weights=None,
        multi_label=False,
        smooth=1.0,
        per_image=False,
        reduction="sum_over_batch_size",
        name=None,
        dtype=None,
    ):
        super().__init__(from_logits, ignore_index, class_weights, multi_label, reduction, name, dtype)
        self.options |= {"smooth": smooth, "per_image": per_image}

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Return the loss of a batch: a scalar, or (1,) or (B,) for reduction "none"."""
        losses = dice(y_true, y_pred, sample_weight, **self.options)
        if self.reduction in ("none", None):
            return losses
        return ops.sum(losses) if self.reduction == "sum" else ops.mean(losses)
