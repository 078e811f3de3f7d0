"""The trainer: the only place where data, model, loss and `fit` meet."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfseg.checks import label_names
from tfseg.data import Reader, batch_for, pipeline, reading_error, window_for
from tfseg.models import DEFAULT_ENCODERS, build
from tfseg.models.encoders import require_weights
from tfseg.training.config import TrainConfig
from tfseg.training.fit_checks import takes_0_255
from tfseg.training.non_finite import NonFiniteLossError, explain_batches
from tfseg.training.open_data import (
    check_readers,
    open_readers,
    require_alike,
    sample_names,
    warn_of_ranges,
)
from tfseg.training.presets import compile_for, require_outputs
from tfseg.training.record import (
    DataFacts,
    Plan,
    RunRecord,
    package_versions,
    resolved_defaults,
)
from tfseg.training.run import Run
from tfseg.training.step_timing import plan_minutes


def train(
    config: TrainConfig,
    train: Reader | None = None,
    val: Reader | None = None,
    model: keras.Model | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    track: Callable = lambda samples, total: samples,
) -> Run:
    """Train as `config` says; a run that was interrupted continues after its last epoch.

    Every sample is read and checked first. If `config.out` already contains a run, it must have the
    same config; it is then resumed, and ends with the weights of an uninterrupted run.

    Args:
        config: the `TrainConfig`.
        train, val: `tfseg.data.Reader`s of the samples to train and to validate on; None to open
            the folders that the config names.
        model: a network with the initial weights, instead of `config.model`. If it is compiled, it
            keeps its optimizer, loss and metrics; then pass `epochs`, not `minutes`.
        callbacks: additional Keras callbacks, such as `Progress` and `TensorBoard`.
        track: wraps the iteration over the samples to show progress; called with them and their
            number.

    Returns:
        Run: the folder with `run.json`, `history.csv`, and the model of the best epoch.

    Raises:
        ValueError: the data cannot be trained on or contradicts the config, or the folder has a run
            with another config or other defaults.
        NonFiniteLossError: the loss of a step or of a validation is NaN or infinite. The message
            says what is wrong with the batch; nothing of that epoch is saved.
        FileExistsError: the folder contains something other than a run.
        OSError: a file was damaged or removed during the training; the message names it.

    Example:
        >>> import tfseg
        >>> config = tfseg.training.TrainConfig(
        ...     images="photos", masks="labels", class_names=["background", "leaf"],
        ...     model="tiny_unet", filters=4, epochs=1, batch_size=2,
        ...     augment={"size": 32}, out="runs/leaves")
        >>> run = tfseg.training.train(config)
        >>> run.history()["epoch"], run.model().name
        ([1.0], 'tiny_unet')
    """
    config, run = _for_model(config, model), Run(config.out)
    stored = run.stored(config)
    train, val = _open(config, train, val, stored)
    require_alike(train, val)
    config.check_class_weights(train.class_names)
    _require_outputs(model, train)
    facts = _find_facts(config, train, val, track, model is not None and takes_0_255(model))
    if stored is not None:
        facts = stored.data
    keras.utils.set_random_seed(config.seed)
    if model is None:
        model = build_model(config, facts)
    compiled = model.compiled
    training = partial(_training_batches, config, facts, train, config.augmentation())
    validation = _validation_batches(config, facts, val)
    if stored is not None:
        plan = stored.plan
    else:
        plan = _plan(config, facts, model, len(train), training, validation)
    if not compiled:
        _compile(config, facts, model, plan)
    record = RunRecord(config, facts, plan, resolved_defaults(model), package_versions())
    if stored is None:
        run.create(record)  # only now: everything that can be wrong was checked
    else:
        stored.require_same_defaults(record)
    try:
        _fit(config, run, plan, model, training, validation, callbacks)
    except NonFiniteLossError as error:
        raise _explained(error, plan, model, (train, training), (val, validation)) from None
    return run


def build_model(config: TrainConfig, data: DataFacts) -> keras.Model:
    """Build the network that a config describes.

    A network without an encoder, or for images that do not have 8 bits, normalizes with the mean
    and std of the training images; otherwise the encoder gets what it was trained on.

    Args:
        config: the `TrainConfig`.
        data: what was found in the data.

    Raises:
        ValueError: the encoder does not suit the model, or the weights do not fit.
        ImportError, OSError: the weights cannot be loaded.
    """
    options = {"input_shape": (None, None, data.channels), **config.model_options()}
    if config.normalization == "image":
        options["normalization"] = "image"
    elif "weights" not in options or data.dtype != "uint8":
        options["normalization"] = (data.mean, data.std)
    return build(config.model, len(data.class_names), **options)


def _fit(config, run, plan, model, training, validation, callbacks):
    done = run.restore(model)
    with _naming_damaged_files():
        model.fit(
            training(first_step=done * plan.steps_per_epoch).repeat(),
            validation_data=validation,
            epochs=plan.epochs,
            initial_epoch=done,
            steps_per_epoch=plan.steps_per_epoch,
            callbacks=[*run.callbacks(done, config.monitor, config.patience), *callbacks],
            shuffle=False,  # the pipeline shuffles
            verbose=0,
        )


def _explained(error, plan, model, train, val):
    """Return the error of a loss that is not finite, with what is wrong with its batch.

    Args:
        error: NonFiniteLossError.
        plan: `Plan` of the training.
        model: the model.
        train, val: pairs of a reader and its batches; those of the training are a function.
    """
    if error.batch is None:
        reader, batches = val
        batches = iter(batches)
    else:
        reader, training = train
        step = error.epoch * plan.steps_per_epoch + error.batch
        batches = itertools.islice(training(first_step=step), 1)
    text = explain_batches(batches, reader, model)
    return NonFiniteLossError(f"train: {error} {text}", error.epoch, error.batch)


@contextmanager
def _naming_damaged_files() -> Iterator[None]:
    """Raise the reader's error instead of TensorFlow's if a file was damaged after the check."""
    try:
        yield
    except tf.errors.OpError as error:
        found = reading_error(error)
        if found is None:
            raise
        raise found from error


def _for_model(config, model):
    """Return the config for a network that is passed (`model=None` in it) or built.

    Raises what would otherwise fail only after all images are read.
    """
    if model is not None:
        require_outputs("train", model)
        if len(model.outputs) != 1:
            raise ValueError(
                f"train: the model {model.name!r} has {len(model.outputs)} outputs; expected one. "
                "Use `compile_for` and `fit` with one mask per output."
            )
        if model.compiled and config.minutes is not None:
            raise ValueError(
                f"train: minutes={config.minutes} sets the learning-rate schedule, but the model "
                "is compiled already. Pass it uncompiled, or set epochs."
            )
        return replace(config, model=None)
    if config.model is None:
        raise ValueError("train: config.model is None, so pass a network as `model`.")
    encoder = config.encoder or DEFAULT_ENCODERS.get(config.model)
    if encoder is not None:
        require_weights(encoder, config.weights)
    return config


def _open(config, train, val, stored):
    """Return the readers to train and to validate on."""
    data = None if stored is None else stored.data
    if train is None and val is None:
        return open_readers(config, data)
    if train is None or val is None:
        raise ValueError("train: pass both readers, train and val, or neither.")
    if config.images is not None:
        raise ValueError(
            f"train: got readers, but config.images={config.images!r} names a folder. Pass either."
        )
    names = tuple(train.class_names)
    if config.class_names not in (None, names):
        raise ValueError(
            f"train: config.class_names={config.class_names}, but the reader has {names}. Pass the "
            "same, or class_names=None."
        )
    if data is not None:
        for reader, names in ((train, data.train_names), (val, data.val_names)):
            if sample_names(reader) != names:
                raise ValueError(
                    f"The run in '{config.out}' began with other samples than those of {reader}. "
                    "Pass the same readers, or start a new run."
                )
    return train, val


def _require_outputs(model, reader):
    """Refuse a model that is passed and has fewer outputs than the masks have classes."""
    if model is None:
        return
    channels, classes = model.outputs[0].shape[-1], len(label_names(reader.class_names))
    if max(channels, 2) < classes:
        raise ValueError(
            f"train: the model {model.name!r} has {channels} output channels, but the masks have "
            f"{classes} classes: {', '.join(label_names(reader.class_names))}. Build the model "
            f"with num_classes={classes}."
        )


def _value_range(facts):
    """Return the range of the training images for the pipelines; None for 8 bits: 0..255."""
    if facts.dtype == "uint8" or facts.value_range is None:
        return None
    low, high = facts.value_range
    return (low, high) if low < high else None


def _find_facts(config, train, val, track, takes_0_255):
    """Check all samples and return their `DataFacts`."""
    summary, val_summary = check_readers(train, val, track)
    warn_of_ranges(train, summary, val_summary, takes_0_255)
    return DataFacts(
        class_names=list(train.class_names),
        channels=train.channels,
        dtype=train.dtype.name,
        mask_values=train.mask_values,
        train_names=sample_names(train),
        val_names=sample_names(val),
        mean=summary.mean,
        std=summary.std,
        median_weights=summary.class_weights,
        class_pixels=np.asarray(summary.class_pixels).tolist(),
        ignored_pixels=int(summary.ignored_pixels),
        val_class_pixels=np.asarray(val_summary.class_pixels).tolist(),
        val_ignored_pixels=int(val_summary.ignored_pixels),
        window=config.window or window_for([*train.sizes, *val.sizes]),
        value_range=summary.value_range,
    )


def _training_batches(config, facts, train, augment, first_step=0):
    return pipeline(
        train,
        config.batch_size,
        augment,
        config.seed,
        first_step=first_step,
        cache=_cache(config, "train"),
        value_range=_value_range(facts),
    )


def _validation_batches(config, facts, val):
    """Return batches of images, the larger ones as disjoint tiles: each pixel counts once."""
    if facts.window is not None:
        val = val.disjoint_tiles(facts.window)
    batch_size = batch_for(val.sizes, config.val_batch_size or config.batch_size)
    return pipeline(val, batch_size, cache=_cache(config, "val"), value_range=_value_range(facts))


def _cache(config, part):
    if config.cache in (None, "memory"):
        return config.cache
    return str(Path(config.cache) / part)  # a cache contains the samples of one reader


def _plan(config, facts, model, samples, training, validation):
    if config.minutes is None:
        return Plan(config.epochs, config.steps_per_epoch(samples))
    _compile(config, facts, model, Plan(epochs=1, steps_per_epoch=1000))
    with _naming_damaged_files():
        return plan_minutes(config.minutes, model, training(), validation)


def _compile(config, facts, model, plan):
    compile_for(
        model,
        config.optimizer,
        config.learning_rate,
        steps=plan.steps,
        schedule=config.schedule,
        warmup=config.warmup,
        clip_norm=config.clip_norm,
        average=config.average,
        accumulate=config.accumulate,
        loss=config.build_loss(facts.median_weights),
    )
