"""Comparisons of many pairs, two images at once, with those of all pairs."""

import functools

import numpy as np
import pytest
from keras import ops

from tfseg.ops.polygon_bounds import describe_polygons, exact_overlaps, upper_overlaps
from tfseg.ops.polygon_cells import cell_side, describe_cells
from tfseg.ops.polygon_pairs import (
    ABOVE,
    BELOW,
    LISTED,
    UNSURE,
    near_pairs,
    pair_verdicts,
    without_hits,
    without_overlaps,
)

COUNTS = {"rows": 40, "others": 64}
THRESHOLD = 0.4


@functools.cache
def polygons():
    """Return rows (2, 40, F) and others (2, 64, F), and their overlaps (2, 40, 64)."""
    rng = np.random.default_rng(3)
    total = sum(COUNTS.values())
    distances = rng.uniform(4, 8, (2, total, 1)) * np.exp(rng.normal(0, 0.4, (2, total, 16)))
    centers = rng.uniform(0, 20, (2, total, 2))
    centers += np.array([[[0, 0]], [[30, 9]]])
    rows = describe_polygons(distances.astype("float32"), centers.astype("float32"))
    cells = describe_cells(rows, cell_side(rows, np.ones((2, total), bool)))
    described = ops.concatenate([rows, cells], axis=-1)
    rows, others = described[:, : COUNTS["rows"]], described[:, COUNTS["rows"] :]
    plain = rows[..., : 16 + 7], others[..., : 16 + 7]
    pairs = np.broadcast_arrays(plain[0][:, :, None], plain[1][:, None])
    exact = ops.convert_to_numpy(exact_overlaps(*pairs))
    upper = ops.convert_to_numpy(upper_overlaps(*pairs))
    return rows, others, exact, upper


def test_near_pairs_are_those_of_the_boxes():
    rows, others, exact, upper = polygons()
    near = ops.convert_to_numpy(near_pairs(rows, others, THRESHOLD))
    assert (near == (upper > THRESHOLD)).all()
    assert near[exact > THRESHOLD].all()
    assert 0.2 < near.mean() < 0.9


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.9])
def test_verdicts_on_few_and_many_pairs(fraction):
    rows, others, exact, _ = polygons()
    wanted = np.random.default_rng(5).random(exact.shape) < fraction
    assert (wanted.sum() > 4 * LISTED) == (fraction == 0.9)
    verdicts = ops.convert_to_numpy(pair_verdicts(rows, others, wanted, THRESHOLD))
    assert (verdicts[~wanted] == BELOW).all()
    assert (exact[verdicts == ABOVE] > THRESHOLD).all()
    assert (exact[wanted & (verdicts == BELOW)] <= THRESHOLD).all()
    assert (verdicts == UNSURE).sum() <= 0.3 * wanted.sum()
    assert (verdicts == ABOVE).sum() >= 0.5 * (exact[wanted] > THRESHOLD).sum()


@pytest.mark.parametrize("function", [without_hits, without_overlaps])
@pytest.mark.parametrize("fraction", [0.02, 0.9])
def test_hits_of_few_and_many_pairs(function, fraction):
    rows, others, exact, _ = polygons()
    rng = np.random.default_rng(6)
    wanted = rng.random(exact.shape) < fraction
    # The last rows have no hit, so that some stay with many pairs, too.
    wanted[:, 30:] &= exact[:, 30:] <= THRESHOLD
    alive = rng.random(exact.shape[:2]) < 0.8
    kept = ops.convert_to_numpy(function(rows, others, wanted, alive, THRESHOLD))
    expected = alive & ~(wanted & (exact > THRESHOLD)).any(axis=2)
    assert 10 < expected.sum() < alive.sum()
    assert (kept == expected).all()
