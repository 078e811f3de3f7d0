import keras
import numpy as np
import pytest
from keras import ops
from plain_encoder import PARAMETERS as PLAIN

from tfseg.losses import CrossEntropy, deep_supervision
from tfseg.models import CropToImage, PadToStride, unet, unetpp
from tfseg.models.layer_graph import producer

pytestmark = pytest.mark.usefixtures("plain_encoders")


def test_the_paper_s_network_has_its_parameters():
    # 3 x 3 convolutions a>b with bias have 9 a b + b parameters, two per level; channels w = 64 128
    # 256 512 1024:
    #   down: 3>64>64 38,720; 64>128>128 221,440; 128>256>256 885,248; 256>512>512 3,539,968;
    #         512>1024>1024 14,157,824; together 18,843,200
    #   each level up: a 2 x 2 transposed convolution 2w>w (8 w^2 + w), then 2w>w>w (27 w^2 + 2w):
    #         35 w^2 + 3w, for w = 64 128 256 512:
    #         143,552 + 573,824 + 2,294,528 + 9,176,576 = 12,188,480
    #   classes: 1 x 1, 64>2: 130
    model = unet(2, filters=(64, 128, 256, 512, 1024), batch_norm=False, dropout=0.5)
    assert model.count_params() == 18_843_200 + 12_188_480 + 130


def test_batch_normalization_replaces_the_bias():
    # 3>2>2: 54 + 36; 2>4>4: 72 + 144; up 4>2: 34; 4>2>2: 72 + 36; classes 2>3: 9;
    # batch normalization: four per channel, 4 * 16
    assert unet(3, filters=(2, 4)).count_params() == 90 + 216 + 34 + 108 + 9 + 64


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_the_number_of_filters_is_the_depth(depth):
    model = unet(1, filters=(2,) * depth)
    pools = [layer for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D)]
    assert len(pools) == depth - 1
    assert model.get_layer("pad").stride == 2 ** (depth - 1)
    image = np.zeros((1, 2 ** (depth - 1) + 1, 3, 3), np.uint8)
    assert model(image).shape == (1, 2 ** (depth - 1) + 1, 3, 1)


def test_skip_connections_read_the_contracting_path():
    model = unet(2, filters=(2, 4, 6))
    for level in (0, 1):
        inputs = model.get_layer(f"skip{level}").input
        names = [producer(x).name for x in inputs]
        assert names == [f"down{level}_relu2", f"up{level}"]


def test_dropout_is_on_the_two_deepest_levels_and_only_in_training():
    model = unet(2, filters=(2, 2, 2, 2), dropout=0.5)
    names = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert names == ["dropout2", "dropout3"]
    image = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)

    def run(training):
        return ops.convert_to_numpy(model(image, training=training))

    assert np.array_equal(run(training=False), run(training=False))
    assert not np.array_equal(run(training=True), run(training=True))


def test_padding_adds_zeros_at_the_bottom_and_right():
    x = np.arange(1, 31, dtype="float32").reshape(1, 5, 3, 2)
    padded = ops.convert_to_numpy(PadToStride(4)(x))
    assert padded.shape == (1, 8, 4, 2)
    assert np.array_equal(padded[:, :5, :3], x)
    assert not padded[:, 5:].any()
    assert not padded[:, :, 3:].any()


@pytest.mark.parametrize(
    ("shape", "padded"),
    [
        ((None, None, None, 3), (None, None, None, 3)),
        ((2, 9, None, 3), (2, 12, None, 3)),
        ((2, 8, 1, 3), (2, 8, 4, 3)),
    ],
)
def test_padding_has_a_static_shape(shape, padded):
    assert PadToStride(4)(keras.KerasTensor(shape)).shape == padded


def test_a_static_size_that_fits_adds_no_operation():
    x = ops.ones((1, 8, 12, 3))
    assert PadToStride(4).call(x) is x
    assert CropToImage(2).call(x, np.zeros((1, 16, 23, 3))) is x


def test_cropping_keeps_the_top_left_corner_in_float32():
    logits = np.arange(24).reshape(1, 4, 3, 2)
    cropped = CropToImage()(ops.cast(logits, "float16"), np.zeros((1, 3, 2, 5), "uint8"))
    assert keras.backend.standardize_dtype(cropped.dtype) == "float32"
    assert np.array_equal(ops.convert_to_numpy(cropped), logits[:, :3, :2])


def test_cropping_with_a_stride_rounds_up():
    logits = np.arange(24).reshape(1, 4, 3, 2)
    cropped = CropToImage(2)(logits, np.zeros((1, 5, 4, 1)))
    assert np.array_equal(ops.convert_to_numpy(cropped), logits[:, :3, :2])
    assert CropToImage(4).compute_output_shape((None, 9, 9, 7), (None, 33, None, 3)) == (
        None,
        9,
        None,
        7,
    )
    assert CropToImage.from_config(CropToImage(4).get_config()).stride == 4


def test_layer_names_do_not_change():
    # weights files refer to them
    names = [
        layer.name
        for layer in unet(2, filters=(2, 4), dropout=0.1).layers
        if layer.weights or "drop" in layer.name
    ]
    down = [f"down0_{kind}{i}" for i in (1, 2) for kind in ("conv", "bn")]
    deep = [f"down1_{kind}{i}" for i in (1, 2) for kind in ("conv", "bn")]
    merge = [f"merge0_{kind}{i}" for i in (1, 2) for kind in ("conv", "bn")]
    assert names == [*down, "dropout0", *deep, "dropout1", "up0", *merge, "classes"]


def test_an_encoder_replaces_the_contracting_path():
    # up 2 x 2 with bias a>w: 4 a w + w; merge w + skip>w>w: 9 w (2 w + skip) + 8 w;
    # skips 8 6 4 2 0, all w = 3
    #   up 10>3 123, 3>3 four times 39; merge 27 (6 + skip) + 24: 402 + 348 + 294 + 240 + 186;
    #   classes 3>2: 8
    model = unet(2, encoder="plain", filters=(3,) * 5)
    assert model.count_params() == PLAIN + 123 + 4 * 39 + 402 + 348 + 294 + 240 + 186 + 8
    # no features at stride 2, so no skip connection there: 27 * 2 parameters less
    from_4 = unet(2, encoder="plain_from_4", filters=(3,) * 5)
    assert from_4.count_params() == model.count_params() - 54
    assert from_4(np.zeros((1, 33, 5, 3), "uint8")).shape == (1, 33, 5, 2)


def test_attention_gates_multiply_pixels_by_0_to_1():
    plain = unet(2, filters=(2, 4, 6))
    gated = unet(2, filters=(2, 4, 6), attention=True)
    # level 1, skip 4, signal 6, gate 2: 2 x 2 4>2 without bias 32, 1 x 1 6>2 14, 1 x 1 2>1 3;
    # level 0, skip 2, signal 4, gate 1: 8 + 5 + 2
    assert gated.count_params() == plain.count_params() + 49 + 15
    gated.get_layer("gate0_factor").bias.assign([3.0])
    names = [f"gate0_{name}" for name in ("factor", "double", "weigh")]
    names.append("down0_relu2")
    inner = keras.Model(gated.input, [gated.get_layer(name).output for name in names])
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 12, 3), np.uint8)
    outputs = [ops.convert_to_numpy(x) for x in inner(image, training=False)]
    factor, doubled, weighted, skip = outputs
    assert factor.shape == (1, 4, 6, 1)
    assert 0 <= factor.min() < factor.max() <= 1
    assert weighted == pytest.approx(skip * doubled, rel=1e-5)


def test_residual_blocks_add_their_input():
    model = unet(2, filters=(3, 4), residual=True, batch_norm=False)
    # 3>3 has an identity shortcut; 3>4 and 6>3 have a 1 x 1 convolution: 16 + 21
    assert model.count_params() == unet(2, filters=(3, 4), batch_norm=False).count_params() + 37
    for layer in model.layers:
        if layer.name.startswith("down0") and layer.weights:
            layer.set_weights([0 * w for w in layer.get_weights()])
    block = keras.Model(
        model.input, [model.get_layer("pad").output, model.get_layer("down0_relu").output]
    )
    image = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3), np.uint8)
    before, after = block(image)
    assert np.array_equal(ops.convert_to_numpy(after), np.maximum(before, 0))


def test_squeeze_and_excitation_multiplies_channels():
    model = unet(2, filters=(32, 4), squeeze_excite=True)
    # reduced by 16, to at least 1: 32>2>32 66 + 96, twice (down and merge); 4>1>4 5 + 8
    assert model.count_params() == unet(2, filters=(32, 4)).count_params() + 2 * 162 + 13
    model.get_layer("down0_excite1").bias.assign([1.0, 1.0])  # so that ReLU passes both channels
    layers = ("down0_relu2", "down0_squeeze", "down0_excite2", "down0_weigh")
    inner = keras.Model(model.input, [model.get_layer(name).output for name in layers])
    image = np.random.default_rng(0).integers(0, 256, (1, 6, 4, 3), np.uint8)
    outputs = [ops.convert_to_numpy(x) for x in inner(image, training=False)]
    x, mean, factor, weighted = outputs
    assert mean[:, 0, 0] == pytest.approx(x.mean((1, 2)), rel=1e-5)
    assert 0 <= factor.min() < factor.max() <= 1
    assert weighted == pytest.approx(x * factor, rel=1e-5)


def test_all_options_can_be_combined():
    model = unet(
        2,
        encoder="plain",
        attention=True,
        residual=True,
        squeeze_excite=True,
        filters=(2,) * 5,
        dropout=0.2,
    )
    assert model(np.zeros((1, 33, 31, 3), "uint8")).shape == (1, 33, 31, 2)


@pytest.mark.slow
def test_deep_supervision_gives_three_sizes_and_trains():
    keras.utils.set_random_seed(0)
    model = unet(3, filters=(4, 8, 8), batch_norm=False, deep_supervision=True)
    images = np.random.default_rng(0).integers(0, 256, (4, 17, 22, 3), np.uint8)
    labels = (images[..., 0] > 127).astype("uint8") + (images[..., 1] > 127)
    shapes = [output.shape for output in model(images)]
    assert shapes == [(4, 17, 22, 3), (4, 9, 11, 3)]  # 17 / 2 rounded up
    assert model.output_names == ["logits", "logits2"]
    deep = unet(3, filters=(2, 2, 2, 2, 2), deep_supervision=True)
    assert [output.shape for output in deep(images)] == [*shapes, (4, 5, 6, 3)]
    losses = deep_supervision(CrossEntropy(), weights=(1, 0.5))
    model.compile(keras.optimizers.Adam(0.01), losses, jit_compile=False)
    history = model.fit(images, (labels,) * 2, epochs=10, verbose=0).history["loss"]
    assert history[-1] < 0.9 * history[0]
    served = keras.Model(model.input, model.outputs[0])
    assert np.array_equal(
        ops.convert_to_numpy(served(images)), ops.convert_to_numpy(model(images)[0])
    )
    # the weights of the plain network, and one more 1 x 1 convolution 8>3
    assert model.count_params() == unet(3, filters=(4, 8, 8), batch_norm=False).count_params() + 27


def test_a_shallow_network_has_fewer_outputs():
    assert len(unet(2, filters=(2, 4), deep_supervision=True).outputs) == 1
    assert len(unet(2, filters=(2, 4, 6), deep_supervision=True).outputs) == 2


def test_unetpp_has_the_parameters_of_the_paper():
    # arXiv:1807.10165, table 3: U-Net 7.76 M, U-Net++ 9.04 M, without batch normalization
    model = unetpp(1, encoder=None, batch_norm=False)
    assert round(model.count_params() / 1e6, 2) == 9.04
    assert model.get_layer("decoder_0_4_join").output.shape[-1] == 5 * 32


def test_unetpp_with_an_encoder_has_its_parameters():
    # node (level, column) has two channels and reads `column` earlier nodes, the first of them the
    # encoder's with e channels: up 2 x 2 a>2: 8 a + 2; 3 x 3 (e + 2 column)>2>2:
    # 18 (e + 2 column) + 36, and 16 for batch normalization
    #   level 3, e = 8: (a = 10) 82 + 180 + 52 = 314
    #   level 2, e = 6: (8) 66 + 144 + 52 = 262; (2) 18 + 180 + 52 = 250
    #   level 1, e = 4: (6) 50 + 108 + 52 = 210; 18 + 144 + 52 = 214; 18 + 180 + 52 = 250
    #   level 0, e = 2: (4) 34 + 72 + 52 = 158; 18 + 108 + 52 = 178; 214; 250
    model = unetpp(2, "plain", filters=(2, 2, 2, 2))
    assert (
        model.count_params()
        == PLAIN + 314 + 262 + 250 + 210 + 214 + 250 + 158 + 178 + 214 + 250 + 6
    )


def test_unetpp_with_an_encoder_without_stride_2():
    model = unetpp(2, "plain_from_4", filters=(2, 2, 2, 2))
    assert model(np.zeros((1, 33, 5, 3), "uint8")).shape == (1, 33, 5, 2)
    assert len(unetpp(2, "plain_from_4", filters=(2, 2, 2, 2), deep_supervision=True).outputs) == 3


def test_unetpp_can_be_pruned_to_its_first_columns():
    model = unetpp(2, encoder=None, filters=(2, 4, 6), deep_supervision=True)
    assert [output.shape for output in model(np.zeros((1, 9, 6, 3), "uint8"))] == [(1, 9, 6, 2)] * 2
    pruned = keras.Model(model.input, model.outputs[1])
    assert not any(layer.name.startswith(("down2", "decoder_0_2")) for layer in pruned.layers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filters": (8,)}, r"unet: filters=\(8,\) must have at least two levels"),
        ({"filters": (8, 0)}, "unet: filters=0 must be a whole number of at least 1"),
        ({"dropout": 1.0}, "unet: dropout=1.0 must be at least 0 and below 1"),
        (
            {"weights": "imagenet"},
            "unet: weights='imagenet' are encoder weights, but encoder is None",
        ),
        (
            {"encoder": "plain", "filters": (2, 4)},
            r"unet: filters=\(2, 4\) must have five levels if there is an encoder",
        ),
        (
            {"encoder": "plain_at_16"},
            "unet: encoder='plain_at_16' has no features at stride 4, 8, only at 16, 32",
        ),
        ({"encoder": "plane"}, "unet: encoder='plane' is unknown.*Did you mean 'plain'"),
    ],
)
def test_invalid_arguments_are_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        unet(2, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"encoder": None, "filters": (8,)},
            r"unetpp: filters=\(8,\) must have at least two levels",
        ),
        (
            {"filters": (8, 8, 8)},
            r"unetpp: filters=\(8, 8, 8\) must have four levels if there is an encoder",
        ),
        ({"filters": (8, 8, 8, 0)}, "unetpp: filters=0 must be a whole number"),
        (
            {"encoder": None, "weights": "imagenet"},
            "unetpp: weights='imagenet' are encoder weights",
        ),
        (
            {"encoder": "plain_at_16"},
            "unetpp: encoder='plain_at_16' has no features at stride 4, 8",
        ),
    ],
)
def test_invalid_arguments_of_unetpp_are_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        unetpp(2, **{"encoder": "plain"} | options)
