import time
from pathlib import Path

import keras
import numpy as np
import pytest
from goldens.many_polygons import SIDE, many_polygons
from skimage.draw import polygon as fill

from tfseg.ops import draw_polygons, polygon_rendering, ray_directions, render_polygons

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "polygon_goldens.npz")
TENSORFLOW = keras.backend.backend() == "tensorflow"


def draw(rng, count, extent, rays=32):
    smooth = np.cumsum(rng.normal(0, 0.1, (count, rays)), axis=-1)
    jagged = rng.normal(0, 0.4, (count, rays)) * (np.arange(count)[:, None] % 2)
    distances = rng.choice([0.3, 4.0, 9.0], (count, 1)) * np.exp(smooth + jagged)
    return distances, rng.uniform(-2, extent, (count, 2))


def drawn_by_skimage(distances, centers, height, width):
    """Return the label map of scikit-image: the last polygon first, the others over it."""
    labels = np.zeros((height, width), np.int32)
    for k in reversed(range(len(distances))):
        vertices = centers[k] + distances[k][:, None] * ray_directions(distances.shape[1]) - 0.5
        labels[fill(vertices[:, 1], vertices[:, 0], labels.shape)] = k + 1
    return labels


def test_by_hand():
    # A triangle with corners at (7.6, 2.5), (1.6, 5.96) and (1.6, -0.96). It ends at x = 7.6, 5.87
    # and 4.14 in the rows that are 0, 1 and 2 from its middle, and at 2.4 in the last row.
    distances, center = np.full((1, 3), 4.0), np.array([[3.6, 2.5]])
    assert render_polygons(distances, center, 6, 9).tolist() == [
        [0, 0, 1, 1, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 1, 1, 1, 1, 0],
        [0, 0, 1, 1, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]


def test_the_first_polygon_is_on_top():
    distances, centers = np.full((2, 32), 3.0), np.array([[5.0, 5.0], [8.0, 5.0]])
    first = render_polygons(distances[:1], centers[:1], 10, 14)
    second = render_polygons(distances[1:], centers[1:], 10, 14)
    assert (first & second).any()
    expected = np.where(first, 1, 2 * second)
    np.testing.assert_array_equal(render_polygons(distances, centers, 10, 14), expected)


@pytest.mark.parametrize("pixels", [1, 40, 1000])
def test_polygons_drawn_in_pieces_overlap_in_the_same_order(pixels, monkeypatch):
    distances, centers = draw(np.random.default_rng(4), 30, 30.0)  # most cover others
    at_once = render_polygons(distances, centers, 30, 30)
    monkeypatch.setattr(polygon_rendering, "PIXELS_AT_ONCE", pixels)
    np.testing.assert_array_equal(render_polygons(distances, centers, 30, 30), at_once)


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_scikit_image(seed):
    rng = np.random.default_rng(seed)
    distances, centers = draw(rng, 60, 80.0)  # also over the borders and outside
    found = render_polygons(distances, centers, 70, 90)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, drawn_by_skimage(distances, centers, 70, 90))


@pytest.mark.parametrize(("name", "overlap"), [("", 0.4), ("shapes_", 0.5)])
def test_equal_to_stardist(name, overlap):
    kept, expected = GOLDENS[f"{name}kept_{overlap}"], GOLDENS[f"{name}labels"]
    centers = GOLDENS[f"{name}points"][kept][:, ::-1] + 0.5
    found = render_polygons(GOLDENS[f"{name}distances"][kept], centers, *expected.shape)
    # StarDist computes vertices in float32, so border pixels may differ.
    assert (found != expected).sum() <= 2
    assert (expected > 0).sum() > 500


def test_ten_thousand_objects_as_by_stardist():
    points, distances, _ = many_polygons()
    kept = GOLDENS["many_kept"]
    begin = time.process_time()
    labels = render_polygons(distances[kept], points[kept][:, ::-1] + 0.5, SIDE, SIDE)
    assert time.process_time() - begin < 10
    areas = np.bincount(labels.ravel(), minlength=len(kept) + 1)[1:]
    np.testing.assert_array_equal(areas, GOLDENS["many_areas"])


def test_one_pixel_and_nothing():
    assert render_polygons(np.full((1, 32), 0.4), np.array([[2.5, 1.5]]), 3, 4).sum() == 1
    assert render_polygons(np.zeros((1, 32)), np.array([[2.5, 1.5]]), 3, 4)[1, 2] == 1
    assert not render_polygons(np.full((1, 32), 0.4), np.array([[3.0, 2.0]]), 3, 4).any()
    # a quarter of a disc around a point in the upper left of pixel (2, 1): most rays have length 0
    quarter = np.where(np.arange(32) <= 8, 3.2, 0.0)[None]
    squares = np.arange(0.1, 4) ** 2
    expected = np.pad(np.add.outer(squares, squares) < 3.2**2, ((2, 0), (1, 0)))
    np.testing.assert_array_equal(render_polygons(quarter, np.array([[1.4, 2.4]]), 6, 5), expected)
    assert not render_polygons(np.zeros((0, 32)), np.zeros((0, 2)), 3, 4).any()
    assert not render_polygons(np.full((2, 32), 2.0), np.full((2, 2), -9.0), 3, 4).any()


@pytest.mark.parametrize("compiled", [False, True])
def test_a_graph_draws_the_same(compiled):
    rng = np.random.default_rng(3)
    images = [draw(rng, 21, 60.0, rays=16) for _ in range(2)]
    distances, centers = (np.stack(arrays) for arrays in zip(*images, strict=True))
    valid = np.arange(21) < np.array([[21], [7]])
    side = None
    if compiled or not TENSORFLOW:
        side = 1 + int(np.ceil(2 * distances.max()))

    def run(distances, centers, valid):
        return draw_polygons(distances, centers, valid, 50, 70, side)

    if compiled and TENSORFLOW:
        import tensorflow as tf

        run = tf.function(run, jit_compile=True, autograph=False)
    elif compiled:
        import jax

        run = jax.jit(run)
    found = keras.ops.convert_to_numpy(run(distances, centers, valid))
    for image, count in enumerate((21, 7)):
        arrays = distances[image, :count], centers[image, :count]
        expected = render_polygons(*arrays, 50, 70)
        assert (found[image] != expected).sum() <= 1  # float32
        assert len(np.unique(expected)) > 5
    nothing = draw_polygons(distances[:, :0], centers[:, :0], valid[:, :0], 5, 4)
    assert not keras.ops.convert_to_numpy(nothing).any()
