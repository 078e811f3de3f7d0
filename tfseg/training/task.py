"""What a training does differently for each task: the base class, and what all tasks share."""

from pathlib import Path

import keras
import numpy as np

from tfseg.data import pipeline
from tfseg.training.config import TrainConfig
from tfseg.training.fit_checks import takes_0_255
from tfseg.training.length import TrainingLength
from tfseg.training.open_data import CheckedData, sample_names
from tfseg.training.presets import require_outputs
from tfseg.training.record import DataFacts


class Task:
    """The parts of a training that depend on its task; `train` calls the methods in this order.

    Args:
        config: the `TrainConfig`.
        model: a network with the initial weights, or None to build the one of the config.

    Attributes:
        config: the config; if there is a `model`, it names none.

    Raises:
        ValueError, ImportError, FileNotFoundError: the network or its weights cannot be used; it
            is raised before images are read.
    """

    def __init__(self, config: TrainConfig, model: keras.Model | None = None):
        self._model = model
        self.config = self._checked_config(config)

    def _checked_config(self, config):
        """Return the config for a network that is passed (without its name) or built."""
        raise NotImplementedError

    def class_names(self, reader) -> list[str]:
        """Return the names that the config's `class_names` stand for."""
        raise NotImplementedError

    def check_classes(self, reader) -> None:
        """Raise a ValueError if the classes of the training reader do not fit config and model."""
        raise NotImplementedError

    def find_facts(self, data: CheckedData) -> DataFacts:
        """Return what was found in the samples to train and to validate on."""
        raise NotImplementedError

    def build_model(self, facts: DataFacts) -> keras.Model:
        """Build the network that the config describes, with its initial weights."""
        raise NotImplementedError

    def training_batches(self, facts, train, augment, first_step=0):
        """Return the augmented batches of the training reader, from a step on."""
        return pipeline(
            train,
            self.config.batch_size,
            augment,
            self.config.seed,
            first_step=first_step,
            cache=self._cache("train"),
            value_range=range_of_images(facts),
            max_objects=facts.max_objects,
        )

    def with_targets(self, batches, model: keras.Model, train):
        """Return training batches with the targets of the model instead of the labels.

        Args:
            batches: what `training_batches` returned.
            model: the network.
            train: the training reader.
        """
        return batches

    def validation_batches(self, facts, val):
        """Return batches that contain every validation image once; None for no validation loss."""
        raise NotImplementedError

    def compile(self, facts: DataFacts, model: keras.Model, length: TrainingLength) -> None:
        """Compile a network for a training of this length."""
        raise NotImplementedError

    def callbacks(self, facts: DataFacts, val) -> list:
        """Return the Keras callbacks that score each epoch on the validation reader."""
        return []

    def explain(self, batches, reader, model) -> str:
        """Return what is wrong with the first faulty batch, or that all are sound."""
        raise NotImplementedError

    def _require_usable(self):
        """Refuse a model that is passed and cannot be trained as the config says."""
        require_outputs("train", self._model)

    def _require_unplanned(self, config):
        """Refuse a compiled model if the minutes determine its learning-rate schedule."""
        if self._model.compiled and config.minutes is not None:
            raise ValueError(
                f"train: minutes={config.minutes} sets the learning-rate schedule, but the model "
                "is compiled already. Pass it uncompiled, or set epochs."
            )

    def _takes_0_255(self):
        """Whether the model that was passed is known to normalize 0..255."""
        return self._model is not None and takes_0_255(self._model)

    def _cache(self, part):
        if self.config.cache in (None, "memory"):
            return self.config.cache
        return str(Path(self.config.cache) / part)  # a cache contains the samples of one reader


def common_facts(data: CheckedData) -> dict:
    """Return the arguments of `DataFacts` that all tasks have, except the names of the classes."""
    train, val, summary, val_summary = data.train, data.val, data.summary, data.val_summary
    return {
        "channels": train.channels,
        "dtype": train.dtype.name,
        "train_names": sample_names(train),
        "val_names": sample_names(val),
        "mean": summary.mean,
        "std": summary.std,
        "median_weights": summary.class_weights,
        "class_pixels": np.asarray(summary.class_pixels).tolist(),
        "ignored_pixels": int(summary.ignored_pixels),
        "val_class_pixels": np.asarray(val_summary.class_pixels).tolist(),
        "val_ignored_pixels": int(val_summary.ignored_pixels),
        "value_range": summary.value_range,
    }


def normalization_options(config: TrainConfig, facts: DataFacts, has_encoder: bool) -> dict:
    """Return the `normalization` argument of a network's function, if it is not the default.

    A network without an encoder, or for images that do not have 8 bits, normalizes with the mean
    and std of the training images; otherwise the encoder gets what it was trained on.
    """
    if config.normalization == "image":
        return {"normalization": "image"}
    if not has_encoder or facts.dtype != "uint8":
        return {"normalization": (facts.mean, facts.std)}
    return {}


def range_of_images(facts: DataFacts):
    """Return the range of the training images for the pipelines; None for 8 bits: 0..255."""
    if facts.dtype == "uint8" or facts.value_range is None:
        return None
    low, high = facts.value_range
    return (low, high) if low < high else None
