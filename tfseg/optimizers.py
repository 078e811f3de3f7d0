"""Optimizers that are saved with all their options: AdamW's exclusions, averages that warm up."""

import keras
from keras import ops

WEIGHT_DECAY = 0.01
NOT_DECAYED = ("bias", "beta", "gamma")


class WarmUpAverage:
    """Averaged weights (Keras' `use_ema`) whose momentum rises: min(ema_momentum, (1+t) / (10+t)).

    t counts the updates, as in TensorFlow's ExponentialMovingAverage with `num_updates`. With a
    constant momentum of 0.999, the average after 120 steps would mostly be the first weights.
    """

    @property
    def ema_momentum(self):
        """The momentum of the next update."""
        step = ops.cast(self.iterations, "float32")
        return ops.minimum(self._final_momentum, (1 + step) / (10 + step))

    @ema_momentum.setter
    def ema_momentum(self, momentum):
        self._final_momentum = momentum

    def get_config(self) -> dict:
        """Return the arguments, for `.keras` files."""
        return {**super().get_config(), "ema_momentum": self._final_momentum}


@keras.saving.register_keras_serializable(package="tfseg")
class Adam(WarmUpAverage, keras.optimizers.Adam):
    """Keras' Adam with an average of the weights that warms up."""


@keras.saving.register_keras_serializable(package="tfseg")
class SGD(WarmUpAverage, keras.optimizers.SGD):
    """Keras' SGD with an average of the weights that warms up."""


@keras.saving.register_keras_serializable(package="tfseg")
class AdamW(WarmUpAverage, keras.optimizers.AdamW):
    """Keras' AdamW that decays kernels only: not biases, and not scales of normalization layers.

    Keras does not save what `exclude_from_weight_decay` excludes; this class sets it when created.
    """

    def __init__(self, learning_rate=1e-3, weight_decay: float = WEIGHT_DECAY, **options):
        super().__init__(learning_rate, weight_decay, **options)
        self.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
