import keras
import pytest

from tfseg.models import MODELS, build, list_models
from tfseg.models.build import check_options

pytestmark = pytest.mark.usefixtures("plain_encoders")


def test_models_are_built_by_name():
    model = build("fpn", 5, encoder="plain", width=4, input_shape=(None, None, 1))
    assert model.name == "fpn"
    assert model.input_shape == (None, None, None, 1)
    assert model.output_shape == (None, None, None, 5)


def test_models_are_not_built_for_channels_first():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match=r"set_image_data_format\('channels_last'\) first"):
            build("tiny_unet", 2)
    finally:
        keras.config.set_image_data_format("channels_last")


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


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"unet", "unetpp", "tiny_unet"}))
def test_only_some_models_take_filters(name):
    with pytest.raises(ValueError, match=f"{name}: option='filters' is unknown"):
        check_options(name, {"filters": (4, 8)})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("unet", {"encoder": "plain", "filters": (4,) * 4}, "must have five levels"),
        ("unetpp", {"filters": (4,) * 5}, "must have four levels"),
        ("unet", {"weights": "w.h5"}, "weights='w.h5' are encoder weights, but encoder is None"),
        ("segformer", {"weights": "imagenet"}, "mit_b0: weights='imagenet' is not available"),
        ("fpn", {"encoder": "mit_b1", "weights": "imagenet"}, "mit_b1: weights='imagenet' is not"),
        ("tiny_unet", {"filters": (4, 8)}, "must be a whole number"),
    ],
)
def test_options_that_contradict_each_other_are_an_error(name, options, message):
    with pytest.raises(ValueError, match=message):
        check_options(name, options)


def test_valid_options_pass():
    check_options("unet", {"filters": (4, 8), "dropout": 0.1})
    check_options("unet", {"encoder": "plain", "weights": "imagenet", "filters": (4,) * 5})
    check_options("unetpp", {"encoder": None, "filters": (4,) * 5})
    check_options("tiny_unet", {"filters": 4})
