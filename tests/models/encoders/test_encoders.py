"""What every encoder of the registry guarantees; its features are equal to Keras' network."""

import dataclasses
import random
import sys

import keras
import numpy as np
import pytest
from keras import applications, ops

from tfseg.models.encoders import ENCODERS, encode, freeze, list_encoders, stage_of

MODULE = sys.modules["tfseg.models.encoders.applications"]
# keras 3.15.1: `keras.applications.<name>(include_top=False, weights=None).count_params()`.
# EfficientNet-B has 7 less: the numbers of its built-in normalization, which `encode` does itself.
# The numbers of EfficientNet-Lite and MiT are derived in their tests. ResNet-50 v1.5 has those of
# ResNet-50 without the biases of its 53 convolutions, of 26,560 channels.
PARAMETERS = {
    "efficientnet_lite0": 2_998_304,
    "efficientnet_lite1": 3_774_624,
    "efficientnet_lite2": 4_413_488,
    "mit_b0": 3_319_392,
    "mit_b1": 13_151_424,
    "mit_b2": 24_196_288,
    "resnet50_v1_5": 23_587_712 - 26_560,
    "resnet50": 23_587_712,
    "resnet50_v2": 23_564_800,
    "resnet101_v2": 42_626_560,
    "resnet152_v2": 58_331_648,
    "densenet121": 7_037_504,
    "vgg16": 14_714_688,
    "vgg19": 20_024_384,
    "xception": 20_861_480,
    "mobilenet": 3_228_864,
    "mobilenet_v2": 2_257_984,
    "mobilenet_v3_small": 939_120,
    "mobilenet_v3_large": 2_996_352,
    "efficientnet_b0": 4_049_571 - 7,
    "efficientnet_v2_b0": 5_919_312,
    "efficientnet_v2_s": 20_331_360,
    "convnext_tiny": 27_820_128,
}
# Sizes that are not built here: {name: the tested size with the same names of layers}.
SAME_LAYERS = {
    **dict.fromkeys(("resnet101", "resnet152"), "resnet50"),
    **dict.fromkeys(("densenet169", "densenet201"), "densenet121"),
    **{f"efficientnet_b{size}": "efficientnet_b0" for size in range(1, 8)},
    **{f"efficientnet_v2_b{size}": "efficientnet_v2_b0" for size in range(1, 4)},
    **{f"efficientnet_v2_{size}": "efficientnet_v2_s" for size in "ml"},
    **{f"convnext_{size}": "convnext_tiny" for size in ("small", "base", "large")},
}
# One encoder of each family: Keras' function, the module of its preprocess_input, and its layers at
# strides 2, 4, 8, 16 and 32, the last of which is the network's output. "before X" is the input of
# layer X; a number is the index of a layer without a fixed name.
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
# Keras' default network contains the preprocessing that our entry leaves out.
WITH_PREPROCESSING = ("mobilenet_v3", "efficientnet_v2", "convnext")
# one of each kind of entry in every run, the other families by `make test-slow`
QUICK = {
    "efficientnet_lite0",
    "mit_b0",
    "resnet50_v2",
    "vgg16",
    "xception",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
}
RIGID = {name for name in PARAMETERS if name.startswith(("vgg", "convnext", "mit"))}
HEIGHT, WIDTH = 96, 128


FULL = {"efficientnet_lite0", "mit_b0", *FAMILIES}
# Of several encoders that are dilated alike, one is enough in every run.
QUICK_DILATED = QUICK - {"efficientnet_b0"}


def marked(names, quick):
    """Parameters of a test that is slow for all but `quick`."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture(scope="module", params=marked([name for name in PARAMETERS if name in FULL], QUICK))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def network(name):
    """The bare network that the registry builds, all its weights and statistics random."""
    random.seed(2)  # Keras draws the seeds of weights from it
    network = ENCODERS[name].build(None, "test")
    rng = np.random.default_rng(1)
    for variable in network.weights:
        if variable.path.endswith("/gamma"):  # below 1: forty blocks must not amplify rounding
            variable.assign(rng.uniform(0.4, 0.9, variable.shape))
        elif variable.path.endswith("/moving_variance"):
            variable.assign(rng.uniform(0.7, 1.4, variable.shape))
        elif variable.path.endswith(("/beta", "/moving_mean", "/bias")):
            variable.assign(rng.normal(0, 0.2, variable.shape))
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            # EfficientNet-B: the ImageNet statistics that its published weights contain
            mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
            layer.set_weights([mean, std**2, np.array(0)])
            layer.finalize_state()
    yield network
    del network, layer, variable
    keras.backend.clear_session()  # each network and its copies have up to 200 MB


def encode_network(network, name, monkeypatch, shape=(None, None, 3), output_stride=32):
    """`encode` with the weights of `network`: (model of all features, list of features)."""
    entry = dataclasses.replace(ENCODERS[name], build=lambda weights, owner: network)
    monkeypatch.setitem(ENCODERS, name, entry)
    image = keras.Input(shape, name="image")
    features = encode(image, name, "those of the network", output_stride)
    return keras.Model(image, [x for x in features if x is not None]), features


def outputs_of(model, images):
    outputs = model(images, training=False)
    return [ops.convert_to_numpy(x) for x in keras.tree.flatten(outputs)]


def test_the_registry_is_complete():
    assert set(list_encoders()) == {*PARAMETERS, *SAME_LAYERS}
    rigid = {name for name, entry in ENCODERS.items() if not entry.dilates}
    assert rigid == RIGID | {name for name, tested in SAME_LAYERS.items() if tested in RIGID}


def test_features(name, network, monkeypatch):
    model, features = encode_network(network, name, monkeypatch)
    assert model.count_params() == PARAMETERS[name]
    absent = name.startswith(("convnext", "mit"))
    assert [feature is None for feature in features] == [absent, False, False, False, False]

    images = np.random.default_rng(0).integers(0, 256, (1, HEIGHT, WIDTH, 3)).astype("float32")
    outputs = outputs_of(model, images)
    sizes = [(48, 64), (24, 32), (12, 16), (6, 8), (3, 4)][absent:]
    assert [x.shape[1:3] for x in outputs] == sizes
    assert [x.shape[3] for x in outputs] == [feature.shape[3] for feature in features[absent:]]
    assert all(np.isfinite(x).all() and x.std() > 0 for x in outputs)
    if name in FAMILIES:
        for ours, keras_output in zip(outputs, keras_features(network, name, images), strict=True):
            assert np.abs(ours - keras_output).max() < 2e-5 * np.abs(keras_output).max()

    # every layer belongs to a stage and can be frozen
    ours = [layer for layer in model.layers if layer.name not in ("image", "normalize", "pad")]
    assert {stage_of(layer) for layer in ours} == set(range(1 + absent, 6))
    if name == "mobilenet_v3_small":  # Keras calls this layer "re_lu_<number>"
        assert "encoder2_expanded_conv_depthwise_bn_relu" in [layer.name for layer in ours]
    freeze(model)
    assert not model.trainable_variables


def keras_features(network, name, images):
    """Features of Keras' own network with the same weights, on images in 0..255."""
    function, module, layers = FAMILIES[name]
    if name.startswith(WITH_PREPROCESSING):
        reference = getattr(applications, function)(
            include_top=False, weights=None, input_shape=(HEIGHT, WIDTH, 3)
        )
        reference.set_weights(network.get_weights())
    else:
        reference = network
    if name == "xception":
        # Keras' features do not have H / 2 rows: it pads less in these two layers
        for layer in ("block1_conv1", "block1_conv2"):
            reference.get_layer(layer).padding = "same"
    outputs = [keras_output(reference, layer) for layer in layers if layer is not None]
    assert outputs[-1] is reference.output
    return outputs_of(keras.Model(reference.input, outputs), module.preprocess_input(images.copy()))


def keras_output(network, layer):
    if isinstance(layer, int):
        return network.layers[layer].output
    if layer.startswith("before "):
        return network.get_layer(layer.removeprefix("before ")).input
    return network.get_layer(layer).output


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PARAMETERS if name not in FULL])
def test_larger_sizes(name):
    # They differ from those of `test_features` in their number of blocks and channels only.
    image = keras.Input((HEIGHT, WIDTH, 3))
    features = encode(image, name)
    model = keras.Model(image, [feature for feature in features if feature is not None])
    assert model.count_params() == PARAMETERS[name]
    absent = features[0] is None
    sizes = [(48, 64), (24, 32), (12, 16), (6, 8), (3, 4)]
    assert [feature.shape[1:3] for feature in features[absent:]] == sizes[absent:]
    layers = [layer for layer in model.layers if layer.name not in ("normalize", "pad")]
    assert {stage_of(layer) for layer in layers[1:]} == set(range(1 + absent, 6))


def facts_of(entry):
    """An entry's options of its Keras function, and its fields except `build`."""
    return entry.build(None, "test")[1], dataclasses.replace(entry, build=None)


def test_sizes_differ_in_their_keras_function_only(monkeypatch):
    monkeypatch.setattr(
        MODULE, "_build", lambda function, weights, owner, options: (function, options)
    )
    for name, entry in MODULE.ENCODERS.items():
        function = entry.build(None, "test")[0]
        assert function.lower() == name.replace("_", "")
        assert callable(getattr(applications, function))
        size, tested = name.rpartition("_")[2], SAME_LAYERS.get(name, name)
        options, expected = facts_of(ENCODERS[tested])
        if tested == "convnext_tiny":
            layers = [x and x.replace("tiny", size) for x in expected.feature_layers]
            expected = dataclasses.replace(expected, feature_layers=tuple(layers))
        assert facts_of(entry) == (options, expected), name


# The sizes of a family differ in the number of blocks only.
@pytest.mark.parametrize(
    "name",
    marked([name for name in PARAMETERS if name in FULL - RIGID], QUICK_DILATED),
    indirect=True,
    scope="module",
)
def test_output_stride_8(name, network, monkeypatch):
    model, features = encode_network(network, name, monkeypatch, (65, 97, 3), output_stride=8)
    sizes = [(36, 52), (18, 26), (9, 13), (9, 13), (9, 13)]
    assert [feature.shape[1:3] for feature in features] == sizes
    assert model.count_params() == PARAMETERS[name]


def test_a_keras_file_is_restored(tmp_path):
    # other encoders: `test_a_new_process_loads_all_files` of all networks
    keras.utils.set_random_seed(1)
    image = keras.Input((None, None, 3))
    features = encode(image, "mobilenet_v3_small", output_stride=16)
    model = keras.Model(image, features[-1])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    images = np.random.default_rng(0).integers(0, 256, (1, 33, 40, 3), np.uint8)
    assert np.array_equal(outputs_of(again, images)[0], outputs_of(model, images)[0])
