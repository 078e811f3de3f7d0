import pytest

from tfseg.models import MODELS, build, list_models

pytestmark = pytest.mark.usefixtures("plain_encoders")


def test_models_are_built_by_name():
    model = build("fpn", 5, encoder="plain", width=4, input_shape=(None, None, 1))
    assert model.name == "fpn"
    assert model.input_shape == (None, None, None, 1)
    assert model.output_shape == (None, None, None, 5)


def test_names_are_sorted_and_match_the_functions():
    assert list_models() == sorted(MODELS)
    for name, builder in MODELS.items():
        assert builder.__name__ == name


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(
        ValueError,
        match=r"build: name='deeplabv3' is unknown. Choose from .*Did you mean 'deeplab_v3'",
    ):
        build("deeplabv3", 2)


def test_an_unknown_option_is_an_error_that_lists_the_known_ones():
    with pytest.raises(
        ValueError,
        match=r"tiny_unet: option='encoder' is unknown. Choose from 'input_shape', 'filters', ",
    ):
        build("tiny_unet", 2, encoder="plain")
    with pytest.raises(
        ValueError, match="unet: option='fitlers' is unknown.*Did you mean 'filters'"
    ):
        build("unet", 2, fitlers=(2, 4))
