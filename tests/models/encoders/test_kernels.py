import numpy as np
import pytest

from tfseg.models.encoders.kernels import fit_kernel

KERNEL = np.random.default_rng(0).normal(size=(2, 2, 3, 5))
RED, GREEN, BLUE = KERNEL[:, :, 0], KERNEL[:, :, 1], KERNEL[:, :, 2]


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7])
def test_equal_channels_give_what_equal_rgb_gives(channels):
    fitted = fit_kernel(KERNEL, channels)
    assert fitted.shape == (2, 2, channels, 5)
    assert fitted.sum(2) == pytest.approx(KERNEL.sum(2))


def test_channels_take_the_kernels_of_red_green_and_blue_in_turn():
    expected = [RED / 2, GREEN / 2, BLUE, RED / 2, GREEN / 2]
    assert fit_kernel(KERNEL, 5) == pytest.approx(np.stack(expected, 2))
    assert fit_kernel(KERNEL, 2)[:, :, 0] == pytest.approx((RED + GREEN + BLUE) / 2)
