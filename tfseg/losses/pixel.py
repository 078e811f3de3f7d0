"""Losses that are sums over pixels."""

from keras import ops

from tfseg import checks
from tfseg.losses.base import PixelLoss, loss_class, power
from tfseg.losses.target import Target


def cross_entropy(target: Target, label_smoothing: float = 0.0):
    """Return the cross entropy of a softmax, -log p(true class), in nats.

    Args:
        target: a `Target` whose channels are a softmax.
        label_smoothing: e; the target becomes (1 - e) t + e / C.

    Returns:
        (B, ...); arbitrary finite values where ignored.
    """
    if not label_smoothing:
        return target.nll
    # The loss of a uniform target is the mean of -log p over all classes.
    uniform = ops.logsumexp(target.logits, axis=-1) - ops.mean(target.logits, axis=-1)
    return (1 - label_smoothing) * target.nll + label_smoothing * uniform


def binary_cross_entropy(x, t, label_smoothing: float = 0.0):
    """Return -t log p - (1 - t) log(1 - p) elementwise, with p = sigmoid(x).

    `label_smoothing` e changes t to (1 - e) t + e / 2.
    """
    return ops.softplus(x) - x * ((1 - label_smoothing) * t + label_smoothing / 2)


def focal(target: Target, gamma: float = 2.0):
    """Return the focal loss of a softmax (arXiv:1708.02002), -(1 - p)**gamma log p(true class).

    For soft targets, the sum over classes of -t (1 - p)**gamma log p.

    Args:
        target: a `Target` whose channels are a softmax.
        gamma: focusing exponent.

    Returns:
        (B, ...).
    """
    if target.labels is not None:
        return power(-ops.expm1(-target.nll), gamma) * target.nll
    log_p = ops.log_softmax(target.logits)
    return -ops.sum(target.dense * power(-ops.expm1(log_p), gamma) * log_p, axis=-1)


def binary_focal(x, t, gamma: float = 2.0):
    """Return the focal loss -t (1 - p)**gamma log p - (1 - t) p**gamma log(1 - p), elementwise.

    Here p = sigmoid(x).
    """
    p = ops.sigmoid(x)
    return t * power(1 - p, gamma) * ops.softplus(-x) + (1 - t) * power(p, gamma) * ops.softplus(x)


def hardest(losses, valid, keep_fraction: float):
    """Select the valid pixels with the largest losses.

    Args:
        losses: (B, ...).
        valid: (B, ...) 1 for pixels that count, else 0.
        keep_fraction: fraction of the valid pixels to select, rounded up to whole pixels.

    Returns:
        (B, ...) 1 for selected pixels, else 0.
    """
    keys = ops.reshape(ops.where(valid > 0, losses, -1.0), (-1,))
    order = ops.argsort(-keys)
    # 0.3 in float32 is slightly above 3/10. Of 50 pixels 15 should be selected, not 16.
    count = ops.ceil(keep_fraction * (1 - 1e-6) * ops.sum(valid))
    selected = ops.arange(ops.shape(keys)[0], dtype="int32") < ops.cast(count, "int32")
    # Comparing with the last selected loss would fail under XLA, which computes the losses again.
    selected = ops.cast(selected, valid.dtype)
    selected = ops.segment_sum(selected, order, num_segments=ops.shape(keys)[0])
    return ops.stop_gradient(ops.reshape(selected, ops.shape(valid)) * valid)


@loss_class
class _SmoothedLoss(PixelLoss):
    """A cross entropy; adds the argument `label_smoothing`."""

    label_smoothing: float = 0.0

    def __post_init__(self, dtype):
        super().__post_init__(dtype)
        checks.fraction(type(self).__name__, "label_smoothing", self.label_smoothing)

    def sum_binary(self, target: Target, logits=None):
        """Return (B, ...), the sum over channels of the binary cross entropy."""
        if target.classes == 1 and self.label_smoothing and self.class_weights is not None:
            x, t = target.logits[..., 0], target.dense[..., 0]
            by_class = ops.stack([ops.softplus(x), ops.softplus(-x)], axis=-1)
            return self.weight_smoothed(target, binary_cross_entropy(x, t), by_class)
        return self.sum_channels(target, self._binary, logits)

    def weight_smoothed(self, target: Target, losses, by_class):
        """Return (B, ...) losses with label smoothing and class weights.

        As `torch.nn.CrossEntropyLoss`: (1 - e) w_y L_y + e / C (w_1 L_1 + ... + w_C L_C), for
        the loss L_c of class c and the label y, divided by the mean of w_y over the valid pixels.

        Args:
            target: the `Target`.
            losses: (B, ...) L_y.
            by_class: (B, ..., C) L_c.
        """
        e = self.label_smoothing
        weights, factors = self.class_weighting(target)
        return (1 - e) * factors * losses + e * ops.mean(weights * by_class, axis=-1)

    def _binary(self, x, t):
        return binary_cross_entropy(x, t, self.label_smoothing)


@loss_class
class CrossEntropy(_SmoothedLoss):
    """Mean cross entropy over the valid pixels: -log p(true class), in nats.

    With `multi_label`, or one channel: the weighted mean over channels of binary cross entropy.

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        label_smoothing: e in [0, 1): the target becomes (1 - e) t + e / C. The loss of a perfect
            prediction is then above 0. The part e / C of each class is multiplied by the weight of
            that class, as in `torch.nn.CrossEntropyLoss`.
        reduction, name, dtype: see `SegmentationLoss`.

    Example:
        >>> import tfseg
        >>> labels, logits = [[[0, 1]]], [[[[2.0, 0.0], [1.0, 0.0]]]]
        >>> print(f"{tfseg.losses.CrossEntropy()(labels, logits):.3f}")
        0.720
    """

    def values(self, target: Target):
        """Return (B, ...) losses of pixels."""
        if target.sigmoid:
            return self.sum_binary(target) / target.classes
        if self.label_smoothing and self.class_weights is not None:
            return self.weight_smoothed(target, target.nll, -ops.log_softmax(target.logits))
        return self.weight_by_class(target, cross_entropy(target, self.label_smoothing))


@loss_class
class BinaryCrossEntropy(_SmoothedLoss):
    """Sum over classes of the binary cross entropy -t log p - (1 - t) log(1 - p), in nats.

    Args:
        from_logits, ignore_index: see `SegmentationLoss`.
        class_weights: scaled to a mean of 1 over the classes.
        multi_label: True (default) computes p by one sigmoid per channel, False by a softmax over
            the channels.
        label_smoothing: e in [0, 1): the target becomes (1 - e) t + e / 2.
        reduction, name, dtype: see `SegmentationLoss`.

    Example:
        >>> import tfseg
        >>> labels, logits = [[[0, 1]]], [[[[2.0, 0.0], [1.0, 0.0]]]]
        >>> print(f"{tfseg.losses.BinaryCrossEntropy()(labels, logits):.3f}")
        1.413
    """

    multi_label: bool = True

    def values(self, target: Target):
        """Return (B, ...) losses of pixels."""
        return self.sum_binary(target, None if target.sigmoid else target.one_vs_rest_logits())


@loss_class
class Focal(PixelLoss):
    """Focal loss (arXiv:1708.02002): cross entropy times (1 - p(true class))**gamma.

    It reduces the loss of easy pixels. `class_weights` replace the paper's alpha. With
    `multi_label`, or one channel: the mean over channels of the binary form.

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        gamma: focusing exponent, at least 0; 0 is cross entropy.
        reduction, name, dtype: see `SegmentationLoss`.

    Example:
        >>> import tfseg
        >>> labels, logits = [[[0, 1]]], [[[[2.0, 0.0], [1.0, 0.0]]]]
        >>> print(f"{tfseg.losses.Focal(gamma=2)(labels, logits):.3f}")
        0.352
    """

    gamma: float = 2.0

    def __post_init__(self, dtype):
        super().__post_init__(dtype)
        checks.at_least(type(self).__name__, "gamma", self.gamma, 0)

    def values(self, target: Target):
        """Return (B, ...) losses of pixels."""
        if not target.sigmoid:
            return self.weight_by_class(target, focal(target, self.gamma))
        return self.sum_channels(target, self._binary) / target.classes

    def _binary(self, x, t):
        return binary_focal(x, t, self.gamma)


@loss_class
class TopK(PixelLoss):
    """Mean cross entropy of the batch's hardest pixels (online hard example mining).

    As in arXiv:1604.03540, for pixels. The hardest pixels have the largest loss, including class
    and sample weights. Reduction "none" returns (B, ...), with 0 for all other pixels.

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        keep_fraction: fraction of the valid pixels to keep, in (0, 1]; at least one pixel is kept.
        reduction, name, dtype: see `SegmentationLoss`.

    Example:
        >>> import tfseg
        >>> labels, logits = [[[0, 1]]], [[[[2.0, 0.0], [1.0, 0.0]]]]
        >>> print(f"{tfseg.losses.TopK(keep_fraction=0.5)(labels, logits):.3f}")
        1.313
    """

    keep_fraction: float = 0.1

    def __post_init__(self, dtype):
        super().__post_init__(dtype)
        if not 0 < self.keep_fraction <= 1:
            raise ValueError(
                f"TopK: keep_fraction={self.keep_fraction!r} must be above 0 and at most 1."
            )

    def values(self, target: Target):
        """Return (B, ...) losses of pixels."""
        if not target.sigmoid:
            return self.weight_by_class(target, cross_entropy(target))
        return self.sum_channels(target, binary_cross_entropy) / target.classes

    def counted_pixels(self, losses, valid):
        """Return (B, ...): 1 for the hardest pixels, else 0."""
        return hardest(losses, valid, self.keep_fraction)
