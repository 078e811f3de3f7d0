"""Losses of boundaries and of thin structures.

They need the target as one mask a class, and walk the image: costlier than losses that only sum. Best added to a region
loss. Pixels that do not count lie outside of every class.
"""

from keras import ops

from tfseg import checks
from tfseg.losses.base import RegionLoss, loss_class, safe_divide
from tfseg.ops import squared_distance


def signed_distance(mask):
    """Distance to the boundary of (B, ..., C) bool masks: positive outside, 0 and below inside, in pixels.

    As in arXiv:1812.07032: outside, the distance to the nearest pixel inside; inside, 1 less the distance to the
    nearest pixel outside. 0 everywhere for a mask that is empty or full.
    """
    axes = range(1, len(mask.shape) - 1)
    outside = ops.sqrt(squared_distance(mask, axes))
    inside = ops.sqrt(squared_distance(ops.logical_not(mask), axes))
    distance = ops.where(mask, 1 - inside, outside)
    return ops.where(ops.isinf(distance), 0.0, distance)


def boundary_distance(mask):
    """Distance of each pixel of (B, ..., C) bool masks to the nearest pixel on the other side; 0 if there is none."""
    axes = range(1, len(mask.shape) - 1)
    squared = ops.where(
        mask, squared_distance(ops.logical_not(mask), axes), squared_distance(mask, axes)
    )
    return ops.sqrt(ops.where(ops.isinf(squared), 0.0, squared))


def soft_skeleton(x, iterations):
    """Soft skeleton (arXiv:2003.07311) of (B, H, W, C) or (B, D, H, W, C) values in [0, 1].

    What opening takes away, collected over `iterations` erosions: half the width of the thickest structure.
    """
    skeleton = ops.relu(x - _dilate(_erode(x)))
    for _ in range(iterations):
        x = _erode(x)
        ridge = ops.relu(x - _dilate(_erode(x)))
        skeleton = skeleton + ops.relu(ridge - skeleton * ridge)
    return skeleton


def _erode(x):
    space = len(x.shape) - 2
    lines = [tuple(3 if axis == along else 1 for axis in range(space)) for along in range(space)]
    eroded = [-_pool(-x, line) for line in lines]
    smallest = eroded[0]
    for other in eroded[1:]:
        smallest = ops.minimum(smallest, other)
    return smallest


def _dilate(x):
    return _pool(x, (3,) * (len(x.shape) - 2))


def _pool(x, size):
    return ops.max_pool(x, size, strides=1, padding="same", data_format="channels_last")


@loss_class
class _FieldLoss(RegionLoss):
    """The mean over pixels of a field, by class."""

    def values(self, target):
        """Return (G,) losses of groups."""
        mask = ops.logical_and(target.dense > 0.5, target.valid[..., None] > 0)
        field = ops.where(target.valid[..., None] > 0, self.field(target, mask), 0.0)
        total = self.group(target.by_image(target.weight))[:, None]
        losses = safe_divide(self.group(target.weighted_sums(field)), total)
        return self.mean_over_classes(
            losses, self.group(target.weighted_sums(ops.cast(mask, field.dtype))) > 0
        )


@loss_class
class Boundary(_FieldLoss):
    """Boundary loss (arXiv:1812.07032): the mean over pixels of (p - t) times the signed distance to the boundary.

    In pixels, at least 0, and 0 for a perfect prediction: the paper's value without t differs by a constant, its
    gradient is the same. Its slope vanishes on the innermost pixels of the boundary. Arguments: see `RegionLoss`.
    """

    def field(self, target, mask):
        """Return (B, ..., C) losses of pixels and classes."""
        distance = ops.cast(ops.stop_gradient(signed_distance(mask)), target.logits.dtype)
        return (target.probabilities - ops.cast(mask, target.logits.dtype)) * distance


@loss_class
class HausdorffDistance(_FieldLoss):
    """Surrogate of the Hausdorff distance by distance transforms (arXiv:1904.10030, equation 8).

    The mean over pixels of (p - t)**2 (d_t**alpha + d_p**alpha), d being the distance to the boundary of the target
    and of the prediction above one half. In pixels**alpha: far larger than other losses, so scale it when adding.

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        alpha: exponent of the distances, above 0; the larger, the more the farthest error counts.
        per_image, over, include_background: see `RegionLoss`.
        reduction, name, dtype: see `SegmentationLoss`.
    """

    alpha: float = 2.0

    def __post_init__(self, dtype):
        super().__post_init__(dtype)
        checks.above_zero(type(self).__name__, "alpha", self.alpha)

    def field(self, target, mask):
        """Return (B, ..., C) losses of pixels and classes."""
        p, alpha = target.probabilities, self.alpha
        guess = ops.logical_and(p > 0.5, target.valid[..., None] > 0)
        far = boundary_distance(mask) ** alpha + boundary_distance(guess) ** alpha
        return ops.square(p - ops.cast(mask, p.dtype)) * ops.cast(ops.stop_gradient(far), p.dtype)


@loss_class
class CLDice(RegionLoss):
    """Centerline Dice (arXiv:2003.07311) for vessels, roads, membranes: 1 - clDice, the mean over classes, in [0, 1].

    clDice is the harmonic mean of the share of the prediction's skeleton that lies in the target and the share of
    the target's skeleton that lies in the prediction. For images (B, H, W, C) and volumes (B, D, H, W, C).

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        smooth: added to both shares' numerator and denominator, in pixels.
        iterations: erosions; at least half the width of the thickest structure, in pixels.
        per_image, over, include_background: see `RegionLoss`. The background, having no centerline, is left out by
            default.
        reduction, name, dtype: see `SegmentationLoss`.
    """

    smooth: float = 1.0
    iterations: int = 5
    include_background: bool = False

    def __post_init__(self, dtype):
        super().__post_init__(dtype)
        owner = type(self).__name__
        checks.at_least(owner, "smooth", self.smooth, 0)
        checks.positive_int(owner, "iterations", self.iterations)

    def values(self, target):
        """Return (G,) losses of groups."""
        counted = target.weight[..., None] > 0
        t, p = (ops.where(counted, x, 0.0) for x in (target.dense, target.probabilities))
        bone_t, bone_p = (soft_skeleton(x, self.iterations) for x in (t, p))
        scale = self.mean_weight(target)
        total = lambda x: safe_divide(self.group(target.weighted_sums(x)), scale)  # noqa: E731
        precision = self._share(total(bone_p * t), total(bone_p))
        recall = self._share(total(bone_t * p), total(bone_t))
        losses = 1 - safe_divide(2 * precision * recall, precision + recall)
        return self.mean_over_classes(losses, total(t) > 0)

    def _share(self, part, whole):
        return safe_divide(part + self.smooth, whole + self.smooth, empty=1.0)
