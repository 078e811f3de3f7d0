"""Batch normalization by TensorFlow's fused kernel."""

import keras
from keras import layers, ops

FUSED = ("float32", "bfloat16", "float16")


@keras.saving.register_keras_serializable(package="tfseg")
class BatchNorm(layers.BatchNormalization):
    """Batch normalization (arXiv:1502.03167): `keras.layers.BatchNormalization`, one kernel instead of ten.

    Keras writes it out in means, products and sums, each a pass over the features. TensorFlow has a kernel for the
    whole, forward and back, that takes half precision as it is: a train step of `unet(11)` then takes 0.85 of the time
    in float32 and 0.69 in bfloat16 (2 cores, `tests/benchmarks/train_step.py`). Other backends, and inputs that are not
    (B, H, W, C), take Keras' way.

    The running variance is the unbiased one, n / (n - 1) times Keras'. The momentum is 0.9: at Keras' 0.99, a training
    of a few hundred steps validates like an untrained network.
    """

    def __init__(self, *, momentum=0.9, **kwargs):
        super().__init__(momentum=momentum, **kwargs)

    def call(self, inputs, training=None, mask=None):
        """Return (B, H, W, C) of the same shape."""
        if not self._is_fused(inputs, mask):
            return super().call(inputs, training=training, mask=mask)
        # The one place in `models` that knows the backend: `keras.ops` has no such operation.
        import tensorflow as tf

        learns = bool(training and self.trainable)
        scale = self.gamma if self.scale else ops.ones(inputs.shape[-1])
        shift = self.beta if self.center else ops.zeros(inputs.shape[-1])
        statistics = (None, None) if learns else (self.moving_mean, self.moving_variance)
        scale, shift, mean, variance = (
            x if x is None else ops.cast(x, "float32") for x in (scale, shift, *statistics)
        )
        options = {"epsilon": self.epsilon, "is_training": learns}
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, scale, shift, mean, variance, **options
        )
        if learns:
            self._follow(self.moving_mean, mean)
            self._follow(self.moving_variance, variance)
        return outputs

    def _is_fused(self, inputs, mask):
        usual = mask is None and not self.renorm and not self.synchronized
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        fits = (
            len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and dtype == self.compute_dtype
            and dtype in FUSED
        )
        return usual and fits and keras.backend.backend() == "tensorflow"

    def _follow(self, running, value):
        mixed = ops.cast(running, "float32") * self.momentum + value * (1.0 - self.momentum)
        running.assign(ops.cast(mixed, running.dtype))
