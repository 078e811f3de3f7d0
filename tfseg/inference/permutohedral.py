"""Gaussian filtering in many dimensions, such as position and color together.

The permutohedral lattice of Adams, Baek and Davis (2010, doi:10.1111/j.1467-8659.2009.01645.x).
Three steps replace the sum over all pairs of points: splat the value of each point to the corners
of the lattice simplex around it, blur along the axes of the lattice, and slice, which interpolates
the blurred values at the points.

In d dimensions the lattice is in the plane of all vectors of d + 1 coordinates with the sum 0.
The coordinates of a lattice point are integers with the same remainder modulo d + 1.
"""

import numpy as np

from tfseg import checks


class Permutohedral:
    """Weighted sums over N points, with Gaussian weights of their distances.

    The kernel is normalized as fully connected conditional random fields need it: D^-1/2 K D^-1/2
    with K = exp(-distance^2 / 2), and D the row sums of K.

    Args:
        points: (d, N) float; each dimension divided by its standard deviation.

    Raises:
        ImportError: SciPy is not installed; the message names the extra `classical`.
    """

    def __init__(self, points):
        sparse = checks.require_package("scipy.sparse", "classical")
        base, rank, weights = _enclosing_simplices(_embed(np.asarray(points, np.float32)))
        corners, self._neighbors = _build_lattice(base, rank)
        num_points, corners_per_point = weights.shape
        num_corners = len(self._neighbors[0][0]) - 1
        row_starts = np.arange(0, weights.size + 1, corners_per_point, dtype=np.int32)
        # (points, corners): row p contains the barycentric weights of point p
        self._slice = sparse.csr_array(
            (weights.ravel(), corners.ravel(), row_starts), (num_points, num_corners)
        )
        row_sums = self(np.ones((num_points, 1), np.float32))
        self._slice.data = (weights / np.sqrt(row_sums)).ravel()

    def __call__(self, values):
        """Return the weighted sums: (N, K) float32 -> (N, K) float32."""
        values = self._slice.T @ values  # splat
        # an extra row of zeros stands for neighbors that are not in the lattice
        values = np.concatenate([values, np.zeros_like(values[:1])])
        for before, after in self._neighbors:  # blur with (1/2, 1, 1/2) along each axis
            around = values.take(before, axis=0)
            around += values.take(after, axis=0)
            around *= 0.5
            values += around
        return self._slice @ values[:-1]


def _embed(points):
    """Map points to the plane of the lattice, scaled so that the blur has a std of 1.

    Example for d = 1: the point 0.5 becomes (0.577, -0.577), since the scale is
    2 * sqrt(2 / 3 / 2) = 1.155.

    Args:
        points: (d, N) float32.

    Returns:
        (d + 1, N) float32; each column sums to 0.
    """
    dimensions, count = points.shape
    embedded = np.empty((dimensions + 1, count), np.float32)
    total = np.zeros(count, np.float32)
    for i in range(dimensions, 0, -1):
        scaled = points[i - 1] * np.float32((dimensions + 1) * (2 / 3 / (i * (i + 1))) ** 0.5)
        embedded[i] = total - i * scaled
        total += scaled
    embedded[0] = total
    return embedded


def _enclosing_simplices(embedded):
    """Find the lattice simplex around each point.

    Example for d = 1: (0.577, -0.577) is nearest to the base (0, 0). The offsets from it are
    0.577 and -0.577, so the ranks are 0 and 1. Divided by d + 1, the offsets in order of rank are
    0.289 and -0.289. Corner 1 has their difference 0.577 as weight, corner 0 the rest, 0.423.
    See `_corner` for the coordinates: 0.423 * (0, 0) + 0.577 * (1, -1) is the point again.

    Args:
        embedded: (d + 1, N) float32.

    Returns:
        base: (d + 1, N) int32, the corner whose coordinates are multiples of d + 1.
        rank: (d + 1, N) int32, ranks of the offsets from the base, the largest first. They
            determine the other corners.
        weights: (N, d + 1) float32, barycentric weights of the corners.
    """
    size, count = embedded.shape
    base = np.rint(embedded / size).astype(np.int32)
    excess = base.sum(0, dtype=np.int32)
    base *= size
    # Rounding may leave the plane: the coordinates then sum to excess * size instead of 0. Lower
    # those with the smallest offsets (or raise those with the largest) by `size` to return.
    rank = _descending_ranks(embedded - base) + excess
    correction = (rank < 0).astype(np.int32) - (rank >= size)
    rank += correction * size
    base += correction * size
    offsets = np.empty((count, size), np.float32)
    offsets[np.arange(count), rank] = (embedded - base) / size
    weights = np.empty_like(offsets)
    weights[:, 1:] = (offsets[:, :-1] - offsets[:, 1:])[:, ::-1]
    weights[:, 0] = 1 - offsets[:, 0] + offsets[:, -1]
    return base, rank, weights


def _descending_ranks(values):
    """Return how many values of a column are larger; of equal values the earlier rank first.

    Example: the column (5, 9, 5) has the ranks (1, 0, 2).

    Args:
        values: (d + 1, N).

    Returns:
        (d + 1, N) int32.
    """
    ranks = np.zeros(values.shape, np.int32)
    for i in range(len(values)):
        for j in range(i + 1, len(values)):
            less = values[i] < values[j]
            ranks[i] += less
            ranks[j] += ~less
    return ranks


def _corner(base, rank, k):
    """Return corner k of each simplex.

    Its coordinates are those of the base plus k, minus d + 1 for the k smallest offsets. Example
    for d = 2: with base (0, 0, 0) and ranks (1, 0, 2), corner 1 is (1, 1, -2).
    """
    size = len(base)
    return base + k - np.where(rank >= size - k, size, 0)


def _build_lattice(base, rank):
    """Number the corners of all simplices and find their neighbors.

    Returns:
        corners: (N, d + 1) int32, the numbers of each point's corners, in [0, M).
        neighbors: list of (before, after) per axis of the lattice: (M + 1,) int32 numbers of the
            neighbors of each corner; M where there is none.
    """
    size = len(base)
    factors = _hash_factors(size)
    # points in the same simplex share its corners: compute these once per simplex
    _, first, simplex_of = _number_codes(_hash(np.concatenate([base, rank]), factors))
    base, rank = base[:, first], rank[:, first]
    codes = np.stack([_hash(_corner(base, rank, k), factors[:size]) for k in range(size)], -1)
    found, _, numbers = _number_codes(codes.ravel())
    corners = numbers.reshape(codes.shape).take(simplex_of, axis=0)
    # A step along axis i adds 1 to all coordinates and subtracts d + 1 from coordinate i. The hash
    # is linear, so the hash of a neighbor differs by a constant.
    steps = factors[:size].sum() - factors[:size] * np.uint64(size)
    neighbors = []
    for step in steps:
        neighbors.append((_find_codes(found, found - step), _find_codes(found, found + step)))
    return corners, neighbors


def _hash_factors(size):
    """Return 2 * size random odd uint64 factors for `_hash`.

    With a million different corners the probability of a collision is 3e-8.
    """
    factors = np.random.default_rng(0).integers(0, 2**63, 2 * size, np.uint64)
    factors = factors * np.uint64(2) + np.uint64(1)
    factors[size - 1] = 0  # the last coordinate follows from the others: all sum to 0
    return factors


def _hash(coordinates, factors):
    """Return the sum of coordinate * factor modulo 2**64: (n, N) integers -> (N,) uint64."""
    code = np.zeros(coordinates.shape[1], np.uint64)
    for row, factor in zip(coordinates, factors, strict=True):
        code += row.astype(np.int64).view(np.uint64) * factor
    return code


def _number_codes(codes):
    """Number the distinct codes in ascending order; faster than `np.unique`.

    Example: (7, 3, 7) gives the distinct codes (3, 7), first positions (1, 0), numbers (1, 0, 1).

    Returns:
        distinct codes, a position of each, and the number of each code as int32.
    """
    order = np.argsort(codes)
    ordered = codes[order]
    is_new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    numbers = np.empty(len(codes), np.int32)
    numbers[order] = np.cumsum(is_new, dtype=np.int32) - 1
    return ordered[is_new], order[is_new], numbers


def _find_codes(found, codes):
    """Return the positions of codes in the sorted array `found`, of length M.

    M stands for a code that is missing, and is appended at the end: the neighbor of the row of
    zeros is the row itself. Example: found (3, 7), codes (7, 4) gives (1, 2, 2).
    """
    positions = np.searchsorted(found, codes).astype(np.int32)
    positions[positions == len(found)] = 0
    positions[found[positions] != codes] = len(found)
    return np.append(positions, np.int32(len(found)))
