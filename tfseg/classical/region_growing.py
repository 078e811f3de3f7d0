"""Regions that grow from seeds over pixels alike."""

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import levels
from tfseg.classical.labels import CONNECTIVITIES

SIMILARITIES = ("mean", "seed", "neighbor")
NEIGHBOURS = (
    (0, 1),
    (0, -1),
    (1, 0),
    (-1, 0),
    (1, 1),
    (1, -1),
    (-1, 1),
    (-1, -1),
)  # the first four share a side


def flood_fill(image, seed=None, tolerance=10.0, connectivity=4):
    """Find what hangs together with a seed and is like it.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3).
        seed: (x, y) in pixels, from 0.
        tolerance: gray levels of 0..255 by which a pixel may differ from the seed, in any channel.
        connectivity: 4 or 8 neighbors.

    Returns:
        (H, W) int32: 1 in the region, 0 elsewhere.

    Raises:
        ValueError: no seed, one outside of the image, or a parameter out of range.
    """
    image = levels("flood_fill", image)
    _check("flood_fill", tolerance, connectivity)
    point, *others = _points("flood_fill", "seed", seed, image.shape)
    if others:
        raise ValueError(
            f"flood_fill: {1 + len(others)} seeds came, expected one. `region_growing` takes several."
        )
    return _flooded(image, point, tolerance, connectivity, cv2.FLOODFILL_FIXED_RANGE)


def region_growing(image, seeds=None, tolerance=10.0, similarity="mean", connectivity=4):
    """Let regions grow from seeds, wave by wave, until no neighbor is like them (Adams and Bischof 1994).

    In a wave every region takes the free pixels beside it that differ from it by at most the tolerance; a pixel that
    several could take goes to the most similar, then to the one whose seed comes first.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3).
        seeds: (N, 2) integers, x and y of each seed in pixels, from 0, or (2,) of one; no two the same.
        tolerance: gray levels of 0..255; in color it holds for the channel that differs most.
        similarity: what a pixel is compared with: "mean", the mean of the region before the wave; "seed", the seed;
            "neighbor", the pixel of the region beside it.
        connectivity: 4 or 8 neighbors.

    Returns:
        (H, W) int32: k in the region of the k-th seed, counted from 1; 0 in none.

    Raises:
        ValueError: no seeds, seeds outside of the image or twice, or a parameter unknown or out of range.
    """
    image = levels("region_growing", image)
    _check("region_growing", tolerance, connectivity)
    checks.one_of("region_growing", "similarity", similarity, SIMILARITIES)
    points = _points("region_growing", "seeds", seeds, image.shape)
    if len(points) == 1 and similarity != "mean":
        flag = cv2.FLOODFILL_FIXED_RANGE if similarity == "seed" else 0
        return _flooded(image, points[0], tolerance, connectivity, flag)
    return _Growth(image, points, similarity, connectivity).run(tolerance)


def _check(owner, tolerance, connectivity):
    checks.at_least(owner, "tolerance", tolerance, 0)
    checks.one_of(owner, "connectivity", connectivity, CONNECTIVITIES)


def _points(owner, name, seeds, shape):
    """Return seeds, or a single one, as (N, 2) int, x and y, or raise a ValueError."""
    points = np.atleast_2d([] if seeds is None else seeds)
    if points.ndim != 2 or points.shape[1] != 2 or points.dtype.kind not in "ui":
        example = "(20, 35)" if name == "seed" else "[(20, 35), (80, 40)]"
        raise ValueError(
            f"{owner}: {name}={seeds!r}, expected whole numbers x and y, such as {example}."
        )
    outside = ~((points >= 0) & (points < (shape[1], shape[0]))).all(1)
    if outside.any():
        raise ValueError(
            f"{owner}: the seed {tuple(points[outside][0].tolist())} lies outside of an image {shape[1]} wide and "
            f"{shape[0]} high. Seeds are (x, y), from 0."
        )
    if len(np.unique(points, axis=0)) < len(points):
        raise ValueError(
            f"{owner}: two of the {len(points)} seeds are the same pixel. Name each once."
        )
    return points.astype(int)


def _flooded(image, point, tolerance, connectivity, flag):
    mask = np.zeros((image.shape[0] + 2, image.shape[1] + 2), np.uint8)
    bound = (float(tolerance),) * 3
    # a copy: OpenCV refuses what may not be written to, as images read from files are, though it writes nothing here
    flags = connectivity | cv2.FLOODFILL_MASK_ONLY | (1 << 8) | flag
    cv2.floodFill(np.array(image, order="C"), mask, tuple(map(int, point)), 0, bound, bound, flags)
    return mask[1:-1, 1:-1].astype(np.int32)


class _Growth:
    """Regions on an image with a frame around it, whose pixels are known by one number."""

    def __init__(self, image, points, similarity, connectivity):
        height, width = image.shape[:2]
        framed = np.pad(
            image.reshape(height, width, -1).astype(np.float32), ((1, 1), (1, 1), (0, 0))
        )
        self._values = framed.reshape(-1, framed.shape[-1])
        self._labels = np.pad(
            np.zeros((height, width), np.int32), 1, constant_values=-1
        )  # the frame is not free
        self._steps = np.array([dy * (width + 2) + dx for dy, dx in NEIGHBOURS[:connectivity]])
        self._similarity = similarity
        self._seeds = (points[:, 1] + 1) * (width + 2) + points[:, 0] + 1
        self._sums = np.zeros((len(points), self._values.shape[1]))
        self._counts = np.zeros(len(points))

    def run(self, tolerance):
        new, offers = self._seeds, np.zeros((3, 0), int)
        self._take(new, np.arange(len(new)))
        labels = self._labels.reshape(-1)
        while len(new):
            # offers: a free pixel, the region that may take it, the pixel of the region beside it
            beside = np.repeat(new, len(self._steps))
            around = np.stack([(new[:, None] + self._steps).ravel(), labels[beside] - 1, beside])
            offers = np.concatenate([offers, around[:, labels[around[0]] == 0]], axis=1)
            distance = self._distance(*offers)
            alike = np.flatnonzero(distance <= tolerance)
            pixel, region, _ = offers[:, alike]
            order = np.lexsort((region, distance[alike], pixel))
            new, first = np.unique(pixel[order], return_index=True)
            self._take(new, region[order][first])
            offers = self._kept(offers)
        return self._labels[1:-1, 1:-1].copy()

    def _distance(self, pixel, region, beside):
        if self._similarity == "mean":
            reference = self._sums[region] / self._counts[region, None]
        else:
            reference = self._values[self._seeds[region] if self._similarity == "seed" else beside]
        return np.abs(self._values[pixel] - reference).max(1, initial=0)

    def _take(self, pixels, regions):
        self._labels.reshape(-1)[pixels] = regions + 1
        np.add.at(self._sums, regions, self._values[pixels])
        self._counts += np.bincount(regions, minlength=len(self._counts))

    def _kept(self, offers):
        """Of the offers those that may still be taken: a mean moves, the rest stays as it is."""
        if self._similarity != "mean":
            return offers[:, :0]
        pixel, region, _ = offers = offers[:, self._labels.reshape(-1)[offers[0]] == 0]
        return offers[:, np.unique(pixel * len(self._counts) + region, return_index=True)[1]]
