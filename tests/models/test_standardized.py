import keras
import numpy as np
import pytest

from tfseg.models import output_stride, split_standardize, tiny_unet, unet

IMAGE = np.random.default_rng(0).uniform(0, 255, (1, 13, 18, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return tiny_unet(2, filters=4, normalization="image")


def test_both_parts_together_are_the_model_and_share_its_weights(model):
    parts = split_standardize(model)
    expected = model.predict_on_batch(IMAGE)
    found = parts.rest.predict_on_batch(parts.standardize(IMAGE))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    bias = model.get_layer("classes").bias
    bias.assign(bias + 1)
    found = parts.rest.predict_on_batch(parts.standardize(IMAGE))
    np.testing.assert_allclose(found, expected + 1, atol=1e-5)


def test_a_window_keeps_the_statistics_of_the_whole_image(model):
    dark = IMAGE.copy()
    dark[:, :, 9:] /= 100
    parts = split_standardize(model)
    standardized = keras.ops.convert_to_numpy(parts.standardize(dark))
    window = parts.rest.predict_on_batch(standardized[:, :, :8])
    # column 0 does not see beyond the window
    np.testing.assert_allclose(
        window[:, :, :1], parts.rest.predict_on_batch(standardized)[:, :, :1], atol=1e-5
    )
    alone = model.predict_on_batch(dark[:, :, :8])
    assert np.abs(window[:, :, :1] - alone[:, :, :1]).max() > 0.01


def test_batch_normalization_uses_its_stored_statistics():
    model = unet(2, filters=(2, 4), normalization="image")
    for layer in model.layers:
        if "bn" in layer.name:
            layer.moving_mean.assign(layer.moving_mean + 3)
    parts = split_standardize(model)
    found = parts.rest(parts.standardize(IMAGE), training=False)
    np.testing.assert_allclose(found, model(IMAGE, training=False), atol=1e-5)


def test_a_model_with_fixed_statistics_is_not_split():
    assert split_standardize(tiny_unet(2)) is None


@pytest.mark.parametrize("wrap", [keras.Sequential, None])
def test_a_model_inside_a_model_is_refused(wrap, model):
    if wrap is None:
        image = keras.Input((None, None, 4))
        outer = keras.Model(image, model(image[..., :3]))
    else:
        outer = wrap([keras.Input((None, None, 3)), model])
    with pytest.raises(ValueError, match="contains a model with normalization='image'"):
        split_standardize(outer)


def test_output_stride_is_that_of_the_padding(model):
    assert output_stride(model) == 2
    assert output_stride(keras.Sequential([keras.Input((32, 32, 3)), model])) == 2
    image = keras.Input((None, None, 3))
    assert output_stride(keras.Model(image, keras.layers.Conv2D(2, 3)(image))) == 1
