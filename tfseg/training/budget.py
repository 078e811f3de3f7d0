"""Trainings that are given minutes, not epochs."""

import itertools
import json
import time

from tfseg.training.presets import compile_for

ROUNDS = 20
TIMED = 10  # steps, after as many to warm up


def fit_within(minutes, model, stream, val, run, settings, callbacks=(), **options):
    """Compile a model for as many steps as `minutes` allow, and fit it in 20 rounds, each ended by a validation.

    The schedule of the learning rate fits the steps, so that a short training also ends at a rate of 0. A new run
    times some steps and a validation first, on the machine as it is: what else runs on it costs steps if it runs then,
    and minutes if it comes later. Tracing and saving come on top. A run that is already there goes on where it
    stopped, with the steps that it has planned.

    Args:
        minutes: for the training and its validations.
        model: a model of `tfseg.models`, its weights as they are to begin.
        stream: function of `first_step` -> training stream, e.g. `functools.partial(tfseg.data.pipeline, train, 8,
            augment)`.
        val: evaluation stream of `tfseg.data.pipeline`.
        run: `Run` that keeps settings, history, the best round's model and the state.
        settings: dict for `run.json`, besides the minutes and the steps.
        callbacks: more Keras callbacks.
        **options: of `compile_for`, but `steps`.

    Returns:
        Number of steps.

    Raises:
        ValueError: there is not time for one step a round, or the run was begun with other settings.
        FileExistsError: the run's folder holds something else.
    """
    if not minutes > 0:
        raise ValueError(f"fit_within: minutes={minutes} must be above 0.")
    settings = json.loads(
        json.dumps({**settings, "minutes": minutes})
    )  # as the run will give them back
    if not run.has_settings():
        run.refuse_if_taken()
        steps = _steps_a_round(minutes * 60 / ROUNDS, model, stream(first_step=0), val, options)
        run.create({**settings, "steps_a_round": steps})
    steps = _planned(run, settings)
    compile_for(model, steps=steps * ROUNDS, **options)
    done = run.restore(model)
    model.fit(
        stream(first_step=done * steps).repeat(),
        validation_data=val,
        epochs=ROUNDS,
        initial_epoch=done,
        steps_per_epoch=steps,
        callbacks=[*run.callbacks(done), *callbacks],
        shuffle=False,  # the pipeline does
        verbose=0,
    )
    return steps * ROUNDS


def _planned(run, settings):
    """The steps of a round in the settings of a run, which else must be these."""
    stored = run.settings()
    steps = stored.pop("steps_a_round", None)
    differing = [name for name in settings if settings[name] != stored.get(name)]
    if steps is None or differing:
        what = f"with another {', '.join(differing)}" if differing else "in another way"
        raise ValueError(
            f"'{run.folder}' was begun {what}. Go on with the same, or choose another folder."
        )
    return steps


def _steps_a_round(seconds, model, batches, val, options):
    """How many training steps and one validation take `seconds`; the weights stay as they were."""
    weights = model.get_weights()
    compile_for(model, **options)
    batches = iter(batches.repeat())
    _train(model, batches)
    _validate(model, val)  # the first time it traces, and fills a cache
    began = time.monotonic()
    _train(model, batches)
    step = (time.monotonic() - began) / TIMED
    began = time.monotonic()
    _validate(model, val)
    validation = time.monotonic() - began
    model.set_weights(weights)
    steps = int((seconds - validation) / step)
    if steps < 1:
        least = (validation + step) * ROUNDS / 60
        raise ValueError(
            f"fit_within: {seconds * ROUNDS / 60:g} minutes are too few; this needs at least {least:.1f}."
        )
    return steps


def _train(model, batches):
    for images, *labels in itertools.islice(batches, TIMED):
        model.train_on_batch(images, *labels)


def _validate(model, val):
    for images, *labels in val:
        model.test_on_batch(images, *labels)
