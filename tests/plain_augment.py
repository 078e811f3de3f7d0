"""`Augment` without XLA, whose compilation takes longer than a few batches."""

from functools import partial

import tensorflow as tf


def run_kernel(augment, inputs, keys):
    """Run the kernel: eagerly, or in a pipeline as a function that all pipelines share."""
    if tf.executing_eagerly():
        return augment.kernel(inputs, keys)
    if "_traced" not in augment.__dict__:
        augment.__dict__["_traced"] = tf.function(augment.kernel, autograph=False)
    return augment.__dict__["_traced"](inputs, keys)


def uncompiled(augment):
    """Let an `Augment` run without XLA; return it."""
    augment.__dict__["_compiled"] = partial(run_kernel, augment)
    return augment
