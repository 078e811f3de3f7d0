"""Losses that compare regions: ratios of sums over the valid pixels.

For predicted probabilities p and target values t, the sums per class are `overlap` I of p t,
`predicted` P of p, and `true` T of t.
"""

from keras import ops

from tfseg import checks
from tfseg.losses.base import RegionLoss, loss_class, power, safe_divide
from tfseg.losses.target import Target


def dice(overlap, predicted, true, smooth: float = 1.0):
    """Return the Dice coefficient (F1): (2 I + s) / (P + T + s); 1 for 0 / 0."""
    return safe_divide(2 * overlap + smooth, predicted + true + smooth, empty=1.0)


def generalized_dice(overlap, predicted, true, class_factors=None, smooth: float = 1.0):
    """Return the generalized Dice coefficient (arXiv:1707.03237) over all classes.

    (2 sum(w I) + s) / (sum(w (P + T)) + s), with w = 1 / T**2, scaled so that sum(w T) = sum(T).
    Example: for T = 100 and 10, w = 0.1 and 10.

    Args:
        overlap, predicted, true: (G, C).
        class_factors: (G, C) factors of w; None for 1 if T > 0, else 0.
        smooth: s.

    Returns:
        (G,).
    """
    if class_factors is None:
        class_factors = ops.cast(true > 0, true.dtype)
    # An absent class is weighted like one of a single pixel, if its factor is not 0.
    weights = class_factors / ops.square(ops.maximum(true, 1.0))
    weights = weights * safe_divide(
        ops.sum(true, axis=-1, keepdims=True),
        ops.sum(weights * true, axis=-1, keepdims=True),
        empty=1.0,
    )
    overlap = ops.sum(weights * overlap, axis=-1)
    predicted = ops.sum(weights * predicted, axis=-1)
    true = ops.sum(weights * true, axis=-1)
    return dice(overlap, predicted, true, smooth)


def jaccard(overlap, predicted, true, smooth: float = 1.0):
    """Return the Jaccard index (IoU): (I + s) / (P + T - I + s); 1 for 0 / 0."""
    return safe_divide(overlap + smooth, predicted + true - overlap + smooth, empty=1.0)


def tversky(overlap, predicted, true, alpha: float = 0.5, beta: float = 0.5, smooth: float = 1.0):
    """Return the Tversky index: (I + s) / (I + alpha FP + beta FN + s); 1 for 0 / 0.

    Here FP = P - I and FN = T - I.
    """
    errors = alpha * (predicted - overlap) + beta * (true - overlap)
    return safe_divide(overlap + smooth, overlap + errors + smooth, empty=1.0)


def matthews(overlap, predicted, true, total):
    """Return the Matthews correlation coefficient of each class against all others, in [-1, 1].

    It is 0 for a constant prediction.

    Args:
        overlap, predicted, true: (G, C).
        total: (G, 1) number of pixels.

    Returns:
        (G, C).
    """
    i = safe_divide(overlap, total)
    p = safe_divide(predicted, total)
    t = safe_divide(true, total)
    # float32 does not resolve differences of p from 1 below 1e-6. The bounds keep the gradient of
    # the square root finite.
    variance = p * ops.maximum(1 - p, 1e-6) * t * ops.maximum(1 - t, 1e-6)
    return (i - p * t) / ops.sqrt(ops.maximum(variance, 1e-20))


@loss_class
class _ScoreLoss(RegionLoss):
    """1 - a score computed from each class' sums; adds the argument `smooth`."""

    smooth: float = 1.0

    def __post_init__(self, dtype):
        super().__post_init__(dtype)
        checks.at_least(type(self).__name__, "smooth", self.smooth, 0)

    def sums(self, target: Target, squared: bool = False):
        """Return `Target.sums` per group, (G, C) each, in pixels at any scale of sample weights."""
        scale = self.mean_weight(target)
        return [safe_divide(self.group_sums(sums), scale) for sums in target.sums(squared)]

    def values(self, target: Target):
        """Return (G,) losses of groups."""
        overlap, predicted, true = self.sums(target)
        return self.mean_over_classes(self.class_losses(overlap, predicted, true), true > 0)

    def class_losses(self, overlap, predicted, true):
        """Return (G, C) losses of (G, C) sums."""
        raise NotImplementedError


@loss_class
class Dice(_ScoreLoss):
    """Soft Dice loss (V-Net, arXiv:1606.04797), in [0, 1].

    The mean over classes of 1 - (2 I + s) / (P + T + s).

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        smooth: s, in pixels.
        squared: use sums of p**2 and t**2 in the denominator, as V-Net does, instead of p and t.
        log_cosh: return log(cosh(1 - score)) instead of 1 - score (arXiv:2006.14822).
        per_image, average_over, include_background: see `RegionLoss`.
        reduction, name, dtype: see `SegmentationLoss`.

    Example:
        >>> import tfseg
        >>> labels, logits = [[[0, 1]]], [[[[2.0, 0.0], [1.0, 0.0]]]]
        >>> print(f"{tfseg.losses.Dice()(labels, logits):.3f}")
        0.296
    """

    squared: bool = False
    log_cosh: bool = False

    def sums(self, target: Target):
        """Return the sums per group, of squares if `squared`."""
        return super().sums(target, self.squared)

    def class_losses(self, overlap, predicted, true):
        """Return (G, C) losses."""
        losses = 1 - dice(overlap, predicted, true, self.smooth)
        return ops.log(ops.cosh(losses)) if self.log_cosh else losses


@loss_class
class Jaccard(_ScoreLoss):
    """Soft Jaccard (IoU) loss, in [0, 1].

    The mean over classes of 1 - (I + s) / (P + T - I + s).

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        smooth: s, in pixels.
        per_image, average_over, include_background: see `RegionLoss`.
        reduction, name, dtype: see `SegmentationLoss`.

    Example:
        >>> import tfseg
        >>> labels, logits = [[[0, 1]]], [[[[2.0, 0.0], [1.0, 0.0]]]]
        >>> print(f"{tfseg.losses.Jaccard()(labels, logits):.3f}")
        0.356
    """

    def class_losses(self, overlap, predicted, true):
        """Return (G, C) losses."""
        return 1 - jaccard(overlap, predicted, true, self.smooth)


@loss_class
class Tversky(_ScoreLoss):
    """Tversky loss (arXiv:1706.05721), in [0, 1].

    The mean over classes of 1 - (I + s) / (I + alpha FP + beta FN + s). With alpha = beta = 0.5 it
    is Dice (with s / 2), with alpha = beta = 1 Jaccard.

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        smooth: s, in pixels.
        alpha: weight of false positives.
        beta: weight of false negatives; values above alpha favor recall.
        per_image, average_over, include_background: see `RegionLoss`.
        reduction, name, dtype: see `SegmentationLoss`.

    Example:
        >>> import tfseg
        >>> labels, logits = [[[0, 1]]], [[[[2.0, 0.0], [1.0, 0.0]]]]
        >>> print(f"{tfseg.losses.Tversky(alpha=0.3, beta=0.7)(labels, logits):.3f}")
        0.220
    """

    alpha: float = 0.5
    beta: float = 0.5

    def __post_init__(self, dtype):
        super().__post_init__(dtype)
        for name in ("alpha", "beta"):
            checks.at_least(type(self).__name__, name, getattr(self, name), 0)

    def class_losses(self, overlap, predicted, true):
        """Return (G, C) losses."""
        return 1 - tversky(overlap, predicted, true, self.alpha, self.beta, self.smooth)


@loss_class
class FocalTversky(Tversky):
    """Focal Tversky loss (arXiv:1810.07842), in [0, 1].

    The mean over classes of (1 - Tversky index)**(1 / gamma).

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        smooth: s, in pixels.
        alpha, beta: weights of false positives and false negatives; see `Tversky`.
        gamma: values above 1 raise the loss of almost perfect classes; the paper recommends 4 / 3.
        per_image, average_over, include_background: see `RegionLoss`.
        reduction, name, dtype: see `SegmentationLoss`.

    Example:
        >>> import tfseg
        >>> labels, logits = [[[0, 1]]], [[[[2.0, 0.0], [1.0, 0.0]]]]
        >>> print(f"{tfseg.losses.FocalTversky()(labels, logits):.3f}")
        0.317
    """

    alpha: float = 0.3
    beta: float = 0.7
    gamma: float = 4 / 3

    def __post_init__(self, dtype):
        super().__post_init__(dtype)
        checks.above_zero(type(self).__name__, "gamma", self.gamma)

    def class_losses(self, overlap, predicted, true):
        """Return (G, C) losses."""
        return power(super().class_losses(overlap, predicted, true), 1 / self.gamma)


@loss_class
class GeneralizedDice(_ScoreLoss):
    """Generalized Dice loss (arXiv:1707.03237), in [0, 1].

    One ratio over all classes, each weighted by w = 1 / T**2:
    1 - (2 sum(w I) + s) / (sum(w (P + T)) + s), with w scaled so that sum(w T) is the number of
    pixels. Class weights multiply w. With average_over="all", an absent class is weighted like one
    of a single pixel.

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        smooth: s, in pixels.
        per_image, average_over, include_background: see `RegionLoss`.
        reduction, name, dtype: see `SegmentationLoss`.

    Example:
        >>> import tfseg
        >>> labels, logits = [[[0, 1]]], [[[[2.0, 0.0], [1.0, 0.0]]]]
        >>> print(f"{tfseg.losses.GeneralizedDice()(labels, logits):.3f}")
        0.340
    """

    def values(self, target: Target):
        """Return (G,) losses of groups."""
        overlap, predicted, true = self.sums(target)
        factors = ops.cast(self.class_factors(true > 0), true.dtype)
        return 1 - generalized_dice(overlap, predicted, true, factors, self.smooth)


@loss_class
class MCC(RegionLoss):
    """1 - Matthews correlation coefficient of each class against all others, in [0, 2].

    The mean over classes (after arXiv:2010.13454). It includes true negatives, so it is meaningful
    for objects that are very small or cover almost the whole image. A class that covers a whole
    group has no correlation and is excluded, like an absent class: `average_over` has no effect.

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        per_image, average_over, include_background: see `RegionLoss`.
        reduction, name, dtype: see `SegmentationLoss`.

    Example:
        >>> import tfseg
        >>> labels, logits = [[[0, 1]]], [[[[2.0, 0.0], [1.0, 0.0]]]]
        >>> print(f"{tfseg.losses.MCC()(labels, logits):.3f}")
        0.811
    """

    def values(self, target: Target):
        """Return (G,) losses of groups."""
        overlap, predicted, true = target.sums()
        overlap = self.group_sums(overlap)
        predicted = self.group_sums(predicted)
        true = self.group_sums(true)
        total = self.group_sums(target.image_sums(target.weight))[:, None]
        frequency = safe_divide(true, total)
        losses = 1 - matthews(overlap, predicted, true, total)
        # Float sums depend on their order, so a class that covers everything can be just below 1.
        return self.mean_over_classes(losses, (frequency > 0) & (frequency < 1 - 1e-6))
