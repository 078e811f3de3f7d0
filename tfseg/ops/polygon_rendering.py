"""Label maps of star-convex polygons (NumPy)."""

import itertools

import numpy as np

from tfseg.ops.polygons import ray_directions

PIXELS_AT_ONCE = 2**20


def render_polygons(distances, centers, height: int, width: int) -> np.ndarray:
    """Draw star-convex polygons into a label map; where they overlap, the first one counts.

    A pixel belongs to a polygon if its center is inside or on the border, as in StarDist's
    rendering.

    Args:
        distances: (N, R) distances of the border along the rays in pixels; see `star_polygons`.
        centers: (N, 2) x and y in pixels. Polygons may reach over the border of the image.
        height, width: size of the image.

    Returns:
        (height, width) int32: 0 for background, k + 1 where polygon k is.

    Example:
        >>> import numpy as np
        >>> from tfseg.ops import render_polygons
        >>> centers = np.array([[1.5, 1.5], [3.5, 1.5]])
        >>> render_polygons(np.full((2, 4), 1.2), centers, 3, 5).tolist()
        [[0, 1, 0, 2, 0], [1, 1, 1, 2, 2], [0, 1, 0, 2, 0]]
    """
    distances, centers = np.asarray(distances, "float64"), np.asarray(centers, "float64")
    labels = np.zeros((height, width), np.int32)
    if not len(distances):
        return labels
    vertices = centers[:, None] + distances[..., None] * ray_directions(distances.shape[-1])
    extent = (width, height)
    first = np.clip(np.ceil(vertices.min(1) - 0.5), 0, extent).astype(np.int64)
    last = np.clip(np.floor(vertices.max(1) - 0.5) + 1, first, extent).astype(np.int64)
    ends = np.cumsum((last - first).prod(1))
    pieces = np.searchsorted(ends, np.arange(0, ends[-1], PIXELS_AT_ONCE), side="right")
    bounds = np.unique([*pieces, len(distances)])
    # The first polygons are drawn last, over the others.
    for start, end in reversed(list(itertools.pairwise(bounds))):
        part = np.s_[start:end]
        numbers, columns, rows = _pixels_of_boxes(first[part], last[part])
        points = np.stack([columns, rows], axis=-1) + 0.5 - centers[part][numbers]
        inside = _is_inside(points, distances[part], numbers)[::-1]
        # For repeated indices NumPy keeps the last assignment.
        labels[rows[::-1][inside], columns[::-1][inside]] = start + 1 + numbers[::-1][inside]
    return labels


def _pixels_of_boxes(first, last):
    """List the pixels of boxes, box by box.

    Args:
        first, last: (N, 2) integers, x and y of the first pixel, and of the one after the last.

    Returns:
        (P,) integers each: number of the box, column and row.
    """
    sides = last - first
    counts = sides.prod(1)
    numbers = np.repeat(np.arange(len(first)), counts)
    places = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    widths = sides[numbers, 0]
    return numbers, first[numbers, 0] + places % widths, first[numbers, 1] + places // widths


def _is_inside(points, distances, numbers):
    """Return (P,), whether points are within their polygons.

    Args:
        points: (P, 2) x and y, relative to the center of the polygon.
        distances: (N, R).
        numbers: (P,) integers, the polygon of each point.
    """
    rays = distances.shape[1]
    directions = ray_directions(rays)
    angle = 2 * np.pi / rays
    ray = np.floor(np.arctan2(points[:, 1], points[:, 0]) / angle).astype(np.int64) % rays
    following = (ray + 1) % rays
    near, far = distances[numbers, ray], distances[numbers, following]
    # A point is a / near times the vertex on its ray plus b / far times the next one, and the edge
    # between them has a / near + b / far = 1.
    a = _cross(points, directions[following])
    b = _cross(directions[ray], points)
    return a * far + b * near <= near * far * np.sin(angle)


def _cross(first, second):
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
