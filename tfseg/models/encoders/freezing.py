"""Freeze and unfreeze the stages of a model's encoder."""

import re

import keras

from tfseg import checks

STAGES = (1, 2, 3, 4, 5)


def freeze(model: keras.Model, until: int | str = "all") -> None:
    """Freeze stages 1 to `until` of the encoder; batch normalization then uses stored statistics.

    Stage k ends with the features at stride 2^k. Stages beyond `until` are not changed. Compile
    the model afterwards: Keras reads `trainable` when compiling.

    Args:
        model: a model with an encoder. Layers are found by their names, so loaded models work too.
        until: 1 to 5, or "all".

    Raises:
        ValueError: unknown stage, or the model has no encoder.

    Example:
        >>> import tfseg
        >>> model = tfseg.models.lraspp(2, encoder="mobilenet_v3_small")
        >>> tfseg.models.freeze(model, until=2)
        >>> model.get_layer("encoder1_conv").trainable
        False
    """
    checks.one_of("freeze", "until", until, (*STAGES, "all"))
    last = STAGES[-1] if until == "all" else until
    _set_trainable("freeze", model, range(1, last + 1), False)


def unfreeze(model: keras.Model, since: int = 1) -> None:
    """Make the stages `since` to 5 of the encoder trainable again. Compile the model afterwards.

    Args:
        model: a model with an encoder.
        since: 1 to 5.

    Raises:
        ValueError: unknown stage, or the model has no encoder.

    Example:
        >>> import tfseg
        >>> model = tfseg.models.lraspp(2, encoder="mobilenet_v3_small")
        >>> tfseg.models.freeze(model)
        >>> tfseg.models.unfreeze(model, since=5)
        >>> model.get_layer("encoder1_conv").trainable
        False
    """
    first = checks.one_of("unfreeze", "since", since, STAGES)
    _set_trainable("unfreeze", model, range(first, STAGES[-1] + 1), True)


def stage_of(layer) -> int | None:
    """Return the stage (1 to 5) that an encoder's layer belongs to; None for other layers."""
    match = re.match(r"encoder([1-5])_", layer.name)
    return int(match[1]) if match else None


def _set_trainable(owner, model, stages, trainable):
    stage_by_layer = [(layer, stage_of(layer)) for layer in _all_layers(model)]
    if not any(stage for _, stage in stage_by_layer):
        raise ValueError(
            f"{owner}: model {model.name!r} has no encoder: no layer name starts with "
            "'encoder1_' to 'encoder5_'."
        )
    for layer, stage in stage_by_layer:
        if stage in stages:
            layer.trainable = trainable


def _all_layers(model):
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)
