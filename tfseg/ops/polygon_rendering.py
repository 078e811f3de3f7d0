"""Label maps of star-convex polygons; `render_polygons` is for NumPy arrays."""

import itertools
import math

import numpy as np
from keras import ops

from tfseg.ops.polygons import polygon_boxes, ray_directions

PIXELS_AT_ONCE = 2**20
POLYGONS_AT_ONCE = 16
SQUARES_AT_ONCE = 2**16  # pixels in squares of known size: the arrays stay in the cache


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
    within_edge = a * far + b * near <= near * far * np.sin(angle)
    # An edge through the center, of two rays of length 0, bounds nothing.
    return within_edge & ((points**2).sum(1) <= np.maximum(near, far) ** 2)


def _cross(first, second):
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


def draw_polygons(distances, centers, valid, height, width, side: int | None = None):
    """Do what `render_polygons` does, per image and as part of a graph.

    Args:
        distances: (B, K, R) distances of the border along the rays in pixels.
        centers: (B, K, 2) x and y in pixels.
        valid: (B, K) bool, False for rows that are not drawn.
        height, width: size of the images, int or integer tensors.
        side: number of pixels along a side of squares that contain the polygons; None for the
            smallest squares. Under JAX and XLA it must be given; larger polygons are cut.

    Returns:
        (B, height, width) int32: 0 for background, k + 1 where polygon k is.
    """
    distances, centers = ops.cast(distances, "float32"), ops.cast(centers, "float32")
    batch, count, rays = ops.shape(distances)
    if distances.shape[1] == 0:
        return ops.zeros((batch, height, width), "int32")
    distances = ops.where(valid[..., None], distances, 0.0)
    centers = ops.where(valid[..., None], centers, -1.0)  # outside of the image
    corners, extents = _pixels_around(distances, centers, height, width)
    rows = ops.concatenate([distances, centers, corners], axis=-1)
    rows = ops.reshape(rows, (batch * count, rays + 4))
    images = ops.repeat(ops.arange(batch, dtype="int32"), count)
    numbers = count - ops.tile(ops.arange(count, dtype="int32"), [batch])  # the first is highest
    sides = ops.reshape(extents, (-1,))
    if side is None:  # the largest first, so that the squares drawn together are of about one size
        order = ops.argsort(-sides)
        rows, images, numbers, sides = (
            ops.take(values, order, axis=0) for values in (rows, images, numbers, sides)
        )

    def is_left(start, canvas):
        return start < batch * count

    def draw(start, canvas):
        square, together = side, POLYGONS_AT_ONCE
        if side is None:
            square = ops.maximum(ops.take(sides, start), 1)
            together = ops.maximum(SQUARES_AT_ONCE // (square * square), 1)
        part = start + ops.arange(together)
        part = ops.minimum(part, batch * count - 1)  # the last one again
        places, inside = _squares(ops.take(rows, part, axis=0), square, height, width)
        places = places + ops.take(images, part)[:, None] * (height * width)
        values = ops.where(inside, ops.take(numbers, part)[:, None], 0)
        places = ops.reshape(ops.where(inside, places, 0), (-1, 1))
        canvas = ops.scatter_update(canvas, places, ops.reshape(values, (-1,)), reduction="max")
        return start + together, canvas

    canvas = ops.zeros((batch * height * width,), "int32")
    canvas = ops.while_loop(is_left, draw, (ops.convert_to_tensor(0, "int32"), canvas))[1]
    canvas = ops.reshape(canvas, (batch, height, width))
    return ops.where(canvas > 0, count + 1 - canvas, 0)


def _pixels_around(distances, centers, height, width):
    """Return the first column and row (..., 2) of polygons in the image, and the longer side (...).

    Args:
        distances: (..., R).
        centers: (..., 2) x and y.
        height, width: size of the image.
    """
    boxes = polygon_boxes(distances, centers)
    first = ops.maximum(ops.ceil(boxes[..., :2] - 0.5), 0.0)
    ends = ops.stack([ops.cast(width, "float32"), ops.cast(height, "float32")]) - 1
    last = ops.minimum(ops.floor(boxes[..., 2:] - 0.5), ends)
    sides = ops.max(last - first, axis=-1) + 1
    return first, ops.cast(ops.clip(sides, 0, ops.max(ends) + 1), "int32")


def _squares(rows, side, height, width):
    """Return which pixels of the squares at the corners of polygons are inside of these.

    Args:
        rows: (P, R + 4): distances, center, first column and first row of each polygon.
        side: of the squares in pixels.
        height, width: size of the image.

    Returns:
        places (P, side * side) of the pixels in the flat image; inside (P, side * side) bool.
    """
    distances, centers, corners = rows[:, :-4], rows[:, -4:-2], rows[:, -2:]
    steps = ops.arange(side * side)
    columns = corners[:, :1] + ops.cast(steps % side, "float32")
    lines = corners[:, 1:] + ops.cast(steps // side, "float32")
    x, y = columns + 0.5 - centers[:, :1], lines + 0.5 - centers[:, 1:]
    rays = distances.shape[-1]
    angle = 2 * math.pi / rays
    ray = ops.cast(ops.floor(ops.arctan2(y, x) / angle), "int32") % rays
    following = (ray + 1) % rays
    near = ops.take_along_axis(distances, ray, axis=1)
    far = ops.take_along_axis(distances, following, axis=1)
    directions = ops.convert_to_tensor(ray_directions(rays), "float32")
    first, second = ops.take(directions, ray, axis=0), ops.take(directions, following, axis=0)
    # as in `_is_inside`
    a = x * second[..., 1] - y * second[..., 0]
    b = first[..., 0] * y - first[..., 1] * x
    inside = a * far + b * near <= near * far * math.sin(angle)
    inside = inside & (x * x + y * y <= ops.square(ops.maximum(near, far)))
    columns, lines = ops.cast(columns, "int32"), ops.cast(lines, "int32")
    in_image = (columns >= 0) & (columns < width) & (lines >= 0) & (lines < height)
    return lines * width + columns, ops.logical_and(inside, in_image)
