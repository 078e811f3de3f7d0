"""Fixtures for the tests of inference."""

import keras
import pytest

from tfseg.models import unet


@pytest.fixture(scope="session")
def small_unet():
    """A U-Net of three classes that is compiled once per image size; tests do not train it."""
    keras.utils.set_random_seed(1)
    return unet(3, filters=(4, 8))
