"""What every encoder of the registry keeps."""

import keras
import numpy as np
import pytest
from keras import ops

from tfseg.models.encoders import ENCODERS, encode, freeze, list_encoders, stage_of

# keras 3.15.1: `keras.applications.<name>(include_top=False, weights=None).count_params()`. EfficientNet-B's are less
# by the 7 numbers of its built-in normalization, which is part of ours here. EfficientNet-Lite's and MiT's are
# derived in their tests.
PARAMETERS = {
    "efficientnet_lite0": 2_998_304,
    "efficientnet_lite1": 3_774_624,
    "efficientnet_lite2": 4_413_488,
    "mit_b0": 3_319_392,
    "mit_b1": 13_151_424,
    "mit_b2": 24_196_288,
    "resnet50": 23_587_712,
    "resnet101": 42_658_176,
    "resnet152": 58_370_944,
    "resnet50_v2": 23_564_800,
    "resnet101_v2": 42_626_560,
    "resnet152_v2": 58_331_648,
    "densenet121": 7_037_504,
    "densenet169": 12_642_880,
    "densenet201": 18_321_984,
    "vgg16": 14_714_688,
    "vgg19": 20_024_384,
    "xception": 20_861_480,
    "mobilenet": 3_228_864,
    "mobilenet_v2": 2_257_984,
    "mobilenet_v3_small": 939_120,
    "mobilenet_v3_large": 2_996_352,
    "efficientnet_b0": 4_049_571 - 7,
    "efficientnet_b1": 6_575_239 - 7,
    "efficientnet_b2": 7_768_569 - 7,
    "efficientnet_b3": 10_783_535 - 7,
    "efficientnet_b4": 17_673_823 - 7,
    "efficientnet_b5": 28_513_527 - 7,
    "efficientnet_b6": 40_960_143 - 7,
    "efficientnet_b7": 64_097_687 - 7,
    "efficientnet_v2_b0": 5_919_312,
    "efficientnet_v2_b1": 6_931_124,
    "efficientnet_v2_b2": 8_769_374,
    "efficientnet_v2_b3": 12_930_622,
    "efficientnet_v2_s": 20_331_360,
    "efficientnet_v2_m": 53_150_388,
    "efficientnet_v2_l": 117_746_848,
    "convnext_tiny": 27_820_128,
    "convnext_small": 49_454_688,
    "convnext_base": 87_566_464,
    "convnext_large": 196_230_336,
}
# one or two of each family in every run, the others by `make test-slow`
QUICK = [
    "efficientnet_lite0",
    "efficientnet_lite2",
    "mit_b0",
    "resnet50",
    "resnet50_v2",
    "densenet121",
    "vgg16",
]
QUICK += [
    "xception",
    "mobilenet",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
]
QUICK += ["efficientnet_v2_b0", "convnext_tiny"]
RIGID = {name for name in PARAMETERS if name.startswith(("vgg", "convnext", "mit"))}


def marked(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


def build(name, shape=(None, None, 3), **options):
    keras.utils.set_random_seed(1)
    image = keras.Input(shape, name="image")
    features, stride = encode(image, name, **options)
    return (
        keras.Model(image, [feature for feature in features if feature is not None]),
        features,
        stride,
    )


def draw(height=65, width=97, channels=3):
    return np.random.default_rng(0).integers(0, 256, (1, height, width, channels), np.uint8)


def run(model, images):
    return [ops.convert_to_numpy(x) for x in model(images, training=False)]


def test_the_registry_is_as_expected():
    assert set(list_encoders()) == set(PARAMETERS)
    assert {name for name, known in ENCODERS.items() if not known.dilates} == RIGID


@pytest.mark.parametrize("name", marked(PARAMETERS))
def test_features_lie_at_their_strides(name):
    model, features, stride = build(name)
    assert stride == 32
    assert model.count_params() == PARAMETERS[name]
    absent = name.startswith(("convnext", "mit"))
    assert [feature is None for feature in features] == [absent, False, False, False, False]
    # 65 x 97 padded to 96 x 128; channels are known beforehand
    sizes = [(48, 64), (24, 32), (12, 16), (6, 8), (3, 4)][absent:]
    outputs = run(model, draw())
    assert [x.shape[1:3] for x in outputs] == sizes
    assert [x.shape[3] for x in outputs] == [feature.shape[3] for feature in features[absent:]]
    assert all(np.isfinite(x).all() and x.std() > 0 for x in outputs)

    # every layer belongs to a stage and can stand still
    ours = [layer for layer in model.layers if layer.name not in ("image", "normalize", "pad")]
    assert {stage_of(layer) for layer in ours} == set(range(1 + absent, 6))
    freeze(model)
    assert not model.trainable_variables


@pytest.mark.parametrize("name", marked([name for name in PARAMETERS if name not in RIGID]))
def test_output_stride_8(name):
    model, features, stride = build(name, (65, 97, 3), output_stride=8)
    assert stride == 8
    assert [feature.shape[1:3] for feature in features] == [
        (36, 52),
        (18, 26),
        (9, 13),
        (9, 13),
        (9, 13),
    ]
    assert model.count_params() == PARAMETERS[name]
    if name in QUICK:
        assert [x.shape[1:3] for x in run(model, draw())] == [
            (36, 52),
            (18, 26),
            (9, 13),
            (9, 13),
            (9, 13),
        ]


def test_output_stride_16():
    _, features, stride = build("resnet50", (65, 97, 3), output_stride=16)
    assert stride == 16
    assert [feature.shape[1:3] for feature in features] == [
        (40, 56),
        (20, 28),
        (10, 14),
        (5, 7),
        (5, 7),
    ]


def test_no_name_hangs_on_the_process():
    # Keras numbers the layers that its networks leave unnamed on and on
    first, second = (
        [layer.name for layer in build("mobilenet_v3_small")[0].layers] for _ in range(2)
    )
    assert first == second
    assert "encoder2_expanded_conv_depthwise_bn_relu" in first


@pytest.mark.parametrize(
    "name", ["efficientnet_lite0", "mobilenet_v3_small", "convnext_tiny", "mit_b0"]
)
def test_keras_files_come_back(name, tmp_path):
    model, _, _ = build(name, output_stride=32 if name in RIGID else 16)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for before, after in zip(run(model, draw(33, 40)), run(again, draw(33, 40)), strict=True):
        assert np.array_equal(before, after)
