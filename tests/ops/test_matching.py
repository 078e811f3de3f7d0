import functools
from pathlib import Path

import keras
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from tfseg.ops import box_iou, match_boxes, sample_matches

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "box_goldens.npz")
TENSORFLOW = keras.backend.backend() == "tensorflow"


def compiled(function):
    if TENSORFLOW:
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)
    import jax

    return jax.jit(function)


def intervals(values):
    """Return boxes (N, 4) of height 1 between the given x."""
    values = np.array(values, "float32").reshape(-1, 2)
    return np.stack([values[:, 0], 0 * values[:, 0], values[:, 1], 0 * values[:, 0] + 1], axis=1)


@functools.cache
def matcher(low_quality):
    """Return `match_boxes` as it is, or for JAX, which compiles every loop it meets, compiled."""

    def run(objects, boxes, high, low, valid):
        return match_boxes(objects, boxes, high, low, low_quality, valid)

    return run if TENSORFLOW else compiled(run)


def matched(objects, boxes, high=0.7, low=0.3, low_quality=True, valid=None):
    """Return the matches of one image; objects and boxes are (N, 4) or intervals (N, 2)."""
    objects, boxes = np.array(objects, "float32"), np.array(boxes, "float32")
    objects = intervals(objects) if objects.shape[1] == 2 else objects
    boxes = intervals(boxes) if boxes.shape[1] == 2 else boxes
    valid = None if valid is None else np.array([valid], bool)
    matches = matcher(low_quality)(objects[None], boxes, high, low, valid)
    assert ops.dtype(matches) == "int32"
    return ops.convert_to_numpy(matches)[0].tolist()


def sampled(matches, priorities, count, positive_fraction):
    """Return positives and background of one image; check the order and the padding."""
    found = sample_matches(
        np.array([matches], "int32"), np.array([priorities], "float32"), count, positive_fraction
    )
    assert [part.shape for part in found] == [(1, count)] * 3
    indices, positive, valid = (ops.convert_to_numpy(part)[0] for part in found)
    assert indices.dtype == "int32"
    positives, drawn = positive.sum(), valid.sum()
    assert positive[:positives].all()
    assert valid[:drawn].all()
    assert positives <= drawn
    assert (indices[drawn:] == 0).all()
    return indices[:positives].tolist(), indices[positives:drawn].tolist()


def test_thresholds_by_hand():
    # IoU with object 0: 0.7, 0.69, 0.3, 0.29, 0, 0; with object 1: 0.8 of the fifth
    objects = [[0, 10], [100, 110]]
    boxes = [[0, 7], [0, 6.9], [0, 3], [0, 2.9], [102, 110], [50, 60]]
    assert matched(objects, boxes, low_quality=False) == [0, -2, -2, -1, 1, -1]
    assert matched(objects, boxes, 0.5, 0.5, low_quality=False) == [0, 0, -1, -1, 1, -1]


def test_low_quality_matches_by_hand():
    # The highest IoU of object 1 is 4 / 26, with boxes 1 and 2. Box 1 overlaps object 0 more, by
    # 8 / 12, and learns that one, as in torchvision.
    objects = [[0, 10], [8, 28]]
    boxes = [[0, 9], [2, 12], [24, 34], [30, 40]]
    assert matched(objects, boxes, low_quality=False) == [0, -2, -1, -1]
    assert matched(objects, boxes, low_quality=True) == [0, 0, 1, -1]


def test_of_equal_iou_the_first_object_counts():
    # box 0: 9 / 10 with objects 1 and 2; box 1: 7.5 / 12.5 with all
    objects = [[0, 10], [5, 15], [5, 15]]
    assert matched(objects, [[5, 14], [2.5, 12.5]], 0.5, 0.5, low_quality=False) == [1, 0]


def test_an_object_that_overlaps_no_box_matches_none():
    # torchvision's rule: its highest IoU is 0, every box reaches it, so all are positive
    boxes = [[0, 8], [20, 25], [8, 12]]
    assert matched([[0, 10], [50, 60]], boxes) == [0, -1, -1]
    assert matched([[50, 60]], boxes) == [-1, -1, -1]


def test_padding_matches_nothing():
    # keras-hub's rule: a box is forced upon each row, also upon padding
    objects = [[0, 10], [20, 30], [0, 0]]
    boxes = [[0, 8], [21, 27], [40, 50], [25, 33]]
    assert matched(objects, boxes, valid=[True, False, False]) == [0, -1, -1, -1]
    assert matched(objects, boxes, valid=[False, False, False]) == [-1, -1, -1, -1]
    assert matched(objects, boxes, valid=[False, True, False]) == [-1, 1, -1, -2]
    assert matched([[np.nan, np.nan], [0, 10]], boxes, valid=[False, True]) == [1, -1, -1, -1]


def test_no_objects():
    boxes = intervals([[0, 1], [2, 3], [4, 5]])
    for valid in (None, np.zeros((2, 0), bool)):
        matches = match_boxes(np.zeros((2, 0, 4), "float32"), boxes, 0.7, 0.3, True, valid)
        assert ops.convert_to_numpy(matches).tolist() == [[-1] * 3] * 2


def test_every_image_may_have_its_own_boxes():
    objects = np.stack([intervals([[0, 10], [20, 30]])] * 2)
    boxes = np.stack([intervals([[0, 8], [50, 60]]), intervals([[0, 1], [20, 31]])])
    matches = match_boxes(objects, boxes, 0.7, 0.3, False)
    assert ops.convert_to_numpy(matches).tolist() == [[0, -1], [-1, 1]]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precision_is_computed_in_float32(dtype):
    # IoU 256 / 511. The areas overflow float16, and 0.501 rounds to 0.5 in bfloat16.
    objects = ops.cast(np.array([[[-255, 0, 129, 256]]], "float32"), dtype)
    boxes = ops.cast(np.array([[-127, 0, 256, 256]], "float32"), dtype)
    matches = match_boxes(objects, boxes, 0.5005, 0.5005, False)
    assert ops.convert_to_numpy(matches).tolist() == [[0]]


@pytest.mark.parametrize(
    ("name", "high", "low", "low_quality"),
    [("rpn", 0.7, 0.3, True), ("heads", 0.5, 0.5, False), ("ignored", 0.6, 0.2, False)],
)
def test_matches_equal_to_torchvision(name, high, low, low_quality):
    objects, boxes = GOLDENS["match_objects"], GOLDENS["match_anchors"]
    assert (ops.convert_to_numpy(box_iou(objects, boxes)) == GOLDENS["match_iou"]).all()
    expected = GOLDENS[f"match_{name}"].tolist()
    assert len(set(expected)) > 5
    assert matched(objects, boxes, high, low, low_quality) == expected


@given(st.integers(0, 10**6), st.booleans())
@settings(deadline=None, max_examples=25)
def test_matches_equal_to_the_slow_loop(seed, low_quality):
    # boxes on a coarse grid: many ties, and some objects overlap no box
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 7, (24, 2))
    boxes = np.concatenate([corners, corners + rng.integers(0, 4, (24, 2))], 1).astype("float32")
    objects, boxes = boxes[:4], boxes[4:]
    valid = rng.random(4) < 0.7
    iou = np.array([[oracles.box_iou(a, b) for b in boxes] for a in objects], "float32")
    expected = oracles.match_boxes(iou, np.float32(0.5), 0.25, low_quality, valid)
    assert matched(objects, boxes, 0.5, 0.25, low_quality, valid) == expected


def test_compiled_matches_find_a_box_for_each_object():
    """XLA may compute an IoU twice; the two must be equal, or low-quality matches get lost."""
    rng = np.random.default_rng(2)
    corners = rng.uniform(0, 100, (2, 40, 2))
    objects = np.concatenate([corners, corners + rng.uniform(1, 9, (2, 40, 2))], -1)
    corners = rng.uniform(-9, 109, (1001, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 30, (1001, 2))], -1)
    objects, boxes = objects.astype("float32"), boxes.astype("float32")
    valid = rng.random((2, 40)) < 0.9

    def match(objects, boxes, valid):
        return match_boxes(objects, boxes, 0.7, 0.3, True, valid)

    found = compiled(match)(*map(ops.convert_to_tensor, (objects, boxes, valid)))
    expected = ops.convert_to_numpy(match(objects, boxes, valid))
    assert (expected >= 0).sum() > 30
    assert ops.convert_to_numpy(found).tolist() == expected.tolist()


@pytest.mark.skipif(not TENSORFLOW, reason="only TensorFlow graphs have unknown sizes")
def test_a_graph_with_unknown_sizes():
    import tensorflow as tf

    signature = [tf.TensorSpec((None, None, 4)), tf.TensorSpec((None, 4))]
    signature += [tf.TensorSpec((None, None), "bool"), tf.TensorSpec((None, None))]

    def match_and_sample(objects, boxes, valid, priorities):
        matches = match_boxes(objects, boxes, 0.7, 0.3, True, valid)
        return sample_matches(matches, priorities, 4, 0.5)

    graph = tf.function(match_and_sample, signature)
    assert graph.get_concrete_function().output_shapes[0][1] == 4
    rng = np.random.default_rng(0)
    for count, boxes in ((0, [[0, 1], [2, 3], [4, 5]]), (2, [[n, n + 3] for n in range(9)])):
        objects = intervals([[0, 3], [4, 8]][:count])[None]
        valid, priorities = np.ones((1, count), bool), rng.random((1, len(boxes)), "float32")
        expected = match_and_sample(objects, intervals(boxes), valid, priorities)
        found = graph(objects, intervals(boxes), valid, priorities)
        for part, other in zip(found, expected, strict=True):
            assert ops.convert_to_numpy(part).tolist() == ops.convert_to_numpy(other).tolist()


def test_a_sample_by_hand():
    matches = [-1, 3, -2, 0, -1, 3, -1, -1]
    priorities = [0.1, 0.2, 0.99, 0.8, 0.5, 0.6, 0.9, 0.7]
    # 4 * 0.5 = 2 of the positives 1, 3, 5; 2 of the background 0, 4, 6, 7; never the ignored 2
    assert sampled(matches, priorities, 4, 0.5) == ([3, 5], [6, 7])
    # 1.2 rounds down; background fills the other places
    assert sampled(matches, priorities, 4, 0.3) == ([3], [6, 7, 4])
    # Positives do not fill the places of missing background.
    assert sampled(matches, priorities, 8, 0.25) == ([3, 5], [6, 7, 4, 0])
    assert sampled(matches, priorities, 8, 1.0) == ([3, 5, 1], [6, 7, 4, 0])
    assert sampled(matches, priorities, 3, 0.0) == ([], [6, 7, 4])


def test_a_sample_without_positives_background_or_both():
    priorities = [0.3, 0.0, 0.9]
    assert sampled([-1, -1, -1], priorities, 2, 0.5) == ([], [2, 0])
    assert sampled([-1, -1, -1], priorities, 5, 0.5) == ([], [2, 0, 1])
    assert sampled([0, 1, -2], priorities, 4, 0.5) == ([0, 1], [])
    assert sampled([-2, -2, -2], priorities, 2, 0.5) == ([], [])
    assert sampled([], [], 2, 0.5) == ([], [])


def test_sizes_of_samples_equal_torchvision():
    rng = np.random.default_rng(0)
    for labels, counts in zip(GOLDENS["sampler_labels"], GOLDENS["sampler_counts"], strict=True):
        matches = [5] * labels[0] + [-1] * labels[1] + [-2] * 7
        found = sampled(matches, rng.random(len(matches)), 16, 0.25)
        assert [len(part) for part in found] == counts.tolist()


def test_a_sample_is_a_uniformly_random_subset():
    # All 10 pairs of 5 positives and all 10 triples of 5 background anchors, 400 draws of each
    # expected. Chi-square with 9 degrees of freedom is above 27.9 once in 1000.
    matches = np.tile([0, -1, 2, -1, 4, -1, 0, -1, 1, -1], (4000, 1))
    priorities = np.random.default_rng(1).random(matches.shape, "float32")
    indices = ops.convert_to_numpy(sample_matches(matches, priorities, 5, 0.4)[0])
    for part in (indices[:, :2], indices[:, 2:]):
        _, counts = np.unique(np.sort(part, axis=1), axis=0, return_counts=True)
        assert len(counts) == 10
        assert ((counts - 400) ** 2 / 400).sum() < 27.9


@given(st.integers(0, 10**6), st.sampled_from([5, 24]), st.sampled_from([0, 0.25, 1]))
@settings(deadline=None, max_examples=25)
def test_samples_equal_to_the_slow_loop(seed, count, positive_fraction):
    rng = np.random.default_rng(seed)
    matches, priorities = rng.integers(-2, 3, 18), rng.integers(0, 6, 18) / 6
    expected = oracles.sample_matches(matches, priorities, count, positive_fraction)
    assert sampled(matches, priorities, count, positive_fraction) == expected


def test_compiled_samples_equal_eager_ones():
    rng = np.random.default_rng(3)
    matches = rng.integers(-2, 2, (2, 500)).astype("int32")
    priorities = rng.random((2, 500), "float32")
    run = compiled(lambda matches, priorities: sample_matches(matches, priorities, 64, 0.5))
    found = run(ops.convert_to_tensor(matches), ops.convert_to_tensor(priorities))
    for part, other in zip(found, sample_matches(matches, priorities, 64, 0.5), strict=True):
        assert ops.convert_to_numpy(part).tolist() == ops.convert_to_numpy(other).tolist()
