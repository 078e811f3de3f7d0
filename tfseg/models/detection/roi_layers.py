"""Layers on regions of interest (RoIs): pooling, folding into the batch, normalization."""

import keras
from keras import layers, ops

from tfseg.ops import multiscale_roi_align


@keras.saving.register_keras_serializable(package="tfseg")
class RoiAlign(layers.Layer):
    """Pool the features of a pyramid inside boxes, see `ops.multiscale_roi_align`.

    Args:
        pool_size: number of rows and columns of the output.
        strides: pixels per position of each level, finest first.
        sampling_ratio: samples per bin along each axis.
    """

    def __init__(self, pool_size: int, strides, sampling_ratio: int = 2, **kwargs):
        super().__init__(autocast=False, **kwargs)  # boxes must stay in float32
        self.pool_size, self.strides = pool_size, tuple(strides)
        self.sampling_ratio = sampling_ratio

    def call(self, levels, boxes, training=None):
        """Return (B, R, pool_size, pool_size, C) for boxes (B, R, 4) in pixels."""
        return multiscale_roi_align(
            levels,
            boxes,
            self.strides,
            self.pool_size,
            self.sampling_ratio,
            own_gradient=bool(training),
        )

    def compute_output_spec(self, levels, boxes, training=None):
        """Return the symbolic features."""
        side = self.pool_size
        shape = (*boxes.shape[:2], side, side, levels[0].shape[-1])
        return keras.KerasTensor(shape, levels[0].dtype)

    def get_config(self):
        """Return the arguments for `.keras` files."""
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "sampling_ratio": self.sampling_ratio,
        }


@keras.saving.register_keras_serializable(package="tfseg")
class FoldRois(layers.Layer):
    """Make each RoI an entry of the batch: (B, R, ...) -> (B * R, ...)."""

    def call(self, x):
        """Return (B * R, ...)."""
        return ops.reshape(x, (-1, *x.shape[2:]))

    def compute_output_shape(self, shape):
        """Return the shape without the axis of the RoIs."""
        return (None, *shape[2:])


@keras.saving.register_keras_serializable(package="tfseg")
class UnfoldRois(layers.Layer):
    """Undo `FoldRois`: (B * R, ...) and the folded tensor (B, R, ...) -> (B, R, ...)."""

    def call(self, x, like):
        """Return `x` with the first two axes of `like`."""
        return ops.reshape(x, (*ops.shape(like)[:2], *x.shape[1:]))

    def compute_output_shape(self, x_shape, like_shape):
        """Return the shape of `x` with the first two axes of `like`."""
        return (*like_shape[:2], *x_shape[1:])


@keras.saving.register_keras_serializable(package="tfseg")
class RoiBatchNorm(layers.Layer):
    """Batch normalization (arXiv:1502.03167) of folded RoIs that leaves out padding.

    (B * R, h, w, C) features, (B, R) bool -> (B * R, h, w, C). Padded RoIs are normalized like the
    others, but do not count in the statistics. A batch without any RoI does not change the running
    statistics.

    Args:
        momentum: of the running statistics.
        epsilon: added to the variance.
    """

    def __init__(self, momentum: float = 0.9, epsilon: float = 1e-5, **kwargs):
        super().__init__(**kwargs)
        self.momentum, self.epsilon = momentum, epsilon

    def build(self, x_shape, valid_shape):
        """Create the variables, in the order of `BatchNorm`."""
        shape = (x_shape[-1],)
        options = {"autocast": False}
        self.gamma = self.add_weight(shape, "ones", name="gamma", **options)
        self.beta = self.add_weight(shape, "zeros", name="beta", **options)
        options["trainable"] = False
        self.moving_mean = self.add_weight(shape, "zeros", name="moving_mean", **options)
        self.moving_variance = self.add_weight(shape, "ones", name="moving_variance", **options)

    def call(self, x, valid, training=None):
        """Return the normalized features."""
        mean = ops.cast(self.moving_mean, "float32")
        variance = ops.cast(self.moving_variance, "float32")
        if training and self.trainable:
            mean, variance = self._update(ops.cast(x, "float32"), valid)
        scale = ops.cast(self.gamma, "float32") * ops.rsqrt(variance + self.epsilon)
        offset = ops.cast(self.beta, "float32") - mean * scale
        y = ops.cast(x, "float32") * scale + offset
        return ops.cast(y, self.compute_dtype)

    def _update(self, x, valid):
        """Return mean and variance of the batch, and update the running statistics."""
        weights = ops.reshape(ops.cast(valid, "float32"), (1, -1))
        count = ops.sum(weights) * (x.shape[1] * x.shape[2])
        mean = _weighted_sum(weights, x) / ops.maximum(count, 1)
        variance = _weighted_sum(weights, ops.square(x - mean)) / ops.maximum(count, 1)
        unbiased = variance * count / ops.maximum(count - 1, 1)
        momentum = ops.where(count > 0, self.momentum, 1.0)
        for running, value in [(self.moving_mean, mean), (self.moving_variance, unbiased)]:
            value = ops.stop_gradient(value)
            running.assign(running * momentum + ops.cast(value * (1 - momentum), running.dtype))
        return mean, variance

    def compute_output_shape(self, x_shape, valid_shape):
        """Return the shape of the features."""
        return x_shape

    def get_config(self):
        """Return the arguments for `.keras` files."""
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}


def _weighted_sum(weights, x):
    """Return (C,): the sum over RoIs and positions of (R, h, w, C), with (1, R) weights."""
    # A matrix product does not write the weighted features to memory.
    positions = ops.matmul(weights, ops.reshape(x, (-1, x.shape[1] * x.shape[2] * x.shape[3])))
    return ops.sum(ops.reshape(positions, (-1, x.shape[3])), axis=0)
