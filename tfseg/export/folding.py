"""A trained model as it is cheapest to run: batch normalization inside the convolutions, weights as constants."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tfseg.models.decoders import PixelShuffle

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose)
# what neither adds up many numbers nor is written for float32
HALF = (
    *CONVOLUTIONS,
    layers.BatchNormalization,
    layers.ReLU,
    layers.Activation,
    layers.MaxPooling2D,
    layers.Concatenate,
    layers.Add,
    layers.Multiply,
)


def fold_batch_norm(model, dtype="float32"):
    """Return a copy of a functional model whose batch normalizations have gone into the convolutions before them.

    A normalization by stored statistics is a scale and a shift a channel, so kernel and bias can take it:
    y = gamma (conv(x) + b - mean) / sqrt(variance + epsilon) + beta. One that does not directly follow a convolution,
    or of which either is also used elsewhere, stays.

    In bfloat16, transposed convolutions whose windows do not overlap become 1 x 1 convolutions whose channels are then
    pixels: TensorFlow lays out their kernels anew at every call, and adds their bias in a pass of its own.

    Args:
        model: a trained model of `tfseg.models`; it stays as it is.
        dtype: "float32", or "bfloat16" for features and convolutions in bfloat16; logits are float32 either way.

    Returns:
        keras.Model for inference.
    """
    pairs = _pairs(model)
    gone = {norm.name for norm in pairs.values()}
    half = _half(model) if dtype == "bfloat16" else set()
    factors = {
        layer.name: layer.strides[0]
        for layer in model.layers
        if layer.name in half and _tiles(layer)
    }

    def copy(layer):
        config = layer.get_config()
        if layer in pairs:
            config["use_bias"] = True
        if layer.name in half:
            config["dtype"] = "mixed_bfloat16"
        return _pointwise(config) if layer.name in factors else layer.__class__.from_config(config)

    def call(layer, *args, **kwargs):
        if layer.name in gone:
            return args[0]
        output = layer(*args, **kwargs)
        return (
            PixelShuffle(factors[layer.name], dtype="bfloat16")(output)
            if layer.name in factors
            else output
        )

    plain = keras.Model(model.input, model.output)  # a loss or an optimizer would be copied too
    clone = keras.models.clone_model(plain, clone_function=copy, call_function=call)
    for layer in (layer for layer in clone.layers if layer.weights):
        original = plain.get_layer(layer.name)
        weights = (
            _scaled(original, pairs[original]) if original in pairs else original.get_weights()
        )
        layer.set_weights(_pointwise_weights(*weights) if layer.name in factors else weights)
    return clone


def as_constants(model):
    """Return a function of the model's input whose weights are constants: (B, H, W, C) float32 -> logits.

    Kernels that cannot change are laid out for the processor once, not at every call.
    """
    call = tf.function(lambda image: model(image, training=False), autograph=False)
    spec = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="image")
    constant = convert_variables_to_constants_v2(call.get_concrete_function(spec))
    return lambda image: constant(image)[0]


def _pairs(model):
    """Return {convolution: the batch normalization that takes its output, and nobody else does}."""
    norms = [
        layer
        for layer in model.layers
        if isinstance(layer, layers.BatchNormalization) and once(layer)
    ]
    pairs = {}
    for layer in (
        layer for layer in model.layers if isinstance(layer, CONVOLUTIONS) and once(layer)
    ):
        # an output of the model is seen as it is, which its nodes do not tell
        shown = any(layer.output is output for output in model.outputs)
        users = [node.operation for node in layer._outbound_nodes]
        if (
            not shown
            and layer.activation is keras.activations.linear
            and len(users) == 1
            and users[0] in norms
        ):
            pairs[layer] = users[0]
    return pairs


def once(layer):
    """Whether a layer is used at one place only."""
    return len(layer._inbound_nodes) == 1


def _half(model):
    """Return the names of the layers that bfloat16 is for: up to the last with weights, which gives the logits."""
    last = max((i for i, layer in enumerate(model.layers) if layer.weights), default=-1)
    return {layer.name for layer in model.layers[: last + 1] if isinstance(layer, HALF)}


def _tiles(layer):
    """Whether a layer is a transposed convolution that makes a square of pixels of each one, beside the next."""
    transposed = isinstance(layer, layers.Conv2DTranspose) and once(layer)
    return (
        transposed
        and layer.kernel_size == layer.strides == layer.strides[::-1]
        and layer.output_padding is None
    )


def _pointwise(config):
    """Return the 1 x 1 convolution that does the work of a transposed one with that configuration."""
    kept = {name: config[name] for name in ("name", "dtype", "activation", "use_bias")}
    return layers.Conv2D(config["filters"] * config["strides"][0] ** 2, 1, **kept)


def _pointwise_weights(kernel, *bias):
    height, width, _, channels = kernel.shape
    return [
        np.moveaxis(kernel, 3, 0).reshape(1, 1, channels, -1),
        *(np.tile(values, height * width) for values in bias),
    ]


def _scaled(conv, norm):
    """Return [kernel, bias] of a convolution that does the normalization's work."""
    kernel, *bias = (weight.astype(np.float64) for weight in conv.get_weights())
    bias = bias[0] if bias else 0.0
    gamma, beta, mean, variance = (
        keras.ops.convert_to_numpy(x).astype(np.float64) for x in _statistics(norm)
    )
    scale = gamma / np.sqrt(variance + norm.epsilon)
    if isinstance(conv, layers.DepthwiseConv2D):
        spread = scale.reshape(kernel.shape[2:])
    elif isinstance(conv, layers.Conv2DTranspose):
        spread = scale[:, None]  # (h, w, out, in)
    else:
        spread = scale
    return [(kernel * spread).astype(np.float32), ((bias - mean) * scale + beta).astype(np.float32)]


def _statistics(norm):
    channels = norm.moving_mean.shape[0]
    gamma = norm.gamma if norm.scale else np.ones(channels)
    beta = norm.beta if norm.center else np.zeros(channels)
    return gamma, beta, norm.moving_mean, norm.moving_variance
