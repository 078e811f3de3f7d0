"""Base classes of the losses: arguments, weighting and reduction."""

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, fields

import keras
from keras import ops

# Keras sums the losses of the replicas of a `tf.distribute` strategy. Its own losses use this, too.
from keras.src.losses.loss import scale_loss_for_distribution

from tfseg import checks
from tfseg.losses.compose import Composable
from tfseg.losses.target import Target
from tfseg.ops import nan_where

REDUCTIONS = ("sum_over_batch_size", "sum", "none", None)
AVERAGE_OVER = ("present", "all")


def loss_class(cls):
    """Class decorator: annotated names become keyword arguments; register the class with Keras."""
    cls = dataclass(eq=False, repr=False, kw_only=True)(cls)
    return keras.saving.register_keras_serializable(package="tfseg")(cls)


@loss_class
class SegmentationLoss(Composable):
    """Base of the losses. A subclass defines `values(target)`.

    The loss is NaN if the target is invalid: labels outside [0, C) other than `ignore_index`,
    fractional labels, or per-class values that are not probabilities. The gradient stays finite.

    Args:
        from_logits: whether `y_pred` contains logits (default) or probabilities.
        ignore_index: label of ignored pixels, which have loss 0 and exactly zero gradient for all
            finite logits; None for no such label. 255 means 65535 for more than 255 classes.
        class_weights: list with one weight per class (two for a single sigmoid channel:
            background, foreground), or None. Only their ratios matter. Use it instead of
            `class_weight` of `fit`, which does not support masks (B, H, W).
        multi_label: one sigmoid per channel instead of a softmax over the channels.
        reduction: "sum_over_batch_size" (the mean over everything that counts), "sum" or "none".
        name: name of the loss.
        dtype: as in Keras. Losses compute in float32 for logits of lower precision, and in float64
            for float64.
    """

    from_logits: bool = True
    ignore_index: int | None = 255
    class_weights: Sequence[float] | None = None
    multi_label: bool = False
    reduction: str | None = "sum_over_batch_size"
    name: str | None = None
    dtype: InitVar[str | None] = None

    def __post_init__(self, dtype):
        owner = type(self).__name__
        checks.one_of(owner, "reduction", self.reduction, REDUCTIONS)
        super().__init__(name=self.name, reduction=self.reduction, dtype=dtype)
        self.dtype = self._dtype  # this field hides the dtype property of keras.losses.Loss
        for field in fields(self):
            if isinstance(field.default, bool):
                checks.boolean(owner, field.name, getattr(self, field.name))
        self.ignore_index = checks.ignore_index(owner, self.ignore_index)
        if self.class_weights is not None:
            self.class_weights = checks.numbers(owner, "class_weights", self.class_weights)

    @property
    def target_options(self) -> dict:
        """The arguments of `Target`. Losses with the same ones can share a target."""
        return {
            "from_logits": self.from_logits,
            "ignore_index": self.ignore_index,
            "multi_label": self.multi_label,
        }

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Compute the loss of a batch.

        Args:
            y_true: integer labels (B, ...) or (B, ..., 1), or one-hot or soft targets (B, ..., C).
            y_pred: (B, ..., C) logits or probabilities; any number of spatial dimensions.
            sample_weight: weights of images (B,) or pixels (B, ...), or None.

        Returns:
            A float32 scalar; with reduction "none" see the class.

        Raises:
            ValueError: the shapes do not match or, outside compiled functions, labels are
                fractional or per-class values are not probabilities.
        """
        target = Target(y_true, y_pred, sample_weight, **self.target_options, owner=self.name)
        return self.from_target(target)

    def from_target(self, target: Target):
        """Compute the loss of a `Target` that was created with `target_options`."""
        raise NotImplementedError

    def scaled_class_weights(self, classes: int) -> list[float]:
        """Return `class_weights` scaled to a mean of 1.

        Raises:
            ValueError: there are not `classes` weights, one is negative or infinite, or all are 0.
        """
        weights = self.class_weights
        if weights is None:
            return [1.0] * classes
        usable = all(0 <= weight < float("inf") for weight in weights)  # False for NaN
        if len(weights) != classes or not usable or max(weights) == 0:
            raise ValueError(
                f"{self.name}: class_weights={weights} must be {classes} finite numbers, none "
                "negative, not all zero."
            )
        return [weight * classes / sum(weights) for weight in weights]

    def get_config(self) -> dict:
        """Return the arguments, for `.keras` files."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@loss_class
class PixelLoss(SegmentationLoss):
    """A sum over pixels. A subclass defines `values(target)`, (B, ...) losses.

    The mean is over the valid pixels of the whole batch, so every pixel counts the same in whatever
    image it is. Reduction "none" returns (B, ...), with 0 for ignored and NaN for invalid pixels.
    """

    needs = "nll"

    def from_target(self, target: Target):
        """Compute the loss of a `Target`."""
        losses = ops.where(target.valid > 0, self.values(target), 0.0) * target.weight
        counted = self.counted_pixels(losses, target.valid)
        losses = losses * counted
        if self.reduction in ("none", None):
            return losses + nan_where(target.invalid, losses.dtype)
        total, poison = ops.sum(losses), ops.sum(target.poison)
        if self.reduction == "sum":
            return total + poison
        # Added to the mean: without any valid pixel, a mean of invalid ones would be 0.
        return scale_loss_for_distribution(safe_divide(total, ops.sum(counted)) + poison)

    def counted_pixels(self, losses, valid):
        """Return (B, ...): 1 for pixels that count, else 0."""
        return valid

    def weight_by_class(self, target: Target, losses):
        """Multiply (B, ...) losses by the class weight of each pixel's label.

        The weights are scaled to a mean of 1 over the valid pixels. Example: class weights 1 and 3
        are 0.5 and 1.5. For labels 0, 0, 1 their mean is 5/6, so they become 0.6, 0.6, 1.8.
        """
        if self.class_weights is None:
            return losses
        return losses * self.class_weighting(target)[1]

    def class_weighting(self, target: Target):
        """Return the class weights (C,) and those of the pixels' labels (B, ...).

        Both are scaled so that the second have a mean of 1 over the valid pixels. A single sigmoid
        channel has two class weights.
        """
        weights = self.scaled_class_weights(max(target.classes, 2))
        weights = ops.convert_to_tensor(weights, target.logits.dtype)
        if target.labels is not None:
            factors = ops.take(weights, target.labels)
        elif target.classes == 1:
            factors = weights[0] + (weights[1] - weights[0]) * target.dense[..., 0]
        else:
            factors = ops.sum(target.dense * weights, axis=-1)
        scale = safe_divide(ops.sum(target.valid), ops.sum(factors * target.valid))
        return weights * scale, factors * scale

    def sum_channels(self, target: Target, loss, logits=None):
        """Sum an elementwise loss over the channels, times the class weights with a mean of 1.

        No one-hot labels are created: the result is the loss of all other channels with target 0
        plus that of the label's channel with target 1.

        Args:
            target: the `Target`.
            loss: function of logits and targets, such as `binary_cross_entropy`.
            logits: (B, ..., C) to use instead of those of the target, or None.

        Returns:
            (B, ...).
        """
        x = target.logits if logits is None else logits
        if target.classes == 1:
            return self.weight_by_class(target, loss(x, target.dense)[..., 0])
        weights = ops.convert_to_tensor(self.scaled_class_weights(target.classes), x.dtype)
        if target.labels is None:
            return ops.sum(weights * loss(x, target.dense), axis=-1)
        at_label = ops.arange(target.classes, dtype="int32") == target.labels[..., None]
        others = ops.sum(ops.where(at_label, 0.0, weights * loss(x, 0.0)), axis=-1)
        return others + ops.take(weights, target.labels) * loss(target.at_label(x), 1.0)


@loss_class
class RegionLoss(SegmentationLoss):
    """Compares regions. A subclass defines `values(target)`, (G,) losses of groups of images.

    A group is the whole batch (G = 1), or one image with `per_image` (G = B). `values` does not
    depend on the scale of the sample weights. `from_target` multiplies it by the mean weight of the
    valid pixels, so that a constant weight of 2 doubles the loss.

    Args:
        from_logits, ignore_index, multi_label: see `SegmentationLoss`.
        class_weights: weights of the mean over classes; see `SegmentationLoss`.
        per_image: compute the loss per image and average, instead of treating the batch as one
            image.
        average_over: the classes to average over: those "present" in the target, or "all".
        include_background: False excludes class 0 from the mean. A single sigmoid channel has no
            background.
        reduction, name, dtype: see `SegmentationLoss`. "none" returns (G,).
    """

    needs = "sums"
    per_image: bool = False
    average_over: str = "present"
    include_background: bool = True

    def __post_init__(self, dtype):
        super().__post_init__(dtype)
        checks.one_of(type(self).__name__, "average_over", self.average_over, AVERAGE_OVER)

    def from_target(self, target: Target):
        """Compute the loss of a `Target`."""
        values = self.values(target) * self.mean_weight(target)[:, 0]
        values += self.group_sums(target.poison)
        if self.reduction in ("none", None):
            return values
        if self.reduction == "sum":
            return ops.sum(values)
        return scale_loss_for_distribution(ops.mean(values))

    def group_sums(self, image_sums):
        """Return (B, ...) sums of images as (G, ...) sums of groups."""
        return image_sums if self.per_image else ops.sum(image_sums, axis=0, keepdims=True)

    def mean_weight(self, target: Target):
        """Return (G, 1), the mean weight of the valid pixels."""
        weight = self.group_sums(target.image_sums(target.weight))
        valid = self.group_sums(target.image_sums(target.valid))
        return safe_divide(weight, valid)[:, None]

    def mean_over_classes(self, losses, present):
        """Return (G,), the weighted mean of (G, C) losses over the classes; 0 if there is none."""
        factors = ops.cast(self.class_factors(present), losses.dtype)
        return safe_divide(ops.sum(factors * losses, axis=-1), ops.sum(factors, axis=-1))

    def class_factors(self, present):
        """Return (G, C), the weight of each class in the mean; 0 if it is excluded.

        Args:
            present: (G, C) bool, whether the class is in the target.
        """
        classes = present.shape[-1]
        # A single sigmoid channel scores only the foreground, the second of its two weights.
        weights = self.scaled_class_weights(max(classes, 2))[-classes:]
        if classes > 1 and not self.include_background:
            weights[0] = 0.0
        counted = present if self.average_over == "present" else ops.ones_like(present)
        return ops.cast(counted, "float32") * ops.convert_to_tensor(weights, "float32")


def safe_divide(numerator, denominator, empty: float = 0.0):
    """Return numerator / denominator; where the denominator is 0, `empty` with zero gradient."""
    is_empty = denominator == 0
    return ops.where(is_empty, empty, numerator / ops.where(is_empty, 1.0, denominator))


def power(base, exponent: float):
    """Return base**exponent for base >= 0, with a finite gradient at 0.

    The slope of x**0.5 at 0 is infinite. For exponents below 1, the curve is a straight line below
    1e-6: from 0 at 0 to 0.001 at 1e-6 for x**0.5.
    """
    if exponent == 0:
        return ops.ones_like(base)
    if exponent >= 1:
        return ops.power(ops.relu(base), exponent)
    tiny = 1e-6
    curve = ops.power(ops.maximum(base, tiny), exponent)
    return ops.where(base < tiny, base * tiny ** (exponent - 1), curve)
