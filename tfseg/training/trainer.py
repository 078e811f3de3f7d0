"""The trainer: the only place where data, model, loss and `fit` meet."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import keras
import tensorflow as tf

from tfseg.data import Reader, reading_error
from tfseg.training.config import TrainConfig
from tfseg.training.detection_task import DetectionTask
from tfseg.training.fine_tuning import Source
from tfseg.training.instance_task import InstanceTask
from tfseg.training.length import TrainingLength
from tfseg.training.non_finite import NonFiniteLossError
from tfseg.training.open_data import (
    CheckedData,
    check_readers,
    open_readers,
    require_alike,
    sample_names,
)
from tfseg.training.pace import Pace, Rounds, TimeFrame, let_end_move
from tfseg.training.record import DataFacts, RunRecord, package_versions, resolved_defaults
from tfseg.training.run import Run
from tfseg.training.semantic_task import SemanticTask
from tfseg.training.step_timing import ENDLESS, length_in_minutes
from tfseg.training.task import Task
from tfseg.training.task_fields import BOXLESS_HEADS

MOVABLE_STEPS = 1000  # of a schedule that is then stretched to the steps of the training
TASKS = {"semantic": SemanticTask, "detect": DetectionTask, "instances": DetectionTask}


def task_of(config: TrainConfig) -> type[Task]:
    """Return the `Task` of a config."""
    return InstanceTask if config.head in BOXLESS_HEADS else TASKS[config.task]


def train(
    config: TrainConfig,
    train: Reader | None = None,
    val: Reader | None = None,
    model: keras.Model | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    track: Callable = lambda samples, total: samples,
    frame: TimeFrame | None = None,
    checked: CheckedData | None = None,
) -> Run:
    """Train as `config` says; a run that was interrupted continues after its last epoch.

    Every sample is read and checked first. If `config.out` already contains a run, it must have the
    same config; it is then resumed, and ends with the weights of an uninterrupted run.

    Args:
        config: the `TrainConfig`.
        train, val: `tfseg.data.Reader`s of the samples to train and to validate on; None to open
            the folders that the config names.
        model: a network with the initial weights, instead of `config.model` or `config.head`. If it
            is compiled, it keeps its optimizer, loss and metrics; then pass `epochs`, not
            `minutes`.
        callbacks: additional Keras callbacks, such as `Progress` and `TensorBoard`.
        track: wraps the iteration over the samples to show progress; called with them and their
            number.
        frame: what else belongs to `config.minutes` than this function, see `TimeFrame`; None for
            nothing.
        checked: what `open_checked` returned for a new run of this config, to read no sample twice;
            None to open and check the data.

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
    frame = frame or TimeFrame(time.monotonic())
    task = task_of(config)(config, model)
    config, run = task.config, Run(config.out)
    stored = run.stored(config)
    source = _source(config, model) if stored is None else None
    if checked is None:
        train, val = _open(task, train, val, stored, source)
    else:
        train, val = checked.train, checked.val
    require_alike(train, val)
    task.check_classes(train)
    facts = task.find_facts(checked or check_readers(config.task, train, val, track))
    if stored is not None:
        facts = stored.data
    elif source is not None:
        facts = source.adapted(facts)
    keras.utils.set_random_seed(config.seed)
    if model is None:
        model = task.build_model(facts)
    origin = None if stored is None else stored.origin
    if source is not None:
        origin = source.copy_weights(model, facts)
    samples = partial(task.training_batches, facts, train, config.augmentation())

    def training(first_step=0):
        return task.with_targets(samples(first_step=first_step), model, train)

    validation, scores = task.validation_batches(facts, val), task.callbacks(facts, val)
    length = _length_in_epochs(config, train) if stored is None else stored.length
    if not model.compiled:
        _compile(task, facts, model, length)
    if length is None:
        with _naming_damaged_files():
            length = length_in_minutes(config.minutes, model, training(), validation, scores, frame)
    resolved, versions = resolved_defaults(model), package_versions()
    record = RunRecord(config, facts, length, resolved, versions, origin)
    if stored is None:
        run.create(record)  # only now: everything that can be wrong was checked
    else:
        stored.require_same_defaults(record)
    try:
        frame = frame if stored is None else None
        _fit(config, run, length, model, training, validation, scores, callbacks, frame)
    except NonFiniteLossError as error:
        raise _explained(error, task, run, model, (train, samples), (val, validation)) from None
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
    return task_of(config)(config).build_model(data)


def _length_in_epochs(config, train):
    """Return the length of a new training; None if it is by minutes, which must be measured."""
    if config.minutes is not None:
        return None
    return TrainingLength(config.epochs, config.steps_per_epoch(len(train)))


def _compile(task, facts, model, length):
    """Compile a network; by minutes with a schedule whose end `Rounds` moves to the real one."""
    if length is not None and length.ends is None:
        task.compile(facts, model, length)
        return
    task.compile(facts, model, TrainingLength(1, MOVABLE_STEPS))
    let_end_move(model)


def _fit(config, run, length, model, training, validation, scores, callbacks, frame):
    done = run.restore(model)
    kept = run.callbacks(done, config.monitor, config.patience)
    rounds, steps = [], length.steps_per_epoch
    if length.ends is not None:
        rounds, steps = [_rounds(config, run, length, done, frame)], ENDLESS
    with _naming_damaged_files():
        model.fit(
            training(first_step=length.steps_after(done)).repeat(),
            validation_data=validation,
            epochs=length.epochs,
            initial_epoch=done,
            steps_per_epoch=steps,
            # the run keeps what the scores add to the logs
            callbacks=[*rounds, *scores, *kept, *callbacks],
            shuffle=False,  # the pipeline shuffles
            verbose=0,
        )


def _rounds(config, run, length, done, frame):
    """Return the callback that ends the rounds: on time, or after a kill as they are recorded."""
    if frame is None:
        return Rounds(length, done)
    return Pace(length, config.minutes, frame, run.keep_length)


def _explained(error, task, run, model, train, val):
    """Return the error of a loss that is not finite, with what is wrong with its batch.

    Args:
        error: NonFiniteLossError.
        task: the `Task`.
        run: the `Run`.
        model: the model.
        train, val: pairs of a reader and its batches, those of the training as a function and
            without the targets.
    """
    if error.batch is None:
        reader, batches = val
        batches = batches or ()
    else:
        reader, training = train
        step = run.record.length.steps_after(error.epoch) + error.batch
        batches = itertools.islice(training(first_step=step), 1)
    text = task.explain(batches, reader, model)
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


def _source(config, model):
    """Return the run whose weights a new training begins with, or None."""
    if config.init_from is None:
        return None
    if model is not None:
        raise ValueError(
            f"train: got a model, but config.init_from={config.init_from!r} names a run with its "
            "weights. Pass either."
        )
    return Source(config)


def _open(task, train, val, stored, source):
    """Return the readers to train and to validate on."""
    config = task.config
    if config.folds is not None and config.fold is None:
        raise ValueError(f"train: config.folds={config.folds} is for `train_folds`.")
    data = None if stored is None else stored.data
    if train is None and val is None:
        if source is not None:
            data = source.selection()
        return open_readers(config, data)
    if train is None or val is None:
        raise ValueError("train: pass both readers, train and val, or neither.")
    if config.fold is None:  # otherwise `train_folds` has split the samples of the folders
        _refuse_readers(config)
    names = tuple(task.class_names(train))
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


def _refuse_readers(config):
    """Refuse readers beside a config that says which samples to open or how to split them."""
    if config.images is not None:
        raise ValueError(
            f"train: got readers, but config.images={config.images!r} names a folder. Pass either."
        )
    if config.groups is not None:
        raise ValueError(
            f"train: got readers, which are split already, and groups={config.groups!r}. Pass the "
            "groups to `Reader.split`, and groups=None here."
        )
