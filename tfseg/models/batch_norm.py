"""Batch normalization with TensorFlow's fused kernel."""

import keras
from keras import layers, ops

FUSED = ("float32", "bfloat16", "float16")


@keras.saving.register_keras_serializable(package="tfseg")
class BatchNorm(layers.BatchNormalization):
    """Batch normalization (arXiv:1502.03167): Keras' `BatchNormalization` as one fused kernel.

    Keras computes batch normalization with about ten operations, each a pass over the features.
    TensorFlow has one fused kernel, forward and backward, which also accepts half precision. With
    it, a train step of `unet(11)` takes 0.85 of the time in float32 and 0.69 in bfloat16 (2 cores,
    `tests/benchmarks/train_step.py`). Other backends, and inputs that are not (B, H, W, C), use the
    Keras implementation.

    Two differences from Keras: the running variance is the unbiased estimate, n / (n - 1) times
    Keras' value. The default momentum is 0.9: with Keras' 0.99, the running statistics of a
    training of a few hundred steps are still close to their initial values.
    """

    def __init__(self, *, momentum: float = 0.9, **kwargs):
        super().__init__(momentum=momentum, **kwargs)

    def call(self, inputs, training=None, mask=None):
        """Return a tensor of the shape of `inputs`."""
        if not self._is_fused(inputs, mask):
            return super().call(inputs, training=training, mask=mask)
        # The one place in `models` that imports a backend: `keras.ops` has no such operation.
        import tensorflow as tf

        batch_statistics = bool(training and self.trainable)
        scale = self.gamma if self.scale else ops.ones(inputs.shape[-1])
        offset = self.beta if self.center else ops.zeros(inputs.shape[-1])
        mean, variance = None, None  # computed by the kernel
        if not batch_statistics:
            mean = ops.cast(self.moving_mean, "float32")
            variance = ops.cast(self.moving_variance, "float32")
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            ops.cast(scale, "float32"),
            ops.cast(offset, "float32"),
            mean,
            variance,
            epsilon=self.epsilon,
            is_training=batch_statistics,
        )
        if batch_statistics:
            self._update(self.moving_mean, mean)
            self._update(self.moving_variance, variance)
        return outputs

    def _is_fused(self, inputs, mask):
        """Whether the fused kernel supports this call."""
        if keras.backend.backend() != "tensorflow":
            return False
        if mask is not None or self.renorm or self.synchronized:
            return False
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        has_fused_dtype = dtype in FUSED and dtype == self.compute_dtype
        return has_fused_dtype and len(inputs.shape) == 4 and self.axis in (-1, 3)

    def _update(self, running, value):
        mixed = ops.cast(running, "float32") * self.momentum + value * (1.0 - self.momentum)
        running.assign(ops.cast(mixed, running.dtype))
