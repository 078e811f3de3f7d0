"""How a model is compiled: optimizer, schedule of the learning rate, loss and metric that work."""

import keras

from tfseg import checks
from tfseg.losses import CrossEntropy, Dice, deep_supervision
from tfseg.metrics import ConfusionMetrics
from tfseg.schedules import SCHEDULES

WEIGHT_DECAY, TOP = 0.01, 5
OPTIMIZERS = {
    "adam": (1e-3, lambda rate, **options: keras.optimizers.Adam(rate, **options)),
    "adamw": (
        1e-3,
        lambda rate, **options: _without_norms(
            keras.optimizers.AdamW(rate, WEIGHT_DECAY, **options)
        ),
    ),
    "sgd": (
        5e-2,
        lambda rate, **options: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, **options),
    ),
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
    """Compile a model for a training of `steps` steps.

    A segmentation model gets cross entropy + Dice, and the exact metric. Of several outputs (`deep_supervision=True`)
    each next one counts half as much, and the first is measured; train with the mask once an output. A classifier gets
    cross entropy, the accuracy, and of more than five classes the top-5 accuracy; its run chooses by
    `Run.callbacks(monitor="val_accuracy")`.

    Args:
        model: a model of `tfseg.models`.
        optimizer: "adam", "adamw" (arXiv:1711.05101; weight decay 0.01, of kernels only) or "sgd" (Nesterov, 0.9).
        learning_rate: the highest; None for 1e-3, and 5e-2 with "sgd". `find_learning_rate` looks for one.
        steps: number of batches in the whole training.
        schedule: "cosine", "poly" or "one_cycle", see `tfseg.schedules`; or "constant".
        warmup: share of the steps over which the learning rate rises.
        class_weights: one a class, for the cross entropy; `tfseg.doctor.diagnose` proposes some. None for none. A
            classifier takes the `class_weight` of `fit`.
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
    highest = (
        default
        if learning_rate is None
        else checks.above_zero("compile_for", "learning_rate", learning_rate)
    )
    batches = (
        1 if accumulate is None else checks.positive_int("compile_for", "accumulate", accumulate)
    )
    updates = max(1, steps // batches)  # the schedule counts changes of the weights
    rate = SCHEDULES[schedule](highest, updates, max(1, round(warmup * updates)))
    options = {"gradient_accumulation_steps": batches if batches > 1 else None}
    if clip_norm is not None:
        options["global_clipnorm"] = checks.above_zero("compile_for", "clip_norm", clip_norm)
    if average is not None:
        options |= {
            "use_ema": True,
            "ema_momentum": checks.fraction("compile_for", "average", average),
        }
    goal = _classifying if len(model.outputs[0].shape) == 2 else _segmenting
    model.compile(make(rate, **options), **goal(model, class_weights), jit_compile=jit_compile)


def _segmenting(model, class_weights):
    loss, outputs = CrossEntropy(class_weights=class_weights) + Dice(), len(model.outputs)
    metrics = [ConfusionMetrics(model.outputs[0].shape[-1])]
    if outputs == 1:
        return {"loss": loss, "metrics": metrics}
    weights = [0.5**number for number in range(outputs)]
    return {"loss": deep_supervision(loss, weights), "metrics": [metrics] + [[]] * (outputs - 1)}


def _classifying(model, class_weights):
    if class_weights is not None:
        raise ValueError(
            f"compile_for: class_weights={class_weights} came with the classifier {model.name!r}. Pass them to "
            "`fit`, as class_weight={0: ..., 1: ...}."
        )
    classes = model.outputs[0].shape[-1]
    if classes == 1:
        accuracy = keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)  # of logits
        return {"loss": keras.losses.BinaryCrossentropy(from_logits=True), "metrics": [accuracy]}
    metrics = [keras.metrics.SparseCategoricalAccuracy("accuracy")]
    if classes > TOP:
        metrics.append(keras.metrics.SparseTopKCategoricalAccuracy(TOP, f"top{TOP}_accuracy"))
    return {
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "metrics": metrics,
    }


def _without_norms(optimizer):
    # Shifts, and the scales of normalization, are not to be drawn towards 0.
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    return optimizer
