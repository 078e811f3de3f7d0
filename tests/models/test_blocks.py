import numpy as np
import pytest
from keras import ops

from tfseg.models.blocks import Standardize


def standardized(image):
    return ops.convert_to_numpy(Standardize()(np.asarray(image)[None]))[0]


@pytest.mark.parametrize(
    ("base", "step"), [(0, 1), (100, 40), (30000, 1), (300, 0.01), (1e-4, 1e-6)]
)
def test_brightness_and_contrast_are_removed(base, step):
    steps = np.random.default_rng(0).normal(size=(37, 50, 2))
    steps = (steps - steps.mean((0, 1))) / steps.std((0, 1))
    # float32 resolves 3e-5 near 300, a third of 1 % of a step of 0.01
    assert standardized(base + step * steps) == pytest.approx(steps, abs=0.02)


@pytest.mark.parametrize("value", [0, 0.1, 200.3, 30000.7, -5e-7])
def test_a_constant_image_becomes_zero(value):
    assert standardized(np.full((512, 300, 2), value, np.float32)) == pytest.approx(0, abs=1e-3)


def test_channels_are_independent_and_integers_are_accepted():
    image = np.array([[[0, 7], [2, 7]]], np.uint8)
    assert standardized(image)[..., 0] == pytest.approx(np.array([[-1, 1]]))
    assert standardized(image)[..., 1] == pytest.approx(np.zeros((1, 2)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_do_not_count(value):
    image = np.float32([[[1], [3]], [[5], [value]]])
    # mean 3 and std sqrt(8 / 3) of the finite values
    step = 2 / np.sqrt(8 / 3)
    assert standardized(image)[..., 0] == pytest.approx(np.array([[-step, 0], [step, 0]]))
    assert (standardized(np.full((2, 2, 1), value, np.float32)) == 0).all()
