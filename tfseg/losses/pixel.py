"""Losses that are a sum over pixels."""

from keras import ops

from tfseg import checks
from tfseg.losses.base import PixelLoss, loss_class, power


def cross_entropy(target, label_smoothing=0.0):
    """Cross entropy of a softmax: (B, ...) -log p(true class), in nats; of no meaning where ignored.

    Args:
        target: a `Target` whose channels are a softmax.
        label_smoothing: e; the target becomes (1 - e) t + e / C.
    """
    if not label_smoothing:
        return target.nll
    # the mean of -log p over all classes is what a uniform target costs
    uniform = ops.logsumexp(target.logits, axis=-1) - ops.mean(target.logits, axis=-1)
    return (1 - label_smoothing) * target.nll + label_smoothing * uniform


def binary_cross_entropy(x, t, label_smoothing=0.0):
    """-t log p - (1 - t) log(1 - p) with p = sigmoid(x), elementwise; smoothed t is (1 - e) t + e / 2."""
    return ops.softplus(x) - x * ((1 - label_smoothing) * t + label_smoothing / 2)


def focal(target, gamma=2.0):
    """Focal loss of a softmax (arXiv:1708.02002): (B, ...) (1 - p)**gamma times -log p of the true class.

    For soft targets the sum over classes of t (1 - p)**gamma (-log p).
    """
    if target.labels is not None:
        return power(-ops.expm1(-target.nll), gamma) * target.nll
    log_p = ops.log_softmax(target.logits)
    return -ops.sum(target.dense * power(-ops.expm1(log_p), gamma) * log_p, axis=-1)


def binary_focal(x, t, gamma=2.0):
    """Focal loss of p = sigmoid(x), elementwise: -t (1 - p)**gamma log p - (1 - t) p**gamma log(1 - p)."""
    p = ops.sigmoid(x)
    return t * power(1 - p, gamma) * ops.softplus(-x) + (1 - t) * power(p, gamma) * ops.softplus(x)


def hardest(losses, valid, k):
    """(B, ...) 1 for the share `k` of the valid pixels with the largest losses, at least one of them, else 0."""
    keys = ops.reshape(ops.where(valid > 0, losses, -1.0), (-1,))
    order = ops.argsort(-keys)
    # 0.3 in float32 is a little more than 3/10: of 50 pixels 15 are to be kept, not 16
    count = ops.ceil(k * (1 - 1e-6) * ops.sum(valid))
    kept = ops.arange(ops.shape(keys)[0], dtype="int32") < ops.cast(count, "int32")
    # a comparison with the last loss kept would fail under XLA, which computes the losses anew for it
    chosen = ops.segment_sum(ops.cast(kept, valid.dtype), order, num_segments=ops.shape(keys)[0])
    return ops.stop_gradient(ops.reshape(chosen, ops.shape(valid)) * valid)


@loss_class
class CrossEntropy(PixelLoss):
    """Mean cross entropy over the pixels that count: -log p(true class), in nats.

    With `multi_label`, or one channel, each channel's binary cross entropy, and their (weighted) mean.

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        label_smoothing: e in [0, 1): the target becomes (1 - e) t + e / C. A perfect prediction then costs more
            than 0.
        reduction, name, dtype: see `SegmentationLoss`.
    """

    label_smoothing: float = 0.0

    def __post_init__(self, dtype):
        super().__post_init__(dtype)
        checks.fraction(type(self).__name__, "label_smoothing", self.label_smoothing)

    def values(self, target):
        """Return (B, ...) losses of pixels."""
        if not target.sigmoid:
            return self.by_true_class(target, cross_entropy(target, self.label_smoothing))
        return (
            self.over_channels(
                target, lambda x, t: binary_cross_entropy(x, t, self.label_smoothing)
            )
            / target.classes
        )


@loss_class
class BinaryCrossEntropy(PixelLoss):
    """Every class against the rest: the sum over classes of -t log p - (1 - t) log(1 - p), in nats.

    Args:
        from_logits, ignore_index: see `SegmentationLoss`.
        class_weights: scaled to a mean of 1 over the classes.
        multi_label: True (default) takes p from a sigmoid a channel; False from the softmax over channels.
        label_smoothing: e in [0, 1): the target becomes (1 - e) t + e / 2.
        reduction, name, dtype: see `SegmentationLoss`.
    """

    multi_label: bool = True
    label_smoothing: float = 0.0

    def __post_init__(self, dtype):
        super().__post_init__(dtype)
        checks.fraction(type(self).__name__, "label_smoothing", self.label_smoothing)

    def values(self, target):
        """Return (B, ...) losses of pixels."""
        x = target.logits if target.sigmoid else target.against_rest()
        return self.over_channels(
            target, lambda x, t: binary_cross_entropy(x, t, self.label_smoothing), x
        )


@loss_class
class Focal(PixelLoss):
    """Cross entropy with easy pixels turned down: each pixel's times (1 - p(true class))**gamma (arXiv:1708.02002).

    `class_weights` take the place of the paper's alpha. With `multi_label` the mean over channels of the binary form.

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        gamma: focusing exponent, at least 0; 0 is cross entropy.
        reduction, name, dtype: see `SegmentationLoss`.
    """

    gamma: float = 2.0

    def __post_init__(self, dtype):
        super().__post_init__(dtype)
        checks.at_least(type(self).__name__, "gamma", self.gamma, 0)

    def values(self, target):
        """Return (B, ...) losses of pixels."""
        if not target.sigmoid:
            return self.by_true_class(target, focal(target, self.gamma))
        return (
            self.over_channels(target, lambda x, t: binary_focal(x, t, self.gamma)) / target.classes
        )


@loss_class
class TopK(PixelLoss):
    """Mean cross entropy of the hardest pixels of the batch (online hard pixel mining, arXiv:1604.03540).

    The hardest are those of the largest loss, class and sample weights included. Reduction "none" gives (B, ...)
    with 0 for the others.

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        k: share of the valid pixels that are kept, in (0, 1]; at least one pixel is.
        reduction, name, dtype: see `SegmentationLoss`.
    """

    k: float = 0.1

    def __post_init__(self, dtype):
        super().__post_init__(dtype)
        if not 0 < self.k <= 1:
            raise ValueError(
                f"TopK: k={self.k!r} must be a share of the pixels, above 0 and at most 1."
            )

    def values(self, target):
        """Return (B, ...) losses of pixels."""
        if not target.sigmoid:
            return self.by_true_class(target, cross_entropy(target))
        return self.over_channels(target, binary_cross_entropy) / target.classes

    def select(self, losses, valid):
        """Return (B, ...) which pixels' losses count."""
        return hardest(losses, valid, self.k)
