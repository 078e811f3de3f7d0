"""Anchors and how well they cover boxes."""

import numpy as np
import pytest
from keras import ops

from tfseg.models import anchor_coverage
from tfseg.models.detection.anchors import anchors, cell_anchors
from tfseg.ops import box_iou

STRIDES = (4, 8, 16, 32, 64)
SIZES = (32, 64, 128, 256, 512)
RATIOS = (0.5, 1, 2)


def test_cell_anchors_are_those_of_torchvision():
    # torchvision 0.29.1: AnchorGenerator(((32,),), ((0.5, 1.0, 2.0),)).cell_anchors[0]
    expected = [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    assert cell_anchors(32, RATIOS).tolist() == expected
    # AnchorGenerator(((32, 40),), ((0.5, 2.0),)).cell_anchors[0]: by ratio, then by size
    expected = [[-23, -11, 23, 11], [-28, -14, 28, 14], [-11, -23, 11, 23], [-14, -28, 14, 28]]
    assert cell_anchors((32, 40), (0.5, 2)).tolist() == expected


def test_anchors_are_ordered_by_row_column_and_shape():
    # a canvas of 32 x 96 at stride 32: 1 x 3 positions; at stride 64: 1 x 2, 48 pixels apart
    fine, coarse = anchors(32, 96, (32, 64), (8, 16), (1, 4))
    corners = ops.convert_to_numpy(fine)
    assert corners.shape == (6, 4)
    assert corners[:2].tolist() == [[-4, -4, 4, 4], [-2, -8, 2, 8]]
    assert corners[4].tolist() == [60, -4, 68, 4]
    assert ops.convert_to_numpy(coarse)[2].tolist() == [40, -8, 56, 8]
    rows = ops.convert_to_numpy(anchors(96, 32, (32,), (8,), (1,))[0])
    assert rows[1].tolist() == [-4, 28, 4, 36]


def test_coverage_equals_a_search_over_all_anchors():
    rng = np.random.default_rng(0)
    height, width = 90, 150  # padded to 96 x 160
    low = rng.uniform(0, (width, height), (200, 2))
    high = np.minimum(low + rng.exponential(50, (200, 2)), (width, height))
    boxes = np.concatenate([low, high], axis=1)
    placed = ops.concatenate(anchors(96, 160, STRIDES, SIZES, RATIOS), axis=0)
    expected = ops.convert_to_numpy(box_iou(boxes, placed)).max(axis=1)
    found = anchor_coverage(boxes, [(height, width)] * 200, STRIDES, SIZES, RATIOS)
    assert found == pytest.approx(expected, abs=1e-5)
    assert found.min() < 0.1 < 0.8 < found.max()


def test_coverage_of_boxes_without_area_is_zero():
    boxes = [[5, 5, 5, 9], [9, 9, 3, 3]]
    assert not anchor_coverage(boxes, [(64, 64)] * 2, STRIDES, SIZES, RATIOS).any()
    assert anchor_coverage(np.zeros((0, 4)), np.zeros((0, 2)), STRIDES, SIZES, RATIOS).shape == (0,)
