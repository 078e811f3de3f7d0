import keras
import numpy as np
import pytest
from keras import ops
from plain_encoder import PARAMETERS as PLAIN

from tfseg.models import fpn, linknet, lraspp, segformer, upernet
from tfseg.models.decoders import PixelShuffle, PoolToBins, ResizeLike, Upsample, global_mean

pytestmark = pytest.mark.usefixtures("plain_encoders")


def test_bins_overlap_if_the_size_is_not_a_multiple():
    # five rows in two bins: rows 0-2 and 2-4; three columns in two: 0-1 and 1-2
    x = np.arange(15, dtype="float32").reshape(1, 5, 3, 1) ** 2
    rows, columns = ((0, 3), (2, 5)), ((0, 2), (1, 3))
    means = [[x[0, a:b, c:d].mean() for c, d in columns] for a, b in rows]
    assert ops.convert_to_numpy(PoolToBins(2)(x))[0, ..., 0] == pytest.approx(
        np.array(means), rel=1e-6
    )


def test_bins_repeat_if_the_map_is_smaller():
    x = np.array([3.0, 7.0]).reshape(1, 1, 2, 1)
    # columns floor(2 i / 3) to ceil(2 (i + 1) / 3): 0-0, 0-1, 1-1
    assert ops.convert_to_numpy(PoolToBins(3)(x))[0, ..., 0] == pytest.approx(
        np.array([[3, 5, 7]] * 3)
    )


def test_means_of_many_pixels_are_exact_in_half_precision():
    x = np.full((1, 300, 300, 1), 1000.0, "float16")
    # the sum, 9e7, overflows float16
    assert ops.convert_to_numpy(PoolToBins(1)(x)).item() == pytest.approx(1000, rel=1e-4)
    assert ops.convert_to_numpy(global_mean(x, "mean")).item() == pytest.approx(1000, rel=1e-4)


def test_upsampling_has_half_pixel_centers():
    # [0, 8] doubled: positions -0.25, 0.25, 0.75, 1.25; the outer ones are clipped to the border
    x = np.array([0.0, 8.0], "float32").reshape(1, 1, 2, 1)
    assert ops.convert_to_numpy(Upsample(2)(x))[0, :, :, 0].tolist() == [[0, 2, 6, 8]] * 2
    like = np.zeros((1, 2, 4, 5))
    assert ops.convert_to_numpy(ResizeLike()(x, like))[0, :, :, 0].tolist() == [[0, 2, 6, 8]] * 2
    assert ops.convert_to_numpy(ResizeLike()(x, np.zeros((1, 1, 1, 1)))).item() == 4


def test_upsampling_has_a_static_shape():
    assert Upsample(3).compute_output_shape((None, None, 5, 2)) == (None, None, 15, 2)
    assert ResizeLike().compute_output_shape((None, 1, 1, 2), (None, None, 7, 5)) == (
        None,
        None,
        7,
        2,
    )


def test_channels_become_pixels():
    # two pixels in a row with 2 x 2 x 3 channels: rows of the block first, then its columns
    x = np.arange(24.0).reshape(1, 1, 2, 12)
    above = [[0, 1, 2], [3, 4, 5], [12, 13, 14], [15, 16, 17]]
    below = [[6, 7, 8], [9, 10, 11], [18, 19, 20], [21, 22, 23]]
    assert ops.convert_to_numpy(PixelShuffle(2)(x))[0].tolist() == [above, below]
    assert PixelShuffle(3).compute_output_shape((None, None, 5, 18)) == (None, None, 15, 2)
    with pytest.raises(ValueError, match="got 10 channels, expected a multiple of 4"):
        PixelShuffle(2)(np.zeros((4, 1, 1, 10)))


def test_linknet_has_its_parameters():
    # decoder a>b: 1 x 1 a>a/4, 3 x 3 a/4>a/4, 1 x 1 a/4>b, no bias, four per channel
    #   10>8: 20 + 36 + 16 + 4 (2 + 2 + 8) = 120;  8>6: 16 + 36 + 12 + 4 (2 + 2 + 6) = 104
    #   6>4: 6 + 9 + 4 + 4 (1 + 1 + 4) = 43;       4>8: 4 + 9 + 8 + 4 (1 + 1 + 8) = 61
    # end: 3 x 3 8>4 288, 3 x 3 4>4 144, 2 x 2 4>4 64, 4 * 12; classes 4>3: 15
    model = linknet(3, "plain", width=8)
    assert model.count_params() == PLAIN + 120 + 104 + 43 + 61 + 288 + 144 + 64 + 48 + 15


def test_fpn_has_its_parameters():
    # lateral 1 x 1 with bias: 5 8 + 7 8 + 9 8 + 11 8 = 256;
    # pyramid 3 x 3 8>8 with bias 584, four times
    # branches: 1 + 1 + 2 + 3 convolutions 3 x 3, the first of each 8>4 288, then 4>4 144;
    # group normalization 2 * 4
    model = fpn(3, "plain", pyramid_width=8, width=4)
    assert model.count_params() == PLAIN + 256 + 4 * 584 + 4 * 288 + 3 * 144 + 7 * 8 + 15
    assert model.get_layer("decoder_branch3_0_gn").groups == 4


def test_lraspp_has_its_parameters_and_output_stride_16():
    # high 1 x 1 10>5 50 and batch normalization 20; factors 10>5 50;
    # classes on 5 + 6 channels: 33 + 3
    model = lraspp(3, "plain", width=5)
    assert model.count_params() == PLAIN + 50 + 20 + 50 + 36
    assert model.get_layer("encoder5_conv5").strides == (1, 1)


def test_upernet_has_its_parameters():
    # four bins 10>4 with bias: 176; top 3 x 3 (10 + 16)>4: 936 + 16; lateral 4 6 8>4: 72 + 48;
    # pyramid 3 x 3 4>4: 3 (144 + 16); fuse 3 x 3 16>4: 576 + 16; classes 15
    model = upernet(3, "plain", width=4)
    assert model.count_params() == PLAIN + 176 + 952 + 120 + 480 + 592 + 15


def test_segformer_has_its_parameters():
    # linear 4 6 8 10>4 with bias: 20 + 28 + 36 + 44; fuse 16>4: 64 + 16; classes 15
    model = segformer(3, "plain", width=4)
    assert model.count_params() == PLAIN + 128 + 80 + 15


@pytest.mark.parametrize(
    ("builder", "options", "message"),
    [
        (linknet, {"width": 0}, "linknet: width=0 must be a whole number"),
        (fpn, {"width": 0}, "fpn: width=0 must be"),
        (fpn, {"pyramid_width": 0}, "fpn: pyramid_width=0 must be"),
        (fpn, {"dropout": 1}, "fpn: dropout=1 must be at least 0 and below 1"),
        (lraspp, {"width": 0}, "lraspp: width=0 must be"),
        (upernet, {"width": 0}, "upernet: width=0 must be"),
        (upernet, {"dropout": -1}, "upernet: dropout=-1 must be"),
        (upernet, {"bins": ()}, r"upernet: bins=\(\) must contain one or more distinct numbers"),
        (segformer, {"width": 0}, "segformer: width=0 must be"),
        (segformer, {"dropout": 1}, "segformer: dropout=1 must be"),
        (fpn, {"encoder": "plane"}, "fpn: encoder='plane' is unknown.*Did you mean 'plain'"),
        (
            fpn,
            {"encoder": "plain_at_16"},
            "fpn: encoder='plain_at_16' has no features at stride 4, 8, only at 16, 32",
        ),
    ],
)
def test_invalid_arguments_are_an_error(builder, options, message):
    with pytest.raises(ValueError, match=message):
        builder(2, **{"encoder": "plain"} | options)


@pytest.mark.slow
def test_segformer_b0_has_the_parameters_of_the_paper():
    # arXiv:2105.15203, table 1: 3.8 M with the 150 classes of ADE20K; 0.4 M of them in the decoder
    model = segformer(150)
    decoder = sum(np.prod(w.shape) for w in model.weights if not w.path.startswith("encoder"))
    assert decoder == pytest.approx(0.4e6, rel=0.1)
    assert model.count_params() == pytest.approx(3.8e6, rel=0.03)
    assert model(np.zeros((1, 33, 70, 3), "uint8")).shape == (1, 33, 70, 150)


def test_layers_are_restored_from_their_config():
    for layer in (
        Upsample(3, name="a"),
        PixelShuffle(3, name="d"),
        PoolToBins(2, name="b"),
        ResizeLike(name="c"),
    ):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert again.get_config() == layer.get_config()
