"""One model that predicts the mean of several, such as those of the folds of a training."""

from functools import reduce

import keras
from keras import layers, ops

from tfseg.models.blocks import Standardize
from tfseg.models.detection import is_detector
from tfseg.models.instance_settings import is_instance_model
from tfseg.models.layer_graph import is_graph, output_activation, run_graph
from tfseg.models.standardized import own_standardize


def ensemble(models: list[keras.Model], multi_label: bool = False) -> keras.Model:
    """Return a model whose probabilities are the mean of those of several models.

    The models are parts of it, each with its own normalization, and share their weights with it.
    Its output is logits like theirs, so that losses, metrics and exports take it: their softmax is
    the mean softmax of the models, argmax is that of the mean, and a single logit is above 0 where
    the mean probability is above 0.5. It takes the time and the memory of all models together.

    Args:
        models: at least one model of `tfseg.models`, with logits of the same classes.
        multi_label: whether the channels are independent, with one sigmoid each. A single channel
            always is.

    Returns:
        keras.Model: (B, H, W, C) images -> (B, H, W, num_classes) float32 logits.

    Raises:
        ValueError: the models take other images or have other outputs than the first, or outputs
            that are not logits.

    Example:
        >>> import keras, numpy as np, tfseg
        >>> members = [tfseg.models.tiny_unet(2, filters=4) for _ in range(3)]
        >>> image = np.full((1, 8, 8, 3), 100, np.uint8)
        >>> def softmax(model):
        ...     return keras.ops.softmax(model.predict_on_batch(image))
        >>> mean = sum(map(softmax, members)) / 3
        >>> bool(np.allclose(softmax(tfseg.models.ensemble(members)), mean, atol=1e-6))
        True
    """
    models = list(models)
    if not models:
        raise ValueError("ensemble: got no models, expected at least one.")
    for model in models:
        _check(model, models[0])
    image = x = keras.Input(models[0].input_shape[1:], name="image")
    if all(map(own_standardize, models)):
        # once for all, so that windows of an image can be normalized by the whole image
        x = Standardize(name="normalize")(image)
        models = [_without_standardize(model) for model in models]
    members = [
        keras.Model(model.inputs, model.outputs[0], name=f"member_{number}")
        for number, model in enumerate(models, 1)
    ]
    mean = MeanProbability(multi_label, name="mean")
    return keras.Model(image, mean([member(x) for member in members]), name="ensemble")


@keras.saving.register_keras_serializable(package="tfseg")
class MeanProbability(layers.Layer):
    """Logits of the mean probability: list of (B, H, W, C) logits -> (B, H, W, C) float32.

    For softmax the result is log(mean of p). For sigmoid it is log(mean of p) - log(mean of 1 - p).
    Both are computed from log p, so that tiny probabilities do not become 0.

    Args:
        multi_label: whether the channels have one sigmoid each. A single channel always has.
    """

    def __init__(self, multi_label: bool = False, **kwargs):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.multi_label = multi_label

    def call(self, logits):
        """Return (B, H, W, C) float32."""
        if self.multi_label or logits[0].shape[-1] == 1:
            inside = _log_mean_exp([ops.log_sigmoid(x) for x in logits])
            return inside - _log_mean_exp([ops.log_sigmoid(-x) for x in logits])
        return _log_mean_exp([ops.log_softmax(x) for x in logits])

    def compute_output_shape(self, logits_shapes):
        """Return the shape of the first logits."""
        return logits_shapes[0]

    def get_config(self):
        """Return the arguments for `.keras` files."""
        return {**super().get_config(), "multi_label": self.multi_label}


def _log_mean_exp(logs):
    """Return the log of the mean of exp(x) over several tensors x."""
    highest = reduce(ops.maximum, logs)  # factored out: the sum is at least 1, and its log finite
    total = sum(ops.exp(x - highest) for x in logs)
    return highest + ops.log(total / len(logs))


def _without_standardize(model):
    image = keras.Input(model.input_shape[1:])

    def call_layer(operation):
        return (lambda image: image) if isinstance(operation, Standardize) else operation

    return keras.Model(image, run_graph(model, image, call_layer))


def _check(model, first):
    owner = f"ensemble: the model {model.name!r}"
    if is_detector(model) or is_instance_model(model):
        raise ValueError(f"{owner} predicts objects; expected models with logits per pixel.")
    if not is_graph(model) or len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(f"{owner} must be functional, with one input and one output.")
    activation = output_activation(model)
    if activation is not None:
        raise ValueError(f"{owner} ends in {activation}, expected logits.")
    shapes = model.input_shape, model.output_shape
    expected = first.input_shape, first.output_shape
    if shapes != expected:
        raise ValueError(
            f"{owner} has input and output of shape {shapes}, but the first one {expected}. Use "
            "models of the same channels and classes."
        )
