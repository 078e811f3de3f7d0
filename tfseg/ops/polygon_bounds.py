"""Overlaps of pairs of star-convex polygons, exact, and bounds that are cheap to compute."""

import math

from keras import ops

from tfseg.ops.boxes import SMALLEST_AREA
from tfseg.ops.polygons import (
    polygon_area,
    polygon_boxes,
    polygon_intersection,
    polygon_overlap,
)

# Polygons with fewer rays than this are not simplified.
INNER_RAYS = 8
# Columns of a described polygon after its distances
COLUMNS = 7


def describe_polygons(distances, centers):
    """Return what the other functions take: (B, N, R + 7).

    These are the distances, center x and y, x_max, y_max, -x_min, -y_min, and the area. So the
    corners of the intersection of two boxes are minima, and its sides are sums.
    """
    boxes = polygon_boxes(distances, centers)
    areas = ops.maximum(polygon_area(distances), SMALLEST_AREA)
    return ops.concatenate(
        [distances, centers, boxes[..., 2:], -boxes[..., :2], areas[..., None]], axis=-1
    )


def upper_overlaps(rows, others):
    """Return upper bounds on overlaps (intersection / area of the smaller one), from the boxes.

    Args:
        rows, others: described polygons, whose shapes broadcast.
    """
    right, bottom, left, top = (
        ops.minimum(rows[..., side], others[..., side]) for side in range(-5, -1)
    )
    smaller = ops.minimum(rows[..., -1], others[..., -1])
    inter = ops.maximum(right + left, 0) * ops.maximum(bottom + top, 0)
    # The area of a row of padding is 0.
    return inter / ops.maximum(smaller, SMALLEST_AREA)


def may_overlap(rows, others, threshold):
    """Return whether `upper_overlaps` is above a threshold, without a division.

    Args:
        rows, others: described polygons, whose shapes broadcast.
        threshold: in [0, 1].
    """
    right, bottom, left, top = (
        ops.minimum(rows[..., side], others[..., side]) for side in range(-5, -1)
    )
    limit = ops.minimum(threshold * rows[..., -1], threshold * others[..., -1])
    return ops.maximum(right + left, 0) * (bottom + top) > limit


def lower_overlaps(rows, others):
    """Return lower bounds on overlaps, from polygons with fewer rays inside of these.

    Args:
        rows, others: described polygons of the same shape.
    """
    step = inner_step(rows.shape[-1] - COLUMNS)
    inter = polygon_intersection(
        inner_distances(_distances(rows), step),
        _centers(rows),
        inner_distances(_distances(others), step),
        _centers(others),
    )
    smaller = ops.minimum(rows[..., -1], others[..., -1])
    return inter / ops.maximum(smaller, SMALLEST_AREA)


def exact_overlaps(rows, others):
    """Return the overlaps of described polygons of the same shape."""
    return polygon_overlap(_distances(rows), _centers(rows), _distances(others), _centers(others))


def _distances(rows):
    return rows[..., :-COLUMNS]


def _centers(rows):
    return rows[..., -COLUMNS : 2 - COLUMNS]


def inner_step(rays: int) -> int:
    """Return the largest step that divides the number of rays and leaves at least 8 of them."""
    return max((k for k in range(1, rays // INNER_RAYS + 1) if rays % k == 0), default=1)


def inner_distances(distances, step: int):
    """Return the distances of polygons with every step-th ray that are inside of others.

    The line between the ends of two rays crosses the rays between them. Where it does so outside of
    the polygon, both ends are moved inwards in the same proportion.

    Args:
        distances: (..., R).
        step: divisor of R, with R / step at least 3.

    Returns:
        (..., R / step) distances.
    """
    if step == 1:
        return distances
    rays = distances.shape[-1]
    count = rays // step
    sines = [math.sin(2 * math.pi * k / rays) for k in range(1, step + 1)]
    grouped = ops.reshape(distances, (*ops.shape(distances)[:-1], count, step))
    first = grouped[..., :1]
    last = ops.roll(first, -1, axis=-2)
    # Along a ray at an angle, the line is at
    # first * last * sin(sector) / (first * sin(angle) + last * sin(sector - angle)).
    sines = ops.convert_to_tensor(sines, distances.dtype)
    weighted = first * sines[:-1] + last * ops.flip(sines[:-1], axis=0)
    limits = ops.divide_no_nan(grouped[..., 1:] * weighted, first * last * sines[-1])
    scale = ops.minimum(ops.min(limits, axis=-1), 1)
    scale = ops.minimum(scale, ops.roll(scale, 1, axis=-1))
    return first[..., 0] * scale
