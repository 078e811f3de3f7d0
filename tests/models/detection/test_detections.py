"""Detections from the outputs of the box head."""

import numpy as np
import pytest
from keras import ops

from tfseg.models.detection.detections import ToImage, detect


def logits_of(*probabilities):
    """(1, P, C + 1) logits of rows of probabilities, background first."""
    return np.log(np.array([probabilities], "float32"))


def numpy_of(results):
    return [ops.convert_to_numpy(value) for value in results]


BOXES = np.array([[[0, 0, 10, 10], [0, 1, 10, 11], [20, 20, 40, 30]]], "float32")
VALID = np.ones((1, 3), bool)
NO_DELTAS = np.zeros((1, 3, 12), "float32")


def test_classes_suppress_only_their_own():
    # the first two boxes overlap with IoU 0.82
    logits = logits_of((0.1, 0.7, 0.2), (0.1, 0.6, 0.3), (0.55, 0.05, 0.4))
    boxes, scores, classes = numpy_of(
        detect(logits, NO_DELTAS, BOXES, VALID, (64, 64), 0.05, 0.5, max_detections=5)
    )
    assert scores[0] == pytest.approx([0.7, 0.4, 0.3, 0, 0], abs=1e-6)
    assert classes[0].tolist() == [0, 1, 1, -1, -1]
    expected = [BOXES[0, 0], BOXES[0, 2], BOXES[0, 1], np.zeros(4), np.zeros(4)]
    assert boxes[0] == pytest.approx(np.array(expected), abs=1e-5)


def test_only_scores_above_the_threshold_are_kept():
    logits = logits_of((0.5, 0.25, 0.25), (0.25, 0.5, 0.25), (0.5, 0.375, 0.125))
    threshold = float(ops.softmax(logits)[0, 2, 1])
    scores = numpy_of(detect(logits, NO_DELTAS, BOXES, VALID, (64, 64), threshold))[1]
    assert (scores > 0).sum() == 1  # a score that equals the threshold is dropped
    assert scores.shape == (1, 100)


def test_padding_and_small_boxes_are_dropped():
    logits = logits_of((0.1, 0.8, 0.1), (0.1, 0.8, 0.1), (0.1, 0.8, 0.1))
    boxes = BOXES.copy()
    boxes[0, 2] = [5, 5, 5.005, 9]
    valid = np.array([[False, True, True]])
    found, scores, _ = numpy_of(detect(logits, NO_DELTAS, boxes, valid, (6, 9), 0.3))
    assert found[0, 0] == pytest.approx([0, 1, 9, 6], abs=1e-5)  # clipped to the image
    assert scores[0, 1] == 0


def test_each_class_has_its_own_box():
    deltas = NO_DELTAS.copy()
    deltas[0, 0, 4:8] = [10, 0, 0, 0]  # class 0: one width to the right, at weight 10
    deltas[0, 0, 8:12] = [0, 0, 5 * np.log(2), 0]  # class 1: twice as wide, at weight 5
    valid = np.array([[True, False, False]])
    logits = logits_of((0.1, 0.5, 0.4), (1, 1, 1), (1, 1, 1))
    boxes = np.array([[[10, 0, 20, 10]] * 3], "float32")
    found = numpy_of(detect(logits, deltas, boxes, valid, (64, 64)))[0]
    assert found[0, :2] == pytest.approx(np.array([[20, 0, 30, 10], [5, 0, 25, 10]]), abs=1e-4)


@pytest.mark.parametrize("threshold", [0.05, 0.0])
def test_all_pairs_above_the_threshold_are_considered(threshold):
    # 80 classes; 400 proposals in one place with three likely classes, and 100 elsewhere, each at a
    # place of its own: 1200 pairs have a higher score, but suppress each other. As in torchvision
    # 0.29.1, the others are found: with 80 classes each at a threshold of 0.
    place = np.arange(500) - 400
    place = np.where(place < 0, 100, place)
    x, y = 20.0 * (place % 20), 20.0 * (place // 20)
    boxes = np.stack([x, y, x + 10, y + 10], 1)[None].astype("float32")
    probabilities = np.full((1, 500, 81), 0.04 / 77, "float32")
    probabilities[:, :400, :4] = [0.06, 0.3, 0.3, 0.3]
    probabilities[:, 400:, :4] = [0.6, 0.1, 0.06, 0.2]
    deltas, valid = np.zeros((1, 500, 324), "float32"), np.ones((1, 500), bool)
    outputs = (np.log(probabilities), deltas, boxes, valid, (400, 400))
    found, scores, classes = numpy_of(detect(*outputs, threshold, max_detections=310))
    expected = [0.3] * 3 + [0.2] * 100 + [0.1] * 100 + [0.06] * 100
    expected += [0.04 / 77 if threshold == 0 else 0] * 7
    assert scores[0] == pytest.approx(expected, abs=1e-5)
    assert classes[0, :103].tolist() == [0, 1, 2] + [2] * 100
    assert found[0, 3:103] == pytest.approx(boxes[0, 400:], abs=1e-4)


def test_boxes_are_mapped_back_to_the_image():
    # 30 x 60 pixels fill 32 x 64 of a canvas of 64 x 64; 31 x 20 become 64 x 41
    image = np.zeros((1, 30, 60, 3))
    found = numpy_of([ToImage((64, 64))(np.array([[[0, 16, 32, 32.0]]]), image)])[0]
    assert found[0, 0] == pytest.approx([0, 15, 30, 30])
    found = numpy_of([ToImage((64, 64))(np.array([[[0, 0, 41.0, 64]]]), np.zeros((1, 31, 20, 3)))])
    assert found[0][0, 0] == pytest.approx([0, 0, 20, 31])
