"""Star-convex polygons: a center, and distances to the border along rays at equal angles.

Ray k of R points to (x, y) = (cos, sin) of 2 pi k / R, so from the x axis toward the y axis, which
points down. Coordinates are in pixels, as those of boxes: the center of the first pixel of an image
is at (0.5, 0.5). The representation is that of StarDist (arXiv:1806.03535).
"""

import math

import numpy as np
from keras import ops

from tfseg.ops.boxes import SMALLEST_AREA

MIN_RAYS = 3
# Shorter distances count as this long where they are divided by.
SHORTEST = 1e-6


def ray_directions(rays: int) -> np.ndarray:
    """Return (rays, 2) float64 x and y of the unit vectors along the rays."""
    angles = 2 * np.pi * np.arange(rays) / rays
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def star_polygons(distances, centers):
    """Return the vertices of star-convex polygons.

    Args:
        distances: (..., R) distances from the center to the border, at least 0, in pixels.
        centers: (..., 2) x and y.

    Returns:
        (..., R, 2) x and y, float64 if the distances are, else float32.

    Example:
        >>> from keras import ops
        >>> from tfseg.ops import star_polygons
        >>> vertices = star_polygons([2.0, 1.0, 2.0, 1.0], [3.0, 4.0])
        >>> ops.convert_to_numpy(ops.round(vertices)).tolist()
        [[5.0, 4.0], [3.0, 5.0], [1.0, 4.0], [3.0, 3.0]]
    """
    distances, centers = _as_floats(distances, centers)
    return centers[..., None, :] + distances[..., None] * _directions(distances)


def polygon_area(distances):
    """Return the areas (...) of star-convex polygons with distances (..., R)."""
    (distances,) = _as_floats(distances)
    products = ops.sum(distances * ops.roll(distances, -1, axis=-1), axis=-1)
    return products * (0.5 * _sine(distances))


def polygon_boxes(distances, centers):
    """Return (..., 4) x_min, y_min, x_max, y_max of star-convex polygons; see `star_polygons`."""
    vertices = star_polygons(distances, centers)
    low = ops.min(vertices, axis=-2, initial=float("inf"))  # without `initial`, not for N = 0
    high = ops.max(vertices, axis=-2, initial=-float("inf"))
    return ops.concatenate([low, high], axis=-1)


def polygon_intersection(distances, centers, other_distances, other_centers):
    """Return the areas of the intersections of pairs of star-convex polygons.

    Exact up to rounding, also for polygons that share edges or vertices, that touch, or that are
    equal. In float64, with TensorFlow, to about 1e-12 of the smaller polygon; in float32 to about
    1e-5.

    Args:
        distances: (..., R) distances of the first polygons in pixels, at least 0; see
            `star_polygons`.
        centers: (..., 2) x and y.
        other_distances: (..., R).
        other_centers: (..., 2).

    Returns:
        (...) areas in square pixels, float64 if all arguments are, else float32.

    Example:
        >>> import numpy as np
        >>> from tfseg.ops import polygon_intersection
        >>> square = np.full(4, 2.0)  # its corners are on the axes
        >>> area = polygon_intersection(square, np.array([0.0, 0]), square, np.array([2.0, 0]))
        >>> round(float(area), 6)
        2.0
    """
    distances, centers, other_distances, other_centers = _as_floats(
        distances, centers, other_distances, other_centers
    )
    # Seen from the center of the smaller polygon no term is larger than its area.
    area, other_area = polygon_area(distances), polygon_area(other_distances)
    is_smaller = area < other_area
    inner = ops.where(is_smaller[..., None], distances, other_distances)
    outer = ops.where(is_smaller[..., None], other_distances, distances)
    offset = other_centers - centers
    offset = ops.where(is_smaller[..., None], offset, -offset)
    inter = _area_within(star_polygons(outer, offset), inner)
    return ops.clip(inter, 0, ops.minimum(area, other_area))  # which rounding may exceed


def polygon_overlap(distances, centers, other_distances, other_centers):
    """Return the intersection of pairs of polygons as a fraction of the smaller one's area.

    Args:
        distances, centers, other_distances, other_centers: see `polygon_intersection`.

    Returns:
        (...) in [0, 1] up to rounding; 0 for polygons without area.
    """
    distances, centers, other_distances, other_centers = _as_floats(
        distances, centers, other_distances, other_centers
    )
    inter = polygon_intersection(distances, centers, other_distances, other_centers)
    smaller = ops.minimum(polygon_area(distances), polygon_area(other_distances))
    return inter / ops.maximum(smaller, SMALLEST_AREA)


def _as_floats(*arrays):
    """Return tensors of one dtype: float64 if all of them are, else float32."""
    tensors = [ops.convert_to_tensor(array) for array in arrays]
    is_double = all(ops.dtype(tensor) == "float64" for tensor in tensors)
    return [ops.cast(tensor, "float64" if is_double else "float32") for tensor in tensors]


def _directions(distances):
    """Return (R, 2) unit vectors of the rays as a tensor of the dtype of distances (..., R)."""
    rays = distances.shape[-1]
    if rays < MIN_RAYS:
        raise ValueError(
            f"Got polygons with {rays} rays, expected at least {MIN_RAYS}. Pass the distances as "
            "(..., rays)."
        )
    return ops.convert_to_tensor(ray_directions(rays), ops.dtype(distances))


def _sine(distances):
    """Return the sine of the angle between two rays of distances (..., R)."""
    return math.sin(2 * math.pi / distances.shape[-1])


def _area_within(vertices, distances):
    """Return the area that polygons have in common with star-convex polygons around the origin.

    A polygon is the sum of the triangles between the origin and each of its edges, where those of
    edges that run clockwise around the origin count as negative. A star is the union of its sectors
    between two rays. In each of them, the part of an edge with t in [t0, t1] is followed from
    the origin up to the border of the star, and beyond that replaced by it. Nothing here jumps
    where edges or vertices coincide, so no special cases are needed.

    Args:
        vertices: (..., J, 2) of the polygons, counterclockwise (with y up).
        distances: (..., R) of the stars.

    Returns:
        (...) areas.
    """
    vertices = ops.concatenate([vertices, vertices[..., :1, :]], axis=-2)
    x, y = vertices[..., 0], vertices[..., 1]  # (..., J + 1)
    doubled_areas = x[..., :-1] * y[..., 1:] - x[..., 1:] * y[..., :-1]  # (..., J)
    directions = _directions(distances)
    directions = ops.concatenate([directions, directions[:1]], axis=0)
    # How far each vertex is to the left of the line along each ray, (..., J + 1, R + 1)
    sides = y[..., None] * directions[:, 0] - x[..., None] * directions[:, 1]
    t0, t1 = _parts_in_sectors(sides[..., :-1, :], sides[..., 1:, :])
    reach = _reach(sides, distances)
    start, step = reach[..., :-1, :], reach[..., 1:, :] - reach[..., :-1, :]
    fractions = _fraction_within(start + t0 * step, start + t1 * step) * ops.maximum(t1 - t0, 0)
    return 0.5 * ops.sum(doubled_areas * ops.sum(fractions, axis=-1), axis=-1)


def _parts_in_sectors(start, end):
    """Return which part of each edge is in each sector, as t0 and t1 in [0, 1] along the edge.

    Example: an edge starts 2 to the right of a ray and ends 6 to the left of it. It is at the ray
    at t = 2 / 8, and in the sector left of the ray for t in [0.25, 1].

    Args:
        start, end: (..., J, R + 1), how far the ends of each edge are to the left of each ray.
            Sector k is left of ray k and right of ray k + 1.

    Returns:
        t0 and t1 (..., J, R); t1 is not above t0 where the edge does not cross the sector.
    """
    crossing = ops.clip(ops.divide_no_nan(start, start - end), 0, 1)
    # left of the first ray of the sector
    begin, finish = start[..., :-1], end[..., :-1]
    t0 = ops.where(begin < 0, crossing[..., :-1], 0.0)
    t1 = ops.where(finish < 0, crossing[..., :-1], 1.0)
    # right of its second ray
    begin, finish = start[..., 1:], end[..., 1:]
    t0 = ops.maximum(t0, ops.where(begin > 0, crossing[..., 1:], 0.0))
    t1 = ops.minimum(t1, ops.where(finish > 0, crossing[..., 1:], 1.0))
    return t0, t1


def _reach(sides, distances):
    """Return where points are between the origin and the border of a star: 0 and 1 there.

    In sector k, a point is a times the vertex on ray k plus b times the one on ray k + 1, and the
    line through these two has a + b = 1.

    Args:
        sides: (..., J + 1, R + 1), how far points are to the left of each ray.
        distances: (..., R) of the star.

    Returns:
        (..., J + 1, R) values a + b.
    """
    inverse = 1 / (ops.maximum(distances, SHORTEST) * _sine(distances))[..., None, :]
    following = ops.roll(inverse, -1, axis=-1)
    return sides[..., :-1] * following - sides[..., 1:] * inverse


def _fraction_within(start, end):
    """Return the fraction of triangles within a star, of triangles between the origin and an edge.

    Both ends within: 1. Both beyond: the triangle is cut to 1 / start and 1 / end of its sides.
    Otherwise the edge crosses the border at the fraction `inside` of its length.

    Args:
        start, end: (...) places of the ends of the edge between the origin (0) and the border (1).
    """
    low, high = ops.minimum(start, end), ops.maximum(start, end)
    inside = ops.clip((1 - low) / ops.maximum(high - low, SMALLEST_AREA), 0, 1)
    return inside + (1 - inside) / (ops.maximum(low, 1) * ops.maximum(high, 1))
