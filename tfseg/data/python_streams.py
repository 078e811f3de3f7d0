"""Batches of samples that Python reads."""

import os

import numpy as np
import tensorflow as tf

from tfseg.data.augment import Augment
from tfseg.data.exit_gate import until_exit
from tfseg.data.loading import MASK_FITS, PIECE_FIELDS, Loader
from tfseg.data.object_limit import keep_largest
from tfseg.data.readers.objects import BOX_FIELDS


def read_by_python(
    order: tf.data.Dataset,
    loader: Loader,
    batch_size: int,
    augment: Augment | None,
    seed: int,
    max_objects: int | None,
) -> tf.data.Dataset:
    """Return the dataset of the batches: dicts of whole samples, or of augmented crops.

    Args:
        order: the (B,) indices of samples and their (B,) numbers in the stream, for each batch.
        loader: the `Loader` of the samples.
        batch_size: largest B.
        augment: an `Augment`, or None for whole samples.
        seed: random seed of the augmentation.
        max_objects: number of objects per crop, see `pipeline`.
    """
    if augment is not None:
        return _crops(order, loader, batch_size, augment, seed, max_objects)
    if order.element_spec[0].shape[0] is None:  # the batches differ in their number of samples
        return _each_once(order, loader, batch_size)

    def load(index, number):
        return loader.sample_or_next(index)[1]

    return _full_batches(order, loader.stage(load, loader.sides), batch_size, loader.padding)


def _each_once(order, loader, batch_size):
    load = loader.stage(lambda index, number: loader.sample_or_blank(index), loader.sides)

    def load_batch(*integers):
        samples = tf.data.Dataset.from_tensor_slices(integers)
        samples = samples.map(load, num_parallel_calls=os.cpu_count())
        return _batched(samples, batch_size, loader.padding)

    return order.interleave(load_batch, cycle_length=2, num_parallel_calls=2, deterministic=True)


def _crops(order, loader, batch_size, augment, seed, max_objects):
    largest = loader.sizes.max(axis=0)
    sampler = augment.crop_sampler

    def load(index, number):
        key = np.array([seed, number])
        position, sample = loader.sample_or_next(index)
        piece = sampler.extract(sample, key, largest)
        return {**piece, "index": position, "key": key}

    extra = PIECE_FIELDS | {"index": (tf.int64, [])}
    if sampler.tilts and {"boxes", "instances"} <= set(loader.fields):
        extra |= MASK_FITS
    stage = loader.stage(load, loader.piece_sides(sampler), extra)
    pieces = _full_batches(order, stage, batch_size, loader.padding)
    stage = _augmented(loader, batch_size, augment, max_objects)
    return pieces.map(stage, num_parallel_calls=2)


def _full_batches(order, stage, batch_size, padding):
    samples = order.unbatch().map(stage, num_parallel_calls=os.cpu_count())
    return _batched(samples, batch_size, padding, drop_remainder=True)


def _augmented(loader, batch_size, augment, max_objects):
    """Return a stage that turns a batch of pieces into a batch of crops."""
    names, shapes = loader.fields, loader.shapes(augment.size)
    for name in BOX_FIELDS:
        shapes[name] = [max_objects, *shapes[name][1:]]
    dtypes = [tf.float32 if name == "image" else loader.dtypes[name] for name in names]

    def stage(batch):
        keys, indices = batch.pop("key"), batch.pop("index")

        def change(keys, indices, *arrays):
            changed = augment(dict(zip(batch, arrays, strict=True)), keys)
            if max_objects is not None:
                changed = {name: value.numpy() for name, value in changed.items()}
                changed, left_out = keep_largest(changed, max_objects)
                loader.note_left_out(indices.numpy(), left_out)
            return [changed[name] for name in names]

        def blank():
            return [
                tf.zeros([batch_size, *(side or 0 for side in shapes[name])], dtype)
                for name, dtype in zip(names, dtypes, strict=True)
            ]

        # Called through Python, the kernel is compiled once; as a part of the dataset it would be
        # compiled again for every pass.
        function = until_exit(change, blank)
        changed = tf.py_function(function, [keys, indices, *batch.values()], dtypes)
        for name, array in zip(names, changed, strict=True):
            array.set_shape([batch_size, *shapes[name]])
        return dict(zip(names, changed, strict=True))

    return stage


def _batched(samples, batch_size, padding, drop_remainder=False):
    """Batch samples; pad those that differ in size or in their number of objects."""
    if all(spec.shape.is_fully_defined() for spec in samples.element_spec.values()):
        return samples.batch(batch_size, drop_remainder=drop_remainder)  # several times as fast
    values = {
        name: tf.constant(padding.get(name, 0), spec.dtype)
        for name, spec in samples.element_spec.items()
    }
    return samples.padded_batch(batch_size, padding_values=values, drop_remainder=drop_remainder)
