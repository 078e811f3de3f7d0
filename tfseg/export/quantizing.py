"""Eight bits in place of thirty-two: where a network loses by it, and how its joins lose less."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tfseg.export.folding import CONVOLUTIONS, fold_batch_norm, once
from tfseg.export.postprocess import postprocess
from tfseg.models.decoders import ResizeLike, Upsample

# what gives s times the output for s times the input, a channel by itself, if s is above zero
HOMOGENEOUS = (layers.ReLU, layers.MaxPooling2D, layers.Dropout, Upsample, ResizeLike)
MOST = 64.0  # times that a channel is made larger or smaller


def equalize_joins(model, images):
    """Bring what is joined to one range, so that eight bits do for all of it; the model's answers stay.

    All channels of a `Concatenate` share one scale of int8. Where one part reaches to 60 and the other to 4, the other
    is left with a few steps. The convolution behind such a part therefore gives its channels larger or smaller, and
    the convolutions that take the joined map undo that.

    Args:
        model: of `fold_batch_norm`; changed in place.
        images: list of (H, W, C).
    """
    joins = [
        layer for layer in model.layers if isinstance(layer, layers.Concatenate) and _undone(layer)
    ]
    if not joins:
        return
    peaks = _over(
        model,
        [join.output for join in joins],
        images,
        lambda x: tf.reduce_max(tf.abs(x), (0, 1, 2)),
    )
    for join, peak in zip(joins, peaks, strict=True):
        _equalize(join, peak.max(0))


def sensitive_layers(model, samples):
    """Say which layers of a model suffer most from int8: one at a time is rounded, in its weights and its output.

    Args:
        model: of `tfseg.models`, or of `fold_batch_norm`.
        samples: list of (H, W, C), a few are enough: the model runs on each as often as it has layers.

    Returns:
        list of (layer name, share of the samples' pixels that get another class), worst first.
    """
    folded_model = fold_batch_norm(model)
    names = [
        layer.name
        for layer in folded_model.layers
        if once(layer) and not isinstance(layer, layers.InputLayer)
    ]
    ends = _over(
        folded_model,
        [folded_model.get_layer(name).output for name in names],
        samples,
        lambda x: tf.stack([tf.reduce_min(x), tf.reduce_max(x)]),
    )
    chosen = tf.Variable(-1)
    rounding = _rounding(folded_model, [(x[:, 0].min(), x[:, 1].max()) for x in ends], names, chosen)
    ids = tf.function(
        lambda image: postprocess(rounding(image, training=False))["class_ids"], reduce_retracing=True
    )
    batches = [tf.constant(sample[None], tf.float32) for sample in samples]
    expected = [ids(batch) for batch in batches]
    losses = {}
    for index, name in enumerate(names):
        chosen.assign(index)
        layer = rounding.get_layer(name)
        weights = layer.get_weights()
        layer.set_weights(_rounded(layer, weights))
        losses[name] = float(
            np.mean([np.mean(ids(x) != e) for x, e in zip(batches, expected, strict=True)])
        )
        layer.set_weights(weights)
    return sorted(losses.items(), key=lambda item: -item[1])


def _over(model, outputs, images, measure):
    """Return for each output what `measure` says of it, (images, ...)."""
    inner = keras.Model(model.input, outputs)
    call = tf.function(
        lambda image: [
            measure(tf.cast(x, tf.float32)) for x in tf.nest.flatten(inner(image, training=False))
        ],
        reduce_retracing=True,
    )
    found = [call(tf.constant(image[None], tf.float32)) for image in images]
    return [np.stack(values) for values in zip(*found, strict=True)]


def _undone(join):
    """Whether all that takes the joined channels is convolutions, which can undo a scale."""
    users = _users(join)
    ours = all(
        type(user) in (layers.Conv2D, layers.DepthwiseConv2D) and once(user) for user in users
    )
    return (
        ours
        and bool(users)
        and join.axis in (-1, 3)
        and all(getattr(user, "groups", 1) == 1 for user in users)
    )


def _equalize(join, peak):
    """Scale the parts of a join, of which `peak` (C,) are the largest values."""
    parts = join._inbound_nodes[0].input_tensors
    sources = [_source(part, join) for part in parts]
    owners = np.repeat(np.arange(len(parts)), [part.shape[-1] for part in parts])
    fixed = np.array([source is None for source in sources])[owners]
    moved = ~fixed & (peak > 0)
    goal = peak[fixed].max(initial=0) or peak.max()
    scale = np.ones_like(peak)
    scale[moved] = np.clip(goal / peak[moved], 1 / MOST, MOST)
    if any(type(user) is layers.Conv2D for user in _users(join)):
        # one output's weights share a scale too: half of the way each, as larger channels want smaller weights
        scale = np.sqrt(scale)
    for owner, source in enumerate(sources):
        if source is not None:
            _multiply_outputs(source, scale[owners == owner])
    for user in _users(join):
        kernel, *bias = user.get_weights()
        user.set_weights([kernel / scale[:, None], *bias])


def _source(tensor, user):
    """Return the convolution whose channels arrive at `user` and nowhere else, with nothing but scale between."""
    layer = tensor._keras_history.operation
    if _users(layer) != [user] or not once(layer):
        return None
    if isinstance(layer, CONVOLUTIONS):
        return (
            layer
            if layer.activation in (keras.activations.linear, keras.activations.relu)
            else None
        )
    bent = getattr(layer, "max_value", None) is not None or getattr(
        layer, "threshold", 0
    )  # a ReLU may be
    plain = isinstance(layer, HOMOGENEOUS) and not bent
    return _source(layer._inbound_nodes[0].input_tensors[0], layer) if plain else None


def _users(layer):
    return [node.operation for node in layer._outbound_nodes]


def _multiply_outputs(conv, scale):
    kernel, *bias = conv.get_weights()
    if isinstance(conv, layers.DepthwiseConv2D):
        spread = scale.reshape(kernel.shape[2:])
    else:
        spread = (
            scale[:, None] if isinstance(conv, layers.Conv2DTranspose) else scale
        )  # (h, w, out, in)
    conv.set_weights([kernel * spread, *(values * scale for values in bias)])


def _rounding(model, ends, names, chosen):
    """Return a copy of a model that rounds the output of layer number `chosen` to 256 steps."""

    def call(layer, *args, **kwargs):
        output = layer(*args, **kwargs)
        if (
            layer.name not in names
        ):  # plain arithmetic between tensors, or a layer used more than once
            return output
        index = names.index(layer.name)
        # a ReLU is computed with what is before it: nothing is rounded between them
        users = _users(model.get_layer(layer.name))
        inside = len(users) == 1 and isinstance(users[0], layers.ReLU)
        return output if inside else _Round(index, *ends[index], chosen)(output)

    copy = keras.models.clone_model(
        model,
        clone_function=lambda layer: layer.__class__.from_config(layer.get_config()),
        call_function=call,
    )
    for layer in model.layers:
        copy.get_layer(layer.name).set_weights(layer.get_weights())
    return copy


class _Round(layers.Layer):
    """Round to 256 steps between two ends if `chosen` is `index`."""

    def __init__(self, index, low, high, chosen):
        super().__init__()
        self.ends = float(min(low, 0)), float(max(high, 1e-6, low + 1e-6))
        self.index, self.chosen = index, chosen

    def call(self, x):
        rounded = lambda: tf.quantization.fake_quant_with_min_max_args(x, *self.ends)  # noqa: E731
        return tf.cond(self.chosen == self.index, rounded, lambda: x)

    def compute_output_shape(self, shape):
        return shape


def _rounded(layer, weights):
    """Return a layer's weights with the kernel of a convolution in int8, one scale a channel of the output."""
    if not isinstance(layer, CONVOLUTIONS):
        return weights
    kernel, *bias = weights
    if isinstance(layer, layers.DepthwiseConv2D):
        inside = (0, 1)
    else:
        inside = (0, 1, 3) if isinstance(layer, layers.Conv2DTranspose) else (0, 1, 2)
    step = np.maximum(np.abs(kernel).max(inside, keepdims=True), 1e-12) / 127
    return [np.round(kernel / step) * step, *bias]
