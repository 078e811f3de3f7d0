"""Batches that TensorFlow reads where it can, and Python where it cannot."""

import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfseg.data.exit_gate import until_exit
from tfseg.data.native.source import Source

# Python gains nothing from more threads, and batches of large images need memory.
BATCHES_AT_ONCE = min(8, os.cpu_count())


def batch_stage(
    source: Source, specs: dict, native: Callable, python: Callable, place: Callable | None = None
) -> Callable:
    """Return a tf.data stage that reads a batch of samples, with one call of Python per batch.

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

    Returns:
        Function of (B,) tensors of integers, the first of which are the positions of samples. It
        returns a dict of tensors.
    """
    threads = os.cpu_count()
    signature = {name: tf.TensorSpec(shape, dtype) for name, (dtype, shape) in specs.items()}
    dtypes = [dtype for dtype, _ in specs.values()]

    # Prepared once. As a part of the dataset it would be prepared again for every pass.
    @tf.function(autograph=False, reduce_retracing=True)
    def read(*rows):
        arrays, are_sound = tf.map_fn(
            lambda row: native(*row),
            rows,
            fn_output_signature=(signature, tf.TensorSpec([], tf.bool)),
            parallel_iterations=threads,
        )
        return arrays, tf.reduce_all(are_sound)

    def try_read(batch):
        """Return a batch, or None if Python must read it."""
        if not source.ready(batch[0]):
            return None
        rows = batch if place is None else place(*batch)
        try:
            with tf.device("CPU:0"):  # accelerators do not decode, and slices are not worth a copy
                arrays, are_sound = read(*map(tf.constant, rows))
        except tf.errors.OpError:
            return None
        return arrays if are_sound else None

    def load(*batch):
        batch = [integers.numpy() for integers in batch]
        arrays = try_read(batch)
        if arrays is None:
            samples = [python(*integers) for integers in np.stack(batch, axis=1).tolist()]
            arrays = {name: np.stack([sample[name] for sample in samples]) for name in specs}
        return [tf.cast(arrays[name], dtype) for name, (dtype, _) in specs.items()]

    def stage(*batch):
        size = batch[0].shape[0]

        def blank():
            shapes = [[size or 1, *(side or 1 for side in shape)] for _, shape in specs.values()]
            return [tf.zeros(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]

        arrays = tf.py_function(until_exit(load, blank), batch, dtypes)
        for array, spec in zip(arrays, signature.values(), strict=True):
            array.set_shape([size, *spec.shape])
        return dict(zip(specs, arrays, strict=True))

    return stage
