"""Bounds on the overlaps of star-convex polygons from the cells of a grid that they cover.

A polygon is described by the fraction that it covers of each cell in a window around it. In a
cell, two polygons share at most the smaller of their two fractions, and at least what the sum of
both exceeds 1 by. For jagged polygons these bounds are far tighter than those of boxes or of
polygons with fewer rays.
"""

from keras import ops

from tfseg.ops.boxes import SMALLEST_AREA
from tfseg.ops.polygon_bounds import COLUMNS
from tfseg.ops.polygons import ray_directions

SIDE = 6  # cells along each side of a window
CELL_COLUMNS = SIDE * SIDE + 2 * SIDE + 2  # numbers that describe the cells of a polygon
# A window is this many times as large as the mean box of the polygons.
WINDOW = 1.3
# Sides of cells are multiples of this many pixels, so that their borders are exact in float32.
UNIT = 1 / 64
# Vertices farther than this many cells from the window are too far for float32.
FARTHEST = 16.0
# Rounding in the area of an intersection, in cells
SLACK = 2e-3
# Parts of edges are at least this many cells wide, so that a width can be divided by.
SHORTEST = 1e-5
# Edges of this height in cells count as horizontal.
FLAT = 1e-6


def cell_side(rows, valid):
    """Return the side (B, 1) in pixels of the cells that fit described polygons.

    Args:
        rows: (B, N, R + 7), see `describe_polygons`.
        valid: (B, N) bool, which of them to look at.
    """
    sides = (rows[..., -5] + rows[..., -3], rows[..., -4] + rows[..., -2])
    sides = ops.where(valid, ops.sqrt(ops.maximum(sides[0] * sides[1], 0)), 0.0)
    count = ops.maximum(ops.sum(ops.cast(valid, "float32"), axis=1, keepdims=True), 1)
    mean = ops.sum(sides, axis=1, keepdims=True) / count
    return ops.maximum(ops.ceil(mean * (WINDOW / SIDE / UNIT)), 1) * UNIT


def describe_cells(rows, side):
    """Return which cells polygons cover, as `overlap_bounds` takes it: (B, K, CELL_COLUMNS).

    These are the fraction covered of each cell of the window, which columns of the grid and which
    rows of it these are, the area outside of the window, and the whole area, both in cells. The
    cell in row r and column c of the grid is at (r % SIDE, c % SIDE), so that a cell has the same
    place in all polygons.

    Args:
        rows: (B, K, R + 7) described polygons.
        side: (B, 1) side of the cells in pixels.
    """
    side = side[..., None]
    right, bottom, left, top = (rows[..., k] for k in range(-5, -1))
    middle = ops.stack([right - left, bottom - top], axis=-1) / 2
    first = ops.floor(middle / side - (SIDE - 1) / 2)
    # Which cell of the window is at each place
    cells = ops.mod(ops.arange(SIDE, dtype="float32") - first[..., None], float(SIDE))
    distances, centers = rows[..., :-COLUMNS], rows[..., -COLUMNS : 2 - COLUMNS]
    directions = ops.convert_to_tensor(ray_directions(distances.shape[-1]), "float32")
    vertices = distances[..., None] * directions + (centers - first * side)[..., None, :]
    vertices = vertices / side[..., None]
    area = rows[..., -1:] / side**2
    is_near = ops.all(ops.abs(vertices) < FARTHEST, axis=(-2, -1))[..., None]
    covered = _covered(ops.clip(vertices, -FARTHEST, FARTHEST), cells)
    covered = ops.reshape(covered, (*ops.shape(rows)[:2], SIDE * SIDE))
    covered = ops.where(is_near, ops.clip(covered, 0, 1), 0.0)
    outside = ops.maximum(area - ops.sum(covered, axis=-1, keepdims=True), 0)
    columns, lines = (first[..., axis : axis + 1] + cells[..., axis, :] for axis in (0, 1))
    return ops.concatenate([covered, columns, lines, outside, area], axis=-1)


def unknown_cells(rows, side):
    """Return what `describe_cells` does for polygons of which no bounds are known."""
    area = rows[..., -1:] / side[..., None] ** 2
    nothing = ops.zeros((*ops.shape(rows)[:2], CELL_COLUMNS - 2))
    return ops.concatenate([nothing, area, area], axis=-1)


def _covered(vertices, cells):
    """Return the area of polygons in each cell, (B, K, SIDE, SIDE) of rows and columns.

    By Green's theorem, the area of a polygon in the cells of a row that are right of x = c is the
    integral over y of max(x - c, 0) along the parts of its edges in this row. The area in a cell is
    the difference between those at its left and at its right border.

    Args:
        vertices: (B, K, R, 2) x and y in cells, from the corner of the window.
        cells: (B, K, 2, SIDE), which columns and rows of the window to return.
    """
    columns, lines = cells[..., 0, :], cells[..., 1, :, None]
    x, y = vertices[:, :, None, :, 0], vertices[:, :, None, :, 1]
    next_x, next_y = ops.roll(x, -1, axis=-1), ops.roll(y, -1, axis=-1)
    # The part of each edge in each row of cells, (B, K, SIDE, R)
    begin = ops.clip(y - lines, 0, 1)
    end = ops.clip(next_y - lines, 0, 1)
    height = next_y - y
    slope = ops.where(ops.abs(height) > FLAT, ops.divide_no_nan(next_x - x, height), 0.0)
    start = x + (lines - y) * slope
    begin_x = ops.clip(start + begin * slope, -FARTHEST, FARTHEST)
    end_x = ops.clip(start + end * slope, -FARTHEST, FARTHEST)
    low = ops.minimum(begin_x, end_x)
    high = ops.maximum(ops.maximum(begin_x, end_x), low + SHORTEST)
    # Its mean of max(x - c, 0), times its height, (B, K, SIDE, SIDE + 1, R)
    borders = ops.pad(columns, [[0, 0], [0, 0], [0, 1]], constant_values=SIDE)[:, :, None, :, None]
    low_right = ops.maximum(low[..., None, :] - borders, 0)
    high_right = ops.maximum(high[..., None, :] - borders, 0)
    weight = (end - begin) / (high - low) / 2
    areas = (low_right + high_right) * (high_right - low_right) * weight[..., None, :]
    right_of = ops.sum(areas, axis=-1)
    left, last = right_of[..., :-1], right_of[..., -1:]
    is_last = columns[:, :, None] == SIDE - 1
    return left - ops.where(is_last, last, ops.roll(left, -1, axis=-1))


def overlap_bounds(cells, others):
    """Return a lower and an upper bound on overlaps (intersection / area of the smaller one).

    Args:
        cells, others: (..., CELL_COLUMNS) of pairs of polygons, see `describe_cells`.
    """
    shape = (*ops.shape(cells)[:-1], SIDE, SIDE)
    end = SIDE * SIDE
    first, second = (ops.reshape(each[..., :end], shape) for each in (cells, others))
    same = ops.cast(cells[..., end:-2] == others[..., end:-2], "float32")
    same = same[..., None, :SIDE] * same[..., SIDE:, None]
    upper = ops.sum(ops.minimum(first, second) * same, axis=(-2, -1))
    lower = ops.sum(ops.maximum(first + second - 1, 0) * same, axis=(-2, -1))
    upper = upper + cells[..., -2] + others[..., -2] + SLACK
    smaller = ops.maximum(ops.minimum(cells[..., -1], others[..., -1]), SMALLEST_AREA)
    return (lower - SLACK) / smaller, upper / smaller
