"""Losses and weights that are NaN or infinite: the error that ends the training, and its cause."""

from functools import partial

import keras
import numpy as np

SAMPLES_SHOWN = 3
VALUES_SHOWN = 8


class NonFiniteLossError(ValueError):
    """The loss of a training or validation step is NaN or infinite, or the weights after it are.

    Attributes:
        epoch: number of the epoch, from 0.
        batch: number of the training step in it, from 0; None for a validation.
    """

    def __init__(self, message: str, epoch: int, batch: int | None):
        super().__init__(message)
        self.epoch, self.batch = epoch, batch


def has_finite_weights(model: keras.Model) -> bool:
    """Whether no weight of a model is NaN or infinite.

    After the last step of an epoch no loss tells it: that of the next step would.
    """
    weights = map(keras.ops.convert_to_numpy, model.weights)
    return all(np.isfinite(weight).all() for weight in weights)


def explain_batches(batches, reader, model) -> str:
    """Return what is wrong with the first faulty batch, or that all are sound.

    Args:
        batches: iterable of (image, mask) batches, or (image, dict of labels).
        reader: the `Reader` behind them, to name samples.
        model: the model with its number of classes.
    """
    classes = max(model.outputs[0].shape[-1], 2)
    found = "There was no batch."
    for images, labels, *_ in batches:
        masks = labels["mask"] if isinstance(labels, dict) else labels
        images, masks = np.asarray(images), np.asarray(masks)
        faults = image_faults(images) + mask_faults(masks, classes, reader.ignore_index)
        if faults:
            faults_of = partial(_mask_sample_faults, classes, reader.ignore_index)
            return " ".join(faults) + _name_samples(reader, faults_of)
        found = (
            f"The data of that step are sound: images from {images.min():g} to {images.max():g}, "
            f"labels {_list_values(np.unique(masks))}."
        )
    return found


def image_faults(images) -> list[str]:
    """Return what is wrong with the values of images, as sentences."""
    if np.issubdtype(images.dtype, np.integer) or np.isfinite(images).all():
        return []
    count = int((~np.isfinite(images)).sum())
    return [f"The images have {count} values that are NaN or infinite. Replace them."]


def mask_faults(masks, classes: int, ignore_index: int) -> list[str]:
    """Return what is wrong with the labels of masks, as sentences.

    Args:
        masks: array of class ids.
        classes: number of classes that the model tells apart.
        ignore_index: the label of ignored pixels.
    """
    values = np.unique(masks)
    wrong = values[~np.isin(values, [*range(classes), ignore_index])]
    if not len(wrong):
        return []
    return [
        f"The masks have the labels {_list_values(wrong)}; expected 0 to {classes - 1}, or "
        f"{ignore_index} for ignored pixels. Translate them in the reader, for example with "
        "mask_values={value: class id}, or build the model with more classes."
    ]


def explain_object_batches(batches, reader, classes: int) -> str:
    """Return what is wrong with the first faulty batch of objects, or that all are sound.

    Args:
        batches: iterable of (image, dict of "boxes" and "classes") batches.
        reader: the `Reader` behind them, to name samples.
        classes: number of object categories.
    """
    found = "There was no batch."
    for images, labels, *_ in batches:
        images, boxes = np.asarray(images), np.asarray(labels["boxes"])
        ids = np.asarray(labels["classes"])
        faults = image_faults(images) + object_faults(boxes, ids, classes)
        if faults:
            return " ".join(faults) + _name_samples(reader, partial(_object_sample_faults, classes))
        present = np.unique(ids[ids >= 0])
        objects = f"objects of the classes {_list_values(present)}" if len(present) else "no object"
        found = (
            f"The data of that step are sound: images from {images.min():g} to {images.max():g}, "
            f"{objects}."
        )
    return found


def object_faults(boxes, ids, classes: int) -> list[str]:
    """Return what is wrong with boxes and their classes, as sentences.

    Args:
        boxes: (..., 4) x_min, y_min, x_max, y_max in pixels.
        ids: (...) category ids, -1 for padding.
        classes: number of categories.
    """
    faults = []
    broken = ~np.isfinite(boxes).all(-1) & (ids != -1)
    if broken.any():
        faults.append(f"Boxes that are NaN or infinite: {int(broken.sum())}. Correct them.")
    wrong = np.unique(ids[(ids < -1) | (ids >= classes)])
    if len(wrong):
        faults.append(
            f"The objects have the classes {_list_values(wrong)}; expected 0 to {classes - 1}. "
            "Correct the labels, or build the model with more classes."
        )
    return faults


def _mask_sample_faults(classes, ignore_index, sample):
    mask = np.asarray(sample["mask"])
    return image_faults(np.asarray(sample["image"])) + mask_faults(mask, classes, ignore_index)


def _object_sample_faults(classes, sample):
    boxes, ids = np.asarray(sample["boxes"]), np.asarray(sample["classes"])
    return image_faults(np.asarray(sample["image"])) + object_faults(boxes, ids, classes)


def _name_samples(reader, faults_of):
    """Return a sentence with the names of the first samples of a reader that have faults."""
    names = []
    for index in range(len(reader)):
        if faults_of(reader[index]):
            names.append(reader.name(index))
        if len(names) == SAMPLES_SHOWN:
            break
    return f" The first such samples: {', '.join(names)}." if names else ""


def _list_values(values):
    shown = ", ".join(_text(value) for value in values[:VALUES_SHOWN].tolist())
    return f"{shown}, ..." if len(values) > VALUES_SHOWN else shown


def _text(value):
    is_whole = isinstance(value, int) or value.is_integer()
    return str(int(value)) if is_whole else f"{value:g}"
