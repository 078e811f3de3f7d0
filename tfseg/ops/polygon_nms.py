"""Non-maximum suppression of star-convex polygons."""

import dataclasses
from typing import Any

from keras import ops

from tfseg.ops.nms import TILE
from tfseg.ops.polygon_bounds import describe_polygons, lower_overlaps
from tfseg.ops.polygon_cells import CELL_COLUMNS, cell_side, describe_cells, unknown_cells
from tfseg.ops.polygon_pairs import (
    ABOVE,
    ROUNDING,
    UNSURE,
    near_pairs,
    pair_verdicts,
    without_hits,
    without_overlaps,
)
from tfseg.ops.survivor_map import SurvivorMap, take_rows, write_columns, write_rows

# A tile of polygons is compared with this many survivors at once.
BLOCK = 512
# This many polygons look for a survivor near by at once.
CHUNK = 1024
# The cells of this many survivors are kept. TensorFlow copies them once per tile.
KEPT = 16384


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
    other, with all survivors, then with each other. Most pairs are decided by bounds on their
    overlap, from the boxes and then from the cells that both cover. The exact overlap is computed
    of the others.

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
        side = cell_side(self.rows, self.valid)

        def unfinished(chunk, found, known, counts, names):
            return ops.logical_and(chunk * CHUNK < end, ops.any(counts < self.enough))

        def add_chunk(chunk, found, known, counts, names):
            places = ops.broadcast_to(chunk * CHUNK + ops.arange(CHUNK), (batch, CHUNK))
            alive = ops.take_along_axis(self.valid, places, axis=1)
            alive = ops.cond(
                chunk > 0,
                lambda: ops.logical_and(alive, self._is_open(places, near.nearest(names, places))),
                lambda: alive,
            )
            state = found, known, counts, names
            return chunk + 1, *self._add_alive(places, alive, near, side, state)

        # The last column takes what is not a survivor.
        slots = -(-(self.enough + TILE) // BLOCK) * BLOCK
        found = ops.zeros((batch, slots + 1), "int32")
        most = min(slots, KEPT) if isinstance(slots, int) else ops.minimum(slots, KEPT)
        known = ops.zeros((batch, most + 1, CELL_COLUMNS))
        state = (0, found, known, ops.zeros((batch,), "int32"), near.blank())
        found, _, counts, _ = ops.while_loop(unfinished, add_chunk, state)[1:]
        return found, counts

    def _is_open(self, places, rivals):
        """Return (B, K), whether polygons are not certainly suppressed by their rivals.

        Args:
            places: (B, K) of the polygons.
            rivals: (B, K), a survivor near each of them, or -1.
        """
        others = take_rows(self.rows, ops.maximum(rivals, 0))
        overlaps = lower_overlaps(take_rows(self.rows, places), others)
        return ops.logical_or(overlaps <= self.threshold + ROUNDING, rivals < 0)

    def _add_alive(self, places, alive, near, side, state):
        """Add the survivors of a chunk.

        Args:
            places: (B, CHUNK) of its polygons.
            alive: (B, CHUNK) bool, which of them no survivor is known to suppress.
            near: the `SurvivorMap`.
            side: (B, 1) side of the cells of `describe_cells`.
            state: places of the survivors, their cells, their number, and the map's names.

        Returns:
            the new state.
        """
        rank = ops.arange(CHUNK)
        first = ops.argsort(ops.where(alive, rank, rank + CHUNK), axis=1)
        places = ops.take_along_axis(places, first, axis=1)
        ends = ops.sum(ops.cast(alive, "int32"), axis=1)

        def unfinished(tile, found, known, counts, names):
            return ops.logical_and(tile * TILE < ops.max(ends), ops.any(counts < self.enough))

        def add_tile(tile, found, known, counts, names):
            row = tile * TILE + ops.arange(TILE)
            here = ops.take(places, row, axis=1)
            rows = take_rows(self.rows, here)
            rows = ops.concatenate([rows, describe_cells(rows, side)], axis=-1)
            kept = self._without_hits(rows, row < ends[:, None], (found, known, counts), side)
            kept = self._settle(rows, kept)
            slot = counts[:, None] + ops.cumsum(ops.cast(kept, "int32"), axis=1) - 1
            found = write_columns(found, slot, here, kept)
            known = write_rows(known, slot, rows[..., -CELL_COLUMNS:], kept)
            counts = counts + ops.sum(ops.cast(kept, "int32"), axis=1)
            return tile + 1, found, known, counts, near.enter(names, here, kept)

        return ops.while_loop(unfinished, add_tile, (0, *state))[1:]

    def _without_hits(self, rows, alive, survivors, side):
        """Return (B, TILE), which polygons of a tile no earlier survivor suppresses.

        Args:
            rows: (B, TILE, F) of the tile, described with their cells.
            alive: (B, TILE) bool, which of them to look at.
            survivors: their places (B, slots + 1), the cells of the first ones, and their number.
            side: (B, 1) side of the cells.
        """
        found, known, counts = survivors
        last = ops.max(counts)

        def is_left(block, alive):
            return ops.logical_and(block * BLOCK < last, ops.any(alive))

        def compare(block, alive):
            slots = block * BLOCK + ops.arange(BLOCK)
            others = take_rows(self.rows, ops.take(found, slots, axis=1))
            cells = ops.take(known, ops.minimum(slots, ops.shape(known)[1] - 1), axis=1)
            cells = ops.where(slots[:, None] < KEPT, cells, unknown_cells(others, side))
            others = ops.concatenate([others, cells], axis=-1)
            pairs = near_pairs(rows, others, self.threshold)
            pairs = ops.logical_and(pairs, alive[..., None])
            pairs = ops.logical_and(pairs, slots < counts[:, None, None])
            return block + 1, without_hits(rows, others, pairs, alive, self.threshold)

        return ops.while_loop(is_left, compare, (0, alive))[1]

    def _settle(self, rows, alive):
        """Return (B, TILE), which polygons of a tile no survivor of the same tile suppresses.

        A polygon survives when all polygons of higher scores that might suppress it are suppressed
        themselves, or have been compared with it. The highest one that is open can always be
        decided, so each round decides something.

        Args:
            rows: (B, TILE, F), described with their cells.
            alive: (B, TILE) bool, which of them are not suppressed by earlier survivors.
        """
        place = ops.arange(TILE)
        pairs = ops.logical_and(near_pairs(rows, rows, self.threshold), place < place[:, None])
        pairs = ops.logical_and(pairs, ops.logical_and(alive[..., None], alive[:, None]))
        verdicts = pair_verdicts(rows, rows, pairs, self.threshold)
        is_certain = verdicts == ABOVE

        def is_open(is_unsure, alive, kept):
            return ops.any(alive != kept)

        def decide(is_unsure, alive, kept):
            threats = ops.logical_and(ops.logical_or(is_certain, is_unsure), alive[:, None])
            is_free = ops.logical_not(ops.any(threats, axis=2))
            kept = ops.logical_and(alive, ops.logical_or(kept, is_free))
            hit = ops.any(ops.logical_and(is_certain, kept[:, None]), axis=2)
            alive = ops.logical_and(alive, ops.logical_not(hit))
            pairs = ops.logical_and(is_unsure, kept[:, None])
            alive = without_overlaps(rows, rows, pairs, alive, self.threshold)
            return ops.logical_and(is_unsure, ops.logical_not(kept[:, None])), alive, kept

        state = (verdicts == UNSURE, alive, ops.zeros_like(alive))
        return ops.while_loop(is_open, decide, state)[2]
