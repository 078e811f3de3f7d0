"""Batches of samples that TensorFlow reads."""

import tensorflow as tf

from tfseg.data.augment import Augment
from tfseg.data.loading import PIECE_FIELDS, Loader
from tfseg.data.native.batch_reader import BatchReader
from tfseg.data.native.pieces import piece_cutter, piece_placer
from tfseg.data.native.source import Source

BATCHES_AT_ONCE = 2  # the samples of each batch are read in parallel, too


def read_by_tensorflow(
    order: tf.data.Dataset, loader: Loader, source: Source, augment: Augment | None, seed: int
) -> tf.data.Dataset:
    """Return the dataset of the batches: dicts of whole samples, or of augmented crops.

    Args:
        order: the (B,) indices of samples and their (B,) numbers in the stream, for each batch.
        loader: the `Loader` of the samples.
        source: their `Source`.
        augment: an `Augment`, or None for whole samples.
        seed: random seed of the augmentation.
    """
    if augment is None:
        read = BatchReader(source, source.sample, loader.specs(loader.sides))
        return _mapped(order, lambda indices, numbers: read(indices))
    sampler = augment.crop_sampler
    sides = loader.piece_sides(sampler)
    read = BatchReader(
        source,
        piece_cutter(source.read, sampler, sides),
        loader.specs(sides, PIECE_FIELDS),
        piece_placer(sampler, loader.sizes, sides, seed),
    )
    return _mapped(_mapped(order, read), lambda batch: augment(batch, batch.pop("key")))


def _mapped(dataset, function):
    """Return the dataset of the results of a function of tensors."""
    plain = tf.autograph.experimental.do_not_convert(function)
    return dataset.map(plain, num_parallel_calls=BATCHES_AT_ONCE, deterministic=True)
