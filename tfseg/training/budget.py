"""Trainings that are given minutes, not epochs."""

import itertools
import time

from tfseg.losses import CrossEntropy
from tfseg.training.presets import compile_for

ROUNDS = 20
TIMED = 10  # steps, after as many to warm up


def fit_within(minutes, model, batches, val, run, callbacks=(), **options):
    """Compile a model for as many steps as `minutes` allow, and fit it in 20 rounds, each ended by a validation.

    The schedule of the learning rate fits the steps, so a short training also ends at a rate of 0. Steps are timed
    on the machine as it is: what else runs on it costs steps if it runs now, and minutes if it comes later.

    Args:
        minutes: for the training and its validations.
        model: a model of `tfseg.models`, its weights as they are to begin.
        batches: training stream of `tfseg.data.pipeline`.
        val: evaluation stream of `tfseg.data.pipeline`.
        run: `Run` that keeps the best round's model.
        callbacks: more Keras callbacks.
        **options: of `compile_for`, but `steps`.

    Returns:
        Number of steps.

    Raises:
        ValueError: there is not time for one step a round.
    """
    if not minutes > 0:
        raise ValueError(f"fit_within: minutes={minutes} must be above 0.")
    steps = _steps_a_round(minutes * 60 / ROUNDS, model, batches, val)
    compile_for(model, steps=steps * ROUNDS, **options)
    model.fit(
        batches.repeat(),
        validation_data=val,
        epochs=ROUNDS,
        steps_per_epoch=steps,
        callbacks=[*run.callbacks(), *callbacks],
        shuffle=False,  # the pipeline does
        verbose=0,
    )
    return steps * ROUNDS


def _steps_a_round(seconds, model, batches, val):
    """How many training steps and one validation take `seconds`; the weights stay as they were."""
    weights = model.get_weights()
    model.compile("adam", loss=CrossEntropy())
    stream = iter(batches.repeat())
    for images, masks in itertools.islice(stream, TIMED):
        model.train_on_batch(images, masks)
    began = time.monotonic()
    for images, masks in itertools.islice(stream, TIMED):
        model.train_on_batch(images, masks)
    step = (time.monotonic() - began) / TIMED
    began = time.monotonic()
    for images, masks in val:
        model.test_on_batch(images, masks)
    validation = time.monotonic() - began
    model.set_weights(weights)
    steps = int((seconds - validation) / step)
    if steps < 1:
        least = (validation + step) * ROUNDS / 60
        raise ValueError(f"fit_within: {seconds * ROUNDS / 60:g} minutes are too few; this needs at least {least:.1f}.")
    return steps
