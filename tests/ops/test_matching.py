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


def matched(similarity, high=0.7, low=0.3, low_quality=True, valid=None):
    """Return the matches of one image."""
    similarity = np.array(similarity, "float32")[None]
    valid = None if valid is None else np.array([valid], bool)
    matches = match_boxes(similarity, high, low, low_quality, valid)
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
    similarity = [[0.7, 0.69, 0.3, 0.29, 0.0], [0.1, 0.8, 0.2, 0.1, 0.0]]
    assert matched(similarity, low_quality=False) == [0, 1, -2, -1, -1]
    assert matched(similarity, 0.5, 0.5, low_quality=False) == [0, 1, -1, -1, -1]
    # float32: 0.7 as computed by IoU equals the threshold
    assert matched([[np.float32(7) / np.float32(10)]], low_quality=False) == [0]


def test_low_quality_matches_by_hand():
    # Object 1 is best overlapped by anchors 1 and 3, a tie. Anchor 1 is closer to object 0, and
    # learns that one, as in torchvision.
    similarity = [[0.9, 0.5, 0.1, 0.0, 0.0], [0.1, 0.2, 0.1, 0.2, 0.1]]
    assert matched(similarity, low_quality=False) == [0, -2, -1, -1, -1]
    assert matched(similarity, low_quality=True) == [0, 0, -1, 1, -1]


def test_of_equal_similarity_the_first_object_counts():
    assert matched([[0.1, 0.8], [0.75, 0.8], [0.75, 0.2]]) == [1, 0]


def test_an_object_that_overlaps_no_anchor_matches_none():
    # torchvision's rule: its highest IoU is 0, every anchor reaches it, so all are positive
    assert matched([[0.8, 0.0, 0.0, 0.1], [0.0, 0.0, 0.0, 0.0]]) == [0, -1, -1, -1]
    assert matched([[0.0, 0.0]]) == [-1, -1]


def test_padding_matches_nothing():
    # keras-hub's rule: an anchor is forced upon each row, also upon padding
    similarity = [[0.8, 0.1, 0.1, 0.0], [0.9, 0.6, 0.0, 0.2], [0.0, 0.0, 0.0, 0.0]]
    assert matched(similarity, valid=[True, False, False]) == [0, -1, -1, -1]
    assert matched(similarity, valid=[False, False, False]) == [-1, -1, -1, -1]
    assert matched(similarity, valid=[False, True, False]) == [1, -2, -1, -1]
    padding = [[np.nan] * 4, similarity[0]]
    assert matched(padding, valid=[False, True]) == [1, -1, -1, -1]


def test_no_objects():
    matches = match_boxes(np.zeros((2, 0, 3), "float32"), 0.7, 0.3, True, np.zeros((2, 0), bool))
    assert ops.convert_to_numpy(matches).tolist() == [[-1] * 3] * 2


@pytest.mark.parametrize(
    ("name", "high", "low", "low_quality"),
    [("rpn", 0.7, 0.3, True), ("heads", 0.5, 0.5, False), ("ignored", 0.6, 0.2, False)],
)
def test_matches_equal_to_torchvision(name, high, low, low_quality):
    similarity = box_iou(GOLDENS["match_objects"], GOLDENS["match_anchors"])
    assert (ops.convert_to_numpy(similarity) == GOLDENS["match_iou"]).all()
    expected = GOLDENS[f"match_{name}"].tolist()
    assert len(set(expected)) > 5
    assert matched(similarity, high, low, low_quality) == expected


# few sizes, since JAX compiles each operation for each size
@given(st.integers(0, 10**6), st.sampled_from([1, 4]), st.booleans())
@settings(deadline=None, max_examples=25)
def test_matches_equal_to_the_slow_loop(seed, count, low_quality):
    rng = np.random.default_rng(seed)
    similarity = (rng.integers(0, 10, (count, 20)) / 10).astype("float32")
    similarity *= rng.random((count, 1)) < 0.8  # some objects overlap no anchor
    valid = rng.random(count) < 0.7
    expected = oracles.match_boxes(similarity, np.float32(0.7), 0.25, low_quality, valid)
    assert matched(similarity, 0.7, 0.25, low_quality, valid) == expected


def test_compiled_matches_find_an_anchor_for_each_object():
    """XLA may compute an IoU twice; the two must be equal, or low-quality matches get lost."""
    rng = np.random.default_rng(2)
    corners = rng.uniform(0, 100, (2, 40, 2))
    objects = np.concatenate([corners, corners + rng.uniform(1, 9, (2, 40, 2))], -1)
    corners = rng.uniform(-9, 109, (1001, 2))
    anchors = np.concatenate([corners, corners + rng.uniform(5, 30, (1001, 2))], -1)
    objects, anchors = objects.astype("float32"), anchors.astype("float32")
    valid = rng.random((2, 40)) < 0.9

    def match(objects, anchors, valid):
        return match_boxes(box_iou(objects, anchors), 0.7, 0.3, True, valid)

    found = compiled(match)(*map(ops.convert_to_tensor, (objects, anchors, valid)))
    expected = ops.convert_to_numpy(match(objects, anchors, valid))
    assert (expected >= 0).sum() > 30
    assert ops.convert_to_numpy(found).tolist() == expected.tolist()


@pytest.mark.skipif(not TENSORFLOW, reason="only TensorFlow graphs have unknown sizes")
def test_a_graph_with_unknown_sizes():
    import tensorflow as tf

    signature = [tf.TensorSpec((None, None, None)), tf.TensorSpec((None, None), "bool")]
    signature.append(tf.TensorSpec((None, None)))

    def match_and_sample(similarity, valid, priorities):
        matches = match_boxes(similarity, 0.7, 0.3, True, valid)
        return sample_matches(matches, priorities, 4, 0.5)

    graph = tf.function(match_and_sample, signature)
    assert graph.get_concrete_function().output_shapes[0][1] == 4
    rng = np.random.default_rng(0)
    for objects, anchors in ((0, 3), (2, 9)):
        similarity = rng.random((1, objects, anchors), "float32")
        valid, priorities = np.ones((1, objects), bool), rng.random((1, anchors), "float32")
        expected = match_and_sample(similarity, valid, priorities)
        for part, other in zip(graph(similarity, valid, priorities), expected, strict=True):
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
