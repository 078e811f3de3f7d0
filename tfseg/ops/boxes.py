"""Boxes (..., 4) as x_min, y_min, x_max, y_max in pixels; images span 0 to width and height."""

import numpy as np
from keras import ops

from tfseg.ops.warp import apply_matrices

# Points with a smaller third coordinate are too close to the horizon of a perspective map.
NEAREST_DEPTH = 0.1
# The least divisor, so that boxes without area have overlap 0 instead of 0 / 0.
SMALLEST_AREA = float(np.finfo("float32").tiny)


def box_area(boxes):
    """Return (...) areas of (..., 4) boxes; 0 for boxes with negative width or height."""
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def clip_boxes(boxes, regions):
    """Return the intersections of (..., 4) boxes and (..., 4) regions; area 0 if there is none."""
    low = ops.maximum(boxes[..., :2], regions[..., :2])
    high = ops.minimum(boxes[..., 2:], regions[..., 2:])
    return ops.concatenate([low, ops.maximum(low, high)], axis=-1)


def box_iou(boxes, others):
    """Return the intersection over union of each box with each other box.

    Args:
        boxes: (..., N, 4).
        others: (..., M, 4).

    Returns:
        (..., N, M) float32 in [0, 1]; 0 where the union is 0.

    Example:
        >>> from keras import ops
        >>> from tfseg.ops import box_iou
        >>> iou = box_iou([[0.0, 0.0, 4.0, 4.0]], [[0.0, 0.0, 4.0, 2.0], [5.0, 0.0, 9.0, 4.0]])
        >>> ops.convert_to_numpy(iou).tolist()
        [[0.5, 0.0]]
    """
    boxes, others = ops.cast(boxes, "float32"), ops.cast(others, "float32")
    inter = _intersection(boxes, others)
    union = box_area(boxes)[..., :, None] + box_area(others)[..., None, :] - inter
    return inter / ops.maximum(union, SMALLEST_AREA)


def box_overlap(boxes, regions):
    """Return the fraction of each box's area that lies in each region.

    The overlap with a crowd region is measured so: an object in the crowd lies inside of it, but
    its IoU with the whole region is small.

    Args:
        boxes: (..., N, 4).
        regions: (..., M, 4).

    Returns:
        (..., N, M) float32 in [0, 1]; 0 for boxes without area.
    """
    boxes, regions = ops.cast(boxes, "float32"), ops.cast(regions, "float32")
    areas = ops.maximum(box_area(boxes), SMALLEST_AREA)
    return _intersection(boxes, regions) / areas[..., None]


def _intersection(boxes, others):
    """Return the areas (..., N, M) that boxes (..., N, 4) and (..., M, 4) have in common."""
    left, top, right, bottom = (boxes[..., :, None, side] for side in range(4))
    other_left, other_top, other_right, other_bottom = (
        others[..., None, :, side] for side in range(4)
    )
    width = ops.minimum(right, other_right) - ops.maximum(left, other_left)
    height = ops.minimum(bottom, other_bottom) - ops.maximum(top, other_top)
    return ops.maximum(width, 0) * ops.maximum(height, 0)


def move_boxes(boxes, matrices, correction=None):
    """Transform boxes and return the smallest axis-aligned boxes around the results.

    Perspective maps have a horizon, where the third coordinate is 0. Only the part of a box where
    that coordinate is at least 0.1 is kept; boxes without such a part become (0, 0, 0, 0).

    Args:
        boxes: (B, N, 4).
        matrices: (B, 3, 3), from source to output points, with pixel centers at whole numbers.
        correction: function that takes x and y (B, M) of the transformed points and returns them
            corrected, or None.

    Returns:
        (B, N, 4) float32.
    """
    boxes = ops.cast(boxes, "float32")
    batch, count = ops.shape(boxes)[:2]  # N may be 0, so the reshapes below cannot infer a side
    left, top, right, bottom = (boxes[..., side] for side in range(4))
    # The four corners in order around the box. Pixel 0 spans 0 to 1 and its center is at 0.5 in
    # box coordinates but at 0 in those of the matrices.
    x = ops.stack([left, right, right, left], axis=1) - 0.5
    y = ops.stack([top, top, bottom, bottom], axis=1) - 0.5
    x, y, visible = _clip_at_horizon(matrices, x, y)
    x = ops.reshape(x, (batch, 8 * count))
    y = ops.reshape(y, (batch, 8 * count))
    x, y = apply_matrices(matrices, x, y)
    if correction is not None:
        x, y = correction(x, y)
    x = ops.reshape(x, (batch, 8, count)) + 0.5
    y = ops.reshape(y, (batch, 8, count)) + 0.5
    bounds = [
        _smallest(x, visible),
        _smallest(y, visible),
        _largest(x, visible),
        _largest(y, visible),
    ]
    return ops.where(ops.any(visible, 1)[..., None], ops.stack(bounds, axis=-1), 0.0)


def move_points(points, matrices, correction=None):
    """Transform points.

    Args:
        points: (B, K, 2), x and y in pixels, in box coordinates.
        matrices, correction: see `move_boxes`.

    Returns:
        (B, K, 2) float32; NaN for points behind the horizon.
    """
    points = ops.cast(points, "float32") - 0.5
    x, y = points[..., 0], points[..., 1]
    depth = matrices[:, 2, 0, None] * x + matrices[:, 2, 1, None] * y + matrices[:, 2, 2, None]
    x, y = apply_matrices(matrices, x, y)
    if correction is not None:
        x, y = correction(x, y)
    return ops.where((depth > 0)[..., None], ops.stack([x, y], axis=-1) + 0.5, np.nan)


def _smallest(values, visible):
    return ops.min(ops.where(visible, values, np.inf), 1, initial=np.inf)


def _largest(values, visible):
    return ops.max(ops.where(visible, values, -np.inf), 1, initial=-np.inf)


def _clip_at_horizon(matrices, x, y):
    """Move corners behind the horizon along their two sides until they are in front of it.

    Example: corners with depths 1.1, 1.1, -0.9, -0.9. Corner 2 moves half of the way to corner 1,
    where the depth is 0.1. Toward corner 3 it never gets in front, so that copy is not visible.

    Args:
        matrices: (B, 3, 3).
        x, y: (B, 4, N) corners in order around each box.

    Returns:
        x and y (B, 8, N): each corner once per side; bool (B, 8, N): whether it is visible.
    """
    depth = (
        matrices[:, 2, 0, None, None] * x
        + matrices[:, 2, 1, None, None] * y
        + matrices[:, 2, 2, None, None]
    )
    previous = _move_toward(x, y, depth, 1)
    following = _move_toward(x, y, depth, -1)
    x = ops.concatenate([previous[0], following[0]], axis=1)
    y = ops.concatenate([previous[1], following[1]], axis=1)
    depth = ops.concatenate([previous[2], following[2]], axis=1)
    return x, y, depth > 0.99 * NEAREST_DEPTH


def _move_toward(x, y, depth, step):
    """Move hidden corners toward the corner `step` places earlier; return their x, y and depth."""
    gain = ops.maximum(ops.roll(depth, step, 1) - depth, 1e-6)
    hidden = depth < NEAREST_DEPTH
    fraction = ops.where(hidden, ops.minimum((NEAREST_DEPTH - depth) / gain, 1), 0)
    return [value + fraction * (ops.roll(value, step, 1) - value) for value in (x, y, depth)]
