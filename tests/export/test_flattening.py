"""Models around models: Sequential, functional and subclasses of `keras.Model`."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from export.informative_models import make_informative, noise, one_conv
from keras import layers

from tfseg.export import fold_batch_norm, inspect, keras_runner, litert, onnx, openvino, saved_model
from tfseg.export.flattening import flatten
from tfseg.models import tiny_unet, unet


@pytest.fixture(scope="module")
def inner():
    return make_informative(unet(3, filters=(2, 4)))


@pytest.fixture(scope="module")
def tiny():
    return make_informative(tiny_unet(3, filters=2))


def sequential(inner):
    first = layers.RandomFlip("horizontal")
    return keras.Sequential([keras.Input((None, None, 3)), first, inner])


def functional(inner):
    image = keras.Input((None, None, 4))
    return keras.Model(image, inner(image[..., :3]))


def twice(inner):
    image = keras.Input((None, None, 3))
    return keras.Model(image, layers.Add()([inner(image), inner(255 - image)]))


def nested(inner):
    image = keras.Input((None, None, 3))
    # both have a layer of this name
    outer = keras.Sequential([keras.Input((None, None, 3)), sequential(inner)])
    return keras.Model(image, layers.Conv2D(3, 1, name="classes")(outer(image)))


@pytest.mark.parametrize("wrap", [sequential, functional, twice, nested])
def test_a_flat_model_has_the_layers_and_outputs_of_the_inner_one(wrap, inner):
    model = wrap(inner)
    folded = fold_batch_norm(model)
    assert not any(isinstance(layer, keras.Model) for layer in folded.layers)
    count = sum(isinstance(layer, layers.BatchNormalization) for layer in folded.layers)
    assert count == 0 or wrap is twice  # shared layers are kept
    images = noise(1, 21, 30, model.input_shape[-1])
    expected = model(images, training=False)
    np.testing.assert_allclose(folded(images, training=False), expected, atol=1e-4)


def test_a_model_without_models_inside_is_not_copied(inner):
    assert flatten(inner) is inner


def test_a_sequential_model_is_exported(tiny, tmp_path):
    model = sequential(tiny)
    version = saved_model(model, tmp_path, window=32)
    assert "normalization" not in inspect(version)  # a layer precedes it
    images = noise(2, 21, 30, 3)
    served = tf.saved_model.load(str(version)).signatures["serving_default"]
    found = served(image=tf.constant(images))["class_ids"].numpy()
    assert np.mean(found == keras_runner(tiny)(images)["class_ids"]) > 0.999


class Subclass(keras.Model):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, image, training=None):
        return self.inner(image, training=training)


EXPORTS = {
    "saved_model": lambda model, folder: saved_model(model, folder),
    "litert": lambda model, folder: litert(model, folder / "m.tflite"),
    "onnx": lambda model, folder: onnx(model, folder / "m.onnx"),
    "openvino": lambda model, folder: openvino(model, folder / "m.xml"),
}


@pytest.mark.parametrize("export", EXPORTS)
def test_a_subclass_is_refused_with_the_remedy(export, tmp_path):
    model = Subclass(one_conv())
    model(noise(1, 8, 8, 3))
    with pytest.raises(ValueError, match=rf"{export}: got the model .* class Subclass.* Wrap it"):
        EXPORTS[export](model, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_remedy_works(tiny, tmp_path):
    model = Subclass(tiny)
    image = keras.Input((None, None, 3))
    version = saved_model(keras.Model(image, model(image)), tmp_path)
    images = noise(2, 21, 30, 3)
    served = tf.saved_model.load(str(version)).signatures["serving_default"]
    found = served(image=tf.constant(images))["class_ids"].numpy()
    assert np.mean(found == keras_runner(tiny)(images)["class_ids"]) > 0.999


@pytest.mark.parametrize("export", EXPORTS)
@pytest.mark.parametrize(("classes", "activation"), [(3, "softmax"), (1, "sigmoid")])
def test_a_model_that_ends_in_an_activation_is_refused(classes, activation, export, tmp_path):
    logits = one_conv(classes)
    model = keras.Model(logits.input, layers.Activation(activation)(logits.output))
    with pytest.raises(ValueError, match=f"{export}: .* ends in {activation}, expected logits"):
        EXPORTS[export](model, tmp_path)
    assert list(tmp_path.iterdir()) == []


@functools.cache
def half_model(policy, build, filters):
    """Return a model as a training in mixed precision leaves it."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        return make_informative(build(3, filters=filters))
    finally:
        keras.mixed_precision.set_global_policy(before)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_model_trained_in_mixed_precision_is_folded_in_float32(policy):
    model = half_model(policy, unet, (2, 4))
    assert {layer.compute_dtype for layer in model.layers} > {"float32"}
    folded = fold_batch_norm(model)
    assert {layer.compute_dtype for layer in folded.layers} == {"float32"}


@pytest.mark.parametrize("export", EXPORTS)
def test_a_model_trained_in_mixed_precision_is_exported(export, tmp_path):
    model = half_model("mixed_float16", tiny_unet, 2)
    EXPORTS[export](model, tmp_path)  # compares the outputs
    assert any(tmp_path.iterdir())
