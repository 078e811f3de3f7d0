"""Batches that TensorFlow reads where it can, and Python where it cannot."""

import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfseg.data.exit_gate import until_exit
from tfseg.data.native.source import Source

# Python gains nothing from more threads, and batches of large images need memory.
BATCHES_AT_ONCE = min(8, os.cpu_count())


class BatchReader:
    """A stage of tf.data that reads a batch of samples, with one call of Python per batch.

    Python reads all samples of the batch if TensorFlow is not ready for it, fails, or finds a
    sample that is not as it should be. So there is one place that raises, skips and warns.

    Args:
        source: the `Source` of the samples.
        specs: {name: (dtype, shape)} of what samples contain. None in a shape differs from batch to
            batch.
        native: function of tensors, a row of what `place` returns. It returns a dict of tensors,
            and whether they are as Python would read them.
        python: function of a sample's integers that returns a dict of arrays.
        place: function of the integers of a batch, (B,) arrays, that returns a tuple of arrays with
            a row per sample. None for the integers themselves.
    """

    def __init__(
        self,
        source: Source,
        specs: dict,
        native: Callable,
        python: Callable,
        place: Callable | None = None,
    ):
        self._source, self._native, self._python, self._place = source, native, python, place
        self._specs = {name: tf.TensorSpec(shape, dtype) for name, (dtype, shape) in specs.items()}
        # Traced once. As a part of the dataset it would be traced again for every pass.
        self._read = tf.function(self._read_rows, autograph=False, reduce_retracing=True)

    def __call__(self, *batch):
        """Return a batch as a dict of tensors.

        Args:
            *batch: (B,) tensors of integers, the first of which are the positions of samples.
        """
        size, specs = batch[0].shape[0], self._specs.values()

        def blank():
            shapes = [[size or 1, *(side or 1 for side in spec.shape)] for spec in specs]
            return [tf.zeros(shape, spec.dtype) for shape, spec in zip(shapes, specs, strict=True)]

        dtypes = [spec.dtype for spec in specs]
        arrays = tf.py_function(until_exit(self._load, blank), batch, dtypes)
        for array, spec in zip(arrays, specs, strict=True):
            array.set_shape([size, *spec.shape])
        return dict(zip(self._specs, arrays, strict=True))

    def _load(self, *batch):
        """Return the arrays of a batch in the order of their names."""
        batch = [integers.numpy() for integers in batch]
        arrays = self._try_native(batch)
        if arrays is None:
            samples = [self._python(*integers) for integers in np.stack(batch, axis=1).tolist()]
            arrays = {name: np.stack([sample[name] for sample in samples]) for name in self._specs}
        return [tf.cast(arrays[name], spec.dtype) for name, spec in self._specs.items()]

    def _try_native(self, batch):
        """Return a batch as a dict, or None if Python must read it."""
        if not self._source.ready(batch[0]):
            return None
        rows = batch if self._place is None else self._place(*batch)
        try:
            with tf.device("CPU:0"):  # accelerators do not decode, and slices are not worth a copy
                arrays, are_sound = self._read(*map(tf.constant, rows))
        except tf.errors.OpError:
            return None
        return arrays if are_sound else None

    def _read_rows(self, *rows):
        """Return a batch as a dict, and whether all samples are as Python would read them."""
        arrays, are_sound = tf.map_fn(
            lambda row: self._native(*row),
            rows,
            fn_output_signature=(self._specs, tf.TensorSpec([], tf.bool)),
            parallel_iterations=os.cpu_count(),
        )
        return arrays, tf.reduce_all(are_sound)
