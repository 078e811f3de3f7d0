"""The checks of a `TrainConfig`, before any image is read.

Each check takes the config, raises a ValueError for a value that is unknown, out of range or
contradicts another one, and returns {field: value} of the fields that it completes or makes plain:
numbers, strings, tuples and dicts, as they come back from JSON.
"""

from dataclasses import asdict, fields
from numbers import Integral
from pathlib import Path

from tfseg import checks
from tfseg.checks import ignore_index_for, label_names
from tfseg.data import Augment
from tfseg.data.readers.base import check_class_names
from tfseg.data.readers.color_masks import ColorTable
from tfseg.losses import LOSSES, CrossEntropy, PixelLoss
from tfseg.models import list_encoders, list_models
from tfseg.models.build import check_options
from tfseg.schedules import SCHEDULES
from tfseg.training.presets import OPTIMIZERS
from tfseg.training.split_checks import checked_folds, checked_split
from tfseg.training.task_fields import (
    checked_detector_fields,
    checked_grid,
    checked_task_fields,
    fail,
)

OWNER = "TrainConfig"
DEFAULT_EPOCHS = 20
NORMALIZATIONS = ("dataset", "image")
LOSS_CLASSES = {loss.__name__: loss for loss in LOSSES.values()}
AUGMENT_FIELDS = [argument.name for argument in fields(Augment)]


def checked_folders(config) -> dict:
    """Check images, labels and cache; folders become absolute paths."""
    targets = "labels" if config.has_objects else "masks"
    for images, labels in (("images", targets), ("val_images", f"val_{targets}")):
        if (getattr(config, images) is None) != (getattr(config, labels) is None):
            raise ValueError(f"{OWNER}: pass both {images} and {labels}, or neither.")
    if config.images is None and config.val_images is not None:
        fail(config, "val_images", f"needs images and {targets} to train on.")
    if config.masks is not None and config.class_names is None:
        raise ValueError(f"{OWNER}: images and masks need class_names.")
    folders = ["out", "images", targets, "val_images", f"val_{targets}", "init_from"]
    if config.cache != "memory":
        folders.append("cache")
    paths = {name: getattr(config, name) for name in folders}
    return {name: str(Path(path).resolve()) for name, path in paths.items() if path is not None}


def checked_classes(config) -> dict:
    """Check the names of the classes, and the ignored value in masks."""
    checked = {}
    if config.class_names is not None:
        checked["class_names"] = tuple(check_class_names(config.class_names))
    if isinstance(config.ignore_value, Integral) and config.ignore_value >= -1:
        checked["ignore_value"] = int(config.ignore_value)
    elif config.colors is None:
        fail(config, "ignore_value", "must be a whole number, or -1 to ignore nothing.")
    return checked


def checked_mask_values(config) -> dict:
    """Check what the values in mask files stand for."""
    if config.mask_values is None:
        return {}
    # JSON turns the keys into strings
    values = {int(value): int(class_id) for value, class_id in config.mask_values.items()}
    if config.class_names is not None:
        last = len(label_names(config.class_names)) - 1
        ignored = ignore_index_for(last + 1)
        wrong = sorted(set(values.values()) - {*range(last + 1), ignored})
        if wrong:
            expected = f"0 to {last}, or {ignored} for unlabeled pixels"
            fail(config, "mask_values", f"has the class ids {wrong}; expected {expected}.")
    return {"mask_values": values}


def checked_colors(config) -> dict:
    """Check the colors of the classes, and the ignored color."""
    if config.colors is None:
        return {}
    if config.mask_values is not None:
        fail(config, "mask_values", "contradicts colors. Pass only one of them.")
    if config.class_names is None:
        fail(config, "colors", "needs images, masks and class_names.")
    names, ignored, checked = label_names(config.class_names), None, {}
    if not isinstance(config.ignore_value, Integral):
        ignored = tuple(int(part) for part in config.ignore_value)
        checked["ignore_value"] = ignored  # JSON turns tuples into lists
    colors = ColorTable(config.colors, names, ignored).palette.tolist()
    checked["colors"] = {name: tuple(color) for name, color in zip(names, colors, strict=True)}
    return checked


def checked_model(config) -> dict:
    """Check the network and the options of its function."""
    checks.one_of(OWNER, "normalization", config.normalization, NORMALIZATIONS)
    if config.model is not None:
        checks.one_of(OWNER, "model", config.model, list_models())
    if config.encoder is not None:
        checks.one_of(OWNER, "encoder", config.encoder, list_encoders())
    if config.init_from is not None and config.weights not in (None, "imagenet"):
        fail(config, "weights", f"contradicts init_from={config.init_from!r}. Remove it.")
    checked = {} if config.init_from is None else {"weights": None}
    if hasattr(config.filters, "__iter__"):
        checked["filters"] = tuple(checks.positive_ints(OWNER, "filters", config.filters))
    elif config.filters is not None:
        checked["filters"] = checks.positive_int(OWNER, "filters", config.filters)
    if config.weights not in (None, "imagenet"):
        if not str(config.weights).endswith((".h5", ".hdf5")):
            expected = 'must be "imagenet", None or a .weights.h5, .h5 or .hdf5 file.'
            fail(config, "weights", expected)
        checked["weights"] = str(Path(config.weights).resolve())
    return checked


def checked_model_options(config) -> dict:
    """Check that the function of the network takes the options; a network passed has none."""
    if config.model is not None:
        check_options(config.model, config.model_options())
    return {}


def checked_window(config) -> dict:
    """Check the side of tiles and windows."""
    if config.window is None:
        return {}
    if config.normalization == "image":
        fail(config, "window", 'contradicts normalization="image": a window has another mean.')
    return {"window": checks.positive_int(OWNER, "window", config.window)}


def checked_duration(config) -> dict:
    """Check how long the training takes, and in which steps."""
    checked = {}
    if config.epochs is not None and config.minutes is not None:
        fail(config, "epochs", f"contradicts minutes={config.minutes}. Pass only one of them.")
    if config.minutes is not None:
        checked["minutes"] = checks.above_zero(OWNER, "minutes", config.minutes)
    elif config.epochs is None:
        checked["epochs"] = DEFAULT_EPOCHS
    for name in ("epochs", "batch_size", "val_batch_size", "patience"):
        if getattr(config, name) is not None:
            checked[name] = checks.positive_int(OWNER, name, getattr(config, name))
    return checked


def checked_augment(config) -> dict:
    """Check the augmentation, and complete it with the defaults of `Augment`."""
    for name in config.augment:
        checks.one_of(OWNER, "augment field", name, AUGMENT_FIELDS)
    if "size" not in config.augment:
        fail(config, "augment", "needs a size: the side of the training crops in pixels.")
    return {"augment": asdict(Augment(**config.augment))}


def checked_loss(config) -> dict:
    """Check the losses of a network for masks, and the weights of its classes."""
    if config.has_objects:
        return _checked_class_weights(config)
    if not config.loss:
        fail(config, "loss", f'must name a loss, such as {{"{CrossEntropy.__name__}": 1.0}}.')
    weights = {}
    for name, weight in config.loss.items():
        checks.one_of(OWNER, "loss", name, LOSS_CLASSES)
        weights[name] = checks.above_zero(OWNER, f"weight of {name}", weight)
    return {"loss": weights, **_checked_class_weights(config)}


def _checked_class_weights(config):
    if config.class_weights is None:
        return {}
    losses = [LOSS_CLASSES[name] for name in config.loss]
    if not config.has_objects and not any(issubclass(loss, PixelLoss) for loss in losses):
        fail(config, "class_weights", f"needs a pixel loss; loss={config.loss} has none.")
    if isinstance(config.class_weights, str):
        if config.class_weights != "median":
            fail(config, "class_weights", 'must be None, "median" or one number per class.')
        return {}
    weights = checks.numbers(OWNER, "class_weights", config.class_weights)
    if config.class_names is not None and not config.has_objects:
        require_weight_per_class(config, config.class_names)
    return {"class_weights": tuple(weights)}


def require_weight_per_class(config, class_names) -> None:
    """Raise a ValueError if `class_weights` are numbers, but not one per class of the masks."""
    if config.class_weights is None or isinstance(config.class_weights, str):
        return
    names = label_names(class_names)
    if len(config.class_weights) != len(names):
        fail(config, "class_weights", f"must have one number per class: {', '.join(names)}.")


def checked_optimizer(config) -> dict:
    """Check the optimizer, the schedule of its learning rate, and the seed."""
    checks.one_of(OWNER, "optimizer", config.optimizer, tuple(OPTIMIZERS))
    checks.one_of(OWNER, "schedule", config.schedule, tuple(SCHEDULES))
    checked = {
        "warmup": checks.fraction(OWNER, "warmup", config.warmup),
        "seed": check_seed(OWNER, config.seed),
    }
    for name, check in (
        ("learning_rate", checks.above_zero),
        ("clip_norm", checks.above_zero),
        ("average", checks.fraction),
        ("accumulate", checks.positive_int),
    ):
        if getattr(config, name) is not None:
            checked[name] = check(OWNER, name, getattr(config, name))
    return checked


def check_seed(owner: str, seed) -> int:
    """Return `seed` as an int if it is an integer in [0, 2**32); otherwise raise a ValueError."""
    whole = isinstance(seed, Integral) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 2**32:
        raise ValueError(f"{owner}: seed={seed!r} must be an integer in [0, 2**32).")
    return int(seed)


# In this order: a check reads what those before it completed.
CHECKS = (
    checked_task_fields,
    checked_folders,
    checked_split,
    checked_folds,
    checked_classes,
    checked_mask_values,
    checked_colors,
    checked_model,
    checked_model_options,
    checked_grid,
    checked_detector_fields,
    checked_window,
    checked_duration,
    checked_augment,
    checked_loss,
    checked_optimizer,
)
