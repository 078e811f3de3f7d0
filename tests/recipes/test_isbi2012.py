"""The cells of the recipe `isbi2012`, from maps of their membranes."""

import numpy as np
import pytest

from tfseg.data import Arrays
from tfseg.recipes.isbi2012 import best_level, cells, darkness, rand_error


def section(height=24):
    """Return an image of two cells, their mask, and its membrane map with a gap of 0.5."""
    membrane = np.zeros((height, 40), np.float32)
    membrane[:, 18:21] = 0.9
    membrane[10:12, 18:21] = 0.5
    mask = np.ones((height, 40), np.uint8)
    mask[:, 18:21] = 0
    return mask, membrane


def test_cells_meet_in_the_middle_of_their_membrane():
    _, membrane = section()
    membrane[:, 19] += 0.05
    found = cells(membrane, 0.3)
    assert found.min() == 1
    assert found.max() == 2
    assert (found[:, :19] == 1).all()
    assert (found[:, 20:] == 2).all()


def test_a_level_above_the_gap_merges_the_cells():
    mask, membrane = section()
    reader = Arrays(np.zeros((3, 24, 40, 1), np.uint8), [mask] * 3, ["membrane", "cell"])
    assert rand_error(lambda image: membrane, reader, 0.3) == 0
    assert rand_error(lambda image: membrane, reader, 0.55) == pytest.approx(1 / 3, abs=0.02)
    assert best_level(lambda image: membrane, reader) == 0.05


def test_darkness_is_1_for_black():
    image = np.zeros((20, 20, 1), np.uint8)
    image[:, 10:] = 255
    found = darkness(image)
    assert found[5, 0] == pytest.approx(1)
    assert found[5, 19] == pytest.approx(0, abs=1e-6)
