"""Bounds from the cells that polygons cover, compared with the exact overlaps and with shapely."""

import numpy as np
import pytest
import shapely
from keras import ops

from tfseg.ops import polygon_cells
from tfseg.ops.polygon_bounds import describe_polygons, exact_overlaps
from tfseg.ops.polygon_cells import SIDE, cell_side, describe_cells, overlap_bounds
from tfseg.ops.polygons import star_polygons


def draw(rng, count, rays=32):
    """Return distances (N, R) and centers (N, 2) of smooth, jagged and partly empty polygons."""
    smooth = np.cumsum(rng.normal(0, 0.1, (count, rays)), axis=-1)
    jagged = rng.choice([0.0, 0.1, 0.8], (count, 1)) * rng.normal(size=smooth.shape)
    distances = rng.choice([3.0, 9.0], (count, 1)) * np.exp(smooth + jagged)
    distances[::10, :5] = 0
    distances[1] = 300.0  # far larger than its window
    return distances.astype("float32"), rng.uniform(0, 12, (count, 2)).astype("float32")


def described(distances, centers, side=None):
    """Return the rows and cells of polygons as arrays, and the side of the cells."""
    rows = describe_polygons(distances[None], centers[None])
    if side is None:
        side = cell_side(rows, np.ones(rows.shape[:2], bool))
    cells = ops.convert_to_numpy(describe_cells(rows, side))[0]
    return ops.convert_to_numpy(rows)[0], cells, ops.convert_to_numpy(side)


def test_cells_of_a_diamond_by_hand():
    # Cells of 2 pixels. The diamond has the corners (6, 11), (10, 11), (8, 9) and (8, 13), so it
    # covers half a pixel, 3 pixels and half a pixel of rows 4, 5 and 6 in columns 3 and 4.
    # Rows and columns count modulo 6.
    center = np.array([[8.0, 11.0]], "float32")
    _, cells, _ = described(
        np.full((1, 4), 2.0, "float32"), center, np.full((1, 1), 2.0, "float32")
    )
    expected = np.zeros((6, 6))
    expected[[4, 5, 0], 3] = expected[[4, 5, 0], 4] = [0.5 / 4, 3 / 4, 0.5 / 4]
    np.testing.assert_allclose(cells[0, :36].reshape(6, 6), expected, atol=1e-5)
    columns, lines = cells[0, 36:-2].reshape(2, 6)
    assert columns.tolist() == [6, 1, 2, 3, 4, 5]
    assert lines.tolist() == [6, 7, 8, 3, 4, 5]
    np.testing.assert_allclose(cells[0, -2:], [0, 2], atol=1e-5)


def test_cells_are_those_of_shapely():
    distances, centers = draw(np.random.default_rng(2), 40)
    centers += 1000
    _, cells, side = described(distances, centers)
    side = float(side[0, 0])
    vertices = ops.convert_to_numpy(star_polygons(distances, centers))
    outside = 0
    for row, polygon in list(zip(cells, map(shapely.Polygon, vertices), strict=True))[2:]:
        columns, lines = row[SIDE * SIDE : -2].reshape(2, SIDE).astype(float)
        expected = [
            [
                polygon.buffer(0).intersection(
                    shapely.box(x * side, y * side, (x + 1) * side, (y + 1) * side)
                )
                for x in columns
            ]
            for y in lines
        ]
        expected = np.vectorize(lambda part: part.area)(np.array(expected)) / side**2
        covered = row[: SIDE * SIDE].reshape(SIDE, SIDE)
        if covered.any():  # not too large for the window
            np.testing.assert_allclose(covered, expected, atol=2e-3)
            assert row[-2] == pytest.approx(polygon.area / side**2 - expected.sum(), abs=1e-2)
        else:
            outside += 1
            assert row[-2] == row[-1]
    assert outside < 8


@pytest.mark.parametrize("offset", [0, 20000])
def test_bounds_enclose_the_overlaps(offset):
    rng = np.random.default_rng(4)
    distances, centers = draw(rng, 4000)
    rows, cells, _ = described(distances, np.round(centers * 2) / 2 + offset)
    rows, others, cells, other_cells = rows[:2000], rows[2000:], cells[:2000], cells[2000:]
    exact = ops.convert_to_numpy(exact_overlaps(rows, others))
    bounds = overlap_bounds(cells, other_cells)
    lower, upper = (ops.convert_to_numpy(bound) for bound in bounds)
    assert (lower <= exact + 1e-5).all()
    assert (exact <= upper + 1e-5).all()
    assert (exact > 0.4).sum() > 300
    # Most overlaps are decided without the exact computation.
    assert ((lower > 0.4) & (exact > 0.5)).sum() > 0.5 * (exact > 0.5).sum()
    assert ((upper < 0.4) & (exact < 0.2)).sum() > 0.5 * (exact < 0.2).sum()


def test_cells_have_exact_borders():
    rows = describe_polygons(np.full((1, 3, 8), 5.0, "float32"), np.zeros((1, 3, 2), "float32"))
    side = ops.convert_to_numpy(cell_side(rows, np.array([[True, True, False]])))
    assert (side / polygon_cells.UNIT == np.round(side / polygon_cells.UNIT)).all()
    assert side[0, 0] == pytest.approx(10 * polygon_cells.WINDOW / SIDE, abs=polygon_cells.UNIT)
    nothing = cell_side(rows, np.zeros((1, 3), bool))
    assert float(nothing[0, 0]) == polygon_cells.UNIT
