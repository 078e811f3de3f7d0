"""Batches of samples that TensorFlow reads, as a stage of tf.data without Python."""

import os
from collections.abc import Callable

import tensorflow as tf

from tfseg.data.native.source import SOUND, UNREADABLE, Source


class BatchReader:
    """A stage of tf.data that reads the samples of a batch in parallel.

    A sample that cannot be read as it should be ends the stream, with an error that names it.

    Args:
        source: the `Source` of the samples.
        make: function of tensors, a row of what `place` returns. It returns a sample as a dict of
            tensors, and what is wrong with it, see `Source.read`.
        specs: {name: (dtype, shape)} of what samples contain. None in a shape differs from batch to
            batch.
        place: function of the integers of a batch, (B,) tensors, that returns a tuple of tensors
            with a row per sample. None for the integers themselves.
    """

    def __init__(self, source: Source, make: Callable, specs: dict, place: Callable | None = None):
        self._source, self._make, self._specs, self._place = source, make, specs, place

    def __call__(self, indices, *integers):
        """Return a batch as a dict of tensors.

        Args:
            indices: (B,) positions of samples.
            *integers: (B,) tensors that `place` takes beside them.
        """
        rows = (indices, *integers)
        rows = rows if self._place is None else self._place(*rows)
        batch, problems, places = self._read(rows)
        with tf.control_dependencies([self._require_sound(indices, problems, places)]):
            return {
                name: tf.ensure_shape(batch[name], [indices.shape[0], *shape])
                for name, (_, shape) in self._specs.items()
            }

    def _read(self, rows):
        """Return the samples that can be read, their problems, and their rows (n,) in the batch.

        If there is none, there is a blank sample of row -1.
        """
        count = tf.shape(rows[0])[0]
        samples = tf.data.Dataset.from_tensor_slices((rows, tf.range(count)))
        samples = samples.map(
            tf.autograph.experimental.do_not_convert(self._sample),
            num_parallel_calls=os.cpu_count(),
            deterministic=True,
        )
        # A graph cannot catch errors, but a dataset can leave out the elements that raise them.
        batch = samples.ignore_errors(log_warning=True).batch(tf.cast(count, tf.int64))
        blank = {
            name: tf.zeros([1 if side is None else side for side in shape], dtype)
            for name, (dtype, shape) in self._specs.items()
        }
        nothing = tf.data.Dataset.from_tensors((blank, UNREADABLE, -1)).batch(1)
        options = tf.data.Options()
        options.autotune.enabled = False
        options.experimental_optimization.apply_default_optimizations = False
        return batch.concatenate(nothing).take(1).with_options(options).get_single_element()

    def _sample(self, row, place):
        sample, problem = self._make(*row)
        return (
            {
                name: tf.ensure_shape(tf.cast(sample[name], dtype), shape)
                for name, (dtype, shape) in self._specs.items()
            },
            problem,
            place,
        )

    def _require_sound(self, indices, problems, places):
        """Return an operation that raises an error unless all samples are as they should be."""
        rows = tf.range(tf.shape(indices)[0])
        # The problem of each row; those left out are unreadable.
        found = tf.where(
            tf.reduce_any(rows[:, None] == places, axis=1),
            tf.math.unsorted_segment_max(problems, places, tf.size(rows)),
            UNREADABLE,
        )
        first = tf.argmax(found != SOUND)
        text = self._source.describe(indices[first], found[first])
        return tf.debugging.Assert(tf.reduce_all(found == SOUND), [text])
