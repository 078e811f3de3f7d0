"""Pixels of each image counted by true and predicted class."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from keras import ops

from tfseg.data import pipeline
from tfseg.data.sample_order import batch_ranges
from tfseg.inference.predictor import logits_of
from tfseg.ops import class_counts, confusion_matrix, split_labels, top_class


class PixelCounts:
    """Counts of the pixels of a dataset, in total and of each image.

    Args:
        model: a model of `tfseg.models`.
        reader: a `tfseg.data.Reader` with masks.

    Attributes:
        matrix: (C, C) int64; rows are true classes, columns predicted classes.
        of_images: (3, N, C) int64: true positives, false positives and false negatives of each
            class, in the order of the reader.
        invalid: number of pixels whose labels are neither classes nor ignored.
    """

    def __init__(self, model, reader):
        classes = max(reader.num_classes, 2)
        self._model, self._reader = model, reader
        self.matrix = np.zeros((classes, classes), np.int64)
        self.of_images = np.zeros((3, len(reader), classes), np.int64)
        self.invalid = 0

    def add_batches(self, batch_size: int, track: Callable) -> None:
        """Count all images, in batches of images of one size.

        Args:
            batch_size, track: see `evaluate`.
        """
        batches = pipeline(self._reader, batch_size)
        order, starts, ends = batch_ranges(self._reader.sizes, batch_size, pad=False)

        @tf.function(input_signature=batches.element_spec)
        def count(images, labels):
            masks = labels["mask"] if isinstance(labels, dict) else labels
            return self._count(masks, self._model(images, training=False))

        # TensorFlow warns of retracing at the fifth evaluation if the function is called directly
        count = count.get_concrete_function()
        indices = [order[start:end] for start, end in zip(starts, ends, strict=True)]
        for batch, of_batch in zip(track(batches, len(batches)), indices, strict=True):
            self._add(of_batch, *count(*batch))

    def add_images(self, resize, window, track: Callable) -> None:
        """Count all images one at a time, as `predict_logits` predicts them.

        Args:
            resize, window, track: see `evaluate`.
        """
        for index in track(range(len(self._reader)), len(self._reader)):
            sample = self._reader[index]
            owner = f"evaluate: {self._reader.name(index)}"
            logits = logits_of(self._model, sample["image"], resize, window, owner=owner)
            self._add([index], *self._count(sample["mask"][None], logits[None]))

    def _count(self, masks, logits):
        """Return the matrix and the counts of a batch, and its number of invalid pixels."""
        num_classes = self._reader.num_classes
        if logits.shape[-1] != num_classes:
            raise ValueError(
                f"evaluate: the model has {logits.shape[-1]} output channels, but the masks have "
                f"{num_classes} classes. Use the model that was trained on these classes."
            )
        classes, ignored = max(num_classes, 2), self._reader.ignore_index
        labels, valid, invalid = split_labels(ops.convert_to_tensor(masks), 3, classes, ignored)
        predicted = top_class(ops.convert_to_tensor(logits))
        matrices = confusion_matrix(labels, predicted, classes, valid, per_image=True)
        tp, fp, fn, _ = class_counts(matrices)
        invalid = ops.sum(ops.cast(invalid, "int64"))
        return ops.sum(ops.cast(matrices, "int64"), axis=0), ops.stack([tp, fp, fn]), invalid

    def _add(self, indices, matrix, counts, invalid):
        self.matrix += np.asarray(matrix)
        self.of_images[:, indices] = np.asarray(counts)
        self.invalid += int(invalid)
