"""The Lovász extension of the Jaccard loss."""

from keras import ops

from tfseg.losses.base import RegionLoss, loss_class, safe_divide


def lovasz(errors, truth, weight):
    """Lovász extension of the Jaccard loss (arXiv:1705.08790, algorithm 1), along the last axis.

    Args:
        errors: (..., N) |t - p| in [0, 1].
        truth: (..., N) 1 for the pixels of the class, else 0.
        weight: (..., N) a pixel of weight 2 counts as two pixels, one of 0 as none.

    Returns:
        (...) in [0, 1].
    """
    order = ops.argsort(-errors, axis=-1)
    sort = lambda x: ops.take_along_axis(x, order, axis=-1)  # noqa: E731
    inside, outside = sort(truth * weight), sort((1 - truth) * weight)
    total = ops.sum(inside, axis=-1, keepdims=True)
    kept = total - ops.cumsum(inside, axis=-1)
    losses = 1 - safe_divide(kept, total + ops.cumsum(outside, axis=-1))
    steps = ops.concatenate([losses[..., :1], losses[..., 1:] - losses[..., :-1]], axis=-1)
    # pixels without weight come with error 0, and so last: what they step does not matter
    return ops.sum(sort(errors) * ops.stop_gradient(steps), axis=-1)


@loss_class
class Lovasz(RegionLoss):
    """Lovász-Softmax, or with `multi_label` or one channel Lovász-Sigmoid: the mean over classes, in [0, 1].

    The convex extension of the Jaccard loss in the pixels' errors |t - p|. A soft target belongs to the classes above
    one half. Sorts all pixels of every class, so it costs more than the other region losses. Arguments: see
    `RegionLoss`.
    """

    def values(self, target):
        """Return (G,) losses of groups."""
        weight = self._rows(target.weight[..., None], 1)
        truth = self._rows(ops.cast(target.dense > 0.5, target.logits.dtype), target.classes)
        error = ops.abs(target.dense - target.probabilities)
        errors = self._rows(ops.where(target.weight[..., None] > 0, error, 0.0), target.classes)
        losses = ops.swapaxes(lovasz(errors, truth, weight * ops.ones_like(truth)), 0, 1)
        present = ops.swapaxes(ops.sum(truth * weight, axis=-1), 0, 1) > 0
        return self.mean_over_classes(losses, present)

    def _rows(self, x, channels):
        """(B, ..., C) as (C, G, N): the pixels of each class and group in a row."""
        groups = ops.shape(x)[0] if self.per_image else 1
        return ops.transpose(ops.reshape(x, (groups, -1, channels)), (2, 0, 1))
