"""Small networks whose class ids differ from pixel to pixel, and comparison of their exports."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tfseg.export import keras_runner

MAX_PIXELS = 256 * 256  # of the fixture `unet_version`


class Digamma(layers.Layer):
    """An operation that no other format has."""

    def call(self, x):
        """Return the digamma function of each value."""
        return tf.math.digamma(x)


def noise(*shape):
    return np.random.default_rng(1).uniform(0, 255, shape).astype(np.float32)


def one_conv(classes=3, input_shape=(None, None, 3)):
    """A model that exports fast: rescaling and one 3 x 3 convolution, with informative logits."""
    image = keras.Input(input_shape, name="image")
    conv = layers.Conv2D(classes, 3, padding="same", name="classes")
    model = keras.Model(image, conv(layers.Rescaling(1 / 255)(image)), name="one_conv")
    kernel = np.random.default_rng(2).normal(0, 1, conv.kernel.shape)
    conv.kernel.assign(kernel - kernel.mean((0, 1, 2)))  # no class wins by its mean
    return model


def make_informative(model):
    """Randomize batch normalization, and scale the logits so that class ids and scores vary."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            for weight in layer.weights:
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    logits = model(noise(1, 65, 97, model.input_shape[-1]), training=False)
    logits = keras.ops.convert_to_numpy(logits)
    std = logits.std((0, 1, 2)) + 1e-6
    last = [layer for layer in model.layers if layer.name == "classes"][-1]
    last.kernel.assign(last.kernel / std)
    last.bias.assign(last.bias - logits.mean((0, 1, 2)) / std)
    return model


def assert_same_outputs(run, model, *shape, max_difference=1e-4):
    """Assert that an exported file gives the outputs of the model on noise, and return them."""
    found, expected = run(noise(*shape)), keras_runner(model)(noise(*shape))
    assert found.keys() == expected.keys() == {"class_ids", "probabilities"}
    for name, value in found.items():
        assert value.dtype == expected[name].dtype
        assert value.shape == expected[name].shape
    assert np.mean(found["class_ids"] == expected["class_ids"]) > 0.999
    assert np.abs(found["probabilities"] - expected["probabilities"]).max() < max_difference
    return found
