"""Each kind of layer by itself; whole networks are in `test_litert`."""

import keras
import numpy as np
import pytest
from keras import layers

from tfseg.export.quantizing import _rounded, equalize_joins

ANY = {
    "kernel_initializer": "he_normal",
    "bias_initializer": keras.initializers.RandomUniform(0.5, 1.5),
}


def pictures():
    return [np.random.default_rng(i).uniform(0, 1, (9, 11, 3)).astype(np.float32) for i in range(2)]


def parts(image):
    """What is joined: first what a scale goes through, then what it does not."""
    conv = layers.Conv2D(3, 3, padding="same", activation="relu", name="conv", **ANY)
    depthwise = layers.DepthwiseConv2D(
        3, padding="same", depth_multiplier=2, name="depthwise", bias_initializer="ones"
    )
    transposed = layers.Conv2DTranspose(4, 3, padding="same", name="transposed", **ANY)
    curved = layers.Conv2D(2, 1, activation="tanh", name="curved", **ANY)
    capped = layers.Conv2D(2, 1, name="capped", **ANY)
    return [
        conv(image),
        depthwise(image),
        layers.ReLU()(transposed(image)),
        curved(image),
        layers.ReLU(max_value=0.5)(capped(image)),
    ]


def test_a_scale_goes_through_what_is_homogeneous_only():
    image = keras.Input((None, None, 3))
    x = layers.Concatenate()(parts(image))
    model = keras.Model(
        image, layers.Add()([layers.Conv2D(2, 3, **ANY)(x), layers.Conv2D(2, 3, **ANY)(x)])
    )
    before = model(np.stack(pictures()))
    weights = {layer.name: [w.numpy() for w in layer.weights] for layer in model.layers}
    equalize_joins(model, [10 * picture for picture in pictures()])
    np.testing.assert_allclose(model(np.stack(pictures())), before, rtol=1e-4, atol=1e-4)
    moved = {
        layer.name
        for layer in model.layers
        if weights[layer.name] and np.any(weights[layer.name][0] != layer.kernel)
    }
    assert moved >= {"conv", "depthwise", "transposed"}
    assert moved.isdisjoint({"curved", "capped"})


# towards the image, which reaches to 1 and stays: 1 / 10 of the first and, of the second, 64 and no more;
# half of the way (its root) where weights of the next convolution share a scale
@pytest.mark.parametrize(
    ("user", "kernel"),
    [(layers.DepthwiseConv2D(1), [1, 64e-6]), (layers.Conv2D(2, 1), [10**0.5, 8e-6])],
)
def test_how_far_channels_are_moved_by_hand(user, kernel):
    image = keras.Input((None, None, 1))
    conv = layers.Conv2D(2, 1)
    model = keras.Model(image, user(layers.Concatenate()([image, conv(image)])))
    conv.kernel.assign([[[[10, 1e-6]]]])
    equalize_joins(model, [np.ones((2, 2, 1), np.float32)])
    assert conv.kernel.numpy().ravel() == pytest.approx(kernel)


@pytest.mark.parametrize(
    "user",
    [
        lambda: layers.Activation("tanh"),
        lambda: layers.Conv2D(2, 1, groups=2),
        layers.BatchNormalization,
    ],
)
def test_a_join_that_no_convolution_undoes_stays(user):
    image = keras.Input((None, None, 3))
    x = layers.Concatenate()([layers.Conv2D(2, 1)(image), layers.Conv2D(2, 1, **ANY)(image)])
    outputs = [layers.Conv2D(2, 1)(x), layers.Conv2D(2, 1)(user()(x))]
    model = keras.Model(image, layers.Add()(outputs))
    before = model.get_weights()
    equalize_joins(model, pictures())
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("layer", "axis"),
    [
        (layers.Conv2D(4, 3), 3),
        (layers.Conv2DTranspose(4, 3), 2),
        (layers.DepthwiseConv2D(3, depth_multiplier=1), 2),
    ],
)
def test_each_output_channel_has_256_steps_of_its_own(layer, axis):
    layer.build((None, 8, 8, 4))
    kernel, bias = layer.get_weights()
    kernel *= np.expand_dims([1e-3, 1, 30, 1000], [i for i in range(4) if i != axis])
    found, kept = _rounded(layer, [kernel, bias])
    assert np.array_equal(kept, bias)
    for channel, rounded in zip(
        np.moveaxis(kernel, axis, 0), np.moveaxis(found, axis, 0), strict=True
    ):
        step = np.abs(channel).max() / 127
        np.testing.assert_allclose(rounded, channel, atol=0.501 * step)
        assert not np.allclose(rounded, channel, atol=0.1 * step)
