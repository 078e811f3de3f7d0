"""The losses of anchors, boxes, classes and masks. Values are derived by hand."""

import numpy as np
import pytest
from keras import ops

from tfseg.models.detection.detection_losses import (
    box_loss,
    class_deltas,
    class_loss,
    mask_loss,
    objectness_loss,
)

LOG3 = np.log(3)


def test_objectness_is_the_mean_cross_entropy_of_valid_anchors():
    # sigmoid(log 3) = 3 / 4
    loss = objectness_loss(
        [[LOG3, LOG3, -50.0], [-LOG3, 9.0, 9.0]],
        np.array([[True, False, True], [False, False, False]]),
        np.array([[True, True, False], [True, False, False]]),
    )
    assert float(loss) == pytest.approx((np.log(4 / 3) + np.log(4) + np.log(4 / 3)) / 3)


def test_boxes_are_a_sum_over_positives_divided_by_all():
    # |d| = 1: 1 - 1/18. |d| = 1/18 < 1/9: 0.5 / 18^2 * 9
    deltas = np.array([[[1, 0, 0, 1 / 18], [9, 9, 9, 9], [7, 7, 7, 7]]], "float32")
    loss = box_loss(
        deltas,
        np.zeros((1, 3, 4), "float32"),
        np.array([[True, False, False]]),
        np.array([[True, True, False]]),
    )
    assert float(loss) == pytest.approx((17 / 18 + 1 / 72) / 2, rel=1e-6)


def test_classes_are_the_mean_cross_entropy_of_valid_proposals():
    # softmax of (0, log 3) is (1/4, 3/4)
    logits = np.array([[[0, LOG3], [0, LOG3], [88, 0]]], "float32")
    valid = np.array([[True, True, False]])
    loss = class_loss(logits, np.array([[1, 0, 1]]), valid)
    assert float(loss) == pytest.approx((np.log(4 / 3) + np.log(4)) / 2)


def test_the_deltas_of_the_class_are_chosen():
    # three channels of four deltas; torchvision's order is by class, then by delta
    deltas = np.arange(24, dtype="float32").reshape(1, 2, 12)
    found = ops.convert_to_numpy(class_deltas(deltas, np.array([[1, 2]])))
    assert found.tolist() == [[[4, 5, 6, 7], [20, 21, 22, 23]]]


def test_masks_are_the_mean_over_pixels_of_positives_in_their_class():
    logits = np.full((1, 2, 1, 2, 3), 40, "float32")
    logits[0, 0, 0, :, 2] = LOG3, -LOG3
    targets = np.array([[[[1, 0.5]], [[0, 0]]]], "float32")
    loss = mask_loss(logits, np.array([[2, 0]]), targets, np.array([[True, False]]))
    mixed = 0.5 * np.log(4) + 0.5 * np.log(4 / 3)
    assert float(loss) == pytest.approx((np.log(4 / 3) + mixed) / 2, rel=1e-6)


def test_without_valid_rows_all_losses_are_zero():
    none, nan = np.zeros((1, 2), bool), np.float32(np.nan)
    assert float(objectness_loss(np.full((1, 2), nan), none, none)) == 0
    assert float(box_loss(np.full((1, 2, 4), nan), np.zeros((1, 2, 4)), none, none)) == 0
    assert float(class_loss(np.full((1, 2, 3), nan), np.zeros((1, 2), int), none)) == 0
    masks = np.full((1, 2, 4, 4, 3), nan)
    assert float(mask_loss(masks, np.ones((1, 2), int), np.zeros((1, 2, 4, 4)), none)) == 0
