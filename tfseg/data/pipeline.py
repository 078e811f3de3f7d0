"""From a reader to batches for `model.fit` and `model.evaluate`."""

import os

import numpy as np
import tensorflow as tf

from tfseg import checks
from tfseg.checks import IGNORE_INDEX


def pipeline(reader, batch_size=8, augment=None, seed=0, first_epoch=0):
    """Batches of (image, mask) as a `tf.data.Dataset`.

    With `augment`, a training stream: a new order every epoch, full batches of augmented windows. The seed and
    the number of the epoch fix every random choice, so a stream that starts at `first_epoch` continues a broken
    one exactly. Without it, an evaluation stream: every sample once, whole, images of one size to a batch.

    Args:
        reader: a `Reader`.
        batch_size: images in a batch.
        augment: an `Augment`, or None.
        seed: of the order and the augmentation.
        first_epoch: number of the epoch that the first pass over the dataset gives.

    Returns:
        tf.data.Dataset of (B, H, W, C) images, float32 or the reader's dtype, and (B, H, W) uint8 masks.
    """
    checks.positive_int("pipeline", "batch_size", batch_size)
    if augment is None:
        return _whole_images(reader, batch_size)
    return _windows(reader, batch_size, augment, seed, first_epoch)


def _read(reader):
    """Stage: index -> (image, mask)."""

    def load(index):
        sample = reader[int(index)]
        return sample["image"], sample["mask"]

    def stage(index):
        image, mask = tf.numpy_function(load, [index], [tf.as_dtype(reader.dtype), tf.uint8], stateful=False)
        image.set_shape((None, None, reader.channels))
        mask.set_shape((None, None))
        return image, mask

    return stage


def _whole_images(reader, batch_size):
    """Batches of one size each, for padding would change what the network sees at the edges."""
    read = _read(reader)
    groups = np.unique(reader.sizes, axis=0, return_inverse=True)[1].ravel()
    order = np.argsort(groups, kind="stable")
    ends_group = np.flatnonzero(np.diff(groups[order])) + 1
    runs = np.split(np.arange(len(order)), ends_group)
    first, last = zip(
        *((run[i], run[min(i + batch_size, len(run)) - 1] + 1) for run in runs for i in range(0, len(run), batch_size)),
        strict=True,
    )

    def batch(start, stop):
        samples = tf.data.Dataset.from_tensor_slices(tf.constant(order)[start:stop])
        return samples.map(read, num_parallel_calls=os.cpu_count()).batch(batch_size)

    dataset = tf.data.Dataset.from_tensor_slices((list(first), list(last)))
    dataset = dataset.interleave(batch, cycle_length=2, num_parallel_calls=2, deterministic=True)
    return _finish(dataset, len(first))


def _windows(reader, batch_size, augment, seed, first_epoch):
    steps = max(1, len(reader) // batch_size)
    epoch = tf.Variable(first_epoch, dtype=tf.int64, trainable=False)
    read = _read(reader)

    def order(_):
        # Runs at the start of every pass over the dataset.
        current = epoch.assign_add(1) - 1
        indices = tf.random.experimental.stateless_shuffle(
            tf.range(len(reader), dtype=tf.int64), seed=tf.stack([tf.constant(seed, tf.int64), current])
        )
        rounds = -(-steps * batch_size // len(reader))  # a set smaller than one batch repeats itself
        indices = tf.tile(indices, [rounds])[: steps * batch_size]
        numbers = current * steps * batch_size + tf.range(steps * batch_size, dtype=tf.int64)
        return tf.data.Dataset.from_tensor_slices((indices, numbers))

    def window(index, number):
        image, mask = read(index)
        draws = tf.random.stateless_uniform((2,), tf.stack([tf.constant(seed, tf.int64) + 1, number]))
        return (*_fit_canvas(image, mask, augment.canvas, draws), number)

    def warp(images, masks, extents, numbers):
        return augment(images, masks, tf.stack([tf.constant(seed, tf.int64) + 2, numbers[0]]), extents)

    dataset = tf.data.Dataset.range(1).flat_map(order)
    dataset = dataset.map(window, num_parallel_calls=os.cpu_count())
    dataset = dataset.batch(batch_size, drop_remainder=True).map(warp)
    return _finish(dataset, steps)


def _finish(dataset, steps):
    options = tf.data.Options()
    # The tuner's thread sleeps ever longer, up to a minute, and TensorFlow 2.21 waits for it to wake when an epoch's
    # iterator ends: `fit` stood still for 8 to 50 s after the last step. Nothing here is left to be tuned.
    options.autotune.enabled = False
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps))
    return dataset.prefetch(2).with_options(options)


def _fit_canvas(image, mask, canvas, draws):
    """Cut a random piece of at most `canvas` out of a sample, at the top left of a canvas-sized array.

    Pictures of all sizes reach the compiled kernel in one shape: XLA compiles once.

    Returns:
        image (height, width, C), mask (height, width) filled up with the ignored value, and the piece's own size (2,).
    """
    size = tf.shape(mask)
    piece = tf.minimum(size, canvas)
    corner = tf.cast(draws * tf.cast(size - piece + 1, tf.float32), tf.int32)
    corner = tf.minimum(corner, size - piece)
    image = image[corner[0] : corner[0] + piece[0], corner[1] : corner[1] + piece[1]]
    mask = mask[corner[0] : corner[0] + piece[0], corner[1] : corner[1] + piece[1]]
    rows, columns = canvas[0] - piece[0], canvas[1] - piece[1]
    image = tf.pad(image, [[0, rows], [0, columns], [0, 0]])
    mask = tf.pad(mask, [[0, rows], [0, columns]], constant_values=IGNORE_INDEX)
    image.set_shape((*canvas, image.shape[-1]))
    mask.set_shape(canvas)
    return image, mask, piece
