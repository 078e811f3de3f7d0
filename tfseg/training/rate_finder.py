"""Learning-rate range test: a short training whose learning rate rises by a factor per step."""

from dataclasses import dataclass

import keras
import numpy as np

from tfseg import checks

DIVERGED = 4  # the search ends when the loss exceeds this multiple of its minimum
MIN_STEPS = 3
# where Keras' optimizers keep what `exclude_from_weight_decay` got
EXCLUDED_FROM_DECAY = ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern")


@dataclass
class RateSearch:
    """The result of `find_learning_rate`.

    Attributes:
        rates: (S,) learning rates.
        losses: (S,) smoothed losses of the batches.
        best: learning rate at which the loss fell fastest per logarithm of the rate. One third of
            it is a safe peak.
    """

    rates: np.ndarray
    losses: np.ndarray
    best: float


def find_learning_rate(
    model: keras.Model, batches, low: float = 1e-6, high: float = 1.0, steps: int = 100
) -> RateSearch:
    """Find a learning rate by a range test (arXiv:1506.01186); the model stays as it was.

    Trains for some steps with rates that rise from `low` to `high`, and restores weights and
    optimizer.

    Args:
        model: a compiled model.
        batches: a `tf.data.Dataset` of training batches, repeated if it is too short. Build a
            `pipeline` of its own: it counts its steps and would continue where the search ended.
        low, high: first and last learning rate.
        steps: number of rates, at least 3.

    Returns:
        RateSearch; `tfseg.viz.rate_search` draws it. The search ends early if the loss grows to
        four times its minimum.

    Raises:
        ValueError: the rates are invalid, or the loss is not finite at the lowest.

    Example:
        >>> import keras, numpy as np, tensorflow as tf, tfseg
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> batches = tf.data.Dataset.from_tensors((np.ones((4, 2)), np.ones((4, 1))))
        >>> search = tfseg.training.find_learning_rate(model, batches, steps=20)
        >>> 1e-6 <= search.best <= 1.0
        True
    """
    owner = "find_learning_rate"
    checks.at_least(owner, "steps", checks.positive_int(owner, "steps", steps), MIN_STEPS)
    if not 0 < low < high:
        raise ValueError(f"{owner}: low={low!r} and high={high!r}; expected 0 < low < high.")
    rates = np.geomspace(low, high, steps)
    optimizer = model.optimizer
    # non-trainable variables include the states of random layers
    variables = [*model.trainable_variables, *model.non_trainable_variables]
    before = [keras.ops.convert_to_numpy(variable) for variable in variables]
    rising = _RisingRate(rates)
    try:
        model.optimizer = _with_rate(optimizer, low)
        model.train_function = None
        model.fit(
            batches.repeat(), steps_per_epoch=steps, verbose=0, callbacks=[rising], shuffle=False
        )
    finally:
        model.optimizer, model.train_function, model.stop_training = optimizer, None, False
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
    if len(rising.losses) < MIN_STEPS:
        raise ValueError(
            f"{owner}: the loss is not finite or grows fourfold at a rate of {low}. Choose a lower "
            "`low`."
        )
    losses = _smooth(rising.losses)
    rates = rates[: len(losses)]
    slopes = np.gradient(losses, np.log(rates))
    steepest = slopes[: losses.argmin() + 1].argmin()  # before the loss rises again
    return RateSearch(rates, losses, float(rates[steepest]))


def _with_rate(optimizer, rate):
    """Copy an optimizer with a plain number as its rate: a schedule cannot be assigned to."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    copy = type(inner).from_config({**inner.get_config(), "learning_rate": rate})
    for name in EXCLUDED_FROM_DECAY:  # Keras' config lacks them
        if hasattr(inner, name):
            setattr(copy, name, getattr(inner, name))
    if inner is optimizer:
        return copy
    return keras.optimizers.LossScaleOptimizer(copy)


class _RisingRate(keras.callbacks.Callback):
    """Sets the rate of every step, and collects the losses until they diverge."""

    def __init__(self, rates):
        super().__init__()
        self.rates, self.losses, self._total = rates, [], 0.0

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = self.rates[batch]

    def on_train_batch_end(self, batch, logs=None):
        # Keras reports the mean since the start of the epoch: after losses 3 and 1 it is 2, the
        # total is 4, and the loss of the second batch 4 - 3.
        total = float(logs["loss"]) * (batch + 1)
        loss, self._total = total - self._total, total
        if not np.isfinite(loss) or loss > DIVERGED * min([*self.losses, loss]):
            self.model.stop_training = True
        else:
            self.losses.append(loss)


def _smooth(losses, momentum=0.9):
    """Return the exponential moving average, corrected for its start at 0 as in Adam."""
    mean, smoothed = 0.0, []
    for step, loss in enumerate(losses, start=1):
        mean = momentum * mean + (1 - momentum) * loss
        smoothed.append(mean / (1 - momentum**step))
    return np.array(smoothed)
