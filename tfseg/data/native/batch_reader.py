"""Batches of pieces that TensorFlow reads where it can, and Python where it cannot."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from tfseg.data.augment.crop import CropSampler
from tfseg.data.augment.params import draw, to_params
from tfseg.data.exit_gate import until_exit
from tfseg.data.loading import CROP_FIELDS, Loader
from tfseg.data.native.pieces import piece_cutter
from tfseg.data.native.source import Source


def piece_stage(loader: Loader, source: Source, sampler: CropSampler, canvas, seed: int, extract):
    """Return a tf.data stage that reads a batch of pieces, with one call of Python per batch.

    Python reads the batch again if TensorFlow is not ready for it, fails, or finds a sample that is
    not as it should be. So there is one place that raises, skips and warns.

    Args:
        loader: the `Loader` of the samples.
        source: their `Source`.
        sampler: the `CropSampler`.
        canvas: (height, width) of the pieces.
        seed: random seed.
        extract: function of a sample's position and its number in the stream, with which Python
            reads a piece: a dict of arrays.

    Returns:
        Function of the (B,) positions of samples and their (B,) numbers in the stream, which
        returns a dict of tensors.
    """
    fields = {
        "image": (loader.dtypes["image"], [*canvas, loader.reader.channels]),
        "mask": (loader.dtypes["mask"], [*canvas]),
        **CROP_FIELDS,
    }
    sizes, canvas = loader.sizes, np.array(canvas)
    threads = os.cpu_count()
    pool = ThreadPoolExecutor(threads)

    cut = piece_cutter(source.read, sampler, canvas)
    specs = {name: tf.TensorSpec(shape, dtype) for name, (dtype, shape) in fields.items()}

    # Prepared once. As a part of the dataset it would be prepared again for every pass.
    @tf.function(autograph=False)
    def read(*batch):
        pieces, are_sound = tf.map_fn(
            lambda rows: cut(*rows),
            batch,
            fn_output_signature=(specs, tf.TensorSpec([], tf.bool)),
            parallel_iterations=threads,
        )
        return pieces, tf.reduce_all(are_sound)

    def try_read(indices, numbers):
        """Return a batch, or None if Python must read it."""
        if not source.ready(indices):
            return None
        placed = _place(sampler, sizes[indices], canvas, seed, numbers)
        try:
            pieces, are_sound = read(*map(tf.constant, (indices, *placed)))
        except tf.errors.OpError:
            return None
        return pieces if are_sound else None

    def load(indices, numbers):
        indices, numbers = indices.numpy(), numbers.numpy()
        pieces = try_read(indices, numbers)
        if pieces is None:
            samples = list(pool.map(extract, indices.tolist(), numbers.tolist()))
            pieces = {name: np.stack([sample[name] for sample in samples]) for name in fields}
        return [tf.cast(pieces[name], dtype) for name, (dtype, _) in fields.items()]

    def stage(indices, numbers):
        def blank():
            return [tf.zeros([len(indices), *shape], dtype) for dtype, shape in fields.values()]

        dtypes = [dtype for dtype, _ in fields.values()]
        arrays = tf.py_function(until_exit(load, blank), [indices, numbers], dtypes)
        for array, (_, shape) in zip(arrays, fields.values(), strict=True):
            array.set_shape([indices.shape[0], *shape])
        return dict(zip(fields, arrays, strict=True))

    return stage


def _place(sampler, sizes, canvas, seed, numbers):
    """Return keys, random numbers, sizes and corners of pieces, see `CropSampler.extract`."""
    keys = np.stack([np.full_like(numbers, seed), numbers], axis=1)
    random = draw(keys)
    extents = sizes.astype("float32")
    params = to_params(random, sampler.ranges, sampler.probabilities)
    # With `crop="classes"` places are only known with the masks: these corners are not used.
    pixels = np.zeros_like(extents) if sampler.crop == "classes" else None
    corners = sampler.piece_corners(params, extents, pixels, canvas)
    return keys, random, extents, corners.astype("int32")
