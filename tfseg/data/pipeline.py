"""From a reader to batches for `model.fit` and `model.evaluate`."""

import os

import numpy as np
import tensorflow as tf

from tfseg import checks
from tfseg.data.cache import cached
from tfseg.data.loading import PADDING, PLACE, TYPES, Loader

ON_ERROR = ("raise", "skip")


def pipeline(
    reader,
    batch_size=8,
    augment=None,
    seed=0,
    first_step=0,
    shuffle=None,
    cache=None,
    resize=None,
    pad=False,
    on_error="raise",
):
    """Batches of (image, mask) as a `tf.data.Dataset`.

    With `augment`, a training stream: a new order every epoch, full batches of augmented windows. The seed and the
    number of the step fix every random choice, whatever the number of threads: a stream that starts at step k gives
    the batch that an undisturbed one gives at step k. Without it, an evaluation stream: every sample once, whole,
    images of one size to a batch.

    Where `augment` shows images at half of their size or less, or `resize` does, they are read smaller: JPEGs are
    decoded at a half, a fourth or an eighth.

    Args:
        reader: a `Reader`.
        batch_size: images in a batch.
        augment: an `Augment`, or None.
        seed: of the order and the augmentation.
        first_step: number of the batch that the training stream begins with.
        shuffle: True for a training stream of whole samples, for `training.augmented`; None leaves it to `augment`.
        cache: keep decoded samples: "memory", or the path of a folder that is made; None to decode every time.
        resize: a `Resize`, to bring whole images to one size; None to leave them. Not with `augment`.
        pad: without `augment`, batch images of all sizes together, filled up at the right and the bottom: images with
            0, masks with 255. It is faster, but the network sees the border.
        on_error: what to do about a sample that cannot be read. "raise" ends the iteration with an error that names
            the file. "skip" leaves it out and warns of all such at the end of each pass; a training batch takes the
            next sample instead.

    Returns:
        tf.data.Dataset of (B, H, W, C) images, float32 or the reader's dtype, and (B, H, W) uint8 masks. For readers
        with boxes the second is a dict of all labels: "boxes" (B, N, 4) and "classes" (B, N) are filled up with
        boxes of the class -1.

    Raises:
        ValueError: an argument makes no sense, or the reader is empty.
    """
    if not len(reader):
        raise ValueError(
            "pipeline: the reader holds no sample. Name other files, or another split."
        )
    checks.positive_int("pipeline", "batch_size", batch_size)
    checks.one_of("pipeline", "on_error", on_error, ON_ERROR)
    if augment is not None and (resize is not None or pad or shuffle is False):
        raise ValueError(
            "pipeline: `resize`, `pad` and `shuffle=False` are for whole images. Leave out these, or `augment`."
        )
    if augment is not None and augment.crop == "classes" and "mask" not in reader.fields:
        raise ValueError(
            "pipeline: crop='classes' looks into masks, which this reader has not. Leave it out."
        )
    shrink = 1 if augment is None else augment.crop_sampler.shrink
    loader = Loader(cached(reader, cache), on_error, resize, shrink)
    if augment is None and not shuffle:
        return _in_order(loader, batch_size, pad)
    return _shuffled(
        loader, batch_size, augment and augment.scaled_by(shrink), seed, first_step, pad
    )


def _in_order(loader, batch_size, pad):
    if pad:
        order, runs = np.arange(len(loader.sizes)), [np.arange(len(loader.sizes))]
    else:  # padding would change what the network sees at the edges
        groups = np.unique(loader.sizes, axis=0, return_inverse=True)[1].ravel()
        order = np.argsort(groups, kind="stable")
        runs = np.split(np.arange(len(order)), np.flatnonzero(np.diff(groups[order])) + 1)
    first, last = zip(
        *(
            (run[i], run[min(i + batch_size, len(run)) - 1] + 1)
            for run in runs
            for i in range(0, len(run), batch_size)
        ),
        strict=True,
    )
    load = loader.stage(loader.sample_or_blank, loader.sides)

    def batch(start, stop):
        samples = tf.data.Dataset.from_tensor_slices(tf.constant(order)[start:stop])
        return _batched(samples.map(load, num_parallel_calls=os.cpu_count()), batch_size)

    dataset = tf.data.Dataset.from_tensor_slices((list(first), list(last)))
    dataset = dataset.interleave(batch, cycle_length=2, num_parallel_calls=2, deterministic=True)
    return _finish(dataset, len(first), loader)


def _shuffled(loader, batch_size, augment, seed, first_step, pad):
    if augment is None and not pad and len(np.unique(loader.sizes, axis=0)) > 1:
        raise ValueError(
            "pipeline: the images differ in size. Pass `resize`, or `pad=True`, or an `augment`."
        )
    numbers, steps = _endless_order(len(loader.sizes), batch_size, seed, first_step)
    if augment is None:
        load = loader.stage(lambda index, number: loader.sample_or_next(index), loader.sides)
    else:
        largest = loader.sizes.max(axis=0)
        sides = np.minimum(augment.crop_sampler.canvas, largest).tolist()
        load = loader.stage(
            lambda index, number: _piece(loader, augment, index, [seed, number], largest),
            sides,
            PLACE,
        )
    dataset = numbers.map(load, num_parallel_calls=os.cpu_count())
    dataset = _batched(dataset, batch_size, drop_remainder=True)
    if augment is not None:
        dataset = dataset.map(_augmented(loader, batch_size, augment), num_parallel_calls=2)
    return _finish(dataset, steps, loader)


def _endless_order(count, batch_size, seed, first_step):
    """A dataset of (sample's index, number in the stream), each pass one epoch further, and the steps of a pass."""
    steps = max(1, count // batch_size)
    taken = steps * batch_size  # samples an epoch
    step = tf.Variable(first_step, dtype=tf.int64, trainable=False)

    def shuffled(epoch):
        indices = tf.random.experimental.stateless_shuffle(
            tf.range(count, dtype=tf.int64), seed=tf.stack([tf.constant(seed, tf.int64), epoch])
        )
        return tf.tile(indices, [-(-taken // count)])[
            :taken
        ]  # a set smaller than one batch repeats itself

    def order(_):
        # Runs at the start of every pass over the dataset.
        current = step.assign_add(steps) - steps
        begin, epoch = current % steps * batch_size, current // steps
        indices = tf.concat([shuffled(epoch), shuffled(epoch + 1)], 0)[begin : begin + taken]
        return tf.data.Dataset.from_tensor_slices(
            (indices, current * batch_size + tf.range(taken, dtype=tf.int64))
        )

    return tf.data.Dataset.range(1).flat_map(order), steps


def _piece(loader, augment, index, key, largest):
    """A sample's part that its window needs, and which sample of the stream it is."""
    return {
        **augment.crop_sampler.extract(loader.sample_or_next(index), np.array(key), largest),
        "key": key,
    }


def _augmented(loader, batch_size, augment):
    """Stage: a batch of pieces -> a batch of windows."""
    names, shapes = loader.fields, loader.shapes(augment.size)

    def stage(batch):
        keys = batch.pop("key")

        def change(keys, *arrays):
            changed = augment(dict(zip(batch, arrays, strict=True)), keys)
            return [changed[name] for name in names]

        types = [tf.float32 if name == "image" else TYPES[name] for name in names]
        # Called through Python it stays compiled; as a part of the dataset it would be compiled anew for every pass.
        changed = tf.py_function(change, [keys, *batch.values()], types)
        for name, array in zip(names, changed, strict=True):
            array.set_shape([batch_size, *shapes[name]])
        return dict(zip(names, changed, strict=True))

    return stage


def _batched(samples, batch_size, drop_remainder=False):
    """Batches of samples; those that differ in size or in their number of objects are filled up."""
    if all(spec.shape.is_fully_defined() for spec in samples.element_spec.values()):
        return samples.batch(batch_size, drop_remainder=drop_remainder)  # several times as fast
    padding = {
        name: tf.constant(PADDING.get(name, 0), spec.dtype)
        for name, spec in samples.element_spec.items()
    }
    return samples.padded_batch(batch_size, padding_values=padding, drop_remainder=drop_remainder)


def _pair(batch):
    """A batch as `model.fit` takes it: the image, and the mask or, with objects, all labels."""
    image = batch.pop("image")
    return image, batch["mask"] if batch.keys() == {"mask"} else batch


def _finish(dataset, steps, loader):
    options = tf.data.Options()
    # The tuner's thread sleeps ever longer, up to a minute, and TensorFlow 2.21 waits for it to wake when an epoch's
    # iterator ends: `fit` stood still for 8 to 50 s after the last step. Nothing here is left to be tuned.
    options.autotune.enabled = False
    dataset = dataset.map(_pair)
    if loader.on_error == "skip":
        dataset = dataset.concatenate(_at_the_end(loader.report, dataset))
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps))
    return dataset.prefetch(2).with_options(options)


def _at_the_end(function, like):
    """A dataset of no elements that calls a function when it is reached."""

    def nothing(_):
        with tf.control_dependencies([tf.py_function(function, [], [])]):
            return like.take(tf.constant(0, tf.int64))

    return tf.data.Dataset.range(1).flat_map(nothing)
