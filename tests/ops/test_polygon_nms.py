import functools
import sys
import time
from pathlib import Path

import keras
import numpy as np
import oracles
import pytest
from goldens.many_polygons import many_polygons
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from tfseg.ops import polygon_nms, polygon_pairs

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "polygon_goldens.npz")
TENSORFLOW = keras.backend.backend() == "tensorflow"
# Squares with corners on the axes. Overlaps of the one at 0 with those at 1 and 2: 9 / 16, 1 / 4
SQUARES = np.full((4, 4), 2.0)
CENTERS = [[0, 0], [1, 0], [2, 0], [9, 9]]


def compiled(function):
    if TENSORFLOW:
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)
    import jax

    return jax.jit(function)


@functools.cache
def runner(rays, max_outputs):
    """Return `polygon_nms`, traced once for all numbers of candidates."""

    def run(distances, centers, scores, valid, threshold):
        return polygon_nms(distances, centers, scores, threshold, max_outputs, valid)

    if not TENSORFLOW:
        return compiled(run)
    import tensorflow as tf

    signature = [
        tf.TensorSpec((None, None, rays)),
        tf.TensorSpec((None, None, 2)),
        tf.TensorSpec((None, None)),
        tf.TensorSpec((None, None), "bool"),
        tf.TensorSpec(()),
    ]
    return tf.function(run, signature, autograph=False)


def kept_of_images(distances, centers, scores, valid, threshold, max_outputs=None):
    """Return the indices kept of each image, without the padding."""
    arrays = [np.asarray(array, "float32") for array in (distances, centers, scores)]
    if not TENSORFLOW:  # JAX compiles for each number of candidates: few numbers
        missing = -arrays[2].shape[1] % 640
        padding = [(0, 0), (0, missing), (0, 0)]
        arrays = [np.pad(array, padding[: array.ndim]) for array in arrays]
        valid = np.pad(valid, padding[:2])
    found = runner(arrays[0].shape[-1], max_outputs)(*arrays, valid, np.float32(threshold))
    rows = arrays[2].shape[1] if max_outputs is None else max_outputs
    assert found[0].shape == found[1].shape == (len(arrays[2]), rows)
    return without_padding(*found)


def kept_rows(distances, centers, scores, threshold, max_outputs=None, valid=None):
    """Return the indices kept of one image, without the padding."""
    valid = np.ones(len(scores), bool) if valid is None else np.array(valid)
    arrays = [np.array([array]) for array in (distances, centers, scores, valid)]
    return kept_of_images(*arrays, threshold, max_outputs)[0]


def without_padding(indices, kept):
    """Return the indices kept of each image; check that padding is 0 and comes last."""
    indices, kept = ops.convert_to_numpy(indices), ops.convert_to_numpy(kept)
    assert indices.dtype == "int32"
    assert (indices[~kept] == 0).all()
    assert (np.sort(~kept, axis=1) == ~kept).all()
    return [row[is_kept].tolist() for row, is_kept in zip(indices, kept, strict=True)]


def draw(rng, count, extent, rays=16):
    """Return distances, centers and scores: candidates around objects, with equal scores."""
    objects = rng.uniform(0, extent, (max(count // 8, 1), 2))
    centers = np.round(objects[rng.integers(0, len(objects), count)] + rng.normal(0, 2, (count, 2)))
    smooth = np.cumsum(rng.normal(0, 0.1, (count, rays)), axis=-1)
    distances = rng.choice([0.5, 3.0, 6.0], (count, 1)) * np.exp(smooth)
    return distances, centers, rng.integers(0, 50, count) / 50


def expected_rows(distances, centers, scores, threshold, valid=None):
    """Return what the slow loop keeps; None if an overlap is too close to the threshold."""
    arguments = (distances, centers, scores)
    low = oracles.polygon_nms(*arguments, threshold - 1e-4, valid)
    return low if low == oracles.polygon_nms(*arguments, threshold + 1e-4, valid) else None


def test_by_hand():
    scores = [0.9, 0.8, 0.7, 0.6]
    assert kept_rows(SQUARES, CENTERS, scores, 0.6) == [0, 1, 2, 3]
    # 1 is dropped by 0, so it does not drop 2.
    assert kept_rows(SQUARES, CENTERS, scores, 0.5) == [0, 2, 3]
    assert kept_rows(SQUARES, CENTERS, scores, 0.2) == [0, 3]
    # 1 is the best and drops both.
    assert kept_rows(SQUARES, CENTERS, [0.8, 0.9, 0.7, 0.95], 0.5) == [3, 1]
    assert kept_rows(SQUARES, CENTERS, [0.5] * 4, 0.2) == [0, 3]
    assert kept_rows(SQUARES, CENTERS[::-1], [0.5] * 4, 0.5) == [0, 1, 3]


def test_the_smaller_area_counts():
    # The small one is inside the large one, whose area is 16 times as large.
    sizes = np.array([np.full(4, 1.0), np.full(4, 4.0)])
    assert kept_rows(sizes, [[5, 5], [6, 5]], [0.5, 0.6], 0.99) == [1]
    assert kept_rows(sizes, [[5, 5], [6, 5]], [0.6, 0.5], 0.99) == [0]


def test_boxes_that_overlap_do_not_suppress():
    # Corners of squares that stand on a corner: boxes overlap by 1/4, the squares touch.
    assert kept_rows(SQUARES[:2], [[0, 0], [2, 2]], [0.5, 0.6], 0.01) == [1, 0]


def test_an_overlap_equal_to_the_threshold_is_allowed(monkeypatch):
    # A quarter of either square is in the other, after float32's rounding is undone.
    overlaps = polygon_pairs.exact_overlaps

    def exact(rows, others):
        return ops.round(64 * overlaps(rows, others)) / 64

    monkeypatch.setattr(polygon_pairs, "exact_overlaps", exact)
    for centers, threshold, expected in (
        ([[0, 0], [2, 0]], 0.25, [1, 0]),
        ([[0, 0], [2, 0]], 0.24, [1]),
        ([[0, 0], [2, 2]], 0.0, [1, 0]),  # they share a side
        ([[0, 0], [4, 0]], 0.0, [1, 0]),  # they touch in a corner
    ):
        found = polygon_nms(SQUARES[None, :2], [centers], [[0.5, 0.6]], threshold)
        assert without_padding(*found) == [expected]


def test_best_rows_are_kept_and_missing_ones_are_padding():
    scores = [0.1, 0.2, 0.3, 0.4]
    assert kept_rows(SQUARES, CENTERS, scores, 0.6, max_outputs=3) == [3, 2, 1]
    assert kept_rows(SQUARES, CENTERS, scores, 0.2, max_outputs=3) == [3, 2]
    assert kept_rows(SQUARES[:2], CENTERS[:2], scores[:2], 0.6, max_outputs=3) == [1, 0]


def test_padding_neither_stays_nor_suppresses():
    scores, valid = [0.9, 0.8, 0.7, 0.6], [False, True, True, True]
    assert kept_rows(SQUARES, CENTERS, scores, 0.5, valid=valid) == [1, 3]
    assert kept_rows(SQUARES, CENTERS, scores, 0.5, valid=[False] * 4) == []
    strange = np.array([*SQUARES, [np.nan] * 4, [np.inf] * 4])
    valid = [True] * 4 + [False] * 2
    centers = [*CENTERS, [0, np.nan], [1, 1]]
    found = kept_rows(strange, centers, [*scores, np.nan, 9], 0.5, valid=valid)
    assert found == [0, 2, 3]


def test_no_polygons():
    found = polygon_nms(np.zeros((2, 0, 8)), np.zeros((2, 0, 2)), np.zeros((2, 0)), 0.5, 3)
    assert without_padding(*found) == [[], []]
    assert ops.convert_to_numpy(found[1]).tolist() == [[False] * 3] * 2


def test_polygons_without_area_stay():
    assert kept_rows(np.zeros((3, 4)), np.ones((3, 2)), [0.3, 0.2, 0.1], 0.5) == [0, 1, 2]


@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.4, 0.7]), st.sampled_from([20.0, 60.0]))
@settings(deadline=None, max_examples=8)
def test_equal_to_the_greedy_loop(seed, threshold, extent):
    rng = np.random.default_rng(seed)
    candidates = draw(rng, 300, extent)
    valid = rng.random(300) < 0.9
    expected = expected_rows(*candidates, threshold, valid)
    if expected is not None:
        assert kept_rows(*candidates, threshold, valid=valid) == expected


def test_more_candidates_than_a_chunk_and_more_images_than_one():
    rng = np.random.default_rng(7)
    images = [draw(rng, 1300, extent) for extent in (430.0, 60.0)]
    arrays = [np.stack(arrays) for arrays in zip(*images, strict=True)]
    found = kept_of_images(*arrays, np.ones((2, 1300), bool), 0.4)
    for image, rows in zip(images, found, strict=True):
        expected = expected_rows(*image, 0.4)
        assert expected is not None  # by the choice of the seed
        assert rows == expected
    assert len(found[0]) > 400  # more than a tile


@pytest.mark.parametrize("threshold", [0.4, 0.6])
def test_jagged_polygons_that_all_overlap(threshold):
    # As of a network after a few steps. The first tile has more near pairs than fit in one list.
    rng = np.random.default_rng(11)
    distances = 8 * np.exp(rng.normal(0, 0.7, (400, 16)))
    centers = rng.uniform(0, 32, (400, 2))
    candidates = distances, centers, rng.random(400)
    expected = expected_rows(*candidates, threshold)
    assert expected is not None  # by the choice of the seed
    assert 15 < len(expected) < 300
    assert kept_rows(*candidates, threshold) == expected


def test_more_survivors_than_cells_are_kept_of(monkeypatch):
    monkeypatch.setattr(sys.modules[polygon_nms.__module__], "KEPT", 20)
    candidates = draw(np.random.default_rng(7), 500, 200.0)
    expected = expected_rows(*candidates, 0.4)
    assert expected is not None  # by the choice of the seed
    assert len(expected) > 128
    found = polygon_nms(*(array[None] for array in candidates), 0.4)
    assert without_padding(*found) == [expected]


def test_a_long_chain_of_suppression():
    # Each square drops the next one, so every second square stays.
    left = np.arange(300.0)
    centers = np.stack([left, 0 * left], axis=1)
    assert kept_rows(np.full((300, 4), 2.0), centers, -left, 0.5) == list(range(0, 300, 2))


@pytest.mark.slow
def test_compiled_equals_the_graph():
    rng = np.random.default_rng(5)
    candidates = [array[None].astype("float32") for array in draw(rng, 300, 40.0)]
    valid = rng.random((1, 300)) < 0.9
    run = compiled(lambda *tensors: polygon_nms(*tensors[:3], 0.4, 100, tensors[3]))
    found = run(*map(ops.convert_to_tensor, (*candidates, valid)))
    expected = kept_of_images(*candidates, valid, 0.4)
    assert without_padding(*found) == [expected[0][:100]]


@pytest.mark.parametrize("overlap", [0.3, 0.5])
def test_concave_touching_cut_and_tiny_objects_as_by_stardist(overlap):
    distances, scores = GOLDENS["shapes_distances"], GOLDENS["shapes_scores"]
    centers = GOLDENS["shapes_points"][:, ::-1] + 0.5
    expected = GOLDENS[f"shapes_kept_{overlap}"].tolist()
    assert len(expected) in (8, 9)
    assert kept_rows(distances, centers, scores, overlap) == expected


def test_ten_thousand_objects_as_by_stardist():
    points, distances, scores = many_polygons()
    begin = time.process_time()
    found = kept_rows(distances, points[:, ::-1] + 0.5, scores, 0.4)
    assert time.process_time() - begin < 60
    expected = GOLDENS["many_kept"]
    assert len(expected) > 11000
    common = np.intersect1d(found, expected)
    assert len(common) >= 0.99 * max(len(found), len(expected))


def test_survivors_of_stardist():
    """StarDist cuts the vertices to integers, so a few overlaps are on the other side."""
    distances, scores = GOLDENS["distances"], GOLDENS["scores"]
    centers = GOLDENS["points"][:, ::-1] + 0.5
    common, largest = 0, 0
    for overlap in (0.3, 0.4, 0.5):
        expected = set(GOLDENS[f"kept_{overlap}"].tolist())
        found = set(kept_rows(distances, centers, scores, overlap))
        common += len(expected & found)
        largest += max(len(expected), len(found))
    assert largest > 800
    assert common >= 0.99 * largest
