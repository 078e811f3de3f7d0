"""What `run.json` contains: the config, the data that was found, and the defaults relied on."""

import hashlib
import json
import warnings
from dataclasses import asdict, dataclass

import keras
import numpy as np
import tensorflow as tf

import tfseg
from tfseg.training.config import TrainConfig
from tfseg.training.length import TrainingLength

SCHEMA = 1
# Not part of what is trained: Keras numbers names within a process ("dice" becomes "dice_1"), and
# modules may move.
INCIDENTAL = {"name", "module", "shared_object_id"}


@dataclass(frozen=True)
class DataFacts:
    """What a training found in its data.

    Attributes:
        class_names: names of the classes, in the order of their ids.
        channels: number of channels of the images.
        dtype: of the images, such as "uint8".
        mask_values: {value on disk: class id}; None for readers that have no files.
        train_names, val_names: names of the samples.
        mean, std: one number per channel, over the training images.
        median_weights: one weight per class, by median frequency balancing.
        class_pixels, val_class_pixels: number of pixels per class of the masks.
        ignored_pixels, val_ignored_pixels: number of unlabeled pixels.
        window: side of the windows for larger images; None to process images whole.
        value_range: [lowest, highest] value of the training images; None in runs of older versions.
        object_names: names of the object categories, counted from 0. This and what follows is None
            in runs on masks of classes.
        object_counts, val_object_counts: number of objects per category, without crowds.
        anchor_coverage: fraction of the training objects that the anchors overlap at an IoU of 0.5
            or more.
        max_objects: number of objects per training image that are used.
        label_names, thing_ids: names of the ids in masks, and the ids of the object categories, for
            a model that predicts stuff, too; `thing_ids` is None for others.
    """

    class_names: list
    channels: int
    dtype: str
    mask_values: dict | None
    train_names: list
    val_names: list
    mean: list
    std: list
    median_weights: list
    class_pixels: list
    ignored_pixels: int
    val_class_pixels: list
    val_ignored_pixels: int
    window: int | None
    value_range: list | None = None
    object_names: list | None = None
    object_counts: list | None = None
    val_object_counts: list | None = None
    anchor_coverage: float | None = None
    max_objects: int | None = None
    label_names: list | None = None
    thing_ids: list | None = None


@dataclass(frozen=True)
class RunRecord:
    """The content of `run.json`.

    Attributes:
        config: the `TrainConfig`. If `train` got a compiled model, it did not use the fields of
            the optimizer, the schedule and the loss: `resolved` has the real ones.
        data: what was found in the data.
        length: how long the training takes.
        resolved: optimizer and loss with all their arguments, and a digest of the architecture.
        versions: {package: version}.
        origin: the run whose weights the training began with, see `Source.copy_weights`, or None.
    """

    config: TrainConfig
    data: DataFacts
    length: TrainingLength
    resolved: dict
    versions: dict
    origin: dict | None = None

    def to_json(self) -> str:
        """Return the record as JSON."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, file) -> "RunRecord":
        """Return the record that `to_json` wrote into `file`.

        Raises:
            ValueError: the text is damaged, or has another schema.
        """
        try:
            values = json.loads(text)
            schema = values.get("schema")
        except (ValueError, AttributeError) as error:
            raise _damaged(file, error) from error
        if schema != SCHEMA:
            raise ValueError(
                f"{file} has schema {schema}, but tfseg {tfseg.__version__} reads schema {SCHEMA}. "
                "Use the version of tfseg that wrote it, or start a new run in another folder."
            )
        try:
            return cls._from_values(values)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _damaged(file, error) from error

    @classmethod
    def _from_values(cls, values):
        data = values["data"]
        if data["mask_values"] is not None:  # JSON turns keys into strings
            data["mask_values"] = {int(value): i for value, i in data["mask_values"].items()}
        key = "length" if "length" in values else "plan"  # as older versions named it
        return cls(
            config=TrainConfig(**values["config"]),
            data=DataFacts(**data),
            length=TrainingLength(**values[key]),
            resolved=values["resolved"],
            versions=values["versions"],
            origin=values.get("origin"),
        )

    def require_same_defaults(self, current: "RunRecord") -> None:
        """Check that training would go on as it began.

        Args:
            current: the record that a new run with this config would have now.

        Raises:
            ValueError: a default that the run relied on has changed.

        Warns:
            UserWarning: package versions differ.
        """
        before, now = _flatten(self.resolved), _flatten(current.resolved)
        changes = [
            f"{name} was {value!r}, is {now.get(name)!r}"
            for name, value in before.items()
            if now.get(name) != value
        ]
        began = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        if changes:
            raise ValueError(
                f"The run in '{self.config.out}' cannot be resumed, because defaults that it "
                f"relied on have changed: {'; '.join(changes)}. It began with {began}. Use these "
                "versions, or start a new run."
            )
        if self.versions != current.versions:
            warnings.warn(
                f"The run in '{self.config.out}' began with {began}; resuming it with other "
                "versions may change the results.",
                stacklevel=3,
            )


def _damaged(file, error):
    return ValueError(f"{file} is damaged ({type(error).__name__}: {error}). Start a new run.")


def package_versions() -> dict:
    """Return {package: version} of the packages that determine a training."""
    return {
        "tfseg": tfseg.__version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
    }


def resolved_defaults(model: keras.Model) -> dict:
    """Return what a compiled model trains with, in plain values for JSON.

    Returns:
        dict: "architecture", a sha256 of the layers and their connections; "optimizer" and "loss"
        with all their arguments.
    """
    serialize = keras.saving.serialize_keras_object
    return {
        "architecture": _architecture_digest(model),
        "optimizer": _essential(serialize(model.optimizer)),
        "loss": _essential(keras.tree.map_structure(serialize, model.loss)),
    }


def _architecture_digest(model):
    # by position, since Keras numbers the default names of layers and operations too
    names = {}
    for operation in _operations(model):
        names.setdefault(operation.name, f"operation{len(names)}")
    text = json.dumps(_essential(model.get_config(), names), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _operations(part):
    """Yield a model or layer and what it contains: layers, and operations such as x + 1.0."""
    yield part
    for child in getattr(part, "operations", None) or getattr(part, "_layers", ()):
        yield from _operations(child)


def _essential(value, names=None):
    """Return a nested config as plain values for JSON, without what is incidental.

    Args:
        value: config of Keras objects.
        names: {name of a layer or operation: name to write instead}.
    """
    names = names or {}
    if isinstance(value, dict):
        kept = {key: part for key, part in value.items() if key not in INCIDENTAL}
        return {key: _essential(part, names) for key, part in kept.items()}
    if isinstance(value, list | tuple):
        return [_essential(part, names) for part in value]
    if isinstance(value, str):
        return names.get(value, value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)


def _flatten(value, prefix=""):
    """Return {dotted name: value} of nested dicts and lists."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {prefix: value}
    flat = {}
    for name, part in items:
        flat |= _flatten(part, f"{prefix}.{name}" if prefix else str(name))
    return flat
