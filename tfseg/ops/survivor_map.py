"""A map of kept polygons, to find one near by without looking at all of them."""

import dataclasses
from typing import Any

import numpy as np
from keras import ops

from tfseg.ops.polygon_bounds import COLUMNS, upper_overlaps

# Cells along each axis of the map, on which the image is folded if it has more
CELLS = 512
SMALLEST_CELL = 1e-2  # pixels
NEIGHBORS = np.indices((3, 3), "int32").reshape(2, 9).T - 1


def take_rows(rows, indices):
    """Return the rows (B, ..., F) of `rows` (B, N, F) at `indices` (B, ...)."""
    batch, count, width = ops.shape(rows)
    first = ops.arange(batch, dtype=indices.dtype) * count
    first = ops.reshape(first, (batch, *[1] * (len(indices.shape) - 1)))
    return ops.take(ops.reshape(rows, (batch * count, width)), indices + first, axis=0)


def write_columns(target, columns, values, wanted):
    """Return `target` (B, M) with `values` (B, K) at `columns` (B, K) where `wanted` (B, K).

    The last column takes the other values, and those of columns beyond it.
    """
    return write_rows(target[..., None], columns, values[..., None], wanted)[..., 0]


def write_rows(target, slots, rows, wanted):
    """Return `target` (B, M, F) with `rows` (B, K, F) at `slots` (B, K) where `wanted` (B, K).

    The last slot takes the other rows, and those of slots beyond it.
    """
    batch, count, width = ops.shape(target)
    slots = ops.where(wanted, ops.minimum(slots, count - 1), count - 1)
    places = ops.reshape(slots + ops.arange(batch)[:, None] * count, (-1, 1))
    flat = ops.reshape(target, (batch * count, width))
    flat = ops.scatter_update(flat, places, ops.reshape(rows, (-1, width)))
    return ops.reshape(flat, (batch, count, width))


@dataclasses.dataclass(frozen=True)
class SurvivorMap:
    """Cells of the image, each of which names a polygon whose center it contains.

    A cell is half as wide as a square with the mean area of the polygons, so most of those that
    show the same object are in neighboring cells. If a cell contains the centers of several kept
    polygons, it names one of them. So what is found is near by, but not all that is near by.

    Args:
        boxes: (B, N, 7), the last columns of described polygons, see `describe_polygons`.
        cells: (B, N, 2), in which column and row of cells each center is.
    """

    boxes: Any
    cells: Any

    @classmethod
    def of(cls, rows, valid):
        """Return the map of described polygons (B, N, R + 7), of which some (B, N) are valid."""
        boxes = rows[..., -COLUMNS:]
        count = ops.maximum(ops.sum(ops.cast(valid, "float32"), axis=1), 1)
        side = ops.sqrt(ops.sum(boxes[..., -1], axis=1) / count) / 2
        side = ops.maximum(side, SMALLEST_CELL)[:, None, None]
        return cls(boxes, ops.cast(ops.floor(boxes[..., :2] / side), "int32") % CELLS)

    def blank(self):
        """Return the empty map (B, CELLS**2 + 1): -1 in each cell, and in an unused column."""
        return ops.full((ops.shape(self.cells)[0], CELLS * CELLS + 1), -1, "int32")

    def enter(self, names, places, kept):
        """Return the map `names` with the polygons at `places` (B, K) that are `kept` (B, K)."""
        return write_columns(names, _flat(take_rows(self.cells, places)), places, kept)

    def nearest(self, names, places):
        """Return the place of a polygon in the map near each of some others, or -1.

        Args:
            names: (B, CELLS**2 + 1), the map.
            places: (B, K) of the others.

        Returns:
            (B, K) places: of those in the nine cells around, the one whose box overlaps most.
        """
        around = (take_rows(self.cells, places)[:, :, None] + NEIGHBORS) % CELLS
        batch, count = ops.shape(places)
        found = ops.take_along_axis(names, ops.reshape(_flat(around), (batch, -1)), axis=1)
        found = ops.reshape(found, (batch, count, len(NEIGHBORS)))
        boxes = take_rows(self.boxes, places)[:, :, None]
        bounds = upper_overlaps(boxes, take_rows(self.boxes, ops.maximum(found, 0)))
        best = ops.argmax(ops.where(found >= 0, bounds, -1.0), axis=2)[..., None]
        return ops.take_along_axis(found, best, axis=2)[..., 0]


def _flat(cells):
    return cells[..., 0] * CELLS + cells[..., 1]
