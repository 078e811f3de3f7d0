"""Split and merge: an image cut into even squares, which then join their neighbors."""

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import levels
from tfseg.classical.labels import in_scan_order


def split_and_merge(image, tolerance=16, min_size=20):
    """Regions of even color by split and merge (Horowitz and Pavlidis, 1976).

    The image, continued by its edge to squares of 2 ** k pixels a side, is split into quarters, and these again,
    until within each square no channel ranges over more than `tolerance`. Then neighbors whose means differ by at most
    `tolerance` in every channel merge, and regions below `min_size` pixels join the neighbor of the nearest mean,
    until neither is left. The most alike merge first: all at once the pairs each of which is the other's nearest, and
    with them regions of at most a quarter the size that are nearest to one of them.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3); uint8, other integers or floats, see `tfseg.classical.image.levels`.
        tolerance: gray levels of 0..255, at least 0. The greater, the fewer regions.
        min_size: pixels of the smallest region, from 1; if the image has as many.

    Returns:
        (H, W) int32, regions 1 to N in scan order; no background. Pixels of a region hang together by their sides. A
        image of even height and width turned by 90 degrees gives the same regions, but for rounding of floats. An
        odd side is continued by one pixel more at its end, so its squares lie otherwise when turned.

    Raises:
        ValueError: no such image, or an option out of range.
    """
    image = levels("split_and_merge", image)
    tolerance = checks.at_least("split_and_merge", "tolerance", tolerance, 0)
    min_size = checks.positive_int("split_and_merge", "min_size", min_size)
    image = np.atleast_3d(image)
    labels, keys = _split(image, tolerance)
    regions = _Regions(image, labels, keys).merge(tolerance, min_size)
    return in_scan_order(regions[labels], background=None) + 1


def _split(image, tolerance):
    """Cut into squares: (H, W) numbers from 0, and a key (N,) of each square."""
    height, width = image.shape[:2]
    depth = (min(height, width) - 1).bit_length()
    top, left = (-height % 2**depth) // 2, (-width % 2**depth) // 2
    frame = (top, -height % 2**depth - top, left, -width % 2**depth - left)
    least = most = np.atleast_3d(cv2.copyMakeBorder(image, *frame, cv2.BORDER_REPLICATE)).astype(
        np.float32
    )
    rows, columns = least.shape[:2]
    side = np.ones((rows, columns), np.int64)
    for level in range(1, depth + 1):
        least, most = _quarters(least).min(axis=0), _quarters(most).max(axis=0)
        even = (most - least <= tolerance).all(axis=-1)  # then its quarters are, too
        side[
            cv2.resize(even.astype(np.uint8), (columns, rows), interpolation=cv2.INTER_NEAREST) > 0
        ] = 2**level
    side = side[top : top + height, left : left + width]
    y, x = np.mgrid[top : top + height, left : left + width] & -side  # the square's first pixel
    labels = in_scan_order(y * columns + x, background=None)
    radius = (2 * y + side - rows) ** 2 + (
        2 * x + side - columns
    ) ** 2  # it stays the same when turned
    keys = np.zeros(labels.max() + 1, np.uint64)
    keys[labels] = _shuffled(radius.astype(np.uint64))
    return labels, keys


def _quarters(blocks):
    return np.stack([blocks[y::2, x::2] for y in (0, 1) for x in (0, 1)])


def _shuffled(keys):
    """Mix the bits of uint64 keys (the finalizer of SplitMix64): equal ones stay equal, others end in no order."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        keys = (keys ^ (keys >> np.uint64(shift))) * np.uint64(factor)
    return keys ^ (keys >> np.uint64(31))


class _Regions:
    """Pixels and sums of the regions, and the pairs of neighbors.

    Ties among pairs are broken by keys, which are as good as random: in the order of the numbers, a row of equal steps
    would merge one pair a round. The key of a region is the sum of those of its squares.
    """

    def __init__(self, image, labels, keys):
        self.names = np.arange(len(keys))  # the region that each square is in
        self.sizes = np.bincount(labels.ravel())
        self.sums = np.stack(
            [np.bincount(labels.ravel(), channel.ravel()) for channel in np.moveaxis(image, -1, 0)],
            1,
        )
        self.keys = keys
        sides = (labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])
        self.pairs = _distinct(
            np.concatenate([[one.ravel(), other.ravel()] for one, other in sides], axis=1)
        )

    def merge(self, tolerance, min_size):
        """Merge until nothing changes; return the region (N,) of each square."""
        before = None
        while before != len(self.sizes):
            before = len(self.sizes)
            while self._merge_alike(tolerance):
                pass
            while self._merge_small(min_size):
                pass
        return self.names

    def _merge_alike(self, tolerance):
        """Join pairs each of which is the other's nearest, and to these at once far smaller regions nearest to them.

        Else a large region would take in its thousand small neighbors one by one.
        """
        apart = self._distances()
        alike = apart <= tolerance
        pairs = self.pairs[:, alike]
        nearest = self._nearest(pairs, apart[alike])
        mutual = nearest.all(axis=0)
        paired = np.full(len(self.sizes), False)
        paired[pairs[:, mutual]] = True
        others = pairs[::-1]
        joins = nearest & paired[others] & (4 * self.sizes[pairs] <= self.sizes[others])
        return self._join(pairs[:, mutual | joins.any(axis=0)])

    def _merge_small(self, min_size):
        small = (self.sizes < min_size)[self.pairs]
        some = small.any(axis=0)
        pairs = self.pairs[:, some]
        nearest = self._nearest(pairs, self._distances()[some])
        return self._join(pairs[:, (nearest & small[:, some]).any(axis=0)])

    def _distances(self):
        """How far the means of each pair are apart, in the channel where they are farthest."""
        means = self.sums / self.sizes[:, None]
        return np.abs(means[self.pairs[0]] - means[self.pairs[1]]).max(axis=-1)

    def _nearest(self, pairs, apart):
        """Whether each pair is the closest one of its first and of its second region, (2, P)."""
        keys = _shuffled(self.keys[pairs[0]] + self.keys[pairs[1]])
        nearest = np.full(pairs.shape, True)
        for values, most in ((apart, np.inf), (keys, np.iinfo(np.uint64).max)):
            least = np.full(len(self.sizes), most, values.dtype)
            for regions, still in zip(pairs, nearest, strict=True):
                np.minimum.at(least, regions[still], values[still])
            nearest &= values == least[pairs]
        return nearest

    def _join(self, pairs):
        """Join the two of each pair, and so all that hang together by pairs; return whether there are any."""
        root, before = np.arange(len(self.sizes)), None
        while not np.array_equal(root, before):
            before = root.copy()
            np.minimum.at(root, pairs[0], before[pairs[1]])
            np.minimum.at(root, pairs[1], before[pairs[0]])
            root = root[root]
        number = np.unique(root, return_inverse=True)[1]
        self.names = number[self.names]
        self.pairs = _distinct(number[self.pairs])
        for name in ("sizes", "sums", "keys"):
            old = getattr(self, name)
            new = np.zeros((number.max() + 1, *old.shape[1:]), old.dtype)
            np.add.at(new, number, old)
            setattr(self, name, new)
        return pairs.size > 0


def _distinct(pairs):
    """Each pair (2, P) of different numbers once, the lower one first."""
    low, high = np.minimum(*pairs).astype(np.int64), np.maximum(*pairs)
    codes = np.sort((low << 32 | high)[low < high])  # np.unique takes ten times as long
    codes = codes[np.diff(codes, prepend=-1) > 0]
    return np.stack([codes >> 32, codes & (2**32 - 1)])
