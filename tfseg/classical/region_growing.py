"""Regions of similar pixels, grown from seeds."""

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import to_0_255
from tfseg.classical.labels import CONNECTIVITIES

SIMILARITIES = ("mean", "seed", "neighbor")
# (dy, dx); the first four share a side with the pixel.
NEIGHBOR_OFFSETS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))


def flood_fill(image, seed=None, tolerance: float = 10.0, connectivity: int = 4):
    """Find the connected pixels that are similar to a seed.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `to_0_255`.
        seed: (x, y) in pixels, from 0.
        tolerance: maximum difference from the seed in gray levels (0..255), in each channel.
        connectivity: 4 or 8 neighbors.

    Returns:
        (H, W) int32: 1 in the region, 0 elsewhere.

    Raises:
        ValueError: the seed is missing or outside the image, or an argument is out of range.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.array([[10, 15, 90], [12, 80, 11]], np.uint8)
        >>> tfseg.classical.flood_fill(image, seed=(0, 0), tolerance=5).tolist()
        [[1, 1, 0], [1, 0, 0]]
    """
    image = to_0_255("flood_fill", image)
    _check_options("flood_fill", tolerance, connectivity)
    points = _check_seeds("flood_fill", "seed", seed, image.shape)
    if len(points) > 1:
        raise ValueError(
            f"flood_fill: got {len(points)} seeds, expected one. `region_growing` takes several."
        )
    return _flood(image, points[0], tolerance, connectivity, cv2.FLOODFILL_FIXED_RANGE)


def region_growing(
    image, seeds=None, tolerance: float = 10.0, similarity: str = "mean", connectivity: int = 4
):
    """Grow regions from seeds until no adjacent pixel is similar (Adams and Bischof 1994).

    In each step every region takes all free adjacent pixels within the tolerance. A pixel that
    several regions could take goes to the most similar one, on ties to the one whose seed comes
    first.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `to_0_255`.
        seeds: (N, 2) integers, x and y of each seed in pixels, from 0, without duplicates; or (2,)
            for a single seed.
        tolerance: maximum difference in gray levels (0..255), in each channel.
        similarity: what a pixel is compared with: "mean", the mean of the region before the step;
            "seed", the seed; "neighbor", the adjacent pixel of the region.
        connectivity: 4 or 8 neighbors.

    Returns:
        (H, W) int32: k in the region of the k-th seed, counted from 1; 0 in no region.

    Raises:
        ValueError: the seeds are missing, outside the image or not unique, or an argument is
            unknown or out of range.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.array([[10, 12, 50, 91, 90]], np.uint8)
        >>> tfseg.classical.region_growing(image, seeds=[(0, 0), (4, 0)], tolerance=5).tolist()
        [[1, 1, 0, 2, 2]]
    """
    owner = "region_growing"
    image = to_0_255(owner, image)
    _check_options(owner, tolerance, connectivity)
    checks.one_of(owner, "similarity", similarity, SIMILARITIES)
    points = _check_seeds(owner, "seeds", seeds, image.shape)
    if len(points) == 1 and similarity != "mean":
        flag = cv2.FLOODFILL_FIXED_RANGE if similarity == "seed" else 0
        return _flood(image, points[0], tolerance, connectivity, flag)
    return _Growth(image, points, similarity, connectivity).run(tolerance)


def _check_options(owner, tolerance, connectivity):
    checks.at_least(owner, "tolerance", tolerance, 0)
    checks.one_of(owner, "connectivity", connectivity, CONNECTIVITIES)


def _check_seeds(owner, name, seeds, shape):
    """Return one or several seeds as (N, 2) int x and y."""
    points = np.atleast_2d([] if seeds is None else seeds)
    if points.ndim != 2 or points.shape[1] != 2 or points.dtype.kind not in "ui":
        example = "(20, 35)" if name == "seed" else "[(20, 35), (80, 40)]"
        raise ValueError(
            f"{owner}: got {name}={seeds!r}, expected integers x and y, such as {example}."
        )
    height, width = shape[:2]
    outside = ~((points >= 0) & (points < (width, height))).all(1)
    if outside.any():
        raise ValueError(
            f"{owner}: the seed {tuple(points[outside][0].tolist())} is outside the image, which "
            f"is {width} pixels wide and {height} high. Seeds are (x, y), from 0."
        )
    if len(np.unique(points, axis=0)) < len(points):
        raise ValueError(
            f"{owner}: two of the {len(points)} seeds are the same pixel. Remove duplicates."
        )
    return points.astype(int)


def _flood(image, point, tolerance, connectivity, flag):
    mask = np.zeros((image.shape[0] + 2, image.shape[1] + 2), np.uint8)
    bound = (float(tolerance),) * 3
    flags = connectivity | cv2.FLOODFILL_MASK_ONLY | (1 << 8) | flag
    # Copy the image: OpenCV refuses read-only arrays, although it writes only to the mask.
    image = np.array(image, order="C")
    cv2.floodFill(image, mask, tuple(point.tolist()), 0, bound, bound, flags)
    return mask[1:-1, 1:-1].astype(np.int32)


class _Growth:
    """Regions growing on a padded and flattened image.

    The padding of one pixel gives every pixel 8 neighbors. Pixels are indices into the flattened
    image, so a neighbor is a constant offset away. In an image 5 pixels wide, padded to 7, the
    pixel (y, x) = (0, 0) has the index 8, the one to the right 9 and the one below 15.

    A candidate is a column (pixel, region, source): a free pixel, the region that may take it
    (from 0), and the pixel of that region next to it.
    """

    def __init__(self, image, points, similarity, connectivity):
        height, width = image.shape[:2]
        channels = image.reshape(height, width, -1).astype(np.float32)
        padded = np.pad(channels, ((1, 1), (1, 1), (0, 0)))
        self._values = padded.reshape(-1, padded.shape[-1])
        # -1 in the padding, so that it is never free (0).
        self._labels = np.pad(np.zeros((height, width), np.int32), 1, constant_values=-1)
        self._flat_labels = self._labels.reshape(-1)
        offsets = [dy * (width + 2) + dx for dy, dx in NEIGHBOR_OFFSETS[:connectivity]]
        self._offsets = np.array(offsets)
        self._similarity = similarity
        self._seeds = (points[:, 1] + 1) * (width + 2) + points[:, 0] + 1
        self._sums = np.zeros((len(points), self._values.shape[1]))
        self._counts = np.zeros(len(points))

    def run(self, tolerance):
        """Return the labels (H, W) int32 of the grown regions."""
        pixels, regions = self._seeds, np.arange(len(self._seeds))
        candidates = np.zeros((3, 0), int)
        while len(pixels):
            self._assign(pixels, regions)
            candidates = [self._remaining(candidates), self._around(pixels)]
            candidates = np.concatenate(candidates, axis=1)
            pixels, regions = self._choose(candidates, tolerance)
        return self._labels[1:-1, 1:-1].copy()

    def _assign(self, pixels, regions):
        self._flat_labels[pixels] = regions + 1
        np.add.at(self._sums, regions, self._values[pixels])
        self._counts += np.bincount(regions, minlength=len(self._counts))

    def _remaining(self, candidates):
        """Return the candidates to compare again: only a mean can come closer to a pixel."""
        if self._similarity != "mean":
            return candidates[:, :0]
        candidates = self._free(candidates)
        pixel, region, _ = candidates
        unique = np.unique(pixel * len(self._counts) + region, return_index=True)[1]
        return candidates[:, unique]

    def _around(self, pixels):
        """Return the candidates next to pixels that have just been assigned."""
        source = np.repeat(pixels, len(self._offsets))
        neighbors = (pixels[:, None] + self._offsets).ravel()
        return self._free(np.stack([neighbors, self._flat_labels[source] - 1, source]))

    def _free(self, candidates):
        return candidates[:, self._flat_labels[candidates[0]] == 0]

    def _choose(self, candidates, tolerance):
        """Return the pixels within the tolerance, and the most similar region of each."""
        distance = self._distance(*candidates)
        similar = np.flatnonzero(distance <= tolerance)
        pixel, region, _ = candidates[:, similar]
        order = np.lexsort((region, distance[similar], pixel))
        pixels, first = np.unique(pixel[order], return_index=True)
        return pixels, region[order][first]

    def _distance(self, pixel, region, source):
        """Return the difference of each candidate, in the channel where it is largest."""
        if self._similarity == "mean":
            reference = self._sums[region] / self._counts[region, None]
        elif self._similarity == "seed":
            reference = self._values[self._seeds[region]]
        else:
            reference = self._values[source]
        return np.abs(self._values[pixel] - reference).max(1, initial=0)
