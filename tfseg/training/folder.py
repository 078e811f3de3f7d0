"""From a folder of images and masks to a trained run: what `tfseg train` does."""

import inspect

import keras
import numpy as np
import tensorflow as tf

from tfseg import checks
from tfseg.data import Augment, Folder, batch_for, pipeline, reading_error, window_for
from tfseg.models import MODELS, build, list_models
from tfseg.training.presets import compile_for
from tfseg.training.run import Run


def open_readers(settings):
    """Return (train, val) readers by the settings of a run.

    Args:
        settings: dict with "images", "masks", "class_names", "ignore", "val_images", "val_masks" (both None to
            split by "val_fraction" and "seed"). A run's own settings also hold what `remember` added: then
            exactly its samples come back, read in its way, whatever else the folders hold by now.

    Raises:
        ValueError: a sample that the run used is gone.
    """
    train = open_folder(settings | {"dtype": None})
    if settings["val_images"] is not None:
        read_alike = {
            "mask_values": train.mask_values,
            "channels": train.channels,
            "dtype": train.dtype.name,
        }
        folders = {"images": settings["val_images"], "masks": settings["val_masks"]}
        val = open_folder(settings | read_alike | folders)
    elif "val_names" in settings:
        val = train
    else:
        return train.split(settings["val_fraction"], settings["seed"])
    if "val_names" in settings:
        return _named(train, settings["train_names"]), _named(val, settings["val_names"])
    return train, val


def open_folder(settings):
    """Return a reader of settings["images"] and settings["masks"], read as the run reads its images."""
    mask_values = settings.get("mask_values")
    if mask_values:  # JSON makes strings of keys
        mask_values = {int(value): class_id for value, class_id in mask_values.items()}
    how = settings["class_names"], settings["ignore"], mask_values, settings.get("channels")
    reader = Folder(settings["images"], settings["masks"], *how)
    if (
        settings.get("dtype") == "uint8" and reader.dtype != np.uint8
    ):  # the reverse may be a part of a mixed set
        raise ValueError(
            f"The images in '{settings['images']}' are of more than 8 bit, but those to train on are of 8 bit, whose "
            "values mean something else. Convert them first."
        )
    return reader


def remember(settings, train, val, summary):
    """Return settings with what was found in the data: how to read it, which samples, their values and classes."""
    return settings | {
        "mask_values": train.mask_values,
        "channels": train.channels,
        "train_names": [train.name(i) for i in range(len(train))],
        "val_names": [val.name(i) for i in range(len(val))],
        "normalization": [summary.mean, summary.std],
        "median_weights": summary.class_weights,
        "dtype": train.dtype.name,
        "window": settings.get("window") or window_for([*train.sizes, *val.sizes]),
    }


def _named(reader, names):
    there = {reader.name(i) for i in range(len(reader))}
    gone = [name for name in names if name not in there]
    if gone:
        raise ValueError(
            f"{len(gone)} of the images that the run was begun with are gone: {', '.join(gone[:8])}. "
            "Put them back, or start a new run."
        )
    return reader.select(names)


def network_for(train, settings):
    """Build the network of a run.

    A plain network is normalized as its images are; so is an encoder of images that are not 8-bit.

    Args:
        train: reader.
        settings: dict with "model", a name of `list_models()`; "encoder", a name of `list_encoders()` or None for the
            network's own; "weights" of the encoder, "imagenet", "none" or a file; "filters", None for the network's
            own; "normalization" as `remember` found it, unless "normalize_each".

    Raises:
        ValueError: there is no such network or encoder, or it has no such option.
        ImportError, OSError: the weights are not there.
    """
    arguments = inspect.signature(
        MODELS[checks.one_of("train", "model", settings["model"], list_models())]
    ).parameters
    own = arguments["encoder"].default if "encoder" in arguments else None
    options = {
        name: settings[name] for name in ("encoder", "filters") if settings[name] is not None
    }
    weights = None if settings["weights"].lower() == "none" else settings["weights"]
    if own or settings["encoder"] or weights not in (None, "imagenet"):
        options["weights"] = weights
    if settings.get("normalize_each"):
        options["normalization"] = "image"
    elif (
        "weights" not in options or train.dtype != np.uint8
    ):  # else the encoder sees what it was trained on
        options["normalization"] = settings["normalization"]
    shape = (None, None, train.channels)
    return build(settings["model"], train.num_classes, input_shape=shape, **options)


def train_folder(train, val, settings, out, callbacks=()):
    """Train a network and keep the run in `out`; a run that is already there goes on where it stopped.

    Args:
        train, val: readers.
        settings: dict as kept in `run.json`: "size", "batch_size", "epochs", "optimizer", "learning_rate" and "seed";
            those of the network, see `network_for`; those of `open_readers` and `remember`; "class_weights", "none" or
            "median"; "window", the side of those that larger images are validated in, or None.
        out: folder of the run.
        callbacks: more Keras callbacks.

    Returns:
        The run, with the best model in it.

    Raises:
        OSError: a file was damaged or taken away since it was checked; the message names it.
    """
    keras.utils.set_random_seed(settings["seed"])
    model = network_for(train, settings)
    augment = Augment(settings["size"], scale=(0.7, 1.5), rotate=10, flip="horizontal")
    steps = len(pipeline(train, settings["batch_size"], augment))
    weights = settings["median_weights"] if settings.get("class_weights") == "median" else None
    options = {"steps": steps * settings["epochs"], "class_weights": weights}
    compile_for(model, settings["optimizer"], settings["learning_rate"], **options)
    run = Run(out)
    if run.is_free():  # only now: whatever was wrong with the settings has been said
        run.create(settings)
    done = run.restore(model)
    try:
        model.fit(
            pipeline(
                train, settings["batch_size"], augment, settings["seed"], first_step=done * steps
            ),
            validation_data=_to_validate(val, settings["batch_size"], settings.get("window")),
            epochs=settings["epochs"],
            initial_epoch=done,
            callbacks=[*run.callbacks(done), *callbacks],
            shuffle=False,  # the pipeline does
            verbose=0,
        )
    except tf.errors.OpError as error:
        raise reading_error(error) or error from error
    return run


def _to_validate(val, batch_size, window):
    """Batches of whole images, or of parts of those that are larger: each pixel counts once."""
    val = val if window is None else val.parts(window)
    return pipeline(val, batch_for(val.sizes, batch_size))
