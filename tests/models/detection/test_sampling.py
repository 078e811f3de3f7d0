"""Objects of a batch, and the anchors and proposals that the losses count."""

import numpy as np
import pytest
from keras import ops

from tfseg.models.detection.sampling import (
    add_objects,
    anchor_targets,
    class_targets,
    invalid_class,
    proposal_targets,
    read_objects,
    sample_anchors,
    sample_proposals,
)


def objects_of(boxes, classes, crowd=None, size=(64, 64), scale=None):
    labels = {"boxes": np.array([boxes], "float32"), "classes": np.array([classes])}
    if crowd is not None:
        labels["crowd"] = np.array([crowd])
    return read_objects(labels, size, scale)


def numpy_of(value):
    return ops.convert_to_numpy(value)


def falling(count):
    """Priorities of one image that draw the first anchors first."""
    return np.linspace(0.9, 0.1, count, dtype="float32")[None]


def test_objects_are_clipped_and_those_without_area_dropped():
    objects = objects_of(
        [[-5, 4, 20, 80], [70, 1, 90, 20], [9, 9, 9, 20], [1, 1, 5, 5], [1, 2, 3, 4]],
        [0, 1, 2, 3, -1],
        [False, False, False, True, False],
        size=(60, 64),
    )
    assert numpy_of(objects.boxes)[0, 0].tolist() == [0, 4, 20, 60]
    # a row of padding at the end
    assert numpy_of(objects.valid)[0].tolist() == [True, False, False, False, False, False]
    assert numpy_of(objects.crowd)[0].tolist() == [False, False, False, True, False, False]
    assert numpy_of(objects.classes)[0].tolist() == [0, 1, 2, 3, -1, -1]


def test_objects_are_scaled_to_the_canvas():
    objects = objects_of([[2, 4, 10, 20]], [0], scale=np.array([0.5, 2, 0.5, 2], "float32"))
    assert numpy_of(objects.boxes)[0, 0].tolist() == [1, 8, 5, 40]


# IoU with the box (0, 0, 10, 10): 1, 0.8, 0.5, 0.2, 0
OVERLAPS = np.array(
    [[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5], [0, 0, 10, 2], [20, 20, 30, 30]], "float32"
)


def test_anchors_between_the_thresholds_are_not_drawn():
    objects = objects_of([[0, 0, 10, 10]], [2])
    sample = sample_anchors(OVERLAPS, objects, falling(5), 8)
    assert numpy_of(sample.valid)[0].tolist() == [True] * 4 + [False] * 4
    assert numpy_of(sample.indices)[0, :4].tolist() == [0, 1, 3, 4]
    assert numpy_of(sample.positive)[0].tolist() == [True, True] + [False] * 6
    targets = numpy_of(anchor_targets(OVERLAPS, objects, sample))
    # (0, 0, 10, 8) -> (0, 0, 10, 10): the center moves by 1 / 8 of the height
    assert targets[0, 1] == pytest.approx([0, 1 / 8, 0, np.log(10 / 8)], abs=1e-6)


def test_the_best_anchor_of_an_object_is_drawn_even_if_it_overlaps_little():
    sample = sample_anchors(OVERLAPS[3:], objects_of([[0, 0, 10, 10]], [0]), falling(2), 2)
    assert numpy_of(sample.positive)[0].tolist() == [True, False]
    nothing = sample_anchors(OVERLAPS[4:], objects_of([[0, 0, 10, 10]], [0]), falling(1), 2)
    assert not numpy_of(nothing.positive).any()


def test_proposals_are_matched_from_half_overlap():
    objects = objects_of([[40, 40, 50, 50], [0, 0, 10, 10]], [0, 2])
    valid = np.array([[True, False, True, True, True]])
    sample = sample_proposals(OVERLAPS[None], valid, objects, falling(5), 8)
    assert numpy_of(sample.indices)[0, :4].tolist() == [0, 2, 3, 4]
    assert numpy_of(sample.positive)[0].tolist() == [True, True] + [False] * 6
    assert numpy_of(sample.valid)[0].tolist() == [True] * 4 + [False] * 4
    assert numpy_of(class_targets(objects, sample, 3))[0].tolist() == [3, 3] + [0] * 6
    rois = OVERLAPS[None][:, numpy_of(sample.indices)[0]]
    targets = numpy_of(proposal_targets(rois, objects, sample))
    # (0, 0, 10, 5) -> (0, 0, 10, 10), with weights 10 and 5
    assert targets[0, 1] == pytest.approx([0, 10 * 0.5, 0, 5 * np.log(2)], abs=1e-5)


def test_at_most_a_quarter_of_the_proposals_is_positive():
    boxes = np.tile(OVERLAPS[:1], (12, 1))
    boxes[8:] = OVERLAPS[4]
    objects = objects_of([[0, 0, 10, 10]], [0])
    sample = sample_proposals(boxes[None], np.ones((1, 12), bool), objects, falling(12), 8)
    assert numpy_of(sample.positive).sum() == 2
    assert numpy_of(sample.indices)[0, :6].tolist() == [0, 1, 8, 9, 10, 11]
    assert numpy_of(sample.valid).sum() == 6


def test_background_in_a_crowd_is_not_drawn():
    boxes = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [6, 0, 16, 10], [40, 0, 50, 10]], "float32")
    crowd = [0, 0, 10, 30]  # contains all, 6 / 10, 4 / 10 and nothing of the boxes
    objects = objects_of([crowd, [40, 0, 50, 10]], [0, 1], [True, False])
    sample = sample_anchors(boxes, objects, falling(4), 4)
    assert numpy_of(sample.indices)[0, :2].tolist() == [3, 2]
    assert numpy_of(sample.positive)[0].tolist() == [True, False, False, False]
    assert numpy_of(sample.valid).sum() == 2
    # an object in the crowd counts
    objects = objects_of([crowd, [0, 0, 10, 10]], [0, 1], [True, False])
    sample = sample_anchors(boxes, objects, falling(4), 4)
    assert numpy_of(sample.indices)[0, :3].tolist() == [0, 2, 3]
    without = sample_anchors(boxes, objects_of([crowd], [0], [False]), falling(4), 4)
    assert numpy_of(without.valid).sum() == 4


def test_objects_join_the_proposals():
    objects = objects_of([[1, 2, 3, 4], [5, 5, 5, 5]], [0, 0])
    boxes, valid = add_objects(OVERLAPS[None, :2], np.array([[True, False]]), objects)
    assert numpy_of(boxes).shape == (1, 5, 4)
    assert numpy_of(boxes)[0, 2].tolist() == [1, 2, 3, 4]
    assert numpy_of(valid)[0].tolist() == [True, False, True, False, False]


@pytest.mark.parametrize(
    ("classes", "finite"), [([0, 2, -1], True), ([0, 3, -1], False), ([-2, 0, 0], False)]
)
def test_classes_out_of_range_are_found(classes, finite):
    found = float(invalid_class({"classes": np.array([classes])}, 3))
    assert found == 0 if finite else np.isnan(found)
