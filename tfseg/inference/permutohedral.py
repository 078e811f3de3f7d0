"""Gaussian filtering in many dimensions, as along position and color together.

The permutohedral lattice of Adams, Baek and Davis (2010, doi:10.1111/j.1467-8659.2009.01645.x): values are spread to
the corners of the simplices that their points lie in, blurred along the axes of the lattice, and gathered again.
"""

import numpy as np

from tfseg import checks


class Permutohedral:
    """Sums of values under a Gaussian of points: of N points to the N points themselves.

    The kernel is normalized as fully connected conditional random fields want it: D^-1/2 K D^-1/2, K the Gaussians
    exp(-distance^2 / 2) and D the sums of its rows.

    Args:
        points: (d, N) float, divided by the standard deviation wanted in each dimension.

    Raises:
        ImportError: SciPy is not installed; the message names the extra `classical`.
    """

    def __init__(self, points):
        sparse = checks.require_package("scipy.sparse", "classical")
        base, rank, weights = _simplices(_elevated(np.asarray(points, np.float32)))
        corners, self._neighbors = _lattice(base, rank)
        shape = weights.shape[0], len(self._neighbors[0][0]) - 1
        starts = np.arange(0, weights.size + 1, weights.shape[1], dtype=np.int32)
        self._gather = sparse.csr_array((weights.ravel(), corners.ravel(), starts), shape)
        sums = self(np.ones((len(weights), 1), np.float32))
        self._gather.data = (weights / np.sqrt(sums)).ravel()

    def __call__(self, values):
        """(N, K) float32 -> (N, K) float32: for each point the weighted sum of the values of all."""
        values = self._gather.T @ values
        values = np.concatenate(
            [values, np.zeros_like(values[:1])]
        )  # the last stands for points that are not there
        for before, after in self._neighbors:
            around = values.take(before, axis=0)
            around += values.take(after, axis=0)
            around *= 0.5
            values += around
        return self._gather @ values[:-1]


def _elevated(points):
    """(d, N) points -> (d + 1, N) float32: their places in the plane of all x with sum 0, in units of the lattice."""
    dimensions, count = points.shape
    elevated = np.empty((dimensions + 1, count), np.float32)
    total = np.zeros(count, np.float32)
    for i in range(dimensions, 0, -1):
        scaled = points[i - 1] * np.float32((dimensions + 1) * (2 / 3 / (i * (i + 1))) ** 0.5)
        elevated[i] = total - i * scaled
        total += scaled
    elevated[0] = total
    return elevated


def _simplices(elevated):
    """Find the simplex around each point.

    Returns:
        (d + 1, N) int32 nearest lattice point whose coordinates are multiples of d + 1; (d + 1, N) int32 ranks, by
        which the other corners are known; (N, d + 1) float32 barycentric weights of the corners.
    """
    size, count = elevated.shape
    base = np.rint(elevated / size).astype(np.int32)
    total = base.sum(0, dtype=np.int32)
    base *= size
    rank = _ranks(elevated - base) + total
    off = (rank < 0).astype(np.int32) - (rank >= size)
    rank += off * size
    base += off * size
    # in the order of the ranks the distances fall: their steps are the weights
    falling = np.empty((count, size), np.float32)
    falling[np.arange(count), rank] = (elevated - base) / size
    weights = np.empty_like(falling)
    weights[:, 1:] = (falling[:, :-1] - falling[:, 1:])[:, ::-1]
    weights[:, 0] = 1 - falling[:, 0] + falling[:, -1]
    return base, rank, weights


def _ranks(values):
    """(d + 1, N) -> (d + 1, N) int32: how many of a column are larger, of equals those that come before."""
    ranks = np.zeros(values.shape, np.int32)
    for i in range(len(values)):
        for j in range(i + 1, len(values)):
            less = values[i] < values[j]
            ranks[i] += less
            ranks[j] += ~less
    return ranks


def _lattice(base, rank):
    """Number the corners of all simplices.

    Returns:
        (N, d + 1) int32 corners of each point's simplex, numbers in [0, M); for each axis of the lattice two (M + 1,)
        arrays of the corners before and after each corner, M where there is none.
    """
    size = len(base)
    # What lies at whole coordinates is known by their sum with odd 64-bit factors, which wraps around. Neighbors then
    # differ by the same sum everywhere; that two of a million points have the same has a probability of 3e-8.
    factors = np.random.default_rng(0).integers(0, 2**63, 2 * size, np.uint64) * np.uint64(
        2
    ) + np.uint64(1)
    factors[size - 1] = 0  # the last coordinate follows from the others
    _, first, simplex_of = _numbered(_code(np.concatenate([base, rank]), factors))
    base, rank = base[:, first], rank[:, first]
    corners = [base + k - np.where(rank >= size - k, size, 0) for k in range(size)]
    codes = np.stack([_code(corner, factors[:size]) for corner in corners], -1)
    found, _, numbers = _numbered(codes.ravel())
    steps = factors[:size].sum() - factors[:size] * np.uint64(size)
    neighbors = [(_places(found, found - step), _places(found, found + step)) for step in steps]
    return numbers.reshape(codes.shape).take(simplex_of, axis=0), neighbors


def _code(coordinates, factors):
    """(n, N) integers -> (N,) uint64."""
    code = np.zeros(coordinates.shape[1], np.uint64)
    for row, factor in zip(coordinates, factors, strict=True):
        code += row.astype(np.int64).view(np.uint64) * factor
    return code


def _numbered(codes):
    """Return the different codes in rising order, the place of one of each, and the number of each code as int32."""
    order = np.argsort(codes)
    ordered = codes[order]
    new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    numbers = np.empty(len(codes), np.int32)
    numbers[order] = np.cumsum(new, dtype=np.int32) - 1
    return ordered[new], order[new], numbers


def _places(found, codes):
    """Where each code lies in the sorted ones, or their number if it is not among them; and that number at the end."""
    places = np.searchsorted(found, codes).astype(np.int32)
    places[places == len(found)] = 0
    places[found[places] != codes] = len(found)
    return np.append(places, np.int32(len(found)))
