"""Quantization to int8: which layers lose accuracy, and equal ranges where channels are joined."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tfseg.export.folding import CONVOLUTIONS, broadcast_to_kernel, fold_batch_norm
from tfseg.export.postprocess import postprocess
from tfseg.models.decoders import ResizeLike, Upsample
from tfseg.models.layer_graph import consumers, input_tensors, is_used_once, producer

# layers with f(s * x) = s * f(x) per channel for s > 0
HOMOGENEOUS = (layers.ReLU, layers.MaxPooling2D, layers.Dropout, Upsample, ResizeLike)
MAX_SCALE = 64.0  # by which a channel is enlarged or reduced


def equalize_concatenations(folded_model: keras.Model, images) -> None:
    """Bring the channels of each `Concatenate` to similar ranges; the outputs do not change.

    In int8 all channels of a `Concatenate` share one scale. If one input reaches 60 and another 4,
    the second has only 17 of 256 steps. So the convolutions before it scale their output channels,
    and the convolutions behind it undo the scale.

    Args:
        folded_model: the result of `fold_batch_norm`. It is changed in place.
        images: list of (H, W, C), to measure the ranges on.
    """
    concatenations = [
        layer
        for layer in folded_model.layers
        if isinstance(layer, layers.Concatenate) and _can_undo_scale(layer)
    ]
    if not concatenations:
        return
    outputs = [layer.output for layer in concatenations]
    peaks = _measure(folded_model, outputs, images, _channel_peaks)
    for layer, peak in zip(concatenations, peaks, strict=True):
        _equalize(layer, peak.max(0))


def sensitive_layers(model: keras.Model, samples) -> list[tuple[str, float]]:
    """Return how much each layer loses by int8, worst first.

    One layer at a time is quantized, in its weights and its output. The model runs once per sample
    and layer, so use few samples.

    Args:
        model: a model of `tfseg.models`, or the result of `fold_batch_norm`.
        samples: list of (H, W, C).

    Returns:
        list of (layer name, fraction of pixels that get another class), in descending order.
    """
    folded_model = fold_batch_norm(model)
    names = [
        layer.name
        for layer in folded_model.layers
        if is_used_once(layer) and not isinstance(layer, layers.InputLayer)
    ]
    outputs = [folded_model.get_layer(name).output for name in names]
    extremes = _measure(folded_model, outputs, samples, _min_and_max)
    ranges = [(x[:, 0].min(), x[:, 1].max()) for x in extremes]
    selected = tf.Variable(-1)
    quantized = _with_quantized_outputs(folded_model, ranges, names, selected)

    def class_ids(image):
        return postprocess(quantized(image, training=False))["class_ids"]

    class_ids = tf.function(class_ids, reduce_retracing=True)
    batches = [tf.constant(sample[None], tf.float32) for sample in samples]
    expected = [class_ids(batch) for batch in batches]
    losses = {}
    for index, name in enumerate(names):
        selected.assign(index)
        layer = quantized.get_layer(name)
        weights = layer.get_weights()
        layer.set_weights(_quantized_weights(layer, weights))
        changed = [np.mean(class_ids(x) != e) for x, e in zip(batches, expected, strict=True)]
        losses[name] = float(np.mean(changed))
        layer.set_weights(weights)
    return sorted(losses.items(), key=lambda item: -item[1])


def _channel_peaks(x):
    return tf.reduce_max(tf.abs(x), (0, 1, 2))


def _min_and_max(x):
    return tf.stack([tf.reduce_min(x), tf.reduce_max(x)])


def _measure(model, outputs, images, statistic):
    """Return the statistic of each output on each image, a list of (images, ...)."""
    inner = keras.Model(model.input, outputs)

    def measure(image):
        values = tf.nest.flatten(inner(image, training=False))
        return [statistic(tf.cast(value, tf.float32)) for value in values]

    measure = tf.function(measure, reduce_retracing=True)
    found = [measure(tf.constant(image[None], tf.float32)) for image in images]
    return [np.stack(values) for values in zip(*found, strict=True)]


def _can_undo_scale(concatenation):
    """Whether only convolutions take the joined channels, so that they can undo a scale."""
    users = consumers(concatenation)
    if not users or concatenation.axis not in (-1, 3):
        return False
    return all(
        type(user) in (layers.Conv2D, layers.DepthwiseConv2D)
        and is_used_once(user)
        and getattr(user, "groups", 1) == 1
        for user in users
    )


def _equalize(concatenation, peak):
    """Scale the inputs of a `Concatenate`, whose channels have the peaks (C,)."""
    inputs = input_tensors(concatenation)
    sources = [_scalable_source(tensor, concatenation) for tensor in inputs]
    # input that each joined channel belongs to: widths 2 and 3 give [0, 0, 1, 1, 1]
    owners = np.repeat(np.arange(len(inputs)), [tensor.shape[-1] for tensor in inputs])
    fixed = np.array([source is None for source in sources])[owners]
    users = consumers(concatenation)
    scale = _channel_scales(peak, fixed, any(type(user) is layers.Conv2D for user in users))
    for index, source in enumerate(sources):
        if source is not None:
            _multiply_outputs(source, scale[owners == index])
    for user in users:
        kernel, *bias = user.get_weights()
        user.set_weights([kernel / scale[:, None], *bias])


def _channel_scales(peak, fixed, halve):
    """Return the scale of each channel: (C,), 1 for fixed channels.

    The target is the largest peak of the fixed channels, or of all channels if none is fixed. Peaks
    10, 4 and 1 with the first fixed give scales 1, 2.5 and 10.

    Args:
        peak: (C,) largest absolute values.
        fixed: (C,) bool, channels that cannot be scaled.
        halve: take the square root. All weights of one output of a `Conv2D` share a scale too, and
            a larger channel needs smaller weights, so half of the way serves both best.
    """
    movable = ~fixed & (peak > 0)
    target = peak[fixed].max(initial=0) or peak.max()
    scale = np.ones_like(peak)
    scale[movable] = np.clip(target / peak[movable], 1 / MAX_SCALE, MAX_SCALE)
    return np.sqrt(scale) if halve else scale


def _scalable_source(tensor, user):
    """Return the convolution that makes a tensor, if its output channels can be scaled.

    Only homogeneous layers may be between it and `user`, and nothing else may use its output.
    """
    layer = producer(tensor)
    if consumers(layer) != [user] or not is_used_once(layer):
        return None
    if isinstance(layer, CONVOLUTIONS):
        homogeneous = (keras.activations.linear, keras.activations.relu)
        return layer if layer.activation in homogeneous else None
    if not isinstance(layer, HOMOGENEOUS):
        return None
    # a ReLU with a maximum or a threshold is not homogeneous
    if getattr(layer, "max_value", None) is not None or getattr(layer, "threshold", 0):
        return None
    return _scalable_source(input_tensors(layer)[0], layer)


def _multiply_outputs(conv, scale):
    """Multiply each output channel of a convolution, in place."""
    kernel, *bias = conv.get_weights()
    kernel = kernel * broadcast_to_kernel(conv, scale)
    conv.set_weights([kernel, *(values * scale for values in bias)])


def _with_quantized_outputs(model, ranges, names, selected):
    """Return a copy of a model that quantizes the output of the layer with index `selected`.

    Args:
        model: functional model.
        ranges: list of (low, high), the range of each output.
        names: list of layer names, in the order of `ranges`.
        selected: tf.Variable, index of the layer to quantize; -1 for none.
    """

    def copy(layer):
        return layer.__class__.from_config(layer.get_config())

    def call(layer, *args, **kwargs):
        output = layer(*args, **kwargs)
        if layer.name not in names:  # arithmetic on tensors, or a layer used more than once
            return output
        # int8 kernels include a following ReLU: nothing is quantized in between
        users = consumers(model.get_layer(layer.name))
        if len(users) == 1 and isinstance(users[0], layers.ReLU):
            return output
        index = names.index(layer.name)
        low, high = ranges[index]
        return _Quantize(index, low, high, selected)(output)

    quantized = keras.models.clone_model(model, clone_function=copy, call_function=call)
    for layer in model.layers:
        quantized.get_layer(layer.name).set_weights(layer.get_weights())
    return quantized


class _Quantize(layers.Layer):
    """Round to 256 steps between `low` and `high` if `selected` equals `index`."""

    def __init__(self, index, low, high, selected):
        super().__init__()
        # int8 represents 0 exactly, so the range includes it and is not empty
        self.low = float(min(low, 0))
        self.high = float(max(high, 1e-6, low + 1e-6))
        self.index = index
        self.selected = selected

    def call(self, x):
        def quantized():
            return tf.quantization.fake_quant_with_min_max_args(x, self.low, self.high)

        return tf.cond(self.selected == self.index, quantized, lambda: x)

    def compute_output_shape(self, shape):
        return shape


def _quantized_weights(layer, weights):
    """Return a layer's weights; the kernel of a convolution is rounded to int8 per output channel.

    A channel whose largest weight is 1.27 has steps of 0.01.
    """
    if not isinstance(layer, CONVOLUTIONS):
        return weights
    kernel, *bias = weights
    if isinstance(layer, layers.DepthwiseConv2D):
        axes = (0, 1)
    elif isinstance(layer, layers.Conv2DTranspose):
        axes = (0, 1, 3)
    else:
        axes = (0, 1, 2)
    step = np.maximum(np.abs(kernel).max(axes, keepdims=True), 1e-12) / 127
    return [np.round(kernel / step) * step, *bias]
