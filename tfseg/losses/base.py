"""What every loss of this room shares: its signature, and how targets, weights and reductions are read."""

from keras import ops

from tfseg import checks
from tfseg.losses.compose import Composable
from tfseg.ops import split_dense, split_labels, target_kind

REDUCTIONS = ("sum_over_batch_size", "sum", "none", None)


class SegmentationLoss(Composable):
    """Base of the losses: keeps the shared arguments.

    Args:
        from_logits: whether `y_pred` holds raw logits (default) or probabilities.
        ignore_index: label whose pixels carry no loss and exactly no gradient. Labels outside [0, C) are
            ignored as well.
        class_weights: one weight a class (two, background and foreground, for a single sigmoid channel), or
            None. They are normalised: only their ratios matter.
        multi_label: one sigmoid a channel instead of a softmax over channels.
        reduction: "sum_over_batch_size" (the mean over all that counts), "sum", or "none".
        name: name of the loss.
        dtype: kept for Keras; losses always compute in float32.
    """

    def __init__(
        self,
        from_logits=True,
        ignore_index=255,
        class_weights=None,
        multi_label=False,
        reduction="sum_over_batch_size",
        name=None,
        dtype=None,
    ):
        checks.one_of(type(self).__name__, "reduction", reduction, REDUCTIONS)
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.options = {
            "from_logits": from_logits,
            "ignore_index": ignore_index,
            "class_weights": None if class_weights is None else [float(w) for w in class_weights],
            "multi_label": multi_label,
        }

    def get_config(self):
        """Return the arguments, for `.keras` files."""
        return {**super().get_config(), **self.options}


class Target:
    """`y_true` and `y_pred` read by the contract, once, for any loss.

    Attributes:
        logits: (B, ..., C) float32.
        valid: (B, ...) float32, 1 where the pixel counts, else 0.
        labels: (B, ...) int32, or None when the target came dense or the channels are sigmoids.
        dense: (B, ..., C) float32, or None when there are labels.
        sigmoid: whether each channel is a sigmoid of its own.
    """

    def __init__(self, owner, y_true, y_pred, from_logits, ignore_index, multi_label):
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        kind = target_kind(owner, y_true, y_pred)
        classes = y_pred.shape[-1]
        self.sigmoid = multi_label or classes == 1
        # float32 first: a float16 sum overflows at 65504 pixels
        self.logits = _as_logits(ops.cast(y_pred, "float32"), from_logits, self.sigmoid)
        self.labels = self.dense = None
        if kind == "labels":
            labels, valid = split_labels(y_true, len(y_pred.shape) - 1, max(classes, 2), ignore_index)
            if not self.sigmoid:
                self.labels = labels
            elif classes == 1:
                self.dense = ops.cast(labels, "float32")[..., None]
            else:
                self.dense = ops.one_hot(labels, classes, dtype="float32")
        else:
            self.dense, valid = split_dense(y_true, ignore_index, exclusive=not self.sigmoid)
        self.valid = ops.cast(valid, "float32")

    def probabilities(self):
        """Return (B, ..., C) float32."""
        return ops.sigmoid(self.logits) if self.sigmoid else ops.softmax(self.logits, axis=-1)


def _as_logits(y_pred, from_logits, sigmoid):
    if from_logits:
        return y_pred
    tiny = 1e-7
    if sigmoid:
        y_pred = ops.clip(y_pred, tiny, 1 - tiny)
        return ops.log(y_pred) - ops.log1p(-y_pred)
    return ops.log(ops.maximum(y_pred, tiny))


def weights_of(owner, class_weights, count):
    """Return `class_weights` as (count,) float32; ones for None.

    Raises:
        ValueError: not `count` weights, one is negative or not finite, or all are zero.
    """
    if class_weights is None:
        return ops.ones((count,), "float32")
    usable = all(0 <= weight < float("inf") for weight in class_weights)  # False for NaN
    if len(class_weights) != count or not usable or max(class_weights) == 0:
        raise ValueError(
            f"{owner}: class_weights={list(class_weights)} must be {count} finite numbers, none negative, not all zero."
        )
    return ops.convert_to_tensor(class_weights, "float32")


def pixel_weights(owner, sample_weight, valid):
    """Return `sample_weight`, (B,) or (B, ...) or (B, ..., 1) or None, as float32 that broadcasts to `valid`."""
    if sample_weight is None:
        return ops.ones_like(valid)
    weight = ops.cast(ops.convert_to_tensor(sample_weight), "float32")
    came, rank = tuple(weight.shape), len(valid.shape)
    if len(weight.shape) == rank + 1 and weight.shape[-1] == 1:
        weight = ops.squeeze(weight, -1)
    if len(weight.shape) == 1:
        weight = ops.reshape(weight, (-1,) + (1,) * (rank - 1))
    sizes = zip(weight.shape, valid.shape, strict=False)
    if len(weight.shape) != rank or any(w not in (None, 1) and v not in (None, w) for w, v in sizes):
        raise ValueError(
            f"{owner}: sample_weight of shape {came} must be one weight an image "
            f"{tuple(valid.shape[:1])} or one a pixel {tuple(valid.shape)}."
        )
    return weight * ops.ones_like(valid)


def safe_divide(numerator, denominator):
    """Return numerator / denominator, and 0 with a zero gradient where the denominator is 0."""
    empty = denominator == 0
    return ops.where(empty, 0.0, numerator / ops.where(empty, 1.0, denominator))
