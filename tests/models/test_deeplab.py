import pytest
from plain_encoder import PARAMETERS as PLAIN

from tfseg.models import deeplab_v3, deeplab_v3_plus

pytestmark = pytest.mark.usefixtures("plain_encoders")


def rates(model, layer):
    return [
        model.get_layer(f"decoder_aspp{branch}_{layer}").dilation_rate[0] for branch in (1, 2, 3)
    ]


@pytest.mark.parametrize(("stride", "expected"), [(16, [6, 12, 18]), (8, [12, 24, 36])])
def test_rates_are_those_of_the_paper(stride, expected):
    assert rates(deeplab_v3(2, "plain", output_stride=stride, width=4), "conv") == expected
    assert (
        rates(deeplab_v3_plus(2, "plain", output_stride=stride, width=4), "depthwise") == expected
    )


def test_late_strides_become_dilation():
    model = deeplab_v3(2, "plain", output_stride=8, width=4)
    convs = [model.get_layer(f"encoder{stage}_conv{stage}") for stage in range(1, 6)]
    assert [conv.strides[0] for conv in convs] == [2, 2, 2, 1, 1]
    assert [conv.dilation_rate[0] for conv in convs] == [1, 1, 1, 1, 2]


def test_deeplab_v3_has_its_parameters():
    # branches: 1 x 1 10>4 40 + 16; three 3 x 3 10>4 360 + 16; image 10>4 with bias 44;
    # project 20>4 80 + 16; classes 15
    assert deeplab_v3(3, "plain", width=4).count_params() == PLAIN + 56 + 3 * 376 + 44 + 96 + 15


def test_deeplab_v3_plus_has_its_parameters():
    # separable a>4: 9 a + 4 a (batch normalization) + 4 a + 16 = 17 a + 16
    # branches: 40 + 16; three of a = 10: 186; image 44; project 96; low 1 x 1 4>3: 12 + 12
    # merge a = 7: 135, a = 4: 84; classes 15
    model = deeplab_v3_plus(3, "plain", width=4, low_width=3)
    assert model.count_params() == PLAIN + 56 + 3 * 186 + 44 + 96 + 24 + 135 + 84 + 15


@pytest.mark.parametrize("builder", [deeplab_v3, deeplab_v3_plus])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_stride": 32}, "output_stride=32 is unknown. Choose from 8, 16"),
        ({"width": 0}, "width=0 must be a whole number"),
        ({"dropout": 1}, "dropout=1 must be at least 0"),
        ({"encoder": "plain_at_16"}, "encoder='plain_at_16' does not support output_stride=16"),
    ],
)
def test_invalid_arguments_are_an_error(builder, options, message):
    with pytest.raises(ValueError, match=f"{builder.__name__}: {message}"):
        builder(2, **{"encoder": "plain"} | options)


def test_a_low_width_of_zero_is_an_error():
    with pytest.raises(ValueError, match="deeplab_v3_plus: low_width=0 must be"):
        deeplab_v3_plus(2, "plain", low_width=0)
