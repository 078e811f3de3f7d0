"""Which samples a pipeline reads, and in which order."""

from itertools import pairwise

import numpy as np
import tensorflow as tf

UNKNOWN = np.iinfo(np.int64).min  # instead of the first step of a pass that has not begun


def batch_ranges(sizes, batch_size: int, pad: bool):
    """Group samples of one size into batches: sizes A B A A and batch size 2 give (0 2) (3) (1).

    Args:
        sizes: (N, 2) heights and widths.
        batch_size: largest number of samples per batch.
        pad: batch samples of different sizes together, in their order.

    Returns:
        The order of the samples, here 0 2 3 1, and lists of where batches start and end in it, here
        0 2 3 and 2 3 4.
    """
    count = len(sizes)
    if pad:
        order, groups = np.arange(count), np.zeros(count, int)
    else:  # padding would change what the model sees at the borders
        groups = np.unique(sizes, axis=0, return_inverse=True)[1].ravel()
        order = np.argsort(groups, kind="stable")
    edges = [0, *(np.flatnonzero(np.diff(groups[order])) + 1).tolist(), count]
    firsts, ends = [], []
    for start, stop in pairwise(edges):
        for first in range(start, stop, batch_size):
            firsts.append(first)
            ends.append(min(first + batch_size, stop))
    return order, firsts, ends


def each_once(sizes, batch_size: int, pad: bool):
    """Return a dataset of the samples of each batch, every sample once, and its length.

    An element is the indices of samples and their numbers in the stream, as of `endless_order`.

    Args:
        sizes, batch_size, pad: see `batch_ranges`.
    """
    order, firsts, ends = batch_ranges(sizes, batch_size, pad)
    order, numbers = tf.constant(order), tf.range(len(order), dtype=tf.int64)
    ranges = tf.data.Dataset.from_tensor_slices((firsts, ends))
    return ranges.map(lambda first, end: (order[first:end], numbers[first:end])), len(firsts)


def endless_order(count: int, batch_size: int, seed: int, first_step: int):
    """Return a dataset of the samples of each step, and its length in steps.

    An element is the (batch_size,) indices of samples and their numbers in the stream. Every pass
    over the dataset is the next epoch. With 5 samples and batches of 2, an epoch has 2 steps:
    numbers 0 to 3 are its samples, and a stream that starts at step 3 begins with number 6, the
    third sample of the second epoch.

    Args:
        count: number of samples.
        batch_size: number of samples per step.
        seed: random seed of the order.
        first_step: number of the step that the first pass begins with.
    """
    steps = max(1, count // batch_size)
    epoch_size = steps * batch_size
    next_pass = tf.Variable(first_step, dtype=tf.int64, trainable=False)

    def shuffled(epoch):
        seeds = tf.stack([tf.constant(seed, tf.int64), epoch])
        indices = tf.random.experimental.stateless_shuffle(
            tf.range(count, dtype=tf.int64), seed=seeds
        )
        # A dataset smaller than one batch repeats itself.
        return tf.tile(indices, [-(-epoch_size // count)])[:epoch_size]

    def begin():
        start = next_pass.assign_add(steps) - steps
        first, epoch = start % steps * batch_size, start // steps
        indices = tf.concat([shuffled(epoch), shuffled(epoch + 1)], 0)[first : first + epoch_size]
        return start, tf.ensure_shape(indices, [epoch_size])

    def next_batch(state, step):
        # The state of a pass begins with its first element: a worker of the tf.data service may see
        # any part of the steps.
        start, indices = tf.cond(state[0] == UNKNOWN, begin, lambda: state)
        first = step * batch_size
        numbers = start * batch_size + first + tf.range(batch_size, dtype=tf.int64)
        batch = tf.ensure_shape(indices[first : first + batch_size], [batch_size])
        return (start, indices), (batch, numbers)

    state = tf.constant(UNKNOWN, tf.int64), tf.zeros([epoch_size], tf.int64)
    plain = tf.autograph.experimental.do_not_convert(next_batch)
    return tf.data.Dataset.range(steps).scan(state, plain), steps
