"""A search for the learning rate: a short training at a rate that rises by a factor a step."""

from dataclasses import dataclass

import keras
import numpy as np

from tfseg import checks


@dataclass
class RateSearch:
    """What `find_learning_rate` saw.

    Attributes:
        rates: (S,) learning rates.
        losses: (S,) the batches' losses, smoothed.
        best: the rate at which the loss fell fastest, by the logarithm of the rate. A third of it is a safe highest.
    """

    rates: np.ndarray
    losses: np.ndarray
    best: float


def find_learning_rate(model, batches, low=1e-6, high=1.0, steps=100):
    """Train for some steps at rates that rise from `low` to `high`, then put everything back (arXiv:1506.01186).

    Args:
        model: a compiled model.
        batches: a `tf.data.Dataset` of training batches; it is repeated as need be. Of a `pipeline` make one for the
            search: it counts its steps, and goes on where the search ended.
        low, high: rates.
        steps: how many there are between them, at least 3.

    Returns:
        RateSearch; `tfseg.viz.rate_search` draws it. The search ends early where the loss has grown to four times
        its smallest.

    Raises:
        ValueError: the rates make no sense, or the loss is not finite at the lowest.
    """
    checks.at_least(
        "find_learning_rate", "steps", checks.positive_int("find_learning_rate", "steps", steps), 3
    )
    if not 0 < low < high:
        raise ValueError(
            f"find_learning_rate: low={low!r} and high={high!r} must be above 0, the first the lower."
        )
    rates = np.geomspace(low, high, steps)
    optimizer = model.optimizer
    variables = [
        *model.trainable_variables,
        *model.non_trainable_variables,
    ]  # the states of random layers too
    before = [keras.ops.convert_to_numpy(variable) for variable in variables]
    rising = _Rising(rates)
    try:
        model.optimizer = _like(optimizer, low)
        model.train_function = None
        model.fit(
            batches.repeat(), steps_per_epoch=steps, verbose=0, callbacks=[rising], shuffle=False
        )
    finally:
        model.optimizer, model.train_function, model.stop_training = optimizer, None, False
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
    if len(rising.losses) < 3:
        raise ValueError(
            f"find_learning_rate: the loss is not finite, or grows fourfold, from a rate of {low} on. Choose a lower "
            "`low`."
        )
    losses = _smooth(rising.losses)
    slopes = np.gradient(losses, np.log(rates[: len(losses)]))
    return RateSearch(
        rates[: len(losses)], losses, float(rates[slopes[: losses.argmin() + 1].argmin()])
    )


def _like(optimizer, rate):
    """An optimizer like another, whose rate is a number: schedules are compiled in."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    again = type(inner).from_config({**inner.get_config(), "learning_rate": rate})
    return again if inner is optimizer else keras.optimizers.LossScaleOptimizer(again)


class _Rising(keras.callbacks.Callback):
    """Sets the rate of every step, and keeps the losses until they grow."""

    def __init__(self, rates):
        super().__init__()
        self.rates, self.losses, self._before = rates, [], 0.0

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = self.rates[batch]

    def on_train_batch_end(self, batch, logs=None):
        total = float(logs["loss"]) * (batch + 1)  # Keras gives the mean since the epoch began
        loss, self._before = total - self._before, total
        if not np.isfinite(loss) or loss > 4 * min([*self.losses, loss]):
            self.model.stop_training = True
        else:
            self.losses.append(loss)


def _smooth(losses, momentum=0.9):
    """A running mean of exponential weights, without its bias towards the start."""
    mean, smoothed = 0.0, []
    for step, loss in enumerate(losses, start=1):
        mean = momentum * mean + (1 - momentum) * loss
        smoothed.append(mean / (1 - momentum**step))
    return np.array(smoothed)
