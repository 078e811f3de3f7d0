"""What is warned of when a training begins: a loss that takes probabilities for logits, or logits
for probabilities, and a learning rate that ends before the training.
"""

import warnings

import keras

from tfseg.data.value_range import is_8_bit_normalization
from tfseg.losses import AtOutputSize, CompositeLoss
from tfseg.models import CropToImage, normalization_of, output_activation

TOLERATED = 1.1  # times the length of a schedule


def warn_of_wrong_outputs(owner: str, model: keras.Model) -> None:
    """Warn if the losses of a compiled model expect other outputs than it has.

    Nothing is said about outputs and losses that are unknown: those of a subclass of
    `keras.Model`, and losses that are plain functions.
    """
    activation = output_activation(model)
    losses = single_losses(model.loss)
    if activation is not None:
        wrong = [_name(loss) for loss in losses if expects_logits(loss)]
        fault = f"the model ends in {activation}, but {_plural(wrong)} logits and would apply it"
        remedy = " again. Pass from_logits=False to losses and metrics, or remove the activation."
    else:
        # only of our own networks it is certain that they end in logits
        ends_in_logits = isinstance(getattr(model, "layers", [None])[-1], CropToImage)
        wrong = [_name(loss) for loss in losses if ends_in_logits and expects_logits(loss) is False]
        fault = f"the model returns logits, but {_plural(wrong)} probabilities"
        remedy = ". Pass a loss with from_logits=True, such as those of tfseg.losses."
    if wrong:
        warnings.warn(f"{owner}: {fault}{remedy}", stacklevel=3)


def warn_of_ended_schedule(owner: str, model: keras.Model, steps: int) -> None:
    """Warn if the learning rate ends long before `steps` more training steps.

    `compile_for` sets schedules of a certain length; after it they are 0 or nearly so.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    length = schedule_option(model, "steps")
    # the sum of one number: under MirroredStrategy, int() of a Keras variable fails
    total = steps + int(keras.ops.sum(optimizer._iterations))  # batches, also if they accumulate
    if length is not None and total > TOLERATED * length:
        warnings.warn(
            f"{owner}: the learning rate ends after {length} steps, but this training has "
            f"{total}: the last ones hardly change the model. Compile it with "
            f"compile_for(model, steps=epochs * len(batches)).",
            stacklevel=3,
        )


def schedule_option(model: keras.Model, name: str):
    """Return an argument of the optimizer's schedule; None without a schedule that has it."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    schedule = optimizer.get_config()["learning_rate"]
    config = schedule.get("config") if isinstance(schedule, dict) else None
    if isinstance(config, dict) and "schedule" in config:  # MovableEnd: `steps` are not its own
        config = {"peak": config["schedule"]["config"]["peak"]}
    return config.get(name) if isinstance(config, dict) else None  # of a function it is a name


def takes_0_255(model: keras.Model) -> bool:
    """Whether a network of ours normalizes images of 0..255, not of 0..1, 12 or 16 bits."""
    normalization = normalization_of(model)
    return isinstance(normalization, tuple) and is_8_bit_normalization(*normalization)


def single_losses(loss) -> list:
    """Return the losses inside what `compile` got: sums, lists and dicts of losses."""
    if isinstance(loss, dict):
        loss = list(loss.values())
    if isinstance(loss, CompositeLoss):
        loss = loss.losses
    if isinstance(loss, AtOutputSize):
        return single_losses(loss.loss)
    if isinstance(loss, list | tuple):
        return [single for part in loss for single in single_losses(part)]
    return [] if loss is None else [loss]


def expects_logits(loss) -> bool | None:
    """Return whether a loss expects logits; None if that is unknown."""
    known = getattr(loss, "from_logits", None)
    is_of_keras = isinstance(loss, str) or _module(loss).startswith("keras.")
    if known is None and is_of_keras and "crossentropy" in _name(loss).lower():
        return False  # Keras' default, for a name such as "categorical_crossentropy"
    return known


def _name(loss):
    if isinstance(loss, str):
        return repr(loss)
    return getattr(loss, "__name__", type(loss).__name__)


def _module(loss):
    return getattr(loss, "__module__", None) or type(loss).__module__


def _plural(names):
    verb = "expects" if len(names) == 1 else "expect"
    return f"{' and '.join(names)} {verb}"
