"""Non-maximum suppression of star-convex polygons."""

import dataclasses
from typing import Any

from keras import ops

from tfseg.ops.boxes import SMALLEST_AREA
from tfseg.ops.nms import TILE, count_kept, first_kept, in_tiles, missing_rows
from tfseg.ops.polygons import polygon_area, polygon_boxes, polygon_overlap

# Exact overlaps are computed for this many pairs at once. Their arrays stay in a CPU core's cache.
PAIRS = 32
# A tile of polygons is compared with this many survivors at once.
BLOCK = 512


def polygon_nms(
    distances, centers, scores, overlap_threshold: float, max_outputs: int | None = None, valid=None
):
    """Keep the polygons that overlap no kept polygon of a higher score too much, per image.

    Greedy suppression as in StarDist (arXiv:1806.03535): a polygon is dropped if the area that it
    has in common with a kept polygon of a higher score, divided by the area of the smaller of the
    two, is above the threshold. Areas are exact, in float32. On equal scores the earlier polygon
    counts as the higher one.

    Args:
        distances: (B, N, R) distances of the border along the rays in pixels, at least 0, finite
            where valid; see `star_polygons`.
        centers: (B, N, 2) x and y in pixels.
        scores: (B, N), finite where valid, in any order.
        overlap_threshold: in [0, 1]. Polygons whose overlap equals it are both kept.
        max_outputs: number of rows to return per image; None for N.
        valid: (B, N) bool, False for padding, which is neither kept nor suppresses; or None if all
            polygons are valid.

    Returns:
        indices (B, max_outputs) int32 into N, by descending score, 0 for padding at the end; and
        kept (B, max_outputs) bool, False for padding.

    Example:
        >>> import numpy as np
        >>> from keras import ops
        >>> from tfseg.ops import polygon_nms
        >>> centers = np.array([[[5.0, 5.0], [6.0, 5.0], [20.0, 5.0]]])
        >>> distances, scores = np.full((1, 3, 32), 4.0), [[0.8, 0.9, 0.7]]
        >>> indices, kept = polygon_nms(distances, centers, scores, 0.4, max_outputs=3)
        >>> ops.convert_to_numpy(indices).tolist(), ops.convert_to_numpy(kept).tolist()
        ([[1, 2, 0]], [[True, True, False]])
    """
    distances = ops.stop_gradient(ops.cast(distances, "float32"))
    centers = ops.stop_gradient(ops.cast(centers, "float32"))
    scores = ops.stop_gradient(ops.cast(scores, "float32"))
    valid = ops.ones_like(scores, "bool") if valid is None else ops.cast(valid, "bool")
    max_outputs = ops.shape(scores)[1] if max_outputs is None else max_outputs
    missing = [[0, 0], [0, missing_rows(scores.shape[1], max_outputs)]]
    lowest = -float("inf")
    scores = ops.pad(ops.where(valid, scores, lowest), missing, constant_values=lowest)
    rows = ops.where(valid[..., None], _described(distances, centers), 0.0)
    rows = ops.pad(rows, [*missing, [0, 0]])
    order = ops.top_k(scores, ops.shape(scores)[1] // TILE * TILE)[1]
    valid = ops.take_along_axis(ops.pad(valid, missing), order, axis=1)
    greedy = _Greedy(_take(rows, order), valid, overlap_threshold, max_outputs)
    return first_kept(greedy.survivors(), order, max_outputs)


def _described(distances, centers):
    """Return (B, N, R + 7): distances, center, x_max, y_max, -x_min, -y_min and area."""
    boxes = polygon_boxes(distances, centers)
    areas = ops.maximum(polygon_area(distances), SMALLEST_AREA)
    return ops.concatenate(
        [distances, centers, boxes[..., 2:], -boxes[..., :2], areas[..., None]], axis=-1
    )


def _take(rows, indices):
    """Return the rows (B, K, F) of `rows` (B, N, F) at `indices` (B, K)."""
    batch, count, width = ops.shape(rows)
    flat = indices + ops.arange(batch, dtype=indices.dtype)[:, None] * count
    return ops.take(ops.reshape(rows, (batch * count, width)), flat, axis=0)


@dataclasses.dataclass(frozen=True)
class _Greedy:
    """Greedy suppression of polygons by descending score, one tile of them after the other.

    The polygons of a tile are first compared with the survivors of earlier tiles, then with each
    other. The bounding boxes give an upper bound on each overlap, and only pairs whose bound is
    above the threshold are compared exactly: per polygon first the one with the largest bound,
    since one hit is enough.

    Args:
        rows: (B, N, R + 7), see `_described`; N is a multiple of TILE.
        valid: (B, N) bool, True at the start of each image and False at its end.
        threshold: overlap above which a polygon suppresses another.
        enough: number of survivors after which the search stops.
    """

    rows: Any
    valid: Any
    threshold: float
    enough: int

    def survivors(self):
        """Return (B, N), which polygons survive, with False after `enough` of them."""
        end = ops.max(count_kept(in_tiles(self.valid)))
        batch, count = ops.shape(self.valid)
        # Places of the survivors. The last column takes what is not a survivor.
        slots = -(-(self.enough + TILE) // BLOCK) * BLOCK
        found = ops.zeros((batch, slots + 1), "int32")

        def unfinished(tile, keep, found):
            counts = count_kept(in_tiles(keep))
            return ops.logical_and(tile * TILE < end, ops.any(counts < self.enough))

        def add_tile(tile, keep, found):
            counts = count_kept(in_tiles(keep))
            places = tile * TILE + ops.arange(TILE)
            rows = ops.take(in_tiles(self.rows), tile, axis=1)
            alive = ops.take(in_tiles(self.valid), tile, axis=1)
            alive = self._without_hits(rows, alive, found, counts)
            kept = self._settle(rows, alive)
            slot = counts[:, None] + ops.cumsum(ops.cast(kept, "int32"), axis=1) - 1
            slot = ops.where(kept, ops.minimum(slot, slots), slots)
            found = _write(found, slot, places)
            is_tile = ops.arange(count // TILE)[:, None] == tile
            kept = ops.logical_and(is_tile, kept[:, None])
            return tile + 1, ops.logical_or(keep, ops.reshape(kept, (batch, count))), found

        return ops.while_loop(unfinished, add_tile, (0, ops.zeros_like(self.valid), found))[1]

    def _without_hits(self, rows, alive, found, counts):
        """Return (B, TILE), which polygons of a tile no earlier survivor suppresses.

        Args:
            rows: (B, TILE, R + 7) of the tile.
            alive: (B, TILE) bool, which of them to look at.
            found: (B, slots + 1), the places of the survivors.
            counts: (B,), how many there are.
        """
        last = ops.max(counts)

        def is_left(block, alive):
            return ops.logical_and(block * BLOCK < last, ops.any(alive))

        def compare(block, alive):
            slots = block * BLOCK + ops.arange(BLOCK)
            others = _take(self.rows, ops.take(found, slots, axis=1))
            bounds = self._bounds(rows, others)
            bounds = ops.where(slots < counts[:, None, None], bounds, 0.0)

            def is_open(bounds, alive):
                return ops.any(ops.logical_and(alive, ops.any(bounds > 0, axis=2)))

            def test(bounds, alive):
                return self._test(rows, others, bounds, bounds, alive)

            return block + 1, ops.while_loop(is_open, test, (bounds, alive))[1]

        return ops.while_loop(is_left, compare, (0, alive))[1]

    def _settle(self, rows, alive):
        """Return (B, TILE), which polygons of a tile no survivor of the same tile suppresses.

        A polygon survives when all polygons of higher scores that might suppress it are suppressed
        themselves, or have been compared with it. The highest one that is open can always be
        decided, so each round decides something.

        Args:
            rows: (B, TILE, R + 7).
            alive: (B, TILE) bool, which of them are not suppressed by earlier survivors.
        """
        place = ops.arange(TILE)
        bounds = ops.where(place < place[:, None], self._bounds(rows, rows), 0.0)

        def is_open(bounds, alive, kept):
            return ops.any(alive != kept)

        def decide(bounds, alive, kept):
            bounds = ops.where(alive[:, None], bounds, 0.0)
            is_free = ops.logical_not(ops.any(bounds > 0, axis=2))
            kept = ops.logical_and(alive, ops.logical_or(kept, is_free))
            bounds, alive = self._test(
                rows, rows, bounds, ops.where(kept[:, None], bounds, 0.0), alive
            )
            return bounds, alive, kept

        return ops.while_loop(is_open, decide, (bounds, alive, ops.zeros_like(alive)))[2]

    def _bounds(self, rows, others):
        """Return (B, K, L) upper bounds on the overlaps; 0 where they exclude a hit."""
        right, bottom, left, top = (
            ops.minimum(rows[:, :, None, side], others[:, None, :, side]) for side in range(-5, -1)
        )
        smaller = ops.minimum(rows[:, :, None, -1], others[:, None, :, -1])
        inter = ops.maximum(right + left, 0) * ops.maximum(bottom + top, 0)
        # The area of a row of padding is 0.
        bounds = inter / ops.maximum(smaller, SMALLEST_AREA)
        return ops.where(bounds > self.threshold, bounds, 0.0)

    def _test(self, rows, others, bounds, open_bounds, alive):
        """Compare some polygons exactly, each with the one of the largest bound.

        Args:
            rows, others: (B, K, R + 7), (B, L, R + 7).
            bounds: (B, K, L) of all pairs.
            open_bounds: (B, K, L) of the pairs that may be compared now; 0 for others.
            alive: (B, K) bool.

        Returns:
            bounds, with 0 for the pairs that were compared; and alive, without the polygons hit.
        """
        best = ops.cast(ops.argmax(open_bounds, axis=2), "int32")
        active = ops.logical_and(alive, ops.any(open_bounds > 0, axis=2))
        rank = ops.cumsum(ops.cast(active, "int32"), axis=1) - 1
        chosen = ops.logical_and(active, rank < PAIRS)
        # Of equal values, top_k returns the first ones first.
        places = ops.top_k(ops.cast(active, "int32"), PAIRS)[1]
        others = _take(others, ops.take_along_axis(best, places, axis=1))
        overlaps = _overlaps(_take(rows, places), others)
        overlaps = ops.take_along_axis(overlaps, ops.clip(rank, 0, PAIRS - 1), axis=1)
        hit = ops.logical_and(chosen, overlaps > self.threshold)
        columns = ops.arange(ops.shape(bounds)[2])
        compared = ops.logical_and(chosen[..., None], columns == best[..., None])
        return ops.where(compared, 0.0, bounds), ops.logical_and(alive, ops.logical_not(hit))


def _overlaps(rows, others):
    """Return (B, K) overlaps of rows (B, K, R + 7) with the same rows of others."""
    return polygon_overlap(rows[..., :-7], rows[..., -7:-5], others[..., :-7], others[..., -7:-5])


def _write(target, columns, values):
    """Return `target` (B, M) with `values` (K,) at `columns` (B, K) of each image."""
    batch, width = ops.shape(target)
    flat = ops.reshape(columns + ops.arange(batch)[:, None] * width, (-1, 1))
    values = ops.reshape(ops.broadcast_to(values, ops.shape(columns)), (-1,))
    return ops.reshape(ops.scatter_update(ops.reshape(target, (-1,)), flat, values), (batch, width))
