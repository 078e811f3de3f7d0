"""Single kinds of layers; `test_litert` covers whole networks."""

import keras
import numpy as np
import pytest
from keras import layers

from tfseg.export.quantizing import _quantized_weights, equalize_concatenations

RANDOM = {
    "kernel_initializer": "he_normal",
    "bias_initializer": keras.initializers.RandomUniform(0.5, 1.5),
}


def random_images():
    return [np.random.default_rng(i).uniform(0, 1, (9, 11, 3)).astype(np.float32) for i in range(2)]


def parts(image):
    """Return inputs of a join: three that a scale passes through, then two that block it."""
    conv = layers.Conv2D(3, 3, padding="same", activation="relu", name="conv", **RANDOM)
    depthwise = layers.DepthwiseConv2D(
        3, padding="same", depth_multiplier=2, name="depthwise", bias_initializer="ones"
    )
    transposed = layers.Conv2DTranspose(4, 3, padding="same", name="transposed", **RANDOM)
    nonlinear = layers.Conv2D(2, 1, activation="tanh", name="nonlinear", **RANDOM)
    capped = layers.Conv2D(2, 1, name="capped", **RANDOM)
    return [
        conv(image),
        depthwise(image),
        layers.ReLU()(transposed(image)),
        nonlinear(image),
        layers.ReLU(max_value=0.5)(capped(image)),
    ]


def test_only_homogeneous_layers_are_scaled():
    image = keras.Input((None, None, 3))
    x = layers.Concatenate()(parts(image))
    outputs = [layers.Conv2D(2, 3, **RANDOM)(x), layers.Conv2D(2, 3, **RANDOM)(x)]
    model = keras.Model(image, layers.Add()(outputs))
    images = np.stack(random_images())
    before = model(images)
    weights = {layer.name: [w.numpy() for w in layer.weights] for layer in model.layers}
    equalize_concatenations(model, [10 * image for image in random_images()])
    np.testing.assert_allclose(model(images), before, rtol=1e-4, atol=1e-4)
    scaled = {
        layer.name
        for layer in model.layers
        if weights[layer.name] and np.any(weights[layer.name][0] != layer.kernel)
    }
    assert scaled >= {"conv", "depthwise", "transposed"}
    assert scaled.isdisjoint({"nonlinear", "capped"})


# The image reaches 1 and cannot be scaled. So channel 1 of peak 10 is scaled by 1 / 10, and channel
# 2 of peak 1e-6 by the maximum of 64; before a Conv2D, by the square roots of these.
@pytest.mark.parametrize(
    ("user", "kernel"),
    [(layers.DepthwiseConv2D(1), [1, 64e-6]), (layers.Conv2D(2, 1), [10**0.5, 8e-6])],
)
def test_scales_by_hand(user, kernel):
    image = keras.Input((None, None, 1))
    conv = layers.Conv2D(2, 1)
    model = keras.Model(image, user(layers.Concatenate()([image, conv(image)])))
    conv.kernel.assign([[[[10, 1e-6]]]])
    equalize_concatenations(model, [np.ones((2, 2, 1), np.float32)])
    assert conv.kernel.numpy().ravel() == pytest.approx(kernel)


def tanh():
    return layers.Activation("tanh")


def grouped_conv():
    return layers.Conv2D(2, 1, groups=2)


@pytest.mark.parametrize("user", [tanh, grouped_conv, layers.BatchNormalization])
def test_a_join_whose_scale_no_convolution_can_undo_stays(user):
    image = keras.Input((None, None, 3))
    x = layers.Concatenate()([layers.Conv2D(2, 1)(image), layers.Conv2D(2, 1, **RANDOM)(image)])
    outputs = [layers.Conv2D(2, 1)(x), layers.Conv2D(2, 1)(user()(x))]
    model = keras.Model(image, layers.Add()(outputs))
    before = model.get_weights()
    equalize_concatenations(model, random_images())
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("layer", "axis"),
    [
        (layers.Conv2D(4, 3), 3),
        (layers.Conv2DTranspose(4, 3), 2),
        (layers.DepthwiseConv2D(3, depth_multiplier=1), 2),
    ],
)
def test_each_output_channel_has_its_own_256_steps(layer, axis):
    layer.build((None, 8, 8, 4))
    kernel, bias = layer.get_weights()
    kernel *= np.expand_dims([1e-3, 1, 30, 1000], [i for i in range(4) if i != axis])
    found, kept = _quantized_weights(layer, [kernel, bias])
    assert np.array_equal(kept, bias)
    channels = zip(np.moveaxis(kernel, axis, 0), np.moveaxis(found, axis, 0), strict=True)
    for channel, rounded in channels:
        step = np.abs(channel).max() / 127
        np.testing.assert_allclose(rounded, channel, atol=0.501 * step)
        assert not np.allclose(rounded, channel, atol=0.1 * step)
