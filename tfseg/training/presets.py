"""How a segmentation model is compiled: optimizer, schedule of the learning rate, loss and metric that work."""

import keras

from tfseg import checks
from tfseg.losses import CrossEntropy, Dice
from tfseg.metrics import ConfusionMetrics
from tfseg.schedules import SCHEDULES

WEIGHT_DECAY = 0.01
OPTIMIZERS = {
    "adam": (1e-3, lambda rate, **options: keras.optimizers.Adam(rate, **options)),
    "adamw": (1e-3, lambda rate, **options: _without_norms(keras.optimizers.AdamW(rate, WEIGHT_DECAY, **options))),
    "sgd": (5e-2, lambda rate, **options: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, **options)),
}


def compile_for(
    model,
    optimizer="adamw",
    learning_rate=None,
    steps=1000,
    schedule="cosine",
    warmup=0.05,
    class_weights=None,
    clip_norm=None,
    average=None,
    accumulate=None,
    jit_compile="auto",
):
    """Compile a segmentation model for a training of `steps` steps: cross entropy + Dice, and the exact metric.

    Args:
        model: a model of `tfseg.models`.
        optimizer: "adam", "adamw" (arXiv:1711.05101; weight decay 0.01, of kernels only) or "sgd" (Nesterov, 0.9).
        learning_rate: the highest; None for 1e-3, and 5e-2 with "sgd". `find_learning_rate` looks for one.
        steps: number of batches in the whole training.
        schedule: "cosine", "poly" or "one_cycle", see `tfseg.schedules`; or "constant".
        warmup: share of the steps over which the learning rate rises.
        class_weights: one a class, for the cross entropy; `tfseg.data.diagnose` proposes some. None for none.
        clip_norm: largest norm of the gradients of all weights together; None for any.
        average: momentum, such as 0.999, of a running mean of the weights that takes their place when `fit` ends
            (Keras' `use_ema`); None for none.
        accumulate: number of batches whose gradients are added up before the weights change; None for one.
        jit_compile: see `keras.Model.compile`.

    Raises:
        ValueError: an argument is unknown or out of its range.
    """
    checks.one_of("compile_for", "optimizer", optimizer, tuple(OPTIMIZERS))
    checks.one_of("compile_for", "schedule", schedule, tuple(SCHEDULES))
    checks.fraction("compile_for", "warmup", warmup)
    steps = checks.positive_int("compile_for", "steps", steps)
    default, make = OPTIMIZERS[optimizer]
    updates = max(1, steps // (accumulate or 1))  # the schedule counts changes of the weights
    rate = SCHEDULES[schedule](learning_rate or default, updates, max(1, round(warmup * updates)))
    options = {"global_clipnorm": clip_norm, "gradient_accumulation_steps": accumulate}
    if average is not None:
        options |= {"use_ema": True, "ema_momentum": checks.fraction("compile_for", "average", average)}
    loss = CrossEntropy(class_weights=class_weights) + Dice()
    metrics = [ConfusionMetrics(model.output_shape[-1])]
    model.compile(make(rate, **options), loss=loss, metrics=metrics, jit_compile=jit_compile)


def _without_norms(optimizer):
    # Shifts, and the scales of normalisation, are not to be drawn towards 0.
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    return optimizer
