import keras
import numpy as np
import pytest

from tfseg.models import normalization_of, tiny_unet


class Subclass(keras.Model):
    def __init__(self, model):
        super().__init__()
        self.inner = model

    def call(self, image):
        return self.inner(image)


def sequential(*parts):
    return keras.Sequential([keras.Input((None, None, 2)), *parts])


@pytest.mark.parametrize("wrap", [lambda model: model, sequential, Subclass])
@pytest.mark.parametrize("normalization", [((10, 20), (3, 4)), "image"])
def test_the_normalization_of_a_model_is_found_also_inside_another(normalization, wrap):
    model = wrap(tiny_unet(2, (None, None, 2), filters=2, normalization=normalization))
    found = normalization_of(model)
    if normalization == "image":
        assert found == "image"
    else:
        np.testing.assert_allclose(found, normalization)


def test_only_a_normalization_of_the_image_itself_counts():
    model = tiny_unet(2, (None, None, 2), filters=2)
    image = keras.Input((None, None, 2))
    assert normalization_of(sequential(keras.layers.Rescaling(255.0), model)) is None
    assert normalization_of(keras.Model(image, model(image * 255))) is None
    assert normalization_of(sequential(keras.layers.Conv2D(2, 1))) is None
