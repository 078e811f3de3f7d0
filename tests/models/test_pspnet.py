import pytest
from plain_encoder import PARAMETERS as PLAIN

from tfseg.models import pspnet
from tfseg.models.decoders import PoolToBins

pytestmark = pytest.mark.usefixtures("plain_encoders")


def test_features_are_pooled_to_the_bins_of_the_paper():
    model = pspnet(2, "plain", width=4)
    assert [layer.bins for layer in model.layers if isinstance(layer, PoolToBins)] == [2, 3, 6]
    assert model.get_layer("decoder_bins1_pool").output.shape == (None, 1, 1, 10)
    # four branches with 10 // 4 channels, and the ten channels of the features
    assert model.get_layer("decoder_concat").output.shape[-1] == 10 + 4 * 2


def test_it_has_its_parameters():
    # bins: four 1 x 1 10>2 with bias: 88; fuse 3 x 3 18>4: 648 + 16; classes 15
    assert pspnet(3, "plain", width=4).count_params() == PLAIN + 88 + 664 + 15


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_output_strides(stride):
    model = pspnet(2, "plain", input_shape=(64, 96, 3), output_stride=stride, width=4)
    assert model.get_layer("decoder_fuse_relu").output.shape == (
        None,
        64 // stride,
        96 // stride,
        4,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"bins": ()},
            r"bins=\(\) must contain one or more distinct numbers, for example \(1, 2, 3, 6\)",
        ),
        ({"bins": (2, 2)}, r"bins=\(2, 2\) must contain"),
        ({"bins": (0, 2)}, "bins=0 must be a whole number"),
        ({"output_stride": 4}, "output_stride=4 is unknown. Choose from 8, 16, 32"),
        ({"width": 0}, "width=0 must be"),
        ({"dropout": 1}, "dropout=1 must be"),
        ({"encoder": "plain_at_16"}, "encoder='plain_at_16' does not support output_stride=8"),
    ],
)
def test_invalid_arguments_are_an_error(options, message):
    with pytest.raises(ValueError, match=f"pspnet: {message}"):
        pspnet(2, **{"encoder": "plain"} | options)
