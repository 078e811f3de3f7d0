import numpy as np
import pytest

from tfseg.ops import center_heat, center_offsets, object_centers


def test_centers_are_means_of_pixels():
    # Object 1: pixels (0, 0), (0, 1), (1, 1). Object 3: (1, 3). There is no object 2.
    instances = np.array([[[1, 1, 0, 0], [0, 1, 0, 3]], [[0, 0, 0, 0], [0, 2, 2, 0]]])
    centers = object_centers(instances)
    assert centers.shape == (2, 4, 2)
    assert centers[0, [1, 3]] == pytest.approx(np.array([[1 / 3, 2 / 3], [1, 3]]))
    assert centers[1, 2] == pytest.approx([1, 1.5])
    assert np.isnan(centers[0, [0, 2]]).all()
    assert np.isnan(centers[1, [0, 1, 3]]).all()


def test_offsets_lead_to_the_center():
    rng = np.random.default_rng(0)
    instances = rng.integers(0, 4, (2, 7, 9))
    centers = object_centers(instances)
    offsets = center_offsets(instances, centers)
    assert offsets.dtype == np.float32
    assert not offsets[instances == 0].any()
    for image, row, column in zip(*np.nonzero(instances), strict=True):
        expected = centers[image, instances[image, row, column]]
        found = offsets[image, row, column] + [row, column]
        assert found == pytest.approx(expected, abs=1e-5)


def test_heat_is_the_largest_of_gaussians():
    # Centers (2, 1) and (2, 5); sigma 2: exp(-d**2 / 8). Pixel (0, 3) is at (2, 2) from both.
    centers = np.array([[[np.nan, np.nan], [2.2, 0.8], [2, 5]]])
    heat = center_heat(centers, 5, 7, sigma=2)[0]
    assert heat.dtype == np.float32
    assert heat[2, 1] == heat[2, 5] == 1
    assert heat[0, 3] == pytest.approx(np.exp(-1))
    assert heat[2, 4] == pytest.approx(np.exp(-1 / 8))  # the nearer center, not the sum
    assert heat[4, 0] == pytest.approx(np.exp(-5 / 8))


def test_heat_ends_at_three_sigma_and_at_the_border():
    centers = np.array([[[0.0, 0.0]], [[9.4, 3.0]]])
    heat = center_heat(centers, 10, 10, sigma=1)
    assert heat[0, 0, 3] == pytest.approx(np.exp(-4.5))
    assert heat[0, 0, 4] == 0
    assert heat[1, 9, 3] == 1
    assert heat[1].sum() == pytest.approx(
        np.exp(-(np.arange(4) ** 2) / 2).sum() * np.exp(-(np.arange(-3, 4) ** 2) / 2).sum()
    )


def test_images_without_objects_have_no_centers():
    centers = object_centers(np.zeros((2, 3, 4), int))
    assert np.isnan(centers).all()
    assert not center_heat(centers, 3, 4, 2).any()
    assert not center_offsets(np.zeros((2, 3, 4), int), centers).any()
