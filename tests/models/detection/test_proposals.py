"""Proposals from the outputs of a region proposal network."""

import keras
import numpy as np
import pytest
from keras import ops

from tfseg.models.detection.proposals import Proposals, propose

INF = float("inf")


def levels_of(scores, boxes):
    """One level of N x 1 positions with one anchor each, whose deltas are 0."""
    objectness = np.array(scores, "float32").reshape(1, -1, 1, 1)
    deltas = np.zeros((1, len(scores), 1, 4), "float32")
    return [objectness], [deltas], [np.array(boxes, "float32")]


def numpy_of(results):
    return [ops.convert_to_numpy(value) for value in results]


def test_boxes_are_clipped_and_small_ones_dropped():
    boxes = [[-4, 2, 6, 8], [50, 2, 60, 8], [5, 5, 5.0005, 9], [1, 12, 30, 30]]
    found, scores, valid = numpy_of(
        propose(*levels_of([1, 5, 4, 3], boxes), (20, 25), pre_nms=4, post_nms=3)
    )
    # the second lies outside, the third is too narrow; best first
    assert found[0].tolist() == [[1, 12, 25, 20], [0, 2, 6, 8], [0, 0, 0, 0]]
    assert scores[0].tolist() == [3, 1, -INF]
    assert valid[0].tolist() == [True, True, False]


def test_boxes_suppress_others_of_their_level_only():
    box, shifted = [0, 0, 10, 10], [0, 1, 10, 11]  # IoU 9 / 11 = 0.82
    fine, coarse = levels_of([2, 3], [box, shifted]), levels_of([1], [box])
    joined = [a + b for a, b in zip(fine, coarse, strict=True)]
    found, scores, _ = numpy_of(propose(*joined, (64, 64), pre_nms=9, post_nms=4))
    assert scores[0].tolist() == [3, 1, -INF, -INF]
    assert found[0, :2].tolist() == [shifted, box]
    kept = numpy_of(propose(*joined, (64, 64), pre_nms=9, post_nms=4, nms_iou=0.9))[1]
    assert kept[0].tolist() == [3, 2, 1, -INF]


def test_each_level_offers_its_best_before_suppression():
    # the best two suppress each other, so one of the level's remaining places stays empty
    boxes = [[0, 0, 10, 10], [0, 1, 10, 11], [30, 30, 40, 40]]
    scores = numpy_of(propose(*levels_of([3, 2, 1], boxes), (64, 64), pre_nms=2, post_nms=3))[1]
    assert scores[0].tolist() == [3, -INF, -INF]


def test_deltas_move_the_anchors_and_get_no_gradient():
    objectness, deltas, anchors = levels_of([1], [[0, 0, 10, 20]])
    deltas[0][0, 0, 0] = [0.5, 0.1, np.log(2), 0]
    found = numpy_of(propose(objectness, deltas, anchors, (64, 64), 1, 1))[0]
    # center (5 + 5, 10 + 2), width 20, height 20
    assert found[0, 0] == pytest.approx([0, 2, 20, 22], abs=1e-5)


def layer(**options):
    return Proposals((4, 8), (8, 16), (1,), 20, 6, 16, 8, **options)


def random_maps(rows=8, columns=12):
    rng = np.random.default_rng(0)
    sizes = [(rows, columns), (rows // 2, columns // 2)]
    objectness = [rng.normal(size=(2, *size, 1)).astype("float32") for size in sizes]
    deltas = [rng.normal(0, 0.3, (2, *size, 4)).astype("float32") for size in sizes]
    return objectness, deltas, np.zeros((2, rows * 4 - 3, columns * 4 - 1, 3), "float32")


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX knows all sizes")
def test_unknown_sizes_give_the_same_boxes():
    import tensorflow as tf

    objectness, deltas, image = random_maps()
    expected = numpy_of(layer()(objectness, deltas, image))
    assert expected[0][..., 2].max() == 47  # clipped to the image, not to the canvas of 48
    unknown = tf.TensorSpec((None, None, None, None))
    graph = tf.function(layer().call, [[unknown] * 2, [unknown] * 2, unknown])
    for found, value in zip(graph(objectness, deltas, image), expected, strict=True):
        assert np.array_equal(found, value)
    small = random_maps(2, 2)  # five anchors in all
    boxes, valid = graph(*small)
    assert boxes.shape == (2, 6, 4)
    assert np.array_equal(valid, numpy_of(layer()(*small))[1])
    assert not np.asarray(valid)[:, 5:].any()


def test_the_layer_is_restored_from_its_configuration():
    one = layer(size=(32, 48), name="proposals")
    again = Proposals.from_config(one.get_config())
    assert again.get_config() == one.get_config()
    inputs = random_maps()
    assert np.array_equal(numpy_of(again(*inputs))[0], numpy_of(one(*inputs))[0])
