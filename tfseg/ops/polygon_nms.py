"""Non-maximum suppression of star-convex polygons."""

import dataclasses
from typing import Any

from keras import ops

from tfseg.ops.nms import TILE
from tfseg.ops.polygon_bounds import (
    COLUMNS,
    describe_polygons,
    exact_overlaps,
    lower_overlaps,
    upper_overlaps,
)
from tfseg.ops.survivor_map import SurvivorMap, take_rows, write_columns

# Exact overlaps are computed for this many pairs at once. Their arrays stay in a CPU core's cache.
PAIRS = 16
# A tile of polygons is compared with this many survivors at once.
BLOCK = 512
# This many polygons look for a survivor near by at once.
CHUNK = 1024
# What lower bounds may exceed the overlaps by.
ROUNDING = 1e-5


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
    missing = [[0, 0], [0, _missing_rows(scores.shape[1])]]
    lowest = -float("inf")
    scores = ops.pad(ops.where(valid, scores, lowest), missing, constant_values=lowest)
    rows = ops.where(valid[..., None], describe_polygons(distances, centers), 0.0)
    rows = ops.pad(rows, [*missing, [0, 0]])
    order = ops.top_k(scores, ops.shape(scores)[1] // CHUNK * CHUNK)[1]
    valid = ops.take_along_axis(ops.pad(valid, missing), order, axis=1)
    greedy = _Greedy(take_rows(rows, order), valid, overlap_threshold, max_outputs)
    found, counts = greedy.survivors()
    kept = ops.arange(max_outputs) < counts[:, None]
    places = ops.where(kept, found[:, :max_outputs], 0)
    indices = ops.cast(ops.take_along_axis(order, places, axis=1), "int32")
    return ops.where(kept, indices, 0), kept


def _missing_rows(count):
    """Return how many rows of padding make whole chunks.

    If the count is unknown, there are enough rows for that and a remainder, which is cut off.
    """
    return CHUNK if count is None else -(-max(count, 1) // CHUNK) * CHUNK - count


@dataclasses.dataclass(frozen=True)
class _Greedy:
    """Greedy suppression of polygons by descending score, one chunk of them after the other.

    Most polygons show the same object as one of a higher score. So those of a chunk are first
    compared with a survivor near by, and few of them remain. These are compared, one tile after the
    other, with all survivors, then with each other. The bounding boxes give an upper bound on each
    overlap, and only pairs whose bound is above the threshold are compared: per polygon first the
    one with the largest bound, since one hit is enough.

    Args:
        rows: (B, N, R + 7), see `describe_polygons`; N is a multiple of CHUNK.
        valid: (B, N) bool, True at the start of each image and False at its end.
        threshold: overlap above which a polygon suppresses another.
        enough: number of survivors after which the search stops.
    """

    rows: Any
    valid: Any
    threshold: float
    enough: int

    def survivors(self):
        """Return the places (B, M) of the survivors and their number (B,) per image.

        M is larger than `enough`, and an image with more survivors may have some more than that.
        """
        batch = ops.shape(self.valid)[0]
        end = ops.max(ops.sum(ops.cast(self.valid, "int32"), axis=1))
        near = SurvivorMap.of(self.rows, self.valid)

        def unfinished(chunk, found, counts, names):
            return ops.logical_and(chunk * CHUNK < end, ops.any(counts < self.enough))

        def add_chunk(chunk, found, counts, names):
            places = ops.broadcast_to(chunk * CHUNK + ops.arange(CHUNK), (batch, CHUNK))
            alive = ops.take_along_axis(self.valid, places, axis=1)
            alive = ops.cond(
                chunk > 0,
                lambda: ops.logical_and(alive, self._is_open(places, near.nearest(names, places))),
                lambda: alive,
            )
            return chunk + 1, *self._add_alive(places, alive, near, (found, counts, names))

        # The last column takes what is not a survivor.
        slots = -(-(self.enough + TILE) // BLOCK) * BLOCK
        found = ops.zeros((batch, slots + 1), "int32")
        state = (0, found, ops.zeros((batch,), "int32"), near.blank())
        return ops.while_loop(unfinished, add_chunk, state)[1:3]

    def _is_open(self, places, rivals):
        """Return (B, K), whether polygons are not certainly suppressed by their rivals.

        Args:
            places: (B, K) of the polygons.
            rivals: (B, K), a survivor near each of them, or -1.
        """
        others = take_rows(self.rows, ops.maximum(rivals, 0))
        is_hit = self._is_certain(take_rows(self.rows, places), others)
        return ops.logical_not(ops.logical_and(is_hit, rivals >= 0))

    def _is_certain(self, rows, others):
        return lower_overlaps(rows, others) > self.threshold + ROUNDING

    def _add_alive(self, places, alive, near, state):
        """Add the survivors of a chunk.

        Args:
            places: (B, CHUNK) of its polygons.
            alive: (B, CHUNK) bool, which of them no survivor is known to suppress.
            near: the `SurvivorMap`.
            state: places of the survivors, their number, and the map's names.

        Returns:
            the new state.
        """
        rank = ops.arange(CHUNK)
        first = ops.argsort(ops.where(alive, rank, rank + CHUNK), axis=1)
        places = ops.take_along_axis(places, first, axis=1)
        ends = ops.sum(ops.cast(alive, "int32"), axis=1)

        def unfinished(tile, found, counts, names):
            return ops.logical_and(tile * TILE < ops.max(ends), ops.any(counts < self.enough))

        def add_tile(tile, found, counts, names):
            row = tile * TILE + ops.arange(TILE)
            here = ops.take(places, row, axis=1)
            rows = take_rows(self.rows, here)
            kept = self._without_hits(rows, row < ends[:, None], found, counts)
            kept = self._settle(rows, kept)
            slot = counts[:, None] + ops.cumsum(ops.cast(kept, "int32"), axis=1) - 1
            found = write_columns(found, slot, here, kept)
            counts = counts + ops.sum(ops.cast(kept, "int32"), axis=1)
            return tile + 1, found, counts, near.enter(names, here, kept)

        return ops.while_loop(unfinished, add_tile, (0, *state))[1:]

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
            others = take_rows(self.rows, ops.take(found, slots, axis=1))
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
        bounds = upper_overlaps(rows[:, :, None, -COLUMNS:], others[:, None, :, -COLUMNS:])
        return ops.where(bounds > self.threshold, bounds, 0.0)

    def _test(self, rows, others, bounds, open_bounds, alive):
        """Compare some polygons, each with the one of the largest bound.

        Args:
            rows, others: (B, K, R + 7), (B, L, R + 7).
            bounds: (B, K, L) of all pairs.
            open_bounds: (B, K, L) of the pairs that may be compared now; 0 for others.
            alive: (B, K) bool.

        Returns:
            bounds, with 0 for the pairs that were compared exactly; and alive, without the
            polygons hit.
        """
        best = ops.cast(ops.argmax(open_bounds, axis=2), "int32")
        active = ops.logical_and(alive, ops.any(open_bounds > 0, axis=2))
        certain = ops.logical_and(active, self._is_certain(rows, take_rows(others, best)))
        active = ops.logical_and(active, ops.logical_not(certain))
        hit = ops.logical_or(certain, self._exact_hits(rows, others, best, active))
        columns = ops.arange(ops.shape(bounds)[2])
        compared = ops.logical_and(active[..., None], columns == best[..., None])
        return ops.where(compared, 0.0, bounds), ops.logical_and(alive, ops.logical_not(hit))

    def _exact_hits(self, rows, others, best, active):
        """Return (B, K), which polygons overlap the one at `best` by more than the threshold.

        Args:
            rows, others: (B, K, R + 7), (B, L, R + 7); K is a multiple of `PAIRS`.
            best: (B, K) places among the others.
            active: (B, K) bool, which polygons to compare; False is returned for the rest.
        """
        batch, count = ops.shape(active)
        rank = ops.arange(count)
        order = ops.argsort(ops.where(active, rank, rank + count), axis=1)  # the active ones first
        waiting = ops.max(ops.sum(ops.cast(active, "int32"), axis=1))

        def is_left(start, hit):
            return start < waiting

        def compare(start, hit):
            places = ops.take(order, start + ops.arange(PAIRS), axis=1)
            rivals = take_rows(others, ops.take_along_axis(best, places, axis=1))
            is_hit = exact_overlaps(take_rows(rows, places), rivals) > self.threshold
            wanted = ops.take_along_axis(active, places, axis=1)
            return start + PAIRS, write_columns(hit, places, is_hit, wanted)

        # The last column takes what is not wanted.
        hit = ops.zeros((batch, count + 1), "bool")
        return ops.while_loop(is_left, compare, (0, hit))[1][:, :-1]
