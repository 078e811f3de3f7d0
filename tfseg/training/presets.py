"""Ready-made choices for `model.compile`: optimizer, learning-rate schedule, loss and metrics."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import keras

from tfseg import checks, optimizers
from tfseg.losses import (
    CenterHeatmap,
    CenterOffset,
    CrossEntropy,
    Dice,
    ObjectProbability,
    StarDistance,
    deep_supervision,
)
from tfseg.metrics import ConfusionMetrics
from tfseg.models import is_detector, is_instance_model
from tfseg.models.layer_graph import is_graph
from tfseg.schedules import SCHEDULES
from tfseg.training.fit_checks import expects_logits, single_losses, warn_of_wrong_outputs

TOP_K = 5  # of a classifier's top-k accuracy
DISTANCE_WEIGHT = 0.2  # of StarDist (arXiv:1806.03535)
HEATMAP_WEIGHT, OFFSET_WEIGHT = 200.0, 0.01  # of Panoptic-DeepLab (arXiv:1911.10194)


@dataclass(frozen=True)
class OptimizerPreset:
    """An optimizer and its default learning rate.

    Attributes:
        learning_rate: peak of the schedule.
        build: function of the learning rate or schedule and of options -> Keras optimizer.
        build_averaged: the same, for an optimizer that averages the weights.
    """

    learning_rate: float
    build: Callable
    build_averaged: Callable


NESTEROV = {"momentum": 0.9, "nesterov": True}
OPTIMIZERS = {
    "adam": OptimizerPreset(1e-3, keras.optimizers.Adam, optimizers.Adam),
    "adamw": OptimizerPreset(1e-3, optimizers.AdamW, optimizers.AdamW),
    "sgd": OptimizerPreset(
        5e-2, partial(keras.optimizers.SGD, **NESTEROV), partial(optimizers.SGD, **NESTEROV)
    ),
}


def compile_for(
    model: keras.Model,
    optimizer: str = "adamw",
    learning_rate: float | None = None,
    steps: int | None = None,
    schedule: str = "cosine",
    warmup: float = 0.05,
    class_weights=None,
    clip_norm: float | None = None,
    average: float | None = None,
    accumulate: int | None = None,
    jit_compile: bool | str = "auto",
    loss: keras.losses.Loss | None = None,
) -> None:
    """Compile a model for a training of `steps` steps.

    A segmentation model gets cross entropy + Dice and `ConfusionMetrics`. If it has several outputs
    (`deep_supervision=True`), each output has half the weight of the previous one, and metrics are
    computed for the first; train it with one mask per output. A classifier gets cross entropy,
    accuracy and, above five classes, top-5 accuracy; select its best epoch with
    `Run.callbacks(monitor="val_accuracy")`. A detector computes its own losses, and a model of
    `tfseg.models.instances` gets those of its head; `DetectionScores` and `InstanceScores` add
    "val_ap" to the logs.

    `model.evaluate(..., return_dict=True)` names the metrics. Without it Keras returns a list: the
    loss, then the metrics in alphabetical order, not in the order in which they were passed.

    Args:
        model: a model of `tfseg.models`, or another functional or Sequential model. If it ends in
            a softmax or sigmoid, pass a `loss` with from_logits=False.
        optimizer: "adam", "adamw" (arXiv:1711.05101; weight decay 0.01 on kernels only) or "sgd"
            (Nesterov momentum 0.9).
        learning_rate: peak of the schedule; None for 1e-3, or 5e-2 for "sgd". See
            `find_learning_rate`.
        steps: number of batches in the whole training, such as `epochs * len(batches)`. At its end
            the learning rate is 0 or nearly so. Only the schedule "constant" does not need it.
        schedule: "cosine", "poly" or "one_cycle", see `tfseg.schedules`; or "constant".
        warmup: fraction of the steps during which the learning rate rises linearly, in [0, 1).
        class_weights: one number per class for the cross entropy, such as those that
            `tfseg.doctor.check` proposes; None for equal weights. Of models of objects only for
            those with head="center"; not for classifiers, see `class_weight` of `fit`.
        clip_norm: maximum global norm of the gradients; None for no clipping.
        average: momentum, such as 0.999, of a moving average of the weights that replaces them when
            `fit` ends (Keras' `use_ema`); None for no average. It rises to this value: update t
            uses at most (1 + t) / (10 + t), so that short trainings are averaged too.
        accumulate: number of batches whose gradients are added up for one update; None for 1.
        jit_compile: see `keras.Model.compile`.
        loss: a Keras loss for segmentation, instead of cross entropy + Dice; then without
            `class_weights`. Not for classifiers and models of objects.

    Raises:
        ValueError: an argument is unknown, out of range or has no effect, or the outputs of the
            model are unknown.

    Warns:
        UserWarning: the model ends in a softmax or sigmoid, and the loss expects logits.

    Example:
        >>> import tfseg
        >>> model = tfseg.models.tiny_unet(2, filters=4)
        >>> tfseg.training.compile_for(model, "sgd", steps=500)
        >>> type(model.optimizer).__name__, type(model.loss).__name__
        ('SGD', 'CompositeLoss')
    """
    require_outputs("compile_for", model)
    optimizer = _build_optimizer(
        optimizer, learning_rate, steps, schedule, warmup, clip_norm, average, accumulate
    )
    if is_detector(model):
        _require_own_losses(model, class_weights, loss)
        goal = {}
    elif is_instance_model(model):
        is_center = "center_logits" in model.output
        _require_own_losses(model, None if is_center else class_weights, loss)
        goal = {"loss": _instance_losses(model, class_weights)}
    elif len(model.outputs[0].shape) == 2:
        _require_default_loss(model, class_weights, loss)
        goal = _classification(model)
    else:
        goal = _segmentation(model, _segmentation_loss(class_weights, loss))
    model.compile(optimizer, **goal, jit_compile=jit_compile)
    warn_of_wrong_outputs("compile_for", model)


def require_outputs(owner: str, model: keras.Model) -> None:
    """Refuse a model whose outputs are unknown: a subclass, or a Sequential without an input."""
    if is_graph(model) and model.built:
        return
    raise ValueError(
        f"{owner}: the outputs of the model {model.name!r} ({type(model).__name__}) are unknown. "
        "Pass a functional model, such as keras.Model(image, model(image)) with image = "
        "keras.Input((None, None, 3)), or a Sequential that begins with a keras.Input."
    )


def _build_optimizer(name, learning_rate, steps, schedule, warmup, clip_norm, average, accumulate):
    owner = "compile_for"
    preset = OPTIMIZERS[checks.one_of(owner, "optimizer", name, tuple(OPTIMIZERS))]
    peak = preset.learning_rate
    if learning_rate is not None:
        peak = checks.above_zero(owner, "learning_rate", learning_rate)
    batches = 1 if accumulate is None else checks.positive_int(owner, "accumulate", accumulate)
    rate = _scheduled_rate(peak, steps, schedule, warmup)
    options = {"gradient_accumulation_steps": batches if batches > 1 else None}
    if clip_norm is not None:
        options["global_clipnorm"] = checks.above_zero(owner, "clip_norm", clip_norm)
    if average is None:
        return preset.build(rate, **options)
    momentum = checks.fraction(owner, "average", average)
    return preset.build_averaged(rate, use_ema=True, ema_momentum=momentum, **options)


def _scheduled_rate(peak, steps, schedule, warmup):
    """Return the learning rate or schedule, which counts batches also while they accumulate."""
    owner = "compile_for"
    checks.one_of(owner, "schedule", schedule, tuple(SCHEDULES))
    checks.fraction(owner, "warmup", warmup)
    if steps is None and schedule == "constant":
        return peak
    if steps is None:
        raise ValueError(
            f"{owner}: steps=None, but schedule={schedule!r} ends after `steps` batches. Pass "
            'steps=epochs * len(batches), or schedule="constant".'
        )
    steps = checks.positive_int(owner, "steps", steps)
    return SCHEDULES[schedule](peak, steps, max(1, round(warmup * steps)))


def _segmentation_loss(class_weights, loss):
    if loss is None:
        return CrossEntropy(class_weights=class_weights) + Dice()
    if class_weights is not None:
        raise ValueError(
            f"compile_for: class_weights={class_weights} have no effect with loss={loss!r}. Pass "
            "them to that loss."
        )
    return loss


def _require_default_loss(model, class_weights, loss):
    """Refuse arguments that only segmentation models have."""
    if class_weights is not None:
        raise ValueError(
            f"compile_for: class_weights={class_weights} are not supported for the classifier "
            f"{model.name!r}. Pass them to `fit`, as class_weight={{0: ..., 1: ...}}."
        )
    if loss is not None:
        raise ValueError(
            f"compile_for: loss={loss!r} is not supported for the classifier {model.name!r}, which "
            "gets cross entropy. Use `model.compile` for another loss."
        )


def _require_own_losses(model, class_weights, loss):
    """Refuse arguments that change the loss of a detector or an instance model."""
    for name, value in (("class_weights", class_weights), ("loss", loss)):
        if value is not None:
            raise ValueError(
                f"compile_for: {name}={value!r} is not supported for the model {model.name!r}, "
                "which has losses of its own. Remove it."
            )


def _segmentation(model, loss):
    """Return loss and metrics for `compile`."""
    logits = any(expects_logits(single) is not False for single in single_losses(loss))
    metrics = [ConfusionMetrics(model.outputs[0].shape[-1], from_logits=logits)]
    outputs = len(model.outputs)
    if outputs == 1:
        return {"loss": loss, "metrics": metrics}
    weights = [0.5**number for number in range(outputs)]
    return {"loss": deep_supervision(loss, weights), "metrics": [metrics] + [[]] * (outputs - 1)}


def _classification(model):
    """Return loss and metrics for `compile`."""
    classes = model.outputs[0].shape[-1]
    if classes == 1:
        accuracy = keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)  # of logits
        return {"loss": keras.losses.BinaryCrossentropy(from_logits=True), "metrics": [accuracy]}
    metrics = [keras.metrics.SparseCategoricalAccuracy("accuracy")]
    if classes > TOP_K:
        name = f"top{TOP_K}_accuracy"
        metrics.append(keras.metrics.SparseTopKCategoricalAccuracy(TOP_K, name))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return {"loss": loss, "metrics": metrics}


def _instance_losses(model, class_weights):
    """Return {output: loss} of an instance model, with the weights of the head's paper."""
    losses = {
        "class_logits": CrossEntropy(class_weights=class_weights),
        "object_logits": ObjectProbability(),
        "distances": DISTANCE_WEIGHT * StarDistance(),
        "center_logits": HEATMAP_WEIGHT * CenterHeatmap(),
        "offsets": OFFSET_WEIGHT * CenterOffset(),
    }
    return {name: losses[name] for name in model.output}
