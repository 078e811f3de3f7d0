import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tfseg.export.folding import as_constants, fold_batch_norm
from tfseg.models import build, unet
from tfseg.models.batch_norm import BatchNorm
from tfseg.models.decoders import PixelShuffle

NORMS = (layers.BatchNormalization,)


def with_statistics(model):
    """Give every batch normalization statistics that matter, as training does."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, NORMS):
            for weight in layer.weights:
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def norms(model):
    return [layer.name for layer in model.layers if isinstance(layer, NORMS)]


def pictures():
    return np.random.default_rng(1).uniform(0, 255, (2, 37, 50, 3)).astype(np.float32)


def close(ours, theirs, share=1e-5):
    ours, theirs = (keras.ops.convert_to_numpy(x) for x in (ours, theirs))
    assert np.abs(ours - theirs).max() < share * np.abs(theirs).max()


@pytest.mark.parametrize(
    "make",
    [
        lambda: unet(3, filters=(4, 8)),
        lambda: unet(3, filters=(4, 8), residual=True, attention=True, squeeze_excite=True),
        lambda: unet(3, encoder="mobilenet_v2"),
        lambda: build("deeplab_v3_plus", encoder="efficientnet_lite0", num_classes=3),
        lambda: build("segformer", encoder="mit_b0", num_classes=3),
    ],
)
def test_nothing_changes_but_the_normalizations_are_gone(make):
    model = with_statistics(make())
    before = model.get_weights()
    copy = fold_batch_norm(model)
    images = pictures()
    close(copy(images, training=False), model(images, training=False))
    assert len(norms(copy)) < len(norms(model)) / 4 or len(norms(model)) == 1
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_all_kinds_of_convolution_take_their_normalization():
    x = image = keras.Input((None, None, 3))
    for layer in (
        layers.Conv2D(4, 3, padding="same", use_bias=False),
        layers.Conv2D(6, 3, padding="same", bias_initializer="uniform"),
        layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
        layers.Conv2DTranspose(5, 2, 2),
    ):
        x = BatchNorm()(layer(x))
    x = layers.BatchNormalization(center=False, scale=False)(layers.Conv2D(3, 1)(x))
    model = with_statistics(keras.Model(image, x))
    copy = fold_batch_norm(model)
    assert norms(copy) == []
    close(copy(pictures(), training=False), model(pictures(), training=False))


def test_a_normalization_stays_where_it_has_no_convolution_of_its_own():
    image = keras.Input((None, None, 3))
    before = BatchNorm(name="first")(image)
    shared = layers.Conv2D(4, 1)(before)  # is also used bare
    curved = layers.Conv2D(4, 1, activation="relu")(shared)
    parts = [shared, BatchNorm(name="shared")(shared), BatchNorm(name="curved")(curved)]
    twice = layers.Conv2D(12, 1)
    x = layers.Concatenate()(parts)
    x = BatchNorm(name="again")(twice(twice(x)))
    model = with_statistics(keras.Model(image, x))
    copy = fold_batch_norm(model)
    assert sorted(norms(copy)) == ["again", "curved", "first", "shared"]
    close(copy(pictures(), training=False), model(pictures(), training=False))


def test_a_normalization_of_several_convolutions_stays():
    image = keras.Input((None, None, 3))
    norm = BatchNorm(name="shared")
    model = with_statistics(
        keras.Model(image, layers.Add()([norm(layers.Conv2D(3, 1)(image)), norm(image)]))
    )
    copy = fold_batch_norm(model)
    assert norms(copy) == ["shared"]
    close(copy(pictures(), training=False), model(pictures(), training=False))


@pytest.mark.parametrize("count", [1, 2])
def test_a_convolution_that_is_an_output_stays(count):
    # whether the normalization is of the same model, or of a longer one
    image = keras.Input((None, None, 3))
    conv = layers.Conv2D(3, 1)(image)
    outputs = [conv, BatchNorm()(conv)]
    with_statistics(keras.Model(image, outputs))
    model = keras.Model(image, outputs[:count])
    for ours, theirs in zip(fold_batch_norm(model)(pictures()), model(pictures()), strict=True):
        close(ours, theirs)


def test_bfloat16_keeps_the_logits_float32_and_the_classes():
    model = with_statistics(unet(3, encoder="mobilenet_v2"))
    half = fold_batch_norm(model, "bfloat16")
    logits = half(pictures(), training=False)
    assert logits.dtype == tf.float32
    assert half.get_layer("normalize").compute_dtype == "float32"
    assert half.get_layer("classes").compute_dtype == "bfloat16"
    expected = model(pictures(), training=False)
    assert not np.array_equal(logits, expected)
    assert np.mean(np.argmax(logits, -1) == np.argmax(expected, -1)) > 0.98


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", [True, False])
def test_transposed_convolutions_become_pointwise_in_bfloat16(bias, norm):
    image = keras.Input((None, None, 3))
    options = {"use_bias": bias, "bias_initializer": "uniform"}
    x = layers.Conv2DTranspose(5, 3, 3, padding="same", name="up", **options)(image / 255)
    x = layers.ReLU()(BatchNorm()(x) if norm else x)
    x = layers.Conv2DTranspose(4, 2, 2, activation="relu", name="twice", **options)(x)
    x = layers.Conv2DTranspose(4, 3, 2, padding="same", name="overlapping")(x)
    model = with_statistics(keras.Model(image, layers.Conv2D(2, 1, name="classes")(x)))
    copy = fold_batch_norm(model, "bfloat16")
    kinds = {layer.name: type(layer) for layer in copy.layers}
    assert (kinds["up"], kinds["twice"]) == (layers.Conv2D, layers.Conv2D)
    assert kinds["overlapping"] is layers.Conv2DTranspose
    assert type(fold_batch_norm(model).get_layer("up")) is layers.Conv2DTranspose
    shuffles = [layer for layer in copy.layers if isinstance(layer, PixelShuffle)]
    assert [layer.output.dtype for layer in (copy.get_layer("up"), *shuffles)] == ["bfloat16"] * 3
    close(copy(pictures(), training=False), model(pictures(), training=False), 0.02)


def test_a_frozen_model_holds_no_variables_and_does_not_follow_the_model():
    model = unet(3, filters=(4, 8))
    expected = model(pictures(), training=False)
    call = as_constants(model)
    model.get_layer("classes").bias.assign([5, 0, 0])
    traced = tf.function(call).get_concrete_function(tf.TensorSpec((None, None, None, 3)))
    assert not traced.variables
    close(call(tf.constant(pictures())), expected)
