"""The Lovász extension of the Jaccard loss."""

from keras import ops

from tfseg.losses.base import RegionLoss, loss_class, safe_divide
from tfseg.losses.target import Target


def lovasz(errors, true, weight):
    """Return the Lovász extension of the Jaccard loss (arXiv:1705.08790, algorithm 1).

    Errors are sorted in descending order. Each is multiplied by the increase of the Jaccard loss
    when its pixel becomes wrong in addition to all pixels before it.

    Example: errors 0.9, 0.6, 0.1 of pixels inside, outside and inside of the class. The Jaccard
    loss is 1/2, 2/3 and 1, so the result is 0.9 * 1/2 + 0.6 * 1/6 + 0.1 * 1/3 = 0.583.

    Args:
        errors: (..., N) |t - p| in [0, 1].
        true: (..., N) 1 for pixels of the class, else 0.
        weight: (..., N) a pixel of weight 2 counts as two pixels, one of weight 0 is ignored.

    Returns:
        (...) in [0, 1].
    """
    order = ops.argsort(-errors, axis=-1)

    def sort(x):
        return ops.take_along_axis(x, order, axis=-1)

    inside, outside = sort(true * weight), sort((1 - true) * weight)
    total = ops.sum(inside, axis=-1, keepdims=True)
    overlap = total - ops.cumsum(inside, axis=-1)
    losses = 1 - safe_divide(overlap, total + ops.cumsum(outside, axis=-1))
    steps = ops.concatenate([losses[..., :1], losses[..., 1:] - losses[..., :-1]], axis=-1)
    # Zero-weight pixels have error 0, sort last and contribute nothing.
    return ops.sum(sort(errors) * ops.stop_gradient(steps), axis=-1)


@loss_class
class Lovasz(RegionLoss):
    """Lovász-Softmax loss; with `multi_label` or one channel Lovász-Sigmoid, in [0, 1].

    The mean over classes of the convex extension of the Jaccard loss in the pixels' errors |t - p|.
    A pixel of a soft target belongs to the classes with t > 0.5. It sorts all pixels for every
    class, so it is slower than the other region losses.

    Args:
        from_logits, ignore_index, class_weights, multi_label: see `SegmentationLoss`.
        per_image, average_over, include_background: see `RegionLoss`.
        reduction, name, dtype: see `SegmentationLoss`.

    Example:
        >>> import tfseg
        >>> labels, logits = [[[0, 1]]], [[[[2.0, 0.0], [1.0, 0.0]]]]
        >>> print(f"{tfseg.losses.Lovasz()(labels, logits):.3f}")
        0.578
    """

    def values(self, target: Target):
        """Return (G,) losses of groups."""
        weight = self._rows(target.weight[..., None], 1)
        true = self._rows(ops.cast(target.dense > 0.5, target.logits.dtype), target.classes)
        error = ops.abs(target.dense - target.probabilities)
        errors = self._rows(ops.where(target.weight[..., None] > 0, error, 0.0), target.classes)
        losses = ops.swapaxes(lovasz(errors, true, weight * ops.ones_like(true)), 0, 1)
        present = ops.swapaxes(ops.sum(true * weight, axis=-1), 0, 1) > 0
        return self.mean_over_classes(losses, present)

    def _rows(self, x, channels):
        """Return (B, ..., C) as (C, G, N): one row of pixels per class and group."""
        groups = ops.shape(x)[0] if self.per_image else 1
        return ops.transpose(ops.reshape(x, (groups, -1, channels)), (2, 0, 1))
