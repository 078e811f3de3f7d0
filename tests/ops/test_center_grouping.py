import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from tfseg.ops import (
    describe_instances,
    find_centers,
    group_pixels,
    nearest_centers,
    pixel_targets,
    thing_pixels,
)

TENSORFLOW = keras.backend.backend() == "tensorflow"


def as_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def peaks(heat, **options):
    """Return [(row, column), ...] and scores of one map, without the padding."""
    centers, scores = find_centers(np.array([heat], "float32"), **options)
    centers, scores = as_numpy(centers)[0], as_numpy(scores)[0]
    count = np.count_nonzero(scores)
    assert (scores[count:] == 0).all()
    assert (centers[count:] == 0).all()
    return [tuple(center) for center in centers[:count]], scores[:count].tolist()


def nearest(targets, centers):
    """Return the slow answer: 1 + the index of the first nearest center of each pixel."""
    distance = ((targets[:, :, None].astype("float64") - centers) ** 2).sum(-1)
    return distance.argmin(-1) + 1


def test_peaks_by_hand():
    heat = np.zeros((6, 9), "float32")
    heat[1, 2], heat[1, 4], heat[4, 8], heat[5, 0] = 0.75, 0.5, 0.25, 0.0625
    assert peaks(heat, window=3) == ([(1, 2), (1, 4), (4, 8)], [0.75, 0.5, 0.25])
    # (1, 4) is in the window of a higher one; (4, 8) is not in the window of (1, 4)
    assert peaks(heat, window=5) == ([(1, 2), (4, 8)], [0.75, 0.25])
    assert peaks(heat, window=3, threshold=0.05)[0][-1] == (5, 0)
    assert peaks(heat, window=3, threshold=0.25)[1] == [0.75, 0.5]
    assert peaks(heat, window=3, max_centers=1) == ([(1, 2)], [0.75])


def test_a_plateau_has_one_peak():
    heat = np.zeros((9, 12), "float32")
    heat[3:6, 5:9] = 1.0
    assert len(peaks(heat, window=7)[0]) == 1


def test_empty_maps_have_no_peaks():
    assert peaks(np.zeros((5, 4))) == ([], [])
    centers, scores = find_centers(np.zeros((0, 5, 4)), max_centers=3)
    assert (centers.shape, scores.shape) == ((0, 3, 2), (0, 3))


def test_pixels_join_the_center_they_point_to():
    offsets = np.zeros((1, 2, 6, 2), "float32")
    offsets[0, 0, 2] = (1, 3)  # (0, 2) points to (1, 5)
    things = np.ones((1, 2, 6), bool)
    things[0, 1, 3] = False
    centers = np.array([[[0, 0], [1, 5], [0, 2]]], "float32")
    valid = np.array([[True, True, False]])
    ids = as_numpy(group_pixels(offsets, centers, valid, things))
    assert ids[0].tolist() == [[1, 1, 2, 2, 2, 2], [1, 1, 1, 0, 2, 2]]
    assert not as_numpy(group_pixels(offsets, centers, ~valid & False, things)).any()


@given(st.integers(0, 10**6), st.sampled_from([1, 7, 150]))
@settings(deadline=None, max_examples=10)
def test_blocks_give_the_nearest_center(seed, count):
    rng = np.random.default_rng(seed)
    offsets = rng.normal(0, 8, (1, 90, 140, 2)).astype("float32")
    centers = rng.uniform(-5, 140, (count, 2)).astype("float32")
    targets = as_numpy(pixel_targets(offsets))[0]
    found = nearest_centers(targets, centers)
    expected = nearest(targets, centers)
    # float32 may choose another one of two that are equally near
    distance = np.hypot(*(targets - centers[found - 1]).transpose(2, 0, 1))
    least = np.hypot(*(targets - centers[expected - 1]).transpose(2, 0, 1))
    np.testing.assert_allclose(distance, least, rtol=1e-5)
    assert (found == expected).mean() > 0.999
    assert not nearest_centers(targets, centers[:0]).any()


def test_the_graph_agrees_with_blocks():
    rng = np.random.default_rng(0)
    offsets = rng.normal(0, 8, (2, 40, 50, 2)).astype("float32")
    centers = rng.uniform(0, 50, (2, 12, 2)).astype("float32")
    valid = np.arange(12) < np.array([[12], [5]])
    things = rng.random((2, 40, 50)) < 0.8
    if TENSORFLOW:
        import tensorflow as tf

        run = tf.function(group_pixels, jit_compile=True, autograph=False)
    else:
        import jax

        run = jax.jit(group_pixels)
    found = as_numpy(run(offsets, centers, valid, things))
    for image in range(2):
        targets = as_numpy(pixel_targets(offsets))[image]
        expected = nearest_centers(targets, centers[image, : valid[image].sum()])
        assert (found[image] == np.where(things[image], expected, 0)).mean() > 0.999


def test_classes_scores_and_mask_by_hand():
    # Two categories, ids 2 and 1, in this order; 0 and 3 are stuff. Probabilities of one row:
    probabilities = np.array(
        [
            [0.1, 0.2, 0.6, 0.1],  # instance 1: category 0
            [0.1, 0.2, 0.4, 0.3],  # instance 1: category 0
            [0.0, 0.5, 0.3, 0.2],  # instance 1: category 1
            [0.2, 0.7, 0.0, 0.1],  # instance 3: category 1
            [0.1, 0.5, 0.1, 0.3],  # no instance: the better of 0 and 3 is 3
        ]
    )
    logits = np.log(probabilities + 1e-9)[None, None]
    ids = np.array([[[1, 1, 1, 3, 0]]])
    heat = np.array([[0.9, 0.8, 0.5]], "float32")
    classes, scores, mask = map(as_numpy, describe_instances(ids, logits, heat, (2, 1)))
    assert classes.tolist() == [[0, -1, 1]]
    expected = [0.9 * (0.6 + 0.4 + 0.3) / 3, 0, 0.5 * 0.7]
    np.testing.assert_allclose(scores, [expected], rtol=1e-5)
    assert mask.tolist() == [[[2, 2, 2, 1, 3]]]
    things = as_numpy(thing_pixels(logits, (2, 1)))
    assert things.tolist() == [[[True, True, True, True, True]]]
    assert as_numpy(thing_pixels(logits, (2,))).tolist() == [[[True, True, False, False, False]]]


def test_images_are_described_each():
    rng = np.random.default_rng(1)
    ids = rng.integers(0, 4, (3, 8, 9))
    logits = rng.normal(size=(3, 8, 9, 4)).astype("float32")
    heat = rng.random((3, 3)).astype("float32")
    together = [as_numpy(part) for part in describe_instances(ids, logits, heat, (1, 3))]
    for image in range(3):
        one = np.s_[image : image + 1]
        alone = describe_instances(ids[one], logits[one], heat[one], (1, 3))
        for part, expected in zip(alone, together, strict=True):
            np.testing.assert_allclose(as_numpy(part)[0], expected[image], rtol=1e-6)


@pytest.mark.skipif(not TENSORFLOW, reason="only TensorFlow graphs have unknown sizes")
def test_a_graph_with_unknown_sizes():
    import tensorflow as tf

    def group(heat, offsets, logits):
        centers, scores = find_centers(heat, max_centers=5)
        ids = group_pixels(offsets, centers, scores > 0, thing_pixels(logits, (1,)))
        return ids, *describe_instances(ids, logits, scores, (1,))

    signature = [tf.TensorSpec((None, None, None)), tf.TensorSpec((None, None, None, 2))]
    graph = tf.function(group, [*signature, tf.TensorSpec((None, None, None, 2))], autograph=False)
    rng = np.random.default_rng(0)
    for batch, height, width in ((1, 12, 20), (2, 7, 9)):
        heat = rng.random((batch, height, width)).astype("float32")
        offsets = rng.normal(0, 3, (batch, height, width, 2)).astype("float32")
        logits = rng.normal(size=(batch, height, width, 2)).astype("float32")
        for found, expected in zip(
            graph(heat, offsets, logits), group(heat, offsets, logits), strict=True
        ):
            np.testing.assert_allclose(as_numpy(found), as_numpy(expected), rtol=1e-5)
