"""Bounds on the overlaps of polygons, compared with the exact ones and with shapely."""

import numpy as np
import pytest
from keras import ops
from shapely import Polygon

from tfseg.ops import polygon_area, ray_directions
from tfseg.ops.polygon_bounds import (
    describe_polygons,
    exact_overlaps,
    inner_distances,
    inner_step,
    lower_overlaps,
    upper_overlaps,
)


def draw(rng, count, rays=32):
    """Return distances (N, R) and centers (N, 2) of smooth, jagged and partly empty polygons."""
    smooth = np.cumsum(rng.normal(0, 0.1, (count, rays)), axis=-1)
    jagged = rng.choice([0.0, 0.05, 0.5], (count, 1)) * rng.normal(size=smooth.shape)
    distances = rng.choice([2.0, 9.0], (count, 1)) * np.exp(smooth + jagged)
    distances[::10, :5] = 0
    return distances.astype("float32"), rng.uniform(0, 12, (count, 2)).astype("float32")


@pytest.mark.parametrize(("rays", "step"), [(32, 4), (16, 2), (48, 6), (20, 2), (12, 1), (3, 1)])
def test_at_least_eight_rays_stay(rays, step):
    assert inner_step(rays) == step


@pytest.mark.parametrize(("rays", "step"), [(32, 4), (15, 5)])
def test_inner_polygons_are_inside(rays, step):
    distances, _ = draw(np.random.default_rng(3), 200, rays)
    inner = ops.convert_to_numpy(inner_distances(ops.convert_to_tensor(distances), step))
    assert inner.shape == (200, rays // step)
    for all_rays, few in zip(distances, inner, strict=True):
        outside = Polygon(few[:, None] * ray_directions(len(few)))
        outside = outside.difference(Polygon(all_rays[:, None] * ray_directions(rays)).buffer(1e-4))
        assert outside.area < 1e-6


def test_a_convex_polygon_keeps_its_vertices():
    circle = ops.full((1, 32), 3.0)
    inner = inner_distances(circle, 4)
    np.testing.assert_allclose(ops.convert_to_numpy(inner), np.full((1, 8), 3.0), rtol=1e-6)
    fraction = float(polygon_area(inner)[0] / polygon_area(circle)[0])
    octagon, all_vertices = 8 * np.sin(np.pi / 4), 32 * np.sin(np.pi / 16)
    assert fraction == pytest.approx(octagon / all_vertices, rel=1e-5)  # 0.906


def test_a_dent_moves_the_ends_of_its_sector_inwards():
    # Rays 0, 4, ... stay. Ray 2 is half as long as the line from ray 0 to ray 4, which crosses it
    # at cos(22.5 degrees): both ends are halved, and so are no others.
    distances = np.full((1, 32), 2.0, "float32")
    distances[0, 2] = np.cos(np.pi / 8)
    found = ops.convert_to_numpy(inner_distances(ops.convert_to_tensor(distances), 4))[0]
    np.testing.assert_allclose(found, [1, 1, 2, 2, 2, 2, 2, 2], rtol=1e-6)


def test_bounds_enclose_the_overlaps():
    rng = np.random.default_rng(4)
    rows, others = (describe_polygons(*draw(rng, 2000)) for _ in range(2))
    exact, lower, upper = (
        ops.convert_to_numpy(function(rows, others))
        for function in (exact_overlaps, lower_overlaps, upper_overlaps)
    )
    assert (lower <= exact + 1e-5).all()
    assert (exact <= upper + 1e-5).all()
    assert (exact > 0.4).sum() > 300
    # many overlaps, also of jagged polygons, are found without the exact computation
    assert ((lower > 0.4) & (exact > 0.5)).sum() > 0.4 * (exact > 0.5).sum()
