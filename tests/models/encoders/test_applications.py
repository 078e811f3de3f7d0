"""Encoders against the networks of keras.applications they are built from, weights and all."""

import re

import keras
import numpy as np
import pytest
from keras import applications, ops

from tfseg.models.encoders import encode

SIZE = (96, 128, 3)
# the encoder; keras's function; the module of its preprocess_input; its layers at strides 2, 4, 8, 16 and 32, of which
# the last is the network's output ("before X": what X takes; a number: the position of a layer that has no name)
FAMILIES = {
    "resnet50": (
        "ResNet50",
        applications.resnet,
        [
            "conv1_relu",
            "conv2_block3_out",
            "conv3_block4_out",
            "conv4_block6_out",
            "conv5_block3_out",
        ],
    ),
    "resnet50_v2": (
        "ResNet50V2",
        applications.resnet_v2,
        [
            "conv1_conv",
            "conv2_block3_preact_relu",
            "conv3_block4_preact_relu",
            "conv4_block6_preact_relu",
            "post_relu",
        ],
    ),
    "densenet121": (
        "DenseNet121",
        applications.densenet,
        ["conv1_relu", "pool2_relu", "pool3_relu", "pool4_relu", "relu"],
    ),
    "vgg16": (
        "VGG16",
        applications.vgg16,
        ["block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3", "block5_pool"],
    ),
    "mobilenet": (
        "MobileNet",
        applications.mobilenet,
        [f"conv_pw_{i}_relu" for i in (1, 3, 5, 11, 13)],
    ),
    "mobilenet_v2": (
        "MobileNetV2",
        applications.mobilenet_v2,
        ["expanded_conv_project_BN", "block_2_add", "block_5_add", "block_12_add", "out_relu"],
    ),
    "mobilenet_v3_small": (
        "MobileNetV3Small",
        applications.mobilenet_v3,
        [4, "expanded_conv_project_bn", "expanded_conv_2_add", "expanded_conv_7_add", -1],
    ),
    "mobilenet_v3_large": (
        "MobileNetV3Large",
        applications.mobilenet_v3,
        [
            "expanded_conv_add",
            "expanded_conv_2_add",
            "expanded_conv_5_add",
            "expanded_conv_11_add",
            -1,
        ],
    ),
    "efficientnet_b0": (
        "EfficientNetB0",
        applications.efficientnet,
        ["block1a_project_bn", "block2b_add", "block3b_add", "block5c_add", "top_activation"],
    ),
    "efficientnet_v2_b0": (
        "EfficientNetV2B0",
        applications.efficientnet_v2,
        [
            "block1a_project_activation",
            "block2b_add",
            "block3b_add",
            "block5e_add",
            "top_activation",
        ],
    ),
    "efficientnet_v2_s": (
        "EfficientNetV2S",
        applications.efficientnet_v2,
        ["block1b_add", "block2d_add", "block3d_add", "block5i_add", "top_activation"],
    ),
    "convnext_tiny": (
        "ConvNeXtTiny",
        applications.convnext,
        [None, *(f"before convnext_tiny_downsampling_block_{i}" for i in (0, 1, 2)), -1],
    ),
    "xception": (
        "Xception",
        applications.xception,
        [
            "block1_conv2_act",
            *(f"block{i}_sepconv1_act" for i in (3, 4, 13)),
            "block14_sepconv2_act",
        ],
    ),
}
HEAVY = {"efficientnet_v2_s", "resnet50_v2", "mobilenet_v3_large", "densenet121"}


def original(function):
    """Keras's network, its weights drawn so that a copy that misses any of them shows."""
    keras.utils.set_random_seed(2)
    network = getattr(applications, function)(include_top=False, weights=None, input_shape=SIZE)
    rng = np.random.default_rng(1)
    for variable in network.weights:
        if variable.path.endswith(
            "/gamma"
        ):  # below 1, or forty blocks make noise of the last digit
            variable.assign(rng.uniform(0.4, 0.9, variable.shape))
        elif variable.path.endswith("/moving_variance"):
            variable.assign(rng.uniform(0.7, 1.4, variable.shape))
        elif variable.path.endswith(("/beta", "/moving_mean", "/bias")):
            variable.assign(rng.normal(0, 0.2, variable.shape))
    for layer in network.layers:
        if (
            isinstance(layer, keras.layers.Normalization) and layer.weights
        ):  # EfficientNet-B's, as in its weights
            mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
            layer.set_weights([mean, deviation**2, np.array(0)])
            layer.finalize_state()
        if function == "Xception" and layer.name in ("block1_conv1", "block1_conv2"):
            layer.padding = (
                "same"  # ours differs in this from Keras's, whose features are not H / 2 high
            )
    return network


def output_of(network, tap):
    if isinstance(tap, int):
        return network.layers[tap].output
    return (
        network.get_layer(tap[7:]).input
        if tap.startswith("before ")
        else network.get_layer(tap).output
    )


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in HEAVY else n for n in FAMILIES]
)
def test_features_are_those_of_keras_s_network(name, tmp_path):
    function, module, taps = FAMILIES[name]
    network = original(function)
    network.save_weights(tmp_path / "bare.weights.h5")
    image = keras.Input((None, None, 3))
    features, _ = encode(image, name, tmp_path / "bare.weights.h5")
    images = np.random.default_rng(0).integers(0, 256, (1, *SIZE)).astype("float32")

    named = {index: output_of(network, tap) for index, tap in enumerate(taps) if tap}
    assert named[4] is network.output
    expected = keras.Model(network.input, named)(
        module.preprocess_input(images.copy()), training=False
    )
    ours = keras.Model(image, {index: features[index] for index in named})(images, training=False)
    for index in named:
        theirs = ops.convert_to_numpy(expected[index])
        assert theirs.std() > 0
        assert (
            np.abs(ops.convert_to_numpy(ours[index]) - theirs).max() < 2e-5 * np.abs(theirs).max()
        )


def test_bgr_weights_read_rgb_and_serve_gray(tmp_path):
    network = original("VGG16")
    network.save_weights(tmp_path / "bare.weights.h5")
    kernel = ops.convert_to_numpy(network.get_layer("block1_conv1").kernel)
    for channels, expected in ((3, kernel[:, :, ::-1]), (1, kernel.sum(2, keepdims=True))):
        image = keras.Input((None, None, channels))
        model = keras.Model(image, encode(image, "vgg16", tmp_path / "bare.weights.h5")[0])
        assert ops.convert_to_numpy(
            model.get_layer("encoder1_block1_conv1").kernel
        ) == pytest.approx(expected, abs=1e-7)


def test_the_normalization_of_one_channel_is_the_mean_of_three():
    image = keras.Input((None, None, 1))
    model = keras.Model(image, encode(image, "mobilenet_v3_small")[0][0])
    assert model.get_layer("normalize").scale == pytest.approx([2 / 255])
    image = keras.Input((None, None, 1))
    model = keras.Model(image, encode(image, "efficientnet_b0")[0][0])
    # (123.675 + 116.28 + 103.53) / 3 = 114.495; (58.395 + 57.12 + 57.375) / 3 = 57.63
    assert model.get_layer("normalize").offset == pytest.approx([-114.495 / 57.63])


def test_a_failed_download_says_what_to_put_where(monkeypatch):
    def fail(name, url, **options):
        raise Exception(f"URL fetch failure on {url}: None -- [Errno -2] Name or service not known")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", fail)
    message = (
        "unet: the ImageNet weights of MobileNet cannot be downloaded (URL fetch failure on https://storage.googleapis."
        "com/tensorflow/keras-applications/mobilenet/mobilenet_1_0_224_tf_no_top.h5: None"
    )
    with pytest.raises(OSError, match=re.escape(message)) as caught:
        encode(keras.Input((None, None, 3)), "mobilenet", "imagenet", owner="unet")
    assert "~/.keras/models/mobilenet_1_0_224_tf_no_top.h5" in str(caught.value)
    assert "or pass its path as weights=" in str(caught.value)


def test_a_file_that_is_damaged_is_an_oserror_too(monkeypatch, tmp_path):
    (tmp_path / "cut.h5").write_text("no")
    monkeypatch.setattr(
        "keras.src.utils.file_utils.get_file", lambda *a, **k: str(tmp_path / "cut.h5")
    )
    with pytest.raises(OSError, match="unet: the ImageNet weights of MobileNet cannot be loaded"):
        encode(keras.Input((None, None, 3)), "mobilenet", "imagenet", owner="unet")


def test_imagenet_weights_go_through_keras_s_own_file(monkeypatch, tmp_path):
    network = original("MobileNet")
    network.save_weights(tmp_path / "cached.weights.h5")
    monkeypatch.setattr(
        "keras.src.utils.file_utils.get_file", lambda *a, **k: str(tmp_path / "cached.weights.h5")
    )
    image = keras.Input((None, None, 3))
    model = keras.Model(image, encode(image, "mobilenet", "imagenet")[0])
    assert np.array_equal(
        ops.convert_to_numpy(model.get_layer("encoder1_conv1").kernel),
        ops.convert_to_numpy(network.get_layer("conv1").kernel),
    )


def test_weights_of_another_network_are_an_error(tmp_path):
    original("VGG16").save_weights(tmp_path / "bare.weights.h5")
    with pytest.raises(
        ValueError,
        match=r"(?s)unet: '.*bare.weights.h5' holds other tensors.*23 fit.*6 missing.*3 of wrong",
    ):
        encode(keras.Input((None, None, 3)), "vgg19", tmp_path / "bare.weights.h5", owner="unet")
