"""Boxes as differences from anchors: what box regression learns."""

import math

import numpy as np
from keras import ops

# Sides are at most 1000 / 16 times those of the anchor, so that exp cannot overflow.
LARGEST_LOG_SCALE = math.log(1000 / 16)
# Smaller sides count as this many pixels, so that boxes without area have finite deltas.
SMALLEST_SIDE = 1e-3


def encode_boxes(boxes, anchors, weights=(1.0, 1.0, 1.0, 1.0)):
    """Return the deltas that move and scale anchors to boxes.

    dx = (x - x_anchor) / width_anchor and dw = log(width / width_anchor), with x the center; y and
    height alike. Source: R-CNN (arXiv:1311.2524, appendix C), weights as in torchvision.

    Args:
        boxes: (..., 4) x_min, y_min, x_max, y_max in pixels.
        anchors: (..., 4), the same.
        weights: four factors of dx, dy, dw, dh.

    Returns:
        (..., 4) float32 dx, dy, dw, dh; finite for boxes and anchors without area, whose sides
        count as 0.001 pixels.

    Example:
        >>> from keras import ops
        >>> from tfseg.ops import encode_boxes
        >>> deltas = encode_boxes([[4.0, 0.0, 8.0, 4.0]], [[0.0, 0.0, 4.0, 4.0]])
        >>> ops.convert_to_numpy(deltas).tolist()
        [[1.0, 0.0, 0.0, 0.0]]
    """
    centers, sides = _centers_and_sides(boxes)
    anchor_centers, anchor_sides = _centers_and_sides(anchors)
    sides = ops.maximum(sides, SMALLEST_SIDE)
    anchor_sides = ops.maximum(anchor_sides, SMALLEST_SIDE)
    weights = np.array(weights, "float32")
    shifts = weights[:2] * (centers - anchor_centers) / anchor_sides
    scales = weights[2:] * ops.log(sides / anchor_sides)
    return ops.concatenate([shifts, scales], axis=-1)


def decode_boxes(deltas, anchors, weights=(1.0, 1.0, 1.0, 1.0)):
    """Return the boxes that deltas make of anchors; the inverse of `encode_boxes`.

    Args:
        deltas: (..., 4) dx, dy, dw, dh. dw and dh count at most log(1000 / 16).
        anchors: (..., 4) x_min, y_min, x_max, y_max in pixels; broadcast to the deltas.
        weights: the four factors passed to `encode_boxes`.

    Returns:
        (..., 4) float32 x_min, y_min, x_max, y_max in pixels, not clipped to the image.
    """
    centers, sides = _centers_and_sides(anchors)
    deltas = ops.cast(deltas, "float32") / np.array(weights, "float32")
    scales = ops.exp(ops.minimum(deltas[..., 2:], LARGEST_LOG_SCALE))
    centers = deltas[..., :2] * sides + centers
    half = 0.5 * (scales * sides)
    return ops.concatenate([centers - half, centers + half], axis=-1)


def _centers_and_sides(boxes):
    boxes = ops.cast(boxes, "float32")
    sides = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * sides, sides
