"""Losses that compare regions: ratios of sums over pixels.

The sums, of the pixels that count and by class: `overlap` of p t, `predicted` of p, `truth` of t.
"""

from keras import ops

from tfseg import checks
from tfseg.losses.base import RegionLoss, loss_class, power, safe_divide


def dice(overlap, predicted, truth, smooth=1.0):
    """Dice coefficient (F1): (2 I + s) / (P + T + s); 1 for 0 / 0."""
    return safe_divide(2 * overlap + smooth, predicted + truth + smooth, empty=1.0)


def jaccard(overlap, predicted, truth, smooth=1.0):
    """Jaccard index (intersection over union): (I + s) / (P + T - I + s); 1 for 0 / 0."""
    return safe_divide(overlap + smooth, predicted + truth - overlap + smooth, empty=1.0)


def tversky(overlap, predicted, truth, alpha=0.5, beta=0.5, smooth=1.0):
    """Tversky index: (I + s) / (I + alpha FP + beta FN + s), FP = P - I, FN = T - I; 1 for 0 / 0."""
    wrong = alpha * (predicted - overlap) + beta * (truth - overlap)
    return safe_divide(overlap + smooth, overlap + wrong + smooth, empty=1.0)


def matthews(overlap, predicted, truth, total):
    """Matthews correlation coefficient of each class against the rest, in [-1, 1]; 0 for a constant prediction."""
    i, p, t = (safe_divide(x, total) for x in (overlap, predicted, truth))
    # float32 does not resolve how much a share falls short of 1 by less than a millionth; the lower bound keeps the
    # square root's slope finite
    spread = p * ops.maximum(1 - p, 1e-6) * t * ops.maximum(1 - t, 1e-6)
    return (i - p * t) / ops.sqrt(ops.maximum(spread, 1e-20))


@loss_class
class _ScoreLoss(RegionLoss):
    """1 - a score of each class' sums; adds `smooth`."""

    smooth: float = 1.0

    def __post_init__(self, dtype):
        super().__post_init__(dtype)
        checks.at_least(type(self).__name__, "smooth", self.smooth, 0)

    def sums(self, target, squared=False):
        """Return `Target.sums` by group, (G, C) each, in pixels whatever the scale of the sample weights."""
        scale = self.mean_weight(target)
        return [safe_divide(self.group(sums), scale) for sums in target.sums(squared)]

    def values(self, target):
        """Return (G,) losses of groups."""
        overlap, predicted, truth = self.sums(target)
        return self.mean_over_classes(self.class_losses(overlap, predicted, truth), truth > 0)

    def class_losses(self, overlap, predicted, truth):
        """Return (G, C) losses of (G, C) sums."""
        raise NotImplementedError


@loss_class
class Dice(_ScoreLoss):
    """Soft Dice loss (V-Net, arXiv:1606.04797): 1 - (2 I + s) / (P + T + s), the mean over classes, in [0, 1].

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        smooth: s, in pixels.
        squared: sums of p**2 and t**2 in the denominator, as V-Net has it, instead of p and t.
        log_cosh: log(cosh(1 - score)) instead of 1 - score (arXiv:2006.14822).
        per_image, over, include_background: see `RegionLoss`.
        reduction, name, dtype: see `SegmentationLoss`.
    """

    squared: bool = False
    log_cosh: bool = False

    def sums(self, target):
        """Return the sums by group, of squares where asked."""
        return super().sums(target, self.squared)

    def class_losses(self, overlap, predicted, truth):
        """Return (G, C) losses."""
        losses = 1 - dice(overlap, predicted, truth, self.smooth)
        return ops.log(ops.cosh(losses)) if self.log_cosh else losses


@loss_class
class Jaccard(_ScoreLoss):
    """Soft Jaccard (IoU) loss: 1 - (I + s) / (P + T - I + s), the mean over classes, in [0, 1].

    Arguments: see `RegionLoss`; `smooth` is s, in pixels.
    """

    def class_losses(self, overlap, predicted, truth):
        """Return (G, C) losses."""
        return 1 - jaccard(overlap, predicted, truth, self.smooth)


@loss_class
class Tversky(_ScoreLoss):
    """Tversky loss (arXiv:1706.05721): 1 - (I + s) / (I + alpha FP + beta FN + s), the mean over classes, in [0, 1].

    alpha = beta = 0.5 is Dice (with s / 2), alpha = beta = 1 is Jaccard.

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        smooth: s, in pixels.
        alpha: weight of false positives.
        beta: weight of false negatives; above alpha it favors recall.
        per_image, over, include_background: see `RegionLoss`.
        reduction, name, dtype: see `SegmentationLoss`.
    """

    alpha: float = 0.5
    beta: float = 0.5

    def __post_init__(self, dtype):
        super().__post_init__(dtype)
        for name in ("alpha", "beta"):
            checks.at_least(type(self).__name__, name, getattr(self, name), 0)

    def class_losses(self, overlap, predicted, truth):
        """Return (G, C) losses."""
        return 1 - tversky(overlap, predicted, truth, self.alpha, self.beta, self.smooth)


@loss_class
class FocalTversky(Tversky):
    """Focal Tversky loss (arXiv:1810.07842): (1 - Tversky index)**(1 / gamma), the mean over classes, in [0, 1].

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        smooth: s, in pixels.
        alpha, beta: weights of false positives and false negatives; see `Tversky`.
        gamma: above 1 turns up the classes that are almost right; the paper recommends 4 / 3.
        per_image, over, include_background: see `RegionLoss`.
        reduction, name, dtype: see `SegmentationLoss`.
    """

    alpha: float = 0.3
    beta: float = 0.7
    gamma: float = 4 / 3

    def __post_init__(self, dtype):
        super().__post_init__(dtype)
        checks.above_zero(type(self).__name__, "gamma", self.gamma)

    def class_losses(self, overlap, predicted, truth):
        """Return (G, C) losses."""
        return power(super().class_losses(overlap, predicted, truth), 1 / self.gamma)


@loss_class
class GeneralizedDice(_ScoreLoss):
    """Generalised Dice loss (arXiv:1707.03237): classes pooled in one ratio, each weighed by 1 / T**2, in [0, 1].

    1 - (2 sum(w I) + s) / (sum(w (P + T)) + s), with w scaled so that sum(w T) is the number of pixels. With
    average_over="all" a class of no pixels weighs as one of a single pixel. Arguments: see `RegionLoss`; `smooth` is s, in
    pixels; class weights multiply w.
    """

    def values(self, target):
        """Return (G,) losses of groups."""
        overlap, predicted, truth = self.sums(target)
        weights = ops.cast(self.class_shares(truth > 0), truth.dtype) / ops.square(
            ops.maximum(truth, 1.0)
        )
        weights = weights * safe_divide(
            ops.sum(truth, axis=-1, keepdims=True),
            ops.sum(weights * truth, axis=-1, keepdims=True),
            empty=1.0,
        )
        overlap, predicted, truth = (
            ops.sum(weights * x, axis=-1) for x in (overlap, predicted, truth)
        )
        return 1 - dice(overlap, predicted, truth, self.smooth)


@loss_class
class MCC(RegionLoss):
    """1 - Matthews correlation coefficient of each class against the rest, the mean over classes, in [0, 2].

    After arXiv:2010.13454. It also rewards true negatives, so it keeps its meaning where the object is small, or
    fills almost all. A class that fills the whole group has no correlation and is left out, as one that is absent:
    `over` makes no difference. Arguments: see `RegionLoss`.
    """

    def values(self, target):
        """Return (G,) losses of groups."""
        overlap, predicted, truth = (self.group(x) for x in target.sums())
        total = self.group(target.by_image(target.weight))[:, None]
        share = safe_divide(truth, total)
        losses = 1 - matthews(overlap, predicted, truth, total)
        # weights sum up to a little more or less, depending on the order
        return self.mean_over_classes(losses, (share > 0) & (share < 1 - 1e-6))
