"""Losses of boundaries and of thin structures.

They build one mask per class and compute distances or erosions over the image, so they cost more
than region losses. Add them to a region loss. Ignored pixels are outside of every class.
"""

from keras import ops

from tfseg import checks
from tfseg.losses.base import RegionLoss, loss_class, safe_divide
from tfseg.losses.target import Target
from tfseg.ops import squared_distance


def signed_distance(mask):
    """Return the distance in pixels to the boundary of (B, ..., C) bool masks.

    As in arXiv:1812.07032: outside, the distance to the nearest pixel inside; inside, 1 minus the
    distance to the nearest pixel outside. Example: 0 0 1 1 1 becomes 2 1 0 -1 -2. A mask that is
    empty or full becomes 0 everywhere.
    """
    axes = range(1, len(mask.shape) - 1)
    outside = ops.sqrt(squared_distance(mask, axes, empty=0.0))
    inside = ops.sqrt(squared_distance(ops.logical_not(mask), axes, empty=1.0))
    return ops.where(mask, 1 - inside, outside)


def boundary_distance(mask):
    """Return the distance of each pixel to the nearest pixel on the other side of the boundary.

    `mask` is bool (B, ..., C). Example: 0 0 1 1 1 becomes 2 1 1 2 3. A mask that is empty or full
    becomes 0 everywhere.
    """
    axes = range(1, len(mask.shape) - 1)
    inside = squared_distance(ops.logical_not(mask), axes, empty=0.0)
    outside = squared_distance(mask, axes, empty=0.0)
    return ops.sqrt(ops.where(mask, inside, outside))


def soft_skeleton(x, iterations: int):
    """Return the soft skeleton (arXiv:2003.07311) of values in [0, 1].

    It collects what a morphological opening removes, over repeated erosions.

    Args:
        x: (B, H, W, C) or (B, D, H, W, C).
        iterations: number of erosions; half the width of the thickest structure is enough.

    Returns:
        An array of x's shape.
    """
    skeleton = ops.relu(x - _dilate(_erode(x)))
    for _ in range(iterations):
        x = _erode(x)
        ridge = ops.relu(x - _dilate(_erode(x)))
        skeleton = skeleton + ops.relu(ridge - skeleton * ridge)
    return skeleton


def boundary(probabilities, mask):
    """Return the boundary loss (arXiv:1812.07032) of each pixel and class, before averaging.

    (p - t) times the signed distance to the boundary, at least 0.

    Args:
        probabilities: (B, ..., C).
        mask: bool (B, ..., C) target.

    Returns:
        (B, ..., C), in pixels.
    """
    distance = ops.cast(ops.stop_gradient(signed_distance(mask)), probabilities.dtype)
    return (probabilities - ops.cast(mask, probabilities.dtype)) * distance


def hausdorff_distance(probabilities, mask, predicted_mask, alpha: float = 2.0):
    """Return the Hausdorff loss (arXiv:1904.10030, equation 8) of each pixel and class.

    (p - t)**2 (d_t**alpha + d_p**alpha), before averaging. d_t and d_p are the distances to the
    boundary of the target and of the prediction.

    Args:
        probabilities: (B, ..., C).
        mask: bool (B, ..., C) target.
        predicted_mask: bool (B, ..., C), usually probabilities > 0.5.
        alpha: exponent of the distances.

    Returns:
        (B, ..., C), in pixels**alpha.
    """
    p = probabilities
    distance = boundary_distance(mask) ** alpha + boundary_distance(predicted_mask) ** alpha
    distance = ops.cast(ops.stop_gradient(distance), p.dtype)
    return ops.square(p - ops.cast(mask, p.dtype)) * distance


def cl_dice(
    predicted_overlap, predicted_skeleton, true_overlap, true_skeleton, smooth: float = 1.0
):
    """Return centerline Dice (arXiv:2003.07311) from sums over pixels.

    The harmonic mean of precision, the fraction of the prediction's skeleton that is inside the
    target, and recall, the fraction of the target's skeleton that is inside the prediction.

    Args:
        predicted_overlap: sum of the prediction's skeleton times the target.
        predicted_skeleton: sum of the prediction's skeleton.
        true_overlap: sum of the target's skeleton times the prediction.
        true_skeleton: sum of the target's skeleton.
        smooth: added to numerator and denominator of both fractions, in pixels.

    Returns:
        An array of the sums' shape, in [0, 1].
    """
    precision = safe_divide(predicted_overlap + smooth, predicted_skeleton + smooth, empty=1.0)
    recall = safe_divide(true_overlap + smooth, true_skeleton + smooth, empty=1.0)
    return safe_divide(2 * precision * recall, precision + recall)


def _erode(x):
    """Return the minimum over each pixel and its neighbors across a side (or face)."""
    space = len(x.shape) - 2
    smallest = None
    for axis in range(space):
        size = [1] * space
        size[axis] = 3
        eroded = -_max_pool(-x, tuple(size))
        smallest = eroded if smallest is None else ops.minimum(smallest, eroded)
    return smallest


def _dilate(x):
    """Return the maximum over each pixel and all of its neighbors."""
    return _max_pool(x, (3,) * (len(x.shape) - 2))


def _max_pool(x, size):
    if len(x.shape) == 5 and ops.dtype(x) == "float64":
        return _max_pool_by_axis(x, size)  # TensorFlow pools no volumes of float64
    return ops.max_pool(x, size, strides=1, padding="same", data_format="channels_last")


def _max_pool_by_axis(x, size):
    """Return the maximum over `size` (1 or 3) neighbors along each axis of (B, D, H, W, C)."""
    for axis, width in enumerate(size, start=1):
        if width == 3:
            x = ops.moveaxis(x, axis, 0)
            # The border is repeated, which changes no maximum.
            before = ops.concatenate([x[:1], x[:-1]])
            after = ops.concatenate([x[1:], x[-1:]])
            x = ops.moveaxis(ops.maximum(x, ops.maximum(before, after)), 0, axis)
    return x


@loss_class
class _MapLoss(RegionLoss):
    """The mean over pixels of a loss map. A subclass defines `loss_map(target, mask)`."""

    def values(self, target: Target):
        """Return (G,) losses of groups."""
        valid = target.valid[..., None] > 0
        mask = ops.logical_and(target.dense > 0.5, valid)
        losses = ops.where(valid, self.loss_map(target, mask), 0.0)
        total = self.group_sums(target.image_sums(target.weight))[:, None]
        mask_sums = self.group_sums(target.weighted_sums(ops.cast(mask, losses.dtype)))
        losses = safe_divide(self.group_sums(target.weighted_sums(losses)), total)
        return self.mean_over_classes(losses, mask_sums > 0)


@loss_class
class Boundary(_MapLoss):
    """Boundary loss (arXiv:1812.07032): mean of (p - t) times the signed distance to the boundary.

    In pixels, at least 0, and 0 for a perfect prediction. The paper omits t, which changes the
    value by a constant but not the gradient. The gradient is 0 on the innermost boundary pixels.

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        per_image, average_over, include_background: see `RegionLoss`.
        reduction, name, dtype: see `SegmentationLoss`.

    Example:
        >>> import tfseg
        >>> labels, logits = [[[0, 1]]], [[[[2.0, 0.0], [1.0, 0.0]]]]
        >>> print(f"{tfseg.losses.Boundary()(labels, logits):.3f}")
        0.213
    """

    def loss_map(self, target: Target, mask):
        """Return (B, ..., C) losses of pixels and classes."""
        return boundary(target.probabilities, mask)


@loss_class
class HausdorffDistance(_MapLoss):
    """Approximates the Hausdorff distance by distance transforms (arXiv:1904.10030, equation 8).

    The mean over pixels of (p - t)**2 (d_t**alpha + d_p**alpha). d_t and d_p are the distances to
    the boundary of the target and of the prediction (p > 0.5). The unit is pixels**alpha, much
    larger than other losses, so scale it down in a sum.

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        alpha: exponent of the distances, above 0; larger values emphasize the farthest errors.
        per_image, average_over, include_background: see `RegionLoss`.
        reduction, name, dtype: see `SegmentationLoss`.

    Example:
        >>> import tfseg
        >>> labels, logits = [[[0, 1]]], [[[[2.0, 0.0], [1.0, 0.0]]]]
        >>> print(f"{tfseg.losses.HausdorffDistance()(labels, logits):.3f}")
        0.274
    """

    alpha: float = 2.0

    def __post_init__(self, dtype):
        super().__post_init__(dtype)
        checks.above_zero(type(self).__name__, "alpha", self.alpha)

    def loss_map(self, target: Target, mask):
        """Return (B, ..., C) losses of pixels and classes."""
        p = target.probabilities
        predicted_mask = ops.logical_and(p > 0.5, target.valid[..., None] > 0)
        return hausdorff_distance(p, mask, predicted_mask, self.alpha)


@loss_class
class CLDice(RegionLoss):
    """Centerline Dice loss (arXiv:2003.07311) for vessels, roads and membranes, in [0, 1].

    The mean over classes of 1 - clDice, the harmonic mean of two fractions: of the prediction's
    skeleton inside the target, and of the target's skeleton inside the prediction. For images
    (B, H, W, C) and volumes (B, D, H, W, C).

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        smooth: added to numerator and denominator of both fractions, in pixels.
        iterations: number of erosions, at least half the width of the thickest structure in pixels.
        per_image, average_over: see `RegionLoss`.
        include_background: False by default, since the background has no centerline.
        reduction, name, dtype: see `SegmentationLoss`.

    Example:
        >>> import tfseg
        >>> labels, logits = [[[0, 1]]], [[[[2.0, 0.0], [1.0, 0.0]]]]
        >>> print(f"{tfseg.losses.CLDice()(labels, logits):.3f}")
        0.224
    """

    smooth: float = 1.0
    iterations: int = 5
    include_background: bool = False

    def __post_init__(self, dtype):
        super().__post_init__(dtype)
        owner = type(self).__name__
        checks.at_least(owner, "smooth", self.smooth, 0)
        checks.positive_int(owner, "iterations", self.iterations)

    def values(self, target: Target):
        """Return (G,) losses of groups."""
        counted = target.weight[..., None] > 0
        t = ops.where(counted, target.dense, 0.0)
        p = ops.where(counted, target.probabilities, 0.0)
        true_skeleton = soft_skeleton(t, self.iterations)
        predicted_skeleton = soft_skeleton(p, self.iterations)
        scale = self.mean_weight(target)

        def total(values):
            return safe_divide(self.group_sums(target.weighted_sums(values)), scale)

        scores = cl_dice(
            total(predicted_skeleton * t),
            total(predicted_skeleton),
            total(true_skeleton * p),
            total(true_skeleton),
            self.smooth,
        )
        return self.mean_over_classes(1 - scores, total(t) > 0)
