import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tfseg.export.folding import as_constants, fold_batch_norm
from tfseg.models import build, unet
from tfseg.models.batch_norm import BatchNorm
from tfseg.models.decoders import PixelShuffle


def with_statistics(model):
    """Give every batch normalization weights that matter, as training does."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            for weight in layer.weights:
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def norm_names(model):
    return [layer.name for layer in model.layers if isinstance(layer, layers.BatchNormalization)]


IMAGES = np.random.default_rng(1).uniform(0, 255, (2, 37, 50, 3)).astype(np.float32)


def assert_close(found, expected, tolerance=1e-5):
    """Compare relative to the largest expected value."""
    found, expected = keras.ops.convert_to_numpy(found), keras.ops.convert_to_numpy(expected)
    assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()


def small_unet():
    return unet(3, filters=(4, 8), residual=True, attention=True, squeeze_excite=True)


def efficientnet_deeplab():
    return build("deeplab_v3_plus", encoder="efficientnet_lite0", num_classes=3, width=8)


def mit_segformer():
    return build("segformer", encoder="mit_b0", num_classes=3, width=8)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "make",
    [
        small_unet,
        pytest.param(efficientnet_deeplab, marks=SLOW),
        pytest.param(mit_segformer, marks=SLOW),
    ],
)
def test_outputs_stay_and_normalizations_disappear(make):
    model = with_statistics(make())
    before = model.get_weights()
    folded_model = fold_batch_norm(model)
    assert_close(folded_model(IMAGES, training=False), model(IMAGES, training=False))
    kept, all_norms = len(norm_names(folded_model)), len(norm_names(model))
    assert kept < all_norms / 4 or all_norms == 1
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.fixture(scope="module")
def mobilenet():
    return with_statistics(build("lraspp", encoder="mobilenet_v2", num_classes=3, width=8))


def test_a_pretrained_architecture_is_folded(mobilenet):
    folded_model = fold_batch_norm(mobilenet)
    assert_close(folded_model(IMAGES, training=False), mobilenet(IMAGES, training=False))
    assert len(norm_names(folded_model)) < len(norm_names(mobilenet)) / 4


def test_bfloat16_keeps_logits_in_float32_and_the_class_ids(mobilenet):
    half = fold_batch_norm(mobilenet, "bfloat16")
    logits = half(IMAGES, training=False)
    assert logits.dtype == tf.float32
    assert half.get_layer("normalize").compute_dtype == "float32"
    assert half.get_layer("classes").compute_dtype == "bfloat16"
    expected = mobilenet(IMAGES, training=False)
    assert not np.array_equal(logits, expected)
    assert np.mean(np.argmax(logits, -1) == np.argmax(expected, -1)) > 0.98


def test_all_kinds_of_convolution_absorb_their_normalization():
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
    folded_model = fold_batch_norm(model)
    assert norm_names(folded_model) == []
    assert_close(folded_model(IMAGES, training=False), model(IMAGES, training=False))


def test_a_normalization_without_its_own_convolution_stays():
    image = keras.Input((None, None, 3))
    before = BatchNorm(name="first")(image)
    shared = layers.Conv2D(4, 1)(before)  # is also used without normalization
    nonlinear = layers.Conv2D(4, 1, activation="relu")(shared)
    parts = [shared, BatchNorm(name="shared")(shared), BatchNorm(name="nonlinear")(nonlinear)]
    twice = layers.Conv2D(12, 1)
    x = layers.Concatenate()(parts)
    x = BatchNorm(name="again")(twice(twice(x)))
    model = with_statistics(keras.Model(image, x))
    folded_model = fold_batch_norm(model)
    assert sorted(norm_names(folded_model)) == ["again", "first", "nonlinear", "shared"]
    assert_close(folded_model(IMAGES, training=False), model(IMAGES, training=False))


def test_a_normalization_of_several_inputs_stays():
    image = keras.Input((None, None, 3))
    norm = BatchNorm(name="shared")
    x = layers.Add()([norm(layers.Conv2D(3, 1)(image)), norm(image)])
    model = with_statistics(keras.Model(image, x))
    folded_model = fold_batch_norm(model)
    assert norm_names(folded_model) == ["shared"]
    assert_close(folded_model(IMAGES, training=False), model(IMAGES, training=False))


@pytest.mark.parametrize("count", [1, 2])
def test_a_convolution_that_is_an_output_stays(count):
    # with count=1, the normalization belongs to a larger model only
    image = keras.Input((None, None, 3))
    conv = layers.Conv2D(3, 1)(image)
    outputs = [conv, BatchNorm()(conv)]
    with_statistics(keras.Model(image, outputs))
    model = keras.Model(image, outputs[:count])
    for found, expected in zip(fold_batch_norm(model)(IMAGES), model(IMAGES), strict=True):
        assert_close(found, expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", [True, False])
def test_disjoint_transposed_convolutions_become_pointwise_in_bfloat16(bias, norm):
    image = keras.Input((None, None, 3))
    options = {"use_bias": bias, "bias_initializer": "uniform"}
    x = layers.Conv2DTranspose(5, 3, 3, padding="same", name="up", **options)(image / 255)
    x = layers.ReLU()(BatchNorm()(x) if norm else x)
    x = layers.Conv2DTranspose(4, 2, 2, activation="relu", name="twice", **options)(x)
    x = layers.Conv2DTranspose(4, 3, 2, padding="same", name="overlapping")(x)
    model = with_statistics(keras.Model(image, layers.Conv2D(2, 1, name="classes")(x)))
    half = fold_batch_norm(model, "bfloat16")
    types = {layer.name: type(layer) for layer in half.layers}
    assert (types["up"], types["twice"]) == (layers.Conv2D, layers.Conv2D)
    assert types["overlapping"] is layers.Conv2DTranspose
    assert type(fold_batch_norm(model).get_layer("up")) is layers.Conv2DTranspose
    shuffles = [layer for layer in half.layers if isinstance(layer, PixelShuffle)]
    dtypes = [layer.output.dtype for layer in (half.get_layer("up"), *shuffles)]
    assert dtypes == ["bfloat16"] * 3
    images = IMAGES[:, :13, :17]
    assert_close(half(images, training=False), model(images, training=False), 0.02)


def test_constants_do_not_follow_later_changes_of_the_model():
    model = unet(3, filters=(4, 8))
    expected = model(IMAGES, training=False)
    call = as_constants(model)
    model.get_layer("classes").bias.assign([5, 0, 0])
    traced = tf.function(call).get_concrete_function(tf.TensorSpec((None, None, None, 3)))
    assert not traced.variables
    assert_close(call(tf.constant(IMAGES)), expected)
