"""Losses of the heads of `tfseg.models.instances`, whose targets are numbers, not labels."""

from dataclasses import InitVar, fields

from keras import ops

# Keras sums the losses of the replicas of a `tf.distribute` strategy. Its own losses use this, too.
from keras.src.losses.loss import scale_loss_for_distribution

from tfseg import checks
from tfseg.losses.base import REDUCTIONS, loss_class, safe_divide
from tfseg.losses.compose import Composable
from tfseg.losses.pixel import binary_cross_entropy
from tfseg.losses.target import pixel_weights, require_known_rank
from tfseg.ops import nan_where, shapes_agree

IGNORED = -1.0  # target of pixels that do not count, where the target is a probability
LARGEST = 3e38  # finite in float32


@loss_class
class HeadLoss(Composable):
    """Base of the losses of instance heads: a weighted mean over the pixels of the batch.

    A subclass defines `split(y_true)` and `values(target, y_pred)`. Pixels without weight have loss
    0 and exactly zero gradient. Targets out of range, or NaN, make the loss NaN, with a finite
    gradient.

    Args:
        reduction: "sum_over_batch_size" (the mean over the pixels that count, by the weights of the
            target), "sum" or "none", which returns the weighted losses (B, ...).
        name: name of the loss.
        dtype: as in Keras. Losses compute in float32 for outputs of lower precision, and in float64
            for float64.
    """

    extra_channels = 0  # of the target, beside those of the output

    reduction: str | None = "sum_over_batch_size"
    name: str | None = None
    dtype: InitVar[str | None] = None

    def __post_init__(self, dtype):
        checks.one_of(type(self).__name__, "reduction", self.reduction, REDUCTIONS)
        super().__init__(name=self.name, reduction=self.reduction, dtype=dtype)
        self.dtype = self._dtype  # this field hides the dtype property of keras.losses.Loss

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Compute the loss of a batch.

        Args:
            y_true: (B, ..., C) targets, see the class.
            y_pred: (B, ..., C') output of the model; any number of spatial dimensions.
            sample_weight: weights of images (B,) or pixels (B, ...), or None.

        Returns:
            A float32 scalar; with reduction "none" (B, ...).

        Raises:
            ValueError: the shapes do not match.
        """
        # Copied, since a tf.Variable stays one in convert_to_tensor, and has no slices like these.
        y_true, y_pred = ops.copy(y_true), ops.copy(y_pred)
        self._check_shapes(y_true, y_pred)
        dtype = "float64" if ops.dtype(y_pred) == "float64" else "float32"
        y_pred = ops.cast(y_pred, dtype)
        target, weight, invalid = self.split(ops.cast(y_true, dtype))
        counts = weight > 0
        losses = ops.where(counts, self.values(target, y_pred), 0.0) * weight
        losses = losses * pixel_weights(self.name, sample_weight, ops.cast(counts, dtype))
        return self._reduce(losses, weight, nan_where(invalid, dtype))

    def _reduce(self, losses, weight, poison):
        if self.reduction in ("none", None):
            return losses + poison
        if self.reduction == "sum":
            return ops.sum(losses) + ops.sum(poison)
        # Added to the mean: without any valid pixel, a mean of invalid ones would be 0.
        mean = safe_divide(ops.sum(losses), ops.sum(weight)) + ops.sum(poison)
        return scale_loss_for_distribution(mean)

    def _check_shapes(self, y_true, y_pred):
        require_known_rank(self.name, "y_true", y_true)
        true_shape, pred_shape = tuple(y_true.shape), tuple(y_pred.shape)
        expected = (*pred_shape[:-1], pred_shape[-1] + self.extra_channels)
        if not shapes_agree(true_shape, expected):
            raise ValueError(
                f"{self.name}: y_true of shape {true_shape} does not fit y_pred of shape "
                f"{pred_shape}. Expected {expected}: make the targets with the settings of the "
                "model, by tfseg.data.star_targets or tfseg.data.center_targets."
            )

    def split(self, y_true):
        """Return the target (B, ...) or (B, ..., C), weights (B, ...), and bool (B, ...) invalid.

        The target is finite and the weight 0 where the target is invalid.
        """
        raise NotImplementedError

    def values(self, target, y_pred):
        """Return the losses of the pixels, (B, ...)."""
        raise NotImplementedError

    def get_config(self) -> dict:
        """Return the arguments, for `.keras` files."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def split_probability(y_true):
    """Split targets (B, ..., 1) in [0, 1], or -1 where ignored; see `HeadLoss.split`."""
    p = y_true[..., 0]
    valid = ops.logical_and(p >= 0, p <= 1)  # False for NaN
    invalid = ops.logical_not(ops.logical_or(valid, p == IGNORED))
    return ops.where(valid, p, 0.0), ops.cast(valid, p.dtype), invalid


def split_weighted(y_true, lowest: float):
    """Split targets (B, ..., C + 1) whose last channel is the weight; see `HeadLoss.split`.

    Args:
        y_true: the target; values are at least `lowest` and finite, the weight at least 0.
        lowest: smallest valid value.
    """
    target, weight = y_true[..., :-1], y_true[..., -1]
    in_range = ops.logical_and(target >= lowest, target <= LARGEST)  # False for NaN
    valid = ops.logical_and(weight >= 0, weight <= LARGEST)
    valid = ops.logical_and(valid, ops.all(in_range, axis=-1))
    target = ops.where(in_range, target, 0.0)
    return target, ops.where(valid, weight, 0.0), ops.logical_not(valid)


@loss_class
class ObjectProbability(HeadLoss):
    """Binary cross entropy of "object_logits", the mean over pixels that are not ignored, in nats.

    The target (B, h, w, 1) is a probability, as of StarDist (arXiv:1806.03535): the distance to the
    border of the object over the largest one in the object, 0 outside of objects; -1 is ignored.

    Args:
        reduction, name, dtype: see `HeadLoss`.

    Example:
        >>> import tfseg
        >>> loss = tfseg.losses.ObjectProbability()
        >>> print(f"{loss([[[[0.5], [-1.0]]]], [[[[0.0], [9.0]]]]):.3f}")
        0.693
    """

    def split(self, y_true):
        """Return probabilities, weights and invalid pixels."""
        return split_probability(y_true)

    def values(self, target, y_pred):
        """Return (B, ...) losses of pixels."""
        return binary_cross_entropy(y_pred[..., 0], target)


@loss_class
class StarDistance(HeadLoss):
    """Mean absolute error of "distances" in pixels, weighted by the target's last channel.

    As StarDist (arXiv:1806.03535) does, with the object probability as weight: distances count most
    at the middle of an object, where the best polygons start, and not at all outside of objects.
    The target is (B, h, w, rays + 1).

    Args:
        reduction, name, dtype: see `HeadLoss`.

    Example:
        >>> import tfseg
        >>> loss = tfseg.losses.StarDistance()
        >>> float(loss([[[[5.0, 3.0, 1.0], [0.0, 0.0, 0.0]]]], [[[[4.0, 6.0], [8.0, 9.0]]]]))
        2.0
    """

    extra_channels = 1

    def split(self, y_true):
        """Return distances, weights and invalid pixels."""
        return split_weighted(y_true, 0.0)

    def values(self, target, y_pred):
        """Return (B, ...) losses of pixels."""
        return ops.mean(ops.abs(y_pred - target), axis=-1)


@loss_class
class CenterHeatmap(HeadLoss):
    """Mean squared error of sigmoid("center_logits"), over the pixels that are not ignored.

    The target (B, H, W, 1) is the heat of the centers of objects (arXiv:1911.10194) in [0, 1]; -1
    is ignored. The paper gives it the weight 200 in the sum of the losses.

    Args:
        reduction, name, dtype: see `HeadLoss`.

    Example:
        >>> import tfseg
        >>> loss = tfseg.losses.CenterHeatmap()
        >>> float(loss([[[[1.0], [-1.0]]]], [[[[0.0], [9.0]]]]))
        0.25
    """

    def split(self, y_true):
        """Return heat, weights and invalid pixels."""
        return split_probability(y_true)

    def values(self, target, y_pred):
        """Return (B, ...) losses of pixels."""
        return ops.square(ops.sigmoid(y_pred[..., 0]) - target)


@loss_class
class CenterOffset(HeadLoss):
    """Mean over the pixels of objects of |dy| + |dx|, the error of "offsets" in pixels.

    The target (B, H, W, 3) is dy and dx to the center of the pixel's object, and the weight of the
    pixel (arXiv:1911.10194). The paper gives this loss the weight 0.01 in the sum of the losses.

    Args:
        reduction, name, dtype: see `HeadLoss`.

    Example:
        >>> import tfseg
        >>> loss = tfseg.losses.CenterOffset()
        >>> float(loss([[[[2.0, -1.0, 1.0], [0.0, 0.0, 0.0]]]], [[[[0.0, 0.0], [5.0, 5.0]]]]))
        3.0
    """

    extra_channels = 1

    def split(self, y_true):
        """Return offsets, weights and invalid pixels."""
        return split_weighted(y_true, -LARGEST)

    def values(self, target, y_pred):
        """Return (B, ...) losses of pixels."""
        return ops.sum(ops.abs(y_pred - target), axis=-1)
