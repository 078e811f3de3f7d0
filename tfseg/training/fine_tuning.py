"""Trainings that begin with the weights of an earlier run: `TrainConfig(init_from=)`."""

import hashlib
from dataclasses import replace

import keras
import numpy as np

from tfseg.data.value_range import range_warning
from tfseg.training.config import TrainConfig
from tfseg.training.record import DataFacts
from tfseg.training.run import Run

# fields of the network, which the weights were trained for
NETWORK_FIELDS = (
    *("task", "model", "head", "grid", "layout", "size", "anchor_sizes", "anchor_ratios"),
    *("encoder", "filters", "normalization"),
)
# layers with channels of their own for each class: their number per class
CLASS_LAYERS = {"classes": 1, "class_logits": 1, "box_deltas": 4, "mask_logits": 1}
SAMPLE_FIELDS = ("images", "val_images")


class Source:
    """The run whose weights a training begins with.

    Args:
        config: the `TrainConfig` of the training; `init_from` is the folder of the run.

    Raises:
        FileNotFoundError: the folder contains no run, or one without a complete epoch.
        ValueError: the run has another network.
    """

    def __init__(self, config: TrainConfig):
        self._config, self._run = config, Run(config.init_from)
        self._record = self._run.record
        self._require_same_network()
        if not self._run.best.is_file():
            raise FileNotFoundError(
                f"'{config.init_from}' contains no model yet: its first epoch has not ended."
            )

    def _require_same_network(self):
        run, source = self._config.init_from, self._record.config
        if not source.names_network:
            raise ValueError(
                f"'{run}' was trained with a network that a script built. Load it with "
                f"`tfseg.training.Run({run!r}).model()`, and pass it to `train` in Python."
            )
        for name in NETWORK_FIELDS:
            before, now = getattr(source, name), getattr(self._config, name)
            if before != now:
                raise ValueError(
                    f"The run '{run}' has {name}={before!r}, but this training has {name}={now!r}, "
                    f"for which its weights are not made. Pass {name}={before!r}, or begin without "
                    "that run."
                )

    def selection(self) -> DataFacts | None:
        """Return which samples to open: those of the run, if the images are the same."""
        config = self._config
        for name in SAMPLE_FIELDS:
            if getattr(config, name) != getattr(self._record.config, name):
                return None
        # masks and classes as this config says
        return replace(
            self._record.data,
            mask_values=config.mask_values,
            object_names=config.class_names,
            label_names=None,
        )

    def adapted(self, facts: DataFacts) -> DataFacts:
        """Return what was found in the data, with the run's mean and std for the normalization.

        Raises:
            ValueError: the images have other channels, another depth or another range than those
                of the run.
        """
        before, run = self._record.data, self._config.init_from
        if facts.channels != before.channels:
            raise ValueError(
                f"The run '{run}' was trained on images with {before.channels} channels, but these "
                f"images have {facts.channels}. Convert them, or begin without that run."
            )
        if self._config.normalization == "image":  # the network takes any range
            return facts
        if facts.dtype != before.dtype:
            raise ValueError(
                f"The run '{run}' was trained on {before.dtype} images, but these images are "
                f"{facts.dtype}: their values have another meaning. Convert them, or begin without "
                "that run."
            )
        if facts.dtype != "uint8" and facts.value_range and before.value_range:
            text = range_warning(*facts.value_range, before.value_range, f"The run '{run}'")
            if text is not None:
                raise ValueError(text)
        return replace(facts, mean=before.mean, std=before.std)

    def copy_weights(self, model: keras.Model, facts: DataFacts) -> dict:
        """Copy the weights of the run's best epoch; classes of new names keep their random ones.

        Args:
            model: the network, changed in place.
            facts: what was found in the data of the training.

        Returns:
            dict for `run.json`: the run, its best epoch, the sha256 of the file of its weights, and
            the names of the classes that are "kept", "new" and "dropped".
        """
        before, after = channel_names(self._record.data), channel_names(facts)
        trained = {v.path: _array(v) for v in self._run.model(tuned=False).weights}
        for variable in model.weights:
            if variable.path in trained:
                variable.assign(_merged(variable, trained[variable.path], before, after))
        return {
            "run": str(self._run.folder),
            "epoch": self._run.best_epoch(),
            "weights": hashlib.sha256(self._run.best.read_bytes()).hexdigest(),
            "kept": [name for name in after if name in before],
            "new": [name for name in after if name not in before],
            "dropped": [name for name in before if name not in after],
        }


def channel_names(facts: DataFacts) -> list:
    """Return the names of the classes that have channels of their own in the network's output."""
    if facts.thing_ids is not None:
        return facts.label_names
    return facts.object_names or facts.class_names


def _array(variable):
    """Return the value of a variable, as an array to change."""
    return np.array(keras.ops.convert_to_numpy(variable))


def _merged(variable, trained, before, after):
    """Return a trained array in which the channels of classes are those of other classes.

    Args:
        variable: with the values for new classes.
        trained: array of the same shape, except for the number of classes on the last axis.
        before, after: names of the classes of `trained` and of `variable`.
    """
    per_class = CLASS_LAYERS.get(variable.path.split("/")[-2])
    if per_class is None:
        return trained
    merged = _array(variable)
    old, new = (
        array.reshape(*array.shape[:-1], -1, per_class) for array in (trained, merged)
    )  # views
    backgrounds = old.shape[-2] - len(before), new.shape[-2] - len(after)
    if backgrounds == (1, 1):
        new[..., 0, :] = old[..., 0, :]
    for index, name in enumerate(after):
        if name in before:
            place = backgrounds[0] + before.index(name)
            new[..., backgrounds[1] + index, :] = old[..., place, :]
    return merged
