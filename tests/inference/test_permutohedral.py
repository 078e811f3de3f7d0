import sys

import numpy as np
import pytest
from oracles import normalized_gaussian

from tfseg.inference.permutohedral import (
    Permutohedral,
    _build_lattice,
    _corner,
    _descending_ranks,
    _embed,
    _enclosing_simplices,
    _find_codes,
    _number_codes,
)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_the_lattice_approximates_a_gaussian(dimensions):
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 3, (dimensions, 500))
    values = rng.uniform(0, 1, (500, 3)).astype(np.float32)
    ratio = Permutohedral(points)(values) / (normalized_gaussian(points.T) @ values)
    assert ratio.mean() == pytest.approx(1, abs=0.02)
    assert ratio.std() < 0.04


def test_distant_points_only_get_their_own_value():
    points = 1000 * np.eye(3)
    values = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    assert Permutohedral(points)(values) == pytest.approx(values, rel=1e-5)


def test_equal_points_get_the_same_sum():
    # K is a matrix of ones, D its row sums 2: each point gets (1 + 5) / 2
    points = np.zeros((2, 2))
    found = Permutohedral(points)(np.array([[1], [5]], np.float32))
    assert found == pytest.approx(np.array([[3], [3]]), rel=1e-5)


def test_the_worked_example_of_one_dimension():
    embedded = _embed(np.array([[0.5]], np.float32))
    assert embedded[:, 0] == pytest.approx([3**-0.5, -(3**-0.5)])
    base, rank, weights = _enclosing_simplices(embedded)
    assert (base[:, 0].tolist(), rank[:, 0].tolist()) == ([0, 0], [0, 1])
    assert weights[0] == pytest.approx([1 - 3**-0.5, 3**-0.5])
    assert _corner(base, rank, 1)[:, 0].tolist() == [1, -1]


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_corners_and_weights_reproduce_the_point(dimensions):
    points = np.random.default_rng(0).uniform(-9, 9, (dimensions, 200)).astype(np.float32)
    embedded = _embed(points)
    assert embedded.sum(0) == pytest.approx(np.zeros(200), abs=1e-4)
    base, rank, weights = _enclosing_simplices(embedded)
    assert np.array_equal(np.sort(rank, 0), np.arange(dimensions + 1)[:, None].repeat(200, 1))
    assert (weights >= -1e-5).all()
    assert weights.sum(1) == pytest.approx(np.ones(200), abs=1e-5)
    total = np.zeros_like(embedded)
    for k in range(dimensions + 1):
        corner = _corner(base, rank, k)
        assert (corner.sum(0) == 0).all()
        assert (corner % (dimensions + 1) == k).all()
        total += weights[:, k] * corner
    assert total == pytest.approx(embedded, abs=1e-3)


def test_embedding_keeps_distances_up_to_one_factor():
    # the factor (d + 1) * sqrt(2 / 3) gives the blur a std of 1
    points = np.random.default_rng(0).normal(size=(4, 50)).astype(np.float32)
    lengths = np.linalg.norm(points[:, 1:] - points[:, :1], axis=0)
    embedded = _embed(points)
    ratio = np.linalg.norm(embedded[:, 1:] - embedded[:, :1], axis=0) / lengths
    assert ratio == pytest.approx(np.full(49, 5 * (2 / 3) ** 0.5), rel=1e-4)


def test_neighbors_differ_by_a_step_along_an_axis():
    # one dimension: the corners are (i, -i) for integers i; a step adds (-1, 1) or (1, -1)
    points = np.arange(0, 3, 0.3, np.float32)[None]
    base, rank, _ = _enclosing_simplices(_embed(points))
    corners, neighbors = _build_lattice(base, rank)
    coordinates = {}
    for k in range(2):
        for point, place in enumerate(_corner(base, rank, k)[0].tolist()):
            assert coordinates.setdefault(int(corners[point, k]), place) == place
    assert sorted(coordinates.values()) == [0, 1, 2, 3, 4]
    missing = len(coordinates)
    number_at = {place: number for number, place in coordinates.items()}
    (before, after), (before_2, after_2) = neighbors
    for number, place in coordinates.items():
        around = {number_at.get(place - 1, missing), number_at.get(place + 1, missing)}
        assert {int(before[number]), int(after[number])} == around
        assert {int(before_2[number]), int(after_2[number])} == around
    assert before[missing] == after[missing] == missing


def test_descending_ranks_prefer_the_earlier_of_equal_values():
    values = np.array([[5, 1], [9, 1], [5, 1]])
    assert _descending_ranks(values).T.tolist() == [[1, 0, 2], [0, 1, 2]]


def test_codes_are_numbered_and_found():
    found, first, numbers = _number_codes(np.array([7, 3, 7], np.uint64))
    assert (found.tolist(), numbers.tolist()) == ([3, 7], [1, 0, 1])
    assert first[0] == 1
    assert first[1] in (0, 2)
    assert _find_codes(found, np.array([7, 4], np.uint64)).tolist() == [1, 2, 2]
    assert _find_codes(found, np.array([9, 3], np.uint64)).tolist() == [2, 0, 2]


def test_a_missing_scipy_is_reported_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(ImportError, match=r"tfseg-keras\[classical\]"):
        Permutohedral(np.zeros((2, 4)))
