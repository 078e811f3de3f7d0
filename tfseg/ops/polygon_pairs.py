"""Overlaps of many pairs of star-convex polygons: bounds first, exact where these are not enough.

Of all pairs, only those whose boxes overlap are looked at. These are listed, and the list is walked
in pieces of one size, because XLA needs fixed shapes.

In all functions, rows (B, K, F) and others (B, L, F) describe polygons by `describe_polygons` and
behind that by `describe_cells`; and a pair (b, k, l) is given by its place in a flat array of the
shape (B, K, L).
"""

from keras import ops

from tfseg.ops.polygon_bounds import COLUMNS, exact_overlaps, may_overlap
from tfseg.ops.polygon_cells import CELL_COLUMNS, overlap_bounds

# This many pairs are listed at once, and bounds are computed for this many of them at once.
LISTED, BOUNDS = 1024, 256
# The same of exact overlaps, whose arrays stay in a CPU core's cache. Between two lists, polygons
# that are suppressed by now are left out.
OVERLAPS_LISTED, OVERLAPS = 256, 32
# What bounds may exceed the overlaps by.
ROUNDING = 1e-5
BELOW, UNSURE, ABOVE = range(3)


def near_pairs(rows, others, threshold):
    """Return (B, K, L) bool, which pairs may overlap by more than the threshold by their boxes."""
    boxes = slice(-CELL_COLUMNS - COLUMNS, -CELL_COLUMNS)
    return may_overlap(rows[:, :, None, boxes], others[:, None, :, boxes], threshold)


def pair_verdicts(rows, others, wanted, threshold):
    """Return (B, K, L) int32: what bounds tell of overlaps.

    Args:
        rows, others: see above.
        wanted: (B, K, L) bool, which pairs to look at. The others are `BELOW`.
        threshold: of the overlap.

    Returns:
        `ABOVE` or `BELOW` the threshold; `UNSURE` where it is between the bounds.
    """

    def compare(places, count, verdicts):
        found = _listed_verdicts(rows, others, places, count, threshold)
        # After the count, a place may be that of a pair of an earlier list.
        before = ops.take(ops.reshape(verdicts, (-1,)), places, axis=0)
        return _written(verdicts, places, ops.maximum(found, before))

    return _in_lists(compare, wanted, ops.zeros(ops.shape(wanted), "int32"))


def without_hits(rows, others, wanted, alive, threshold):
    """Return (B, K), which polygons that are alive overlap no other one above the threshold.

    Args:
        rows, others: see above.
        wanted: (B, K, L) bool, which pairs to compare.
        alive: (B, K) bool.
        threshold: of the overlap.
    """

    def compare(places, count, alive):
        verdicts = _listed_verdicts(rows, others, places, count, threshold)
        alive = _without(alive, places, verdicts == ABOVE, ops.shape(others)[1])
        return _without_overlaps(rows, others, places, verdicts == UNSURE, alive, threshold)

    return _in_lists(compare, wanted, alive)


def without_overlaps(rows, others, wanted, alive, threshold):
    """Do what `without_hits` does, with the exact overlaps of all pairs."""

    def compare(places, count, alive):
        waiting = ops.arange(LISTED) < count
        return _without_overlaps(rows, others, places, waiting, alive, threshold)

    return _in_lists(compare, wanted, alive)


def _in_lists(function, wanted, state):
    """Return a state after a function has changed it for all wanted pairs, `LISTED` at once.

    Args:
        function: of the places (LISTED,) of some pairs, their number, and the state.
        wanted: (B, K, L) bool, at least `LISTED` elements.
        state: a tensor.
    """

    def is_left(left, wanted, state):
        return left > 0

    def apply(left, wanted, state):
        places, count = _listed(wanted, LISTED)
        state = function(places, count, state)
        rest = ops.cond(left > LISTED, lambda: _written(wanted, places, False), lambda: wanted)
        return left - count, rest, state

    left = ops.sum(ops.cast(wanted, "int32"))
    return ops.while_loop(is_left, apply, (left, ops.reshape(wanted, (-1,)), state))[2]


def _listed(mask, most: int):
    """Return (most,) int32 places of True values of a mask (M,) in any order, and their number.

    After these, places of False values follow.
    """
    found, places = ops.top_k(ops.cast(mask, "float32"), most)
    return ops.cast(places, "int32"), ops.sum(ops.cast(found, "int32"))


def _listed_verdicts(rows, others, places, count, threshold):
    """Return (LISTED,) int32 verdicts on pairs, see `pair_verdicts`; `BELOW` after the count."""

    def verdicts_of(cells, other_cells):
        lower, upper = overlap_bounds(cells, other_cells)
        verdicts = ops.where(upper > threshold - ROUNDING, UNSURE, BELOW)
        return ops.where(lower > threshold + ROUNDING, ABOVE, verdicts)

    cells, other_cells = rows[..., -CELL_COLUMNS:], others[..., -CELL_COLUMNS:]
    return _for_pairs(verdicts_of, cells, other_cells, places, count, BOUNDS)


def _without_overlaps(rows, others, places, waiting, alive, threshold):
    """Return (B, K), which polygons that are alive overlap no other one above the threshold.

    Args:
        rows, others: see above.
        places: (LISTED,) of pairs.
        waiting: (LISTED,) bool, which of them to compare.
        alive: (B, K) bool.
        threshold: of the overlap.
    """
    rows, others = rows[..., :-CELL_COLUMNS], others[..., :-CELL_COLUMNS]
    width = ops.shape(others)[1]

    def hits_of(rows, others):
        return ops.cast(exact_overlaps(rows, others) > threshold, "int32")

    def is_open(waiting, alive):
        is_alive = ops.take(ops.reshape(alive, (-1,)), places // width, axis=0)
        return ops.logical_and(waiting, is_alive)

    def is_left(waiting, alive):
        return ops.any(is_open(waiting, alive))

    def compare(waiting, alive):
        waiting = is_open(waiting, alive)
        slots, count = _listed(waiting, OVERLAPS_LISTED)
        chosen = ops.take(places, slots, axis=0)
        hits = _for_pairs(hits_of, rows, others, chosen, count, OVERLAPS)
        return _written(waiting, slots, False), _without(alive, chosen, hits > 0, width)

    return ops.while_loop(is_left, compare, (waiting, alive))[1]


def _for_pairs(function, rows, others, places, count, step: int):
    """Return (M,) int32, what a function returns for pairs of rows, a few of them at once.

    Args:
        function: of two arrays (step, F), rows and others.
        rows, others: (B, K, F), (B, L, F).
        places: (M,) int32 of the pairs.
        count: () int32, how many of them to look at. The rest gets 0.
        step: divisor of M.
    """
    height, width = ops.shape(rows)[1], ops.shape(others)[1]
    flat, other_flat = (ops.reshape(each, (-1, each.shape[-1])) for each in (rows, others))

    def is_left(start, found):
        return start < count

    def compare(start, found):
        slots = start + ops.arange(step)
        chosen = ops.take(places, slots, axis=0)
        first = chosen // width
        second = first // height * width + chosen % width
        values = function(ops.take(flat, first, axis=0), ops.take(other_flat, second, axis=0))
        values = ops.where(slots < count, values, 0)
        return start + step, ops.scatter_update(found, slots[:, None], values)

    return ops.while_loop(is_left, compare, (0, ops.zeros_like(places)))[1]


def _without(alive, places, is_hit, width):
    """Return (B, K) alive, False for the rows of the pairs (M,) that are hit."""
    rows = ops.where(is_hit, places // width, ops.size(alive))
    flat = ops.pad(ops.reshape(alive, (-1,)), [[0, 1]])
    return ops.reshape(_written(flat, rows, False)[:-1], ops.shape(alive))


def _written(target, places, values):
    """Return an array with some values at some places (M,) of its elements, in flat order."""
    flat = ops.reshape(target, (-1,))
    values = ops.broadcast_to(ops.cast(values, target.dtype), ops.shape(places))
    flat = ops.scatter_update(flat, places[:, None], values)
    return ops.reshape(flat, ops.shape(target))
