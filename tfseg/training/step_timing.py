"""How long a training step and a validation take on this machine, as it is."""

import time

import keras

from tfseg.training.length import TrainingLength, length_for
from tfseg.training.pace import TimeFrame, measure_load
from tfseg.training.run_callback import state_variables

WARM_UP = 2  # steps, which compile and fill the pipeline
TIMED_STEPS = (3, 30)  # at least and at most
TIMED_SECONDS = 5
SHORT_VALIDATION = 0.05  # of the minutes: it is repeated, since the first one compiles
ENDLESS = 10**9  # steps of a round that a callback ends


def length_in_minutes(
    minutes: float, model: keras.Model, batches, validation, scores, frame: TimeFrame
) -> TrainingLength:
    """Time some steps and a validation, and return the rounds that fill the rest of the minutes.

    Args:
        minutes: duration of the training.
        model, batches, validation, scores: see `time_steps`.
        frame: when the minutes began, and what follows the training.

    Raises:
        ValueError: the minutes are too few for a step and a validation.
    """
    step, validating = time_steps(model, batches, validation, scores, 60 * minutes)
    left = frame.time_left(minutes, validating, measure_load())
    missing = step + validating - left
    if missing > 0:
        raise ValueError(
            f"TrainConfig: minutes={minutes:g} are too few for this model and data. It needs at "
            f"least {minutes + missing / 60:.1f} minutes."
        )
    return length_for(left, step, validating)


def time_steps(model: keras.Model, batches, validation, scores, seconds: float):
    """Train some steps, validate, and return how long each takes.

    Everything about the model is then as it was before.

    Args:
        model: a compiled model.
        batches: training batches.
        validation: validation batches, or None.
        scores: callbacks that score the model after each validation.
        seconds: duration of the whole training.

    Returns:
        (seconds per step, seconds per validation).
    """
    model.optimizer.build(model.trainable_variables)
    variables = state_variables(model).values()
    before = [keras.ops.convert_to_numpy(variable) for variable in variables]
    watch = _Watch(SHORT_VALIDATION * seconds)
    model.fit(
        batches.repeat(),
        validation_data=validation,
        epochs=2,
        steps_per_epoch=ENDLESS,
        callbacks=[*scores, watch],  # it times the scores, too
        shuffle=False,
        verbose=0,
    )
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    return watch.step, watch.validation


class _Watch(keras.callbacks.Callback):
    """Times a round of some steps with a validation, and a second validation if it is short.

    Args:
        short: seconds that a short validation takes at most.
    """

    def __init__(self, short):
        super().__init__()
        self._short, self._ends, self.step, self.validation = short, [], None, None

    def on_train_batch_end(self, batch, logs=None):
        self._ends.append(time.monotonic())
        if self.step is not None:
            self.model.stop_training = True  # a second round, for its validation
            return
        steps = len(self._ends) - WARM_UP
        seconds = self._ends[-1] - self._ends[WARM_UP - 1] if steps > 0 else 0
        least, most = TIMED_STEPS
        if steps >= most or (steps >= least and seconds >= TIMED_SECONDS):
            self.step = seconds / steps
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        self.validation = time.monotonic() - self._ends[-1]
        self.model.stop_training = epoch > 0 or self.validation > self._short
