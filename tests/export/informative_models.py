"""Networks whose answers differ from pixel to pixel, and whether a form of theirs gives the same."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tfseg.export import keras_runner
from tfseg.models import build

ENCODERS = {"unet": None, "unetpp": None, "tiny_unet": None, "segformer": "mit_b0"}


class Digamma(layers.Layer):
    """What no other format has."""

    def call(self, x):
        """Return the digamma function of each value."""
        return tf.math.digamma(x)


def small(name):
    """A network of `list_models()` with a small encoder and three classes."""
    encoder = ENCODERS.get(name, "mobilenet_v2")
    return make_informative(build(name, 3, **({"encoder": encoder} if encoder else {})))


def noise(*shape):
    return np.random.default_rng(1).uniform(0, 255, shape).astype(np.float32)


def make_informative(model):
    """Give every batch normalization statistics that matter, and the logits sizes at which classes differ."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            for weight in layer.weights:
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    logits = keras.ops.convert_to_numpy(
        model(noise(1, 65, 97, model.input_shape[-1]), training=False)
    )
    *_, last = (layer for layer in model.layers if layer.name == "classes")
    last.kernel.assign(last.kernel / (logits.std((0, 1, 2)) + 1e-6))
    last.bias.assign(last.bias - logits.mean((0, 1, 2)) / (logits.std((0, 1, 2)) + 1e-6))
    return model


def same(run, model, *shape, difference=1e-4):
    found, expected = run(noise(*shape)), keras_runner(model)(noise(*shape))
    assert found.keys() == expected.keys() == {"class_ids", "probabilities"}
    for name, value in found.items():
        assert value.dtype == expected[name].dtype
        assert value.shape == expected[name].shape
    assert np.mean(found["class_ids"] == expected["class_ids"]) > 0.999
    assert np.abs(found["probabilities"] - expected["probabilities"]).max() < difference
    return found
