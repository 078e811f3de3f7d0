"""Differences between the halves of images, by hand."""

import numpy as np
import pytest

from tfseg.doctor.halves import half_differences, label_halves, object_halves


def test_labels_are_counted_in_each_half_without_the_middle_row():
    mask = np.array([[0, 0, 1], [0, 0, 9], [1, 1, 1]])  # 9 is not a class
    halves = label_halves(mask, 2)
    assert halves.tolist() == [[2, 1], [0, 3], [2, 1], [0, 2]]  # top, bottom, left, right


def test_differences_are_averaged_over_images():
    # Top: fractions of class 1 are 1/4 and 1; bottom: 3/4 and 0. Means 5/8 and 3/8.
    first = label_halves(np.array([[0, 0, 0, 1], [1, 1, 1, 0]]), 2)
    second = label_halves(np.array([[1, 1, 1, 1], [0, 0, 0, 0]]), 2)
    vertical, horizontal = half_differences([first, second])
    assert vertical == pytest.approx(2 / 8)
    # Left: 2/4 and 1/2 of class 1; right the same.
    assert horizontal == 0


def test_an_image_without_labels_does_not_count():
    empty = label_halves(np.full((2, 2), 255), 2)
    upright = label_halves(np.array([[0, 0], [1, 1]]), 2)
    assert half_differences([empty, upright, empty]) == (1.0, 0.0)
    assert half_differences([empty]) == (0.0, 0.0)


def test_negative_labels_are_left_out():
    assert label_halves(np.array([[-1, 0], [1, -1]]), 2).tolist() == [
        [1, 0],
        [0, 1],
        [0, 1],
        [1, 0],
    ]


def test_centers_of_boxes_are_counted_in_each_half():
    boxes = [[0, 0, 2, 2], [6, 0, 10, 4], [0, 1, 4, 3]]  # centers (1, 1), (8, 2), (2, 2)
    halves = object_halves(boxes, (10, 10))
    assert halves.tolist() == [[3], [0], [2], [1]]
    assert half_differences([halves]) == (1.0, pytest.approx(1 / 3))
    assert object_halves(np.zeros((0, 4)), (10, 10)).tolist() == [[0], [0], [0], [0]]
