"""Boxes (..., 4) as x_min, y_min, x_max, y_max in pixels, an image reaching from 0 to its width and height."""

import numpy as np
from keras import ops

from tfseg.ops.warp import apply_matrices


def box_area(boxes):
    """(...) areas of (..., 4) boxes, 0 for those that are inside out."""
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def clip_boxes(boxes, regions):
    """The parts of (..., 4) boxes within (..., 4) regions; without area where there is none."""
    low = ops.maximum(boxes[..., :2], regions[..., :2])
    high = ops.minimum(boxes[..., 2:], regions[..., 2:])
    return ops.concatenate([low, ops.maximum(low, high)], axis=-1)


def move_boxes(boxes, matrices, moved_back=None):
    """The smallest upright boxes around boxes that went through a map: turned boxes grow.

    Perspective has a horizon, where the third coordinate is 0. Of boxes that reach behind it the part counts at which
    that coordinate is at least 0.1; boxes without such a part become (0, 0, 0, 0).

    Args:
        boxes: (B, N, 4).
        matrices: (B, 3, 3), points with a pixel's middle at whole numbers -> points likewise.
        moved_back: function of x and y (B, M) of the result, by which points are corrected; None for none.

    Returns:
        (B, N, 4) float32.
    """
    boxes = ops.cast(boxes, "float32")
    batch, count = ops.shape(boxes)[:2]  # N may be 0: then no side can be inferred
    x = ops.stack([boxes[..., 0], boxes[..., 2], boxes[..., 2], boxes[..., 0]], axis=1) - 0.5
    y = ops.stack([boxes[..., 1], boxes[..., 1], boxes[..., 3], boxes[..., 3]], axis=1) - 0.5
    x, y, shown = _before_horizon(matrices, x, y)
    x, y = apply_matrices(matrices, *(ops.reshape(side, (batch, 8 * count)) for side in (x, y)))
    if moved_back is not None:
        x, y = moved_back(x, y)
    x, y = (ops.reshape(side, (batch, 8, count)) + 0.5 for side in (x, y))
    low = [ops.min(ops.where(shown, side, np.inf), 1, initial=np.inf) for side in (x, y)]
    high = [ops.max(ops.where(shown, side, -np.inf), 1, initial=-np.inf) for side in (x, y)]
    return ops.where(ops.any(shown, 1)[..., None], ops.stack(low + high, axis=-1), 0.0)


def move_points(points, matrices, moved_back=None):
    """Points (B, K, 2), x and y in pixels as those of boxes, that went through a map; NaN behind the horizon.

    Args:
        points: (B, K, 2).
        matrices, moved_back: see `move_boxes`.

    Returns:
        (B, K, 2) float32.
    """
    points = ops.cast(points, "float32") - 0.5
    x, y = points[..., 0], points[..., 1]
    depth = matrices[:, 2, 0, None] * x + matrices[:, 2, 1, None] * y + matrices[:, 2, 2, None]
    x, y = apply_matrices(matrices, x, y)
    if moved_back is not None:
        x, y = moved_back(x, y)
    return ops.where((depth > 0)[..., None], ops.stack([x, y], axis=-1) + 0.5, np.nan)


def _before_horizon(matrices, x, y, least=0.1):
    """Each corner (B, 4, N) twice, those behind the horizon moved along their two sides; and which lie before it."""
    entry = [matrices[:, 2, column, None, None] for column in range(3)]
    depth = entry[0] * x + entry[1] * y + entry[2]
    found = []
    for step in (1, -1):
        ahead = ops.maximum(ops.roll(depth, step, 1) - depth, 1e-6)
        share = ops.where(depth < least, ops.minimum((least - depth) / ahead, 1), 0)
        found.append([side + share * (ops.roll(side, step, 1) - side) for side in (x, y, depth)])
    x, y, depth = (ops.concatenate(sides, axis=1) for sides in zip(*found, strict=True))
    return x, y, depth > 0.99 * least
