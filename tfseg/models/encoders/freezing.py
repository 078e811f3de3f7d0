"""Train a part of a network: its encoder's first stages stand still."""

import re

import keras

from tfseg import checks

STAGES = (1, 2, 3, 4, 5)


def freeze(model, until="all"):
    """Make the encoder's stages 1 to `until` untrainable; their batch normalizations use their stored statistics.

    Stage k ends with the feature of stride 2^k. What was frozen beyond `until` stays so. Compile the model afterwards:
    Keras looks at what is trainable only then.

    Args:
        model: built with an encoder; layers are told by their names, so a loaded model can be frozen too.
        until: 1 to 5, or "all".

    Raises:
        ValueError: there is no such stage, or the model has no encoder.
    """
    last = (
        STAGES[-1] if until == "all" else checks.one_of("freeze", "until", until, (*STAGES, "all"))
    )
    _set_trainable("freeze", model, range(1, last + 1), False)


def unfreeze(model, since=1):
    """Make the encoder's stages `since` to 5 trainable again. Compile the model afterwards.

    Raises:
        ValueError: there is no such stage, or the model has no encoder.
    """
    first = checks.one_of("unfreeze", "since", since, STAGES)
    _set_trainable("unfreeze", model, range(first, STAGES[-1] + 1), True)


def stage_of(layer):
    """Return the stage (1 to 5) an encoder's layer belongs to; None for other layers."""
    match = re.match(r"encoder([1-5])_", layer.name)
    return int(match[1]) if match else None


def _set_trainable(owner, model, stages, trainable):
    found = [(layer, stage_of(layer)) for layer in _all_layers(model)]
    if not any(stage for _, stage in found):
        raise ValueError(
            f"{owner}: model {model.name!r} has no encoder: no layer is named 'encoder1_...' to 'encoder5_...'."
        )
    for layer, stage in found:
        if stage in stages:
            layer.trainable = trainable


def _all_layers(model):
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)
