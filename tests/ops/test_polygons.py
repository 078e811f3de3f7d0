"""Star-convex polygons, compared with shapely, which intersects them edge by edge in float64."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from shapely import Polygon

from tfseg.ops import (
    polygon_area,
    polygon_boxes,
    polygon_intersection,
    polygon_overlap,
    ray_directions,
    star_polygons,
)

TENSORFLOW = keras.backend.backend() == "tensorflow"
# JAX computes in float32 unless it is asked not to.
TOLERANCE = 1e-6 if TENSORFLOW else 3e-5
SQUARE = np.full(4, 2.0)  # corners on the axes, side 8**0.5, area 8


def as_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def shape(distances, center):
    return Polygon(
        np.asarray(center) + np.asarray(distances)[:, None] * ray_directions(len(distances))
    )


def draw(rng, pairs, rays, extent):
    """Return distances (2, pairs, R) and centers (2, pairs, 2): smooth, jagged, large and tiny."""
    smooth = np.cumsum(rng.normal(0, 0.1, (2, pairs, rays)), axis=-1)
    roughness = rng.choice([0.0, 0.3, 1.0], (2, pairs, 1))
    size = rng.choice([0.5, 4.0, 20.0], (2, pairs, 1))
    distances = size * np.exp(smooth + roughness * rng.normal(size=smooth.shape))
    return distances, rng.uniform(0, extent, (2, pairs, 2))


def check(distances, centers):
    """Compare areas and intersections of pairs with shapely's."""
    shapes = [
        [shape(d, c) for d, c in zip(*side, strict=True)]
        for side in zip(distances, centers, strict=True)
    ]
    areas = np.array([[polygon.area for polygon in side] for side in shapes])
    np.testing.assert_allclose(as_numpy(polygon_area(distances)), areas, rtol=TOLERANCE)
    expected = [first.intersection(second).area for first, second in zip(*shapes, strict=True)]
    found = as_numpy(polygon_intersection(distances[0], centers[0], distances[1], centers[1]))
    error = np.abs(found - expected) / areas.min(0)
    assert error.max() < TOLERANCE, (error.max(), error.argmax())
    return np.array(expected) / areas.min(0)


def test_vertices_by_hand():
    # Rays point right, down, left and up.
    vertices = as_numpy(star_polygons(np.array([3.0, 1.0, 2.0, 0.0]), np.array([10.0, 5.0])))
    np.testing.assert_allclose(vertices, [[13, 5], [10, 6], [8, 5], [10, 5]], atol=1e-6)
    box = as_numpy(polygon_boxes(np.array([3.0, 1.0, 2.0, 0.0]), np.array([10.0, 5.0])))
    np.testing.assert_allclose(box, [8, 5, 13, 6], atol=1e-6)
    # two right triangles: 3 * 1 / 2 + 1 * 2 / 2
    assert float(polygon_area(np.array([3.0, 1.0, 2.0, 0.0]))) == pytest.approx(2.5)


@given(st.integers(0, 10**6), st.sampled_from([3, 4, 7, 32]), st.sampled_from([1.0, 10.0, 40.0]))
@settings(deadline=None, max_examples=20)
def test_equal_to_shapely(seed, rays, extent):
    check(*draw(np.random.default_rng(seed), 40, rays, extent))


def test_random_pairs_have_all_kinds_of_overlaps():
    """The test above is worth something: pairs of its kind overlap by nothing, all and between."""
    overlaps = check(*draw(np.random.default_rng(1), 200, 32, 20.0))
    assert (overlaps == 0).sum() > 20
    assert (overlaps > 0.999).sum() > 20
    assert ((overlaps > 0.05) & (overlaps < 0.95)).sum() > 50


def test_equal_polygons():
    distances, centers = draw(np.random.default_rng(2), 50, 32, 40.0)
    distances[1], centers[1] = distances[0], centers[0]
    np.testing.assert_allclose(check(distances, centers), 1, rtol=1e-9)
    overlap = as_numpy(polygon_overlap(distances[0], centers[0], distances[1], centers[1]))
    np.testing.assert_allclose(overlap, 1, rtol=TOLERANCE)


def test_polygons_that_share_parts_of_their_borders():
    distances, centers = draw(np.random.default_rng(3), 50, 16, 40.0)
    centers[1] = centers[0]
    distances[1, :, :9] = distances[0, :, :9]  # eight edges in common
    check(distances, centers)
    distances[1] = 2 * distances[0]  # the first one is inside, all of its edges are parallel
    np.testing.assert_allclose(check(distances, centers), 1, rtol=1e-9)


@pytest.mark.parametrize(
    ("center", "expected"),
    [
        ((0, 0), 8),
        ((1, 1), 4),  # half of it, two pairs of collinear edges
        ((2, 2), 0),  # they share an edge
        ((4, 0), 0),  # and a corner
        ((2, 0), 2),  # the corner of each at the center of the other
        ((3, 1), 0),  # they share half an edge
        ((1.0, 0), 4.5),  # a square of side 3 / 2**0.5
        ((9, 0), 0),
        ((1e3, 1e3), 0),
    ],
)
def test_squares_by_hand(center, expected):
    origin, center = np.array([7.0, 3.0]), np.array([7.0, 3.0]) + center
    for first, second in ((origin, center), (center, origin)):
        area = float(polygon_intersection(SQUARE, first, SQUARE, second))
        assert area == pytest.approx(expected, abs=1e-5)


def test_one_pixel_within_a_large_object():
    tiny, large = np.full(32, 0.4), np.full(32, 100.0)
    center, far = np.array([520.5, 310.5]), np.array([470.5, 280.5])
    overlap = float(polygon_overlap(tiny, center, large, far))
    assert overlap == pytest.approx(1, abs=TOLERANCE)
    assert float(polygon_overlap(large, far, tiny, center)) == overlap
    # a star with an arm that reaches the pixel from afar
    arm = np.where(np.arange(32) == 0, 60.0, 0.3)
    check(np.stack([[tiny], [arm]]), np.array([[[20.5, 0.5]], [[0.5, 0.5]]]))


def test_polygons_without_area_overlap_nothing():
    nothing, center = np.zeros(8), np.array([3.0, 3.0])
    assert float(polygon_overlap(nothing, center, np.full(8, 5.0), center)) == 0
    assert float(polygon_overlap(nothing, center, nothing, center)) == 0
    needle = np.where(np.arange(8) == 0, 9.0, 0.0)
    assert float(polygon_overlap(needle, center, np.full(8, 5.0), center)) == 0


def test_float32_is_enough_for_suppression():
    distances, centers = draw(np.random.default_rng(4), 500, 32, 20.0)
    exact = as_numpy(polygon_overlap(distances[0], centers[0], distances[1], centers[1]))
    single = [
        array.astype("float32") for array in (distances[0], centers[0], distances[1], centers[1])
    ]
    found = polygon_overlap(*single)
    assert ops.dtype(found) == "float32"
    np.testing.assert_allclose(as_numpy(found), exact, atol=3e-5)


def test_pairs_broadcast():
    rng = np.random.default_rng(5)
    distances, centers = draw(rng, 6, 8, 9.0)
    table = as_numpy(
        polygon_intersection(distances[0][:, None], centers[0][:, None], distances[1], centers[1])
    )
    assert table.shape == (6, 6)
    for i, j in np.ndindex(6, 6):
        pair = polygon_intersection(distances[0, i], centers[0, i], distances[1, j], centers[1, j])
        assert table[i, j] == pytest.approx(float(pair), abs=1e-5)
    empty = polygon_intersection(distances[0, :0], centers[0, :0], distances[1, :0], centers[1, :0])
    assert as_numpy(empty).shape == (0,)


def test_too_few_rays_are_refused():
    with pytest.raises(ValueError, match="Got polygons with 2 rays, expected at least 3"):
        star_polygons(np.ones((5, 2)), np.ones((5, 2)))


def test_compiled_equals_eager():
    distances, centers = draw(np.random.default_rng(6), 20, 32, 20.0)
    arguments = [
        array.astype("float32") for pair in zip(distances, centers, strict=True) for array in pair
    ]
    if TENSORFLOW:
        import tensorflow as tf

        run = tf.function(polygon_intersection, jit_compile=True, autograph=False)
    else:
        import jax

        run = jax.jit(polygon_intersection)
    expected = as_numpy(polygon_intersection(*arguments))
    np.testing.assert_allclose(as_numpy(run(*arguments)), expected, rtol=1e-4, atol=1e-3)
