"""Split and merge: divide an image into uniform squares, then merge adjacent ones."""

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import to_0_255
from tfseg.classical.labels import relabel


def split_and_merge(image, tolerance: float = 16, min_pixels: int = 20):
    """Segment an image into uniform regions by split and merge (Horowitz and Pavlidis 1976).

    Split: the image, padded to squares of 2 ** k pixels by repeating its border, is divided into
    quarters recursively, until no channel of a square has a range above `tolerance`.

    Merge: adjacent regions whose means differ by at most `tolerance` in every channel merge, and
    regions below `min_pixels` join the adjacent region of the nearest mean, until none of either
    is left. The most similar regions merge first: in each round all pairs whose regions are each
    other's nearest, together with the regions nearest to one of them that are at most a quarter of
    its size.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3); uint8, other integers or floats, see
            `tfseg.classical.image.to_0_255`.
        tolerance: gray levels (0..255), at least 0. The larger, the fewer regions.
        min_pixels: size of the smallest region in pixels, at least 1.

    Returns:
        (H, W) int32: 4-connected regions, numbered from 1 in scan order. An image of even height
        and width gives the same regions when it is rotated by 90 degrees, up to rounding of
        floats. An odd side is padded by one more pixel at its end, so its squares change with the
        rotation.

    Raises:
        ValueError: the image is not valid, or an argument is out of range.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.repeat(np.uint8([[20] * 5 + [30] * 3 + [90] * 8]), 8, axis=0)
        >>> tfseg.classical.split_and_merge(image)[0].tolist()
        [1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2]
    """
    image = to_0_255("split_and_merge", image)
    tolerance = checks.at_least("split_and_merge", "tolerance", tolerance, 0)
    min_pixels = checks.positive_int("split_and_merge", "min_pixels", min_pixels)
    image = np.atleast_3d(image)
    labels, keys = _split(image, tolerance)
    regions = _Regions(image, labels, keys).merge(tolerance, min_pixels)
    return relabel(regions[labels], background=None) + 1


def _split(image, tolerance):
    """Divide an image into the uniform squares of a quadtree.

    Returns:
        labels: (H, W) int32, squares numbered from 0 in scan order.
        keys: (N,) uint64, a pseudo-random key of each square that breaks ties. It depends only on
            the square's distance from the center, so it does not change under rotation.
    """
    height, width = image.shape[:2]
    depth = (min(height, width) - 1).bit_length()
    below, right = -height % 2**depth, -width % 2**depth
    top, left = below // 2, right // 2
    padding = (top, below - top, left, right - left)
    padded = np.atleast_3d(cv2.copyMakeBorder(image, *padding, cv2.BORDER_REPLICATE))
    rows, columns = padded.shape[:2]
    side = _largest_uniform_squares(padded, depth, tolerance)
    side = side[top : top + height, left : left + width]
    # The first pixel of the square: `& -side` rounds down to a multiple of a power of two. For
    # example 13 & -4 is 0b1101 & 0b1100 = 12.
    y, x = np.mgrid[top : top + height, left : left + width] & -side
    labels = relabel(y * columns + x, background=None)
    squared_distance = (2 * y + side - rows) ** 2 + (2 * x + side - columns) ** 2
    keys = np.zeros(labels.max() + 1, np.uint64)
    keys[labels] = _hash(squared_distance.astype(np.uint64))
    return labels, keys


def _largest_uniform_squares(image, depth, tolerance):
    """Return (H, W) int64 the side of the largest uniform square that contains each pixel."""
    rows, columns = image.shape[:2]
    lowest = highest = image.astype(np.float32)
    side = np.ones((rows, columns), np.int64)
    for level in range(1, depth + 1):
        lowest = _quarters(lowest).min(axis=0)
        highest = _quarters(highest).max(axis=0)
        # If a square is uniform its quarters are too, so a larger side replaces the smaller one.
        uniform = (highest - lowest <= tolerance).all(axis=-1).astype(np.uint8)
        uniform = cv2.resize(uniform, (columns, rows), interpolation=cv2.INTER_NEAREST)
        side[uniform > 0] = 2**level
    return side


def _quarters(blocks):
    """Return the (4, H / 2, W / 2, C) quarters of each block of 2 x 2."""
    top_left, top_right = blocks[::2, ::2], blocks[::2, 1::2]
    bottom_left, bottom_right = blocks[1::2, ::2], blocks[1::2, 1::2]
    return np.stack([top_left, top_right, bottom_left, bottom_right])


def _hash(keys):
    """Hash uint64 keys (the finalizer of SplitMix64): equal keys stay equal, order is lost."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


class _Regions:
    """Pixel counts, sums and adjacent pairs of regions, which start as squares.

    Pseudo-random keys break ties between pairs. With ties broken by the region's number, a
    staircase of equal steps would merge only one pair per round. The key of a region is the sum of
    the keys of its squares.
    """

    def __init__(self, image, labels, keys):
        flat = labels.ravel()
        self.region_of_square = np.arange(len(keys))
        self.sizes = np.bincount(flat)
        channels = [np.bincount(flat, channel.ravel()) for channel in np.moveaxis(image, -1, 0)]
        self.sums = np.stack(channels, 1)
        self.keys = keys
        horizontal = [labels[:, :-1].ravel(), labels[:, 1:].ravel()]
        vertical = [labels[:-1].ravel(), labels[1:].ravel()]
        self.pairs = _unique_pairs(np.concatenate([horizontal, vertical], axis=1))

    def merge(self, tolerance, min_pixels):
        """Merge until nothing changes; return the region (N,) of each square."""
        count = None
        while count != len(self.sizes):
            count = len(self.sizes)
            while self._merge_similar(tolerance):
                pass
            while self._merge_small(min_pixels):
                pass
        return self.region_of_square

    def _merge_similar(self, tolerance):
        """Merge mutually nearest pairs; return whether there were any.

        Regions of at most a quarter of the size that are nearest to one of a pair join in the same
        round. Otherwise a large region would absorb thousands of small neighbors one per round.
        """
        distances = self._distances()
        similar = distances <= tolerance
        pairs = self.pairs[:, similar]
        nearest = self._nearest(pairs, distances[similar])
        mutual = nearest.all(axis=0)
        merging = np.full(len(self.sizes), False)
        merging[pairs[:, mutual]] = True
        others = pairs[::-1]
        much_smaller = 4 * self.sizes[pairs] <= self.sizes[others]
        joining = nearest & merging[others] & much_smaller
        return self._join(pairs[:, mutual | joining.any(axis=0)])

    def _merge_small(self, min_pixels):
        """Merge small regions into the nearest adjacent ones; return whether there were any."""
        small = (self.sizes < min_pixels)[self.pairs]
        has_small = small.any(axis=0)
        pairs = self.pairs[:, has_small]
        nearest = self._nearest(pairs, self._distances()[has_small])
        return self._join(pairs[:, (nearest & small[:, has_small]).any(axis=0)])

    def _distances(self):
        """Return (P,) differences of the means, in the channel where they are largest."""
        means = self.sums / self.sizes[:, None]
        return np.abs(means[self.pairs[0]] - means[self.pairs[1]]).max(axis=-1)

    def _nearest(self, pairs, distances):
        """Return (2, P) whether each pair is the closest of its first and of its second region."""
        keys = _hash(self.keys[pairs[0]] + self.keys[pairs[1]])
        nearest = np.full(pairs.shape, True)
        nearest &= self._is_minimum(distances, pairs, nearest, np.inf)
        nearest &= self._is_minimum(keys, pairs, nearest, np.iinfo(np.uint64).max)
        return nearest

    def _is_minimum(self, values, pairs, candidates, highest):
        """Return (2, P) whether the pair's value is the minimum over the region's candidates."""
        minimum = np.full(len(self.sizes), highest, values.dtype)
        for regions, candidate in zip(pairs, candidates, strict=True):
            np.minimum.at(minimum, regions[candidate], values[candidate])
        return values == minimum[pairs]

    def _join(self, pairs):
        """Join the regions of each pair, and all that pairs connect; return if there were any."""
        number = _connected_numbers(pairs, len(self.sizes))
        self.region_of_square = number[self.region_of_square]
        self.pairs = _unique_pairs(number[self.pairs])
        self.sizes = _sum_by_number(self.sizes, number)
        self.sums = _sum_by_number(self.sums, number)
        self.keys = _sum_by_number(self.keys, number)
        return pairs.size > 0


def _connected_numbers(pairs, count):
    """Return (count,) the number, from 0, of the connected component of each region.

    Each region points to the lowest region it is known to be connected to. For the pairs (0, 1) and
    (1, 2) the pointers are 0 1 2, then 0 0 1; following them once more gives 0 0 0.
    """
    root, before = np.arange(count), None
    while not np.array_equal(root, before):
        before = root.copy()
        np.minimum.at(root, pairs[0], before[pairs[1]])
        np.minimum.at(root, pairs[1], before[pairs[0]])
        root = root[root]
    return np.unique(root, return_inverse=True)[1]


def _sum_by_number(values, number):
    total = np.zeros((number.max() + 1, *values.shape[1:]), values.dtype)
    np.add.at(total, number, values)
    return total


def _unique_pairs(pairs):
    """Return the distinct pairs (2, P) of different numbers, the lower number first.

    Each pair is packed into one integer: (3, 5) becomes 3 * 2 ** 32 + 5. Sorting these is ten times
    as fast as `np.unique`.
    """
    low, high = np.minimum(*pairs).astype(np.int64), np.maximum(*pairs)
    codes = np.sort((low << 32 | high)[low < high])
    codes = codes[np.diff(codes, prepend=-1) > 0]
    return np.stack([codes >> 32, codes & (2**32 - 1)])
