"""The polygons of 10,000 objects, the same with every version of NumPy."""

import numpy as np

OBJECTS, RAYS, SPACING = 10000, 32, 20
SIDE = 100 * SPACING
CANDIDATES = 2 * OBJECTS


def many_polygons():
    """Return points (N, 2) row and column, distances (N, 32) and scores (N,), float32.

    There are two candidates per object, by descending score. All values are multiples of powers of
    two, and RandomState never changes.
    """
    rng = np.random.RandomState(5)
    rows, columns = np.divmod(np.arange(CANDIDATES) % OBJECTS, 100)
    points = SPACING * np.stack([rows, columns], axis=-1) + rng.randint(6, 15, (CANDIDATES, 2))
    radii = rng.randint(40, 88, (OBJECTS, 1))[np.arange(CANDIDATES) % OBJECTS]
    # never whole, or the center of a pixel would be on the border
    distances = (radii + rng.randint(-8, 9, (CANDIDATES, RAYS))) / 8 + 1 / 16
    scores = np.arange(CANDIDATES, 0, -1) / 2**15
    order = rng.permutation(CANDIDATES)
    return points[order], distances[order].astype("float32"), scores.astype("float32")
