"""Inference copies of a model: batch normalization in the convolutions, weights as constants."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tfseg.export.detection_outputs import has_detections, with_count
from tfseg.export.flattening import flatten
from tfseg.export.postprocess import postprocess
from tfseg.models.decoders import PixelShuffle
from tfseg.models.detection.roi_layers import RoiBatchNorm
from tfseg.models.layer_graph import consumers, is_used_once

NORMS = (layers.BatchNormalization, RoiBatchNorm)
CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose)
# layers that neither sum many numbers nor are written for float32
BFLOAT16_LAYERS = (
    *CONVOLUTIONS,
    layers.BatchNormalization,
    layers.ReLU,
    layers.Activation,
    layers.MaxPooling2D,
    layers.Concatenate,
    layers.Add,
    layers.Multiply,
)


def fold_batch_norm(
    model: keras.Model, dtype: str = "float32", size: tuple[int, int] | None = None
) -> keras.Model:
    """Return an inference copy with batch normalization folded into the convolutions before it.

    With stored statistics, batch normalization is a scale and a shift per channel, which kernel and
    bias can absorb: y = gamma (conv(x) + b - mean) / sqrt(variance + epsilon) + beta. It is kept
    where it does not directly follow a convolution, or where either layer is used more than once.

    In bfloat16, transposed convolutions whose windows do not overlap become 1 x 1 convolutions with
    a pixel shuffle, since TensorFlow rearranges transposed kernels at every call and adds their
    bias in a separate pass.

    Args:
        model: a trained model of `tfseg.models`, or a functional or Sequential model around one. It
            is not changed.
        dtype: "float32" or "bfloat16", of features and convolutions. Logits are always float32.
        size: (H, W) of the images, for a copy that takes one image (1, H, W, C) at a time and in
            which all shapes are known. None for the model's own.

    Returns:
        keras.Model for inference.

    Example:
        >>> import tfseg
        >>> folded = tfseg.export.fold_batch_norm(tfseg.models.unet(2, filters=(4, 8)))
        >>> sum(type(layer).__name__ == "BatchNorm" for layer in folded.layers)
        0
    """
    # a new Model, since cloning a compiled one would also copy its loss and optimizer
    flat_model = flatten(model)
    plain = keras.Model(flat_model.input, flat_model.output, name=model.name)
    norm_of = _foldable_norms(plain)
    folded_names = {norm.name for norm in norm_of.values()}
    bfloat16_names = _bfloat16_names(plain) if dtype == "bfloat16" else set()
    shuffle_factors = {
        layer.name: layer.strides[0]
        for layer in plain.layers
        if layer.name in bfloat16_names and _is_disjoint_upsampling(layer)
    }

    def copy(layer):
        if isinstance(layer, keras.Model):
            return layer  # a subclass, whose layers are unknown
        config = layer.get_config()
        if layer in norm_of:
            config["use_bias"] = True
        if layer.name in bfloat16_names:
            config["dtype"] = "mixed_bfloat16"
        if layer.name in shuffle_factors:
            return _pointwise_conv(config)
        return layer.__class__.from_config(config)

    def call(layer, *args, **kwargs):
        if layer.name in folded_names:
            return args[0]
        output = layer(*args, **kwargs)
        if layer.name in shuffle_factors:
            return PixelShuffle(shuffle_factors[layer.name], dtype="bfloat16")(output)
        return output

    image = None if size is None else _input_of_size(plain, size)
    folded_model = keras.models.clone_model(plain, image, copy, call)
    _copy_weights(plain, folded_model, norm_of, shuffle_factors)
    return folded_model


def as_constants(model: keras.Model, shape: tuple | None = None):
    """Return a function (B, H, W, C) float32 -> output in which the weights are constants.

    Constant kernels are arranged for the processor once instead of at every call.

    Args:
        model: keras.Model of one input. Its output is logits or a dict.
        shape: (B, H, W, C) of the image, with None for any size; by default `model.input_shape`.
    """
    call = tf.function(lambda image: model(image, training=False), autograph=False)
    concrete = call.get_concrete_function(image_spec(shape or model.input_shape))
    # loops stay functions: LiteRT converts no others
    constant = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    structure = concrete.structured_outputs
    return lambda image: tf.nest.pack_sequence_as(structure, constant(image))


def inference_function(folded_model: keras.Model):
    """Return a tf.function (B, H, W, C) float32 -> class ids and probabilities, for converters.

    For images of one known size it returns the probabilities alone: delegates of small devices
    have no integer outputs, and MediaPipe takes a single one. For a detector it returns detections.

    Args:
        folded_model: the result of `fold_batch_norm`. Its weights become constants.
    """
    output_of = as_constants(folded_model)
    is_static = None not in folded_model.input_shape

    def serve(image):
        if has_detections(folded_model):
            return with_count(output_of(image))
        outputs = postprocess(output_of(image))
        return {"probabilities": outputs["probabilities"]} if is_static else outputs

    spec = image_spec(folded_model.input_shape)
    return tf.function(serve, input_signature=[spec], autograph=False)


def broadcast_to_kernel(conv, values):
    """Reshape one value per output channel so that it multiplies the kernel of a convolution."""
    if isinstance(conv, layers.DepthwiseConv2D):  # kernel (h, w, in, multiplier)
        return values.reshape(conv.kernel.shape[2:])
    if isinstance(conv, layers.Conv2DTranspose):  # kernel (h, w, out, in)
        return values[:, None]
    return values  # kernel (h, w, in, out)


def image_spec(shape):
    """Return the tf.TensorSpec of the float32 input `image` of a shape (B, H, W, C)."""
    return tf.TensorSpec(shape, tf.float32, name="image")


def _input_of_size(model, size):
    return keras.Input(batch_shape=(1, *size, model.input_shape[-1]), name="image")


def _foldable_norms(model):
    """Return {convolution: the batch normalization that is the only consumer of its output}."""
    norm_of = {}
    for layer in model.layers:
        if not (isinstance(layer, CONVOLUTIONS) and is_used_once(layer)):
            continue
        # model outputs have no outbound node; do not fold into them
        is_output = any(layer.output is output for output in model.outputs)
        if is_output or layer.activation is not keras.activations.linear:
            continue
        users = consumers(layer)
        if len(users) == 1 and _is_single_norm(users[0], model):
            norm_of[layer] = users[0]
    return norm_of


def _is_single_norm(layer, model):
    """Whether a layer is a batch normalization of this model that is used once."""
    is_norm = isinstance(layer, NORMS) and is_used_once(layer)
    return is_norm and layer in model.layers


def _bfloat16_names(model):
    """Return the names of the layers to run in bfloat16, up to the one that makes the logits."""
    with_weights = [i for i, layer in enumerate(model.layers) if layer.weights]
    last = max(with_weights, default=-1)
    return {layer.name for layer in model.layers[: last + 1] if isinstance(layer, BFLOAT16_LAYERS)}


def _is_disjoint_upsampling(layer):
    """Whether a layer is a transposed convolution that turns each pixel into its own square."""
    return (
        isinstance(layer, layers.Conv2DTranspose)
        and is_used_once(layer)
        and layer.kernel_size == layer.strides == layer.strides[::-1]
        and layer.output_padding is None
    )


def _copy_weights(model, folded_model, norm_of, shuffle_factors):
    """Set the weights of the copy, with folded normalization and as 1 x 1 convolutions."""
    for layer in folded_model.layers:
        if not layer.weights:
            continue
        original = model.get_layer(layer.name)
        weights = original.get_weights()
        if original in norm_of:
            weights = _folded_weights(original, norm_of[original])
        if layer.name in shuffle_factors:
            weights = _pointwise_weights(*weights)
        layer.set_weights(weights)


def _pointwise_conv(config):
    """Return the 1 x 1 convolution that replaces a transposed one with this configuration."""
    kept = {name: config[name] for name in ("name", "dtype", "activation", "use_bias")}
    return layers.Conv2D(config["filters"] * config["strides"][0] ** 2, 1, **kept)


def _pointwise_weights(kernel, *bias):
    """Return the weights of the 1 x 1 convolution that replaces a transposed one.

    With stride 2 the transposed convolution computes out[2y + i, 2x + j, o] as the sum over c of
    in[y, x, c] * kernel[i, j, o, c]. The 1 x 1 convolution computes the same four pixels as 4 * out
    channels, ordered by (i, j, o), and the pixel shuffle puts them in place.
    """
    height, width, _, channels = kernel.shape
    pointwise = np.moveaxis(kernel, 3, 0).reshape(1, 1, channels, -1)
    return [pointwise, *(np.tile(values, height * width) for values in bias)]


def _folded_weights(conv, norm):
    """Return [kernel, bias] of a convolution that includes the batch normalization.

    With gamma 3, beta 1, mean 5 and a standard deviation of 2, the scale is 1.5: the kernel is
    multiplied by 1.5, and a bias of 0 becomes (0 - 5) * 1.5 + 1 = -6.5.
    """
    kernel, *bias = [weight.astype(np.float64) for weight in conv.get_weights()]
    bias = bias[0] if bias else 0.0
    mean, variance = _float64(norm.moving_mean), _float64(norm.moving_variance)
    gamma = _float64(norm.gamma) if getattr(norm, "scale", True) else np.ones(len(mean))
    beta = _float64(norm.beta) if getattr(norm, "center", True) else np.zeros(len(mean))
    scale = gamma / np.sqrt(variance + norm.epsilon)
    kernel = kernel * broadcast_to_kernel(conv, scale)
    bias = (bias - mean) * scale + beta
    return [kernel.astype(np.float32), bias.astype(np.float32)]


def _float64(variable):
    return keras.ops.convert_to_numpy(variable).astype(np.float64)
