import keras
import numpy as np
import pytest
from keras import ops

from tfseg.models import CropToImage, PadToStride, unet


def test_the_paper_s_network_has_its_parameters():
    # 3 x 3 convolutions with bias have 9 a b + b parameters, two a level; widths w = 64 128 256 512 1024:
    #   down: 3>64>64 38,720; 64>128>128 221,440; 128>256>256 885,248; 256>512>512 3,539,968;
    #         512>1024>1024 14,157,824; together 18,843,200
    #   each level up: a 2 x 2 transposed convolution 2w>w (8 w^2 + w), then 2w>w>w (27 w^2 + 2w): 35 w^2 + 3w
    #         for w = 64 128 256 512: 143,552 + 573,824 + 2,294,528 + 9,176,576 = 12,188,480
    #   classes: 1 x 1, 64>2: 130
    model = unet(2, filters=(64, 128, 256, 512, 1024), batch_norm=False, dropout=0.5)
    assert model.count_params() == 18_843_200 + 12_188_480 + 130


def test_batch_normalisation_takes_the_place_of_the_bias():
    # 3>2>2: 54 + 36; 2>4>4: 72 + 144; up 4>2: 34; 4>2>2: 72 + 36; classes 2>3: 9; four numbers a channel: 4 * 16
    assert unet(3, filters=(2, 4)).count_params() == 90 + 216 + 34 + 108 + 9 + 64


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_the_number_of_filters_is_the_depth(depth):
    model = unet(1, filters=(2,) * depth)
    pools = [layer for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D)]
    assert len(pools) == depth - 1
    assert model.get_layer("pad").stride == 2 ** (depth - 1)
    image = np.zeros((1, 2 ** (depth - 1) + 1, 3, 3), np.uint8)
    assert model(image).shape == (1, 2 ** (depth - 1) + 1, 3, 1)


def test_dropout_sits_on_the_two_deepest_levels_and_sleeps_in_use():
    model = unet(2, filters=(2, 2, 2, 2), dropout=0.5)
    names = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert names == ["dropout2", "dropout3"]
    image = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
    first, second = (ops.convert_to_numpy(model(image, training=False)) for _ in range(2))
    assert np.array_equal(first, second)
    first, second = (ops.convert_to_numpy(model(image, training=True)) for _ in range(2))
    assert not np.array_equal(first, second)


def test_padding_adds_zeros_below_and_right():
    x = np.arange(1, 31, dtype="float32").reshape(1, 5, 3, 2)
    padded = ops.convert_to_numpy(PadToStride(4)(x))
    assert padded.shape == (1, 8, 4, 2)
    assert np.array_equal(padded[:, :5, :3], x)
    assert not padded[:, 5:].any()
    assert not padded[:, :, 3:].any()


@pytest.mark.parametrize(
    ("shape", "padded"),
    [((None, None, None, 3), (None, None, None, 3)), ((2, 9, None, 3), (2, 12, None, 3)), ((2, 8, 1, 3), (2, 8, 4, 3))],
)
def test_padding_tells_its_static_shape(shape, padded):
    assert PadToStride(4)(keras.KerasTensor(shape)).shape == padded


def test_a_fitting_static_size_adds_no_operation():
    x = ops.ones((1, 8, 12, 3))
    assert PadToStride(4).call(x) is x


def test_cropping_returns_the_image_s_corner_in_float32():
    logits = np.arange(24).reshape(1, 4, 3, 2)
    cropped = CropToImage()(ops.cast(logits, "float16"), np.zeros((1, 3, 2, 5), "uint8"))
    assert keras.backend.standardize_dtype(cropped.dtype) == "float32"
    assert np.array_equal(ops.convert_to_numpy(cropped), logits[:, :3, :2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filters": (8,)}, r"unet: filters=\(8,\) must name at least two levels"),
        ({"filters": (8, 0)}, "unet: filters=0 must be a whole number of at least 1"),
        ({"dropout": 1.0}, "unet: dropout=1.0 must be at least 0 and below 1"),
    ],
)
def test_arguments_that_do_not_fit_are_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        unet(2, **options)
