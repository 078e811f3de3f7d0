"""How many training steps fit into the minutes of a training."""

import itertools
import time

import keras

from tfseg.training.record import TrainingLength

MAX_ROUNDS = 20  # each ends with a validation
VALIDATION_FRACTION = 0.2  # of the time, at most
TIMED_STEPS = 10  # after as many to warm up


def length_for_minutes(
    minutes: float, model: keras.Model, batches, validation, scores=()
) -> TrainingLength:
    """Time some steps and a validation, and return rounds that take `minutes` together.

    There are 20 rounds, or fewer if their validations would take more than a fifth of the time.

    The machine is timed as it is: what else runs on it costs steps now and minutes later. Compiling
    and saving take additional time. The model keeps its weights.

    Args:
        minutes: duration of the training with its validations.
        model: a compiled model.
        batches: training batches.
        validation: validation batches.
        scores: callbacks that score the model after each validation.

    Raises:
        ValueError: the minutes are too few for one step and a validation.
    """
    weights = model.get_weights()
    step, validating = _time_steps(model, batches, validation, scores)
    model.set_weights(weights)
    seconds = minutes * 60
    rounds = MAX_ROUNDS
    if validating > 0:
        rounds = max(1, min(MAX_ROUNDS, int(VALIDATION_FRACTION * seconds / validating)))
    steps = int((seconds / rounds - validating) / step)
    if steps < 1:
        raise ValueError(
            f"TrainConfig: minutes={minutes:g} are too few for this model and data. It needs at "
            f"least {(validating + step) / 60:.1f} minutes."
        )
    return TrainingLength(rounds, steps)


def _time_steps(model, batches, validation, scores=()):
    """Return the seconds of a training step and of a validation."""
    batches = iter(batches.repeat())
    _train(model, batches)
    _validate(model, validation, scores)  # the first call compiles, and fills a cache
    began = time.monotonic()
    _train(model, batches)
    step = (time.monotonic() - began) / TIMED_STEPS
    began = time.monotonic()
    _validate(model, validation, scores)
    return step, time.monotonic() - began


def _train(model, batches):
    for images, *labels in itertools.islice(batches, TIMED_STEPS):
        model.train_on_batch(images, *labels)


def _validate(model, batches, scores):
    for images, *labels in batches:
        model.test_on_batch(images, *labels)
    for callback in scores:
        callback.set_model(model)
        callback.on_epoch_end(0, {})
