"""Distances and probabilities of star-convex objects, against stardist 0.9.2 and by hand."""

import time
from pathlib import Path

import numpy as np
import pytest

from tfseg.ops import object_probabilities, star_distances

GOLDENS = Path(__file__).parents[1] / "goldens" / "star_goldens.npz"
IMAGES = ("cells", "shapes", "full", "empty")


@pytest.fixture(scope="module")
def goldens():
    with np.load(GOLDENS) as file:
        return dict(file)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize(("rays", "grid"), [(32, 1), (32, 2), (7, 2), (16, 4)])
def test_distances_are_those_of_stardist(goldens, name, rays, grid):
    expected = goldens[f"{name}_{rays}_{grid}"]
    found = star_distances(goldens[name][None], rays, grid)[0]
    assert found.dtype == np.float32
    assert found == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("name", IMAGES)
def test_probabilities_are_those_of_stardist(goldens, name):
    found = object_probabilities(goldens[name][None])[0]
    assert found.dtype == np.float32
    assert found == pytest.approx(goldens[f"{name}_probability"], abs=1e-6)


def test_images_of_a_batch_are_independent(goldens):
    cells = goldens["cells"][:40, :56]
    batch = np.stack([cells, goldens["shapes"], np.zeros_like(cells), np.full_like(cells, 3)])
    for function in (lambda x: star_distances(x, 8, 2), object_probabilities):
        together = function(batch)
        for index in range(4):
            assert np.array_equal(together[index], function(batch[index : index + 1])[0])


def test_distances_of_a_pixel_end_half_a_pixel_away():
    # At 45 degrees the ray leaves the pixel at (0.5, 0.5).
    pixel = np.zeros((1, 3, 3), int)
    pixel[0, 1, 1] = 5
    diagonal = np.sqrt(0.5)
    expected = [0.5, diagonal] * 4
    assert star_distances(pixel, 8)[0, 1, 1] == pytest.approx(expected, abs=1e-6)
    assert object_probabilities(pixel)[0, 1, 1] == 1


def test_objects_may_be_larger_than_an_int8_counts():
    distances = star_distances(np.ones((1, 3, 400), int), rays=4)
    np.testing.assert_array_equal(distances[0, 1, 100], [299.5, 1.5, 100.5, 1.5])


def test_rays_run_from_the_x_axis_towards_the_y_axis_down():
    # The pixel has 2 more of its object on the right, 1 below, 0 on the left and above.
    instances = np.array([[[7, 7, 7], [7, 0, 0]]])
    assert star_distances(instances, 4)[0, 0, 0] == pytest.approx([2.5, 1.5, 0.5, 0.5], abs=1e-6)


def test_rays_end_at_the_first_gap_of_a_concave_object():
    instances = np.array([[[4, 4, 0, 4, 4, 9]]])
    distances = star_distances(instances, 4)[0, 0]
    assert distances[:, 0] == pytest.approx([1.5, 0.5, 0, 1.5, 0.5, 0.5], abs=1e-6)
    assert distances[:, 2] == pytest.approx([0.5, 1.5, 0, 0.5, 1.5, 0.5], abs=1e-6)


def test_the_border_of_the_image_ends_rays_but_lowers_no_probability():
    # Columns 0 to 3 of an object that goes on at the left: distances to column 4 are 4, 3, 2, 1.
    instances = np.zeros((1, 1, 6), int)
    instances[0, 0, :4] = 2
    assert star_distances(instances, 4)[0, 0, :, 2] == pytest.approx([0.5, 1.5, 2.5, 3.5, 0, 0])
    probability = object_probabilities(instances)[0, 0]
    assert probability == pytest.approx([1, 0.75, 0.5, 0.25, 0, 0])


def test_touching_objects_end_each_other():
    instances = np.array([[[1, 1, 1, 2, 2]]]).repeat(9, axis=1)
    assert object_probabilities(instances)[0, 4] == pytest.approx([1, 2 / 3, 1 / 3, 0.5, 1])


def test_images_without_objects_are_zero():
    nothing = np.zeros((2, 4, 5), np.int32)
    assert star_distances(nothing, 8, 2).shape == (2, 2, 3, 8)
    assert not star_distances(nothing, 8, 2).any()
    assert not object_probabilities(nothing).any()


def nuclei(height=256, width=256, count=100, radius=8):
    """Return touching discs that cover about a quarter of the image."""
    rng = np.random.default_rng(0)
    instances = np.zeros((height, width), np.int32)
    y, x = np.mgrid[:height, :width]
    for number in range(1, count + 1):
        center = rng.uniform(0, (height, width))
        instances[np.hypot(y - center[0], x - center[1]) < rng.uniform(0.5, 1.5) * radius] = number
    return instances


def test_a_crop_of_nuclei_takes_milliseconds():
    # 20 ms on an idle core; ten times that passes on a busy one, and a loop over pixels takes 5 s
    instances = nuclei()[None]
    start = time.process_time()
    star_distances(instances, 32, 2)
    object_probabilities(instances[:, ::2, ::2])
    assert time.process_time() - start < 0.2
