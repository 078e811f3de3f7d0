"""Tiles: pieces of large images that are samples of their own."""

from itertools import pairwise

import numpy as np

from tfseg import checks
from tfseg.data.readers.base import Reader
from tfseg.data.readers.cached import thread_safe_lru
from tfseg.data.readers.extract import extract, visible_boxes
from tfseg.data.readers.subset import Subset
from tfseg.ops import window_corners

CACHED_IMAGES = 2  # whole samples in memory while their tiles are read one after the other


class Tiles(Reader):
    """Tiles of another reader's samples; see `Reader.tiles`.

    Args:
        reader: a `Reader`.
        places: list of (index of the sample, corner (y, x), size (height, width)).

    Attributes:
        reader: the other reader.
        places: as above.
    """

    def __init__(self, reader: Reader, places):
        self.reader = reader
        self._whole = thread_safe_lru(reader.__getitem__, CACHED_IMAGES)
        self.places = places
        self.fields = reader.fields
        self.mask_values = reader.mask_values
        self.palette = reader.palette
        names = {reader.name(place[0]) for place in places} if reader.dropped else ()
        self.dropped = [entry for entry in reader.dropped if entry[0] in names]
        sizes = [np.minimum(size, reader.sizes[i] - corner) for i, corner, size in places]
        super().__init__(reader.class_names, sizes, reader.channels, reader.dtype)

    @property
    def object_names(self) -> list[str]:
        """Names of the object categories of the other reader."""
        return self.reader.object_names

    def __getitem__(self, index: int) -> dict:
        sample, corner, size = self.places[index]
        return extract(self._whole(sample), corner, size)

    def name(self, index: int) -> str:
        """Return "<name of the sample>/<y>_<x>" with the upper left corner of the tile."""
        sample, (y, x), _ = self.places[index]
        return f"{self.reader.name(sample)}/{y}_{x}"

    def image_path(self, index: int):
        """Return the file of the whole image."""
        return self.reader.image_path(self.places[index][0])

    @property
    def has_exact_rle(self) -> bool:
        """Whether the whole images have exact masks of the objects; see `Reader.has_exact_rle`."""
        return self.reader.has_exact_rle

    def object_rle(self, index: int) -> list[dict]:
        """Return the masks of the tile's objects; see `Reader.object_rle`."""
        coco = checks.require_package("pycocotools.mask", "coco")
        sample, (top, left), _ = self.places[index]
        height, width = self.sizes[index]
        regions = self.reader.object_rle(sample)
        boxes = self._whole(sample)["boxes"]
        kept = visible_boxes(boxes, (top, left), (height, width))[2]
        parts = []
        for number in np.flatnonzero(kept):
            region = coco.decode(regions[number])[top : top + height, left : left + width]
            parts.append(coco.encode(np.asfortranarray(region)))
        return parts

    def version_key(self, index: int) -> list | None:
        """Return the version key of the whole sample."""
        return self.reader.version_key(self.places[index][0])


def are_tiles(reader: Reader) -> bool:
    """Return whether the samples of a reader are tiles, or some of them."""
    while type(reader) is Subset:
        reader = reader.reader
    return type(reader) is Tiles


def covering_tiles(sizes, size, overlap: float = 0.0):
    """Return the places of tiles that cover every image, evenly spaced.

    Args:
        sizes: (N, 2) heights and widths of the images.
        size: side of the tiles, or (height, width).
        overlap: minimum overlap of neighboring tiles as a fraction of their size, in [0, 1).

    Returns:
        list of (index of the image, corner (y, x), size (height, width)).
    """
    sides = (size, size) if np.ndim(size) == 0 else tuple(size)
    return [
        (index, corner, sides)
        for index, extent in enumerate(sizes)
        for corner in window_corners(extent, size, overlap)
    ]


def partition(sizes, size: int):
    """Return the places of nearly equal tiles, at most `size` on a side, that do not overlap.

    Returns:
        list of (index of the image, corner (y, x), size (height, width)).
    """
    checks.positive_int("disjoint_tiles", "size", size)
    return [
        (index, (top, left), (bottom - top, right - left))
        for index, (height, width) in enumerate(sizes)
        for top, bottom in _intervals(height, size)
        for left, right in _intervals(width, size)
    ]


def _intervals(length, size):
    """Cut [0, length) into the fewest intervals of at most `size`: 10, 4 -> 0-3, 3-7, 7-10."""
    count = -(-int(length) // size)
    edges = np.linspace(0, length, count + 1).round().astype(int).tolist()
    return list(pairwise(edges))
