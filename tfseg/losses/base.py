"""What every loss of this room shares: its signature, its weights and its reduction."""

from dataclasses import InitVar, dataclass, fields

import keras
from keras import ops

# Keras adds up what the replicas of a `tf.distribute` strategy return; its own losses divide their means by this too.
from keras.src.losses.loss import scale_loss_for_distribution

from tfseg import checks
from tfseg.losses.compose import Composable
from tfseg.losses.target import Target

REDUCTIONS = ("sum_over_batch_size", "sum", "none", None)
AVERAGE_OVER = ("present", "all")


def loss_class(cls):
    """Class decorator: the annotated names become keyword arguments, and `.keras` files know the class."""
    cls = dataclass(eq=False, repr=False, kw_only=True)(cls)
    return keras.saving.register_keras_serializable(package="tfseg")(cls)


@loss_class
class SegmentationLoss(Composable):
    """Base of the losses. A loss defines `values(target)`; `Target` reads labels, prediction and weights.

    Args:
        from_logits: whether `y_pred` holds raw logits (default) or probabilities.
        ignore_index: label whose pixels carry no loss and exactly no gradient, whatever finite logits they have.
            Labels outside [0, C) are ignored as well.
        class_weights: one weight a class (two, background and foreground, for a single sigmoid channel), or
            None. They are normalized: only their ratios matter.
        multi_label: one sigmoid a channel instead of a softmax over channels.
        reduction: "sum_over_batch_size" (the mean over all that counts), "sum", or "none".
        name: name of the loss.
        dtype: kept for Keras. Losses compute in float32 whatever the logits' dtype, and in float64 for float64.
    """

    from_logits: bool = True
    ignore_index: int | None = 255
    class_weights: list | None = None
    multi_label: bool = False
    reduction: str | None = "sum_over_batch_size"
    name: str | None = None
    dtype: InitVar[str | None] = None

    def __post_init__(self, dtype):
        owner = type(self).__name__
        checks.one_of(owner, "reduction", self.reduction, REDUCTIONS)
        super().__init__(name=self.name, reduction=self.reduction, dtype=dtype)
        self.dtype = self._dtype  # Keras' property of this name lies hidden under the argument
        if self.class_weights is not None:
            self.class_weights = checks.numbers(owner, "class_weights", self.class_weights)

    @property
    def reading(self):
        """The arguments by which a `Target` is read."""
        return {
            "from_logits": self.from_logits,
            "ignore_index": self.ignore_index,
            "multi_label": self.multi_label,
        }

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Return the loss of a batch.

        Args:
            y_true: integer labels (B, ...) or (B, ..., 1), or one-hot or soft targets (B, ..., C).
            y_pred: (B, ..., C) logits or probabilities; any number of spatial dimensions.
            sample_weight: a factor for each image's loss (B,), or each pixel's share in it (B, ...), or None.

        Returns:
            a float32 scalar; for reduction "none" what the class says.
        """
        return self.of(Target(y_true, y_pred, sample_weight, **self.reading, owner=self.name))

    def of(self, target):
        """Return the loss of a `Target` that was read with this loss' arguments."""
        raise NotImplementedError

    def weights_of(self, classes):
        """Return `class_weights` as a list of `classes` numbers with a mean of 1.

        Raises:
            ValueError: their number is another, one is negative or not finite, or all are zero.
        """
        weights = self.class_weights
        if weights is None:
            return [1.0] * classes
        usable = all(0 <= weight < float("inf") for weight in weights)  # False for NaN
        if len(weights) != classes or not usable or max(weights) == 0:
            raise ValueError(
                f"{self.name}: class_weights={weights} must be {classes} finite numbers, none negative, not all zero."
            )
        return [weight * classes / sum(weights) for weight in weights]

    def get_config(self):
        """Return the arguments, for `.keras` files."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@loss_class
class PixelLoss(SegmentationLoss):
    """A loss that is a sum over pixels; a subclass defines `values(target)`, (B, ...).

    The mean is taken over the valid pixels of the whole batch, so an image that is mostly ignored does not outweigh
    the others. Reduction "none" gives (B, ...), 0 where ignored.
    """

    reads = "nll"

    def of(self, target):
        """Return the loss of a `Target`."""
        losses = ops.where(target.valid > 0, self.values(target), 0.0) * target.weight
        counted = self.select(losses, target.valid)
        losses = losses * counted
        if self.reduction in ("none", None):
            return losses
        total = ops.sum(losses)
        if self.reduction == "sum":
            return total
        return scale_loss_for_distribution(safe_divide(total, ops.sum(counted)))

    def select(self, losses, valid):
        """Return (B, ...) which pixels' losses count."""
        return valid

    def by_true_class(self, target, losses):
        """Return (B, ...) losses times the weight of each pixel's class, scaled to a mean of 1 over valid pixels."""
        if self.class_weights is None:
            return losses
        weights = ops.convert_to_tensor(self.weights_of(max(target.classes, 2)), losses.dtype)
        if target.labels is not None:
            factors = ops.take(weights, target.labels)
        elif target.classes == 1:
            factors = weights[0] + (weights[1] - weights[0]) * target.dense[..., 0]
        else:
            factors = ops.sum(target.dense * weights, axis=-1)
        return (
            losses * factors * safe_divide(ops.sum(target.valid), ops.sum(factors * target.valid))
        )

    def over_channels(self, target, loss, logits=None):
        """Return (B, ...) the sum over channels of `loss(x, t)` times the class' weight, scaled to a mean of 1.

        Labels are not made one-hot: it is the loss of all other channels with target 0 and that at the label with 1.
        """
        x = target.logits if logits is None else logits
        if target.classes == 1:
            return self.by_true_class(target, loss(x, target.dense)[..., 0])
        weights = ops.convert_to_tensor(self.weights_of(target.classes), x.dtype)
        if target.labels is None:
            return ops.sum(weights * loss(x, target.dense), axis=-1)
        at_label = ops.arange(target.classes, dtype="int32") == target.labels[..., None]
        others = ops.sum(ops.where(at_label, 0.0, weights * loss(x, 0.0)), axis=-1)
        return others + ops.take(weights, target.labels) * loss(target.at_label(x), 1.0)


@loss_class
class RegionLoss(SegmentationLoss):
    """A loss that compares regions; a subclass defines `values(target)`, one value a group: the batch, or an image.

    Values do not depend on the scale of the sample weights: `of` multiplies them by the mean weight of the pixels
    that count, so a constant weight of 2 doubles the loss.

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`. Class weights weigh the mean
            over classes.
        per_image: compare each image by itself and take the mean, instead of the batch as one large image.
        over: the classes that enter the mean: those "present" in the target, or "all".
        include_background: False leaves class 0 out of the mean. A single sigmoid channel has no background.
        reduction, name, dtype: see `SegmentationLoss`. "none" gives (B,) with `per_image`, else (1,).
    """

    reads = "sums"
    per_image: bool = False
    over: str = "present"
    include_background: bool = True

    def __post_init__(self, dtype):
        super().__post_init__(dtype)
        checks.one_of(type(self).__name__, "over", self.average_over, AVERAGE_OVER)

    def of(self, target):
        """Return the loss of a `Target`."""
        values = self.values(target) * self.mean_weight(target)[:, 0]
        if self.reduction in ("none", None):
            return values
        return (
            ops.sum(values)
            if self.reduction == "sum"
            else scale_loss_for_distribution(ops.mean(values))
        )

    def group(self, sums):
        """Return (B, ...) sums by image as (G, ...) sums by group: the batch (G = 1) or each image."""
        return sums if self.per_image else ops.sum(sums, axis=0, keepdims=True)

    def mean_weight(self, target):
        """Return (G, 1) the mean weight of the pixels that count."""
        weight, valid = (self.group(target.by_image(x)) for x in (target.weight, target.valid))
        return safe_divide(weight, valid)[:, None]

    def mean_over_classes(self, losses, present):
        """Return (G,): the mean of (G, C) losses over the classes that count; 0 where there are none."""
        share = ops.cast(self.class_shares(present), losses.dtype)
        return safe_divide(ops.sum(share * losses, axis=-1), ops.sum(share, axis=-1))

    def class_shares(self, present):
        """Return (G, C): each class' weight in the mean, 0 for one left out."""
        classes = present.shape[-1]
        # a single sigmoid channel scores the foreground alone, the second of its two weights
        weights = self.weights_of(max(classes, 2))[-classes:]
        if classes > 1 and not self.include_background:
            weights[0] = 0.0
        counted = present if self.average_over == "present" else ops.ones_like(present)
        return ops.cast(counted, "float32") * ops.convert_to_tensor(weights, "float32")


def safe_divide(numerator, denominator, empty=0.0):
    """Return numerator / denominator, and `empty` with a zero gradient where the denominator is 0."""
    is_empty = denominator == 0
    return ops.where(is_empty, empty, numerator / ops.where(is_empty, 1.0, denominator))


def power(base, exponent):
    """Return base**exponent for base >= 0, with a finite slope at 0 also where the exponent is below 1."""
    if exponent == 0:
        return ops.ones_like(base)
    if exponent >= 1:
        return ops.power(ops.relu(base), exponent)
    tiny = 1e-6  # below it the line through (0, 0)
    bent = ops.power(ops.maximum(base, tiny), exponent)
    return ops.where(base < tiny, base * tiny ** (exponent - 1), bent)
