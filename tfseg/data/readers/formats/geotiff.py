"""The reader of satellite and aerial images of several bands in GeoTIFF files."""

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfseg import checks
from tfseg.checks import IGNORE_INDEX
from tfseg.data.readers.base import Reader
from tfseg.data.readers.cached import thread_safe_lru
from tfseg.data.readers.formats.large_files import common_dtype
from tfseg.data.readers.formats.scene import Scene
from tfseg.data.readers.image_files import read_header, read_mask
from tfseg.data.readers.image_listing import by_stem, image_files, printable
from tfseg.data.readers.mask_values import (
    are_black_and_white,
    distinct_values,
    to_class_ids,
    value_tables,
    whole_numbers,
)
from tfseg.data.readers.pairing import pair_by_stem
from tfseg.data.readers.problems import first_few, format_problems

TIFF = (".tif", ".tiff")
CACHED_MASKS = 4  # decoded masks in formats other than TIFF


class GeoTiff(Reader):
    """A folder of TIFF scenes with any number of bands and a folder of masks, paired by name.

    Values that the file's GDAL_NODATA tag names, and NaN, become 0. Pixels where no band
    has data become 255 in the mask. Images whose tags say that 0 is white are inverted, and gray
    levels of 1, 2 or 4 bit are scaled to 0..255; masks contain the values as stored. Map
    coordinates are not used: a scene and its mask have the same pixels. Needs tifffile (extra
    `tiff`).

    Args:
        images: folder of scenes: chunky or planar, in strips or tiles, compressed or not.
        masks: folder of masks of class ids: TIFF of one band, PNG or BMP.
        class_names: names in the order of their ids.
        bands: positions of the bands to read, from 0, in the order wanted; None for all. Alpha
            counts as a band.
        tile_size: (height, width) of the tiles that scenes are cut into; tiles at the right and
            lower border are smaller. None for whole scenes. Only the TIFF tiles or strips that a
            sample overlaps are decoded.
        ignore_value: the value on disk of pixels without a label, translated to 255; -1 for none.
        mask_values: {value on disk: class id}; takes precedence over `ignore_value`. None: values
            are ids, but masks of two classes that contain only 0 and 255 are read as 0 and 1.

    Raises:
        FileNotFoundError: a folder is missing or empty.
        ValueError: scenes without a mask, masks without a scene, or sizes or numbers of bands that
            differ; every such file is named.
        OSError: a file cannot be read.

    Example:
        >>> import numpy as np, pathlib, tfseg, tifffile
        >>> for name in ("scenes", "masks"):
        ...     pathlib.Path(name).mkdir()
        >>> tifffile.imwrite("scenes/a.tif", np.zeros((80, 100, 3), np.uint8))
        >>> tifffile.imwrite("masks/a.tif", np.zeros((80, 100), np.uint8))
        >>> tfseg.data.GeoTiff("scenes", "masks", ["land", "water"], tile_size=(64, 64))
        <GeoTiff: 4 samples of image, mask; 3 channels of uint8; 2 classes: land, water>
    """

    def __init__(
        self,
        images: str | Path,
        masks: str | Path,
        class_names: Sequence[str],
        bands: Sequence[int] | None = None,
        tile_size: tuple[int, int] | None = None,
        ignore_value: int = IGNORE_INDEX,
        mask_values: dict[int, int] | None = None,
    ):
        pairs = _pair(Path(images), Path(masks))
        with ThreadPoolExecutor() as pool:
            opened = list(pool.map(_open, pairs))
        problems = [result for result in opened if isinstance(result, str)]
        if problems:
            raise ValueError(format_problems(problems))
        self._scenes, self._masks = zip(*opened, strict=True)
        self._bands = _bands(self._scenes, bands)
        self._has_tiles = tile_size is not None
        self._tiles = [
            tile
            for index, scene in enumerate(self._scenes)
            for tile in _tiles(index, scene.size, tile_size)
        ]
        sizes = [size for _, _, size in self._tiles]
        dtype = common_dtype([scene.dtype for scene in self._scenes])
        super().__init__(class_names, sizes, len(self._bands), dtype)
        self._read_mask = thread_safe_lru(read_mask, CACHED_MASKS)
        two_classes = mask_values is None and len(self.label_names) == 2
        if two_classes and are_black_and_white(map(self._distinct_values, self._tiles)):
            mask_values = {0: 0, 255: 1}
        self.mask_values, self._table = value_tables(
            "GeoTiff", self.label_names, ignore_value, mask_values
        )

    def __getitem__(self, index: int) -> dict:
        number, corner, size = self._tiles[index]
        scene = self._scenes[number]
        stored = scene.read(*corner, *size)[..., self._bands]
        is_empty = np.zeros(stored.shape, bool)
        if stored.dtype.kind == "f":
            is_empty |= np.isnan(stored)
        if scene.nodata is not None:
            is_empty |= stored == scene.nodata
        image = scene.as_displayed(stored)
        image[is_empty] = 0
        labels = self._labels(self._masks[number], corner, size)
        labels[is_empty.all(axis=-1)] = self.ignore_index
        return {"image": image.astype(self.dtype, copy=False), "mask": labels}

    def _labels(self, mask, corner, size):
        """Return the (height, width) class ids of a tile. `mask` is a Scene or a path."""
        path = mask.path if isinstance(mask, Scene) else mask
        where = f"{path} at row {corner[0]}, column {corner[1]}"
        values = whole_numbers(self._stored_labels(mask, corner, size), where)
        return to_class_ids(values, self._table, where)

    def _stored_labels(self, mask, corner, size):
        """Return the (height, width) values of a tile as stored."""
        if isinstance(mask, Scene):
            return mask.read(*corner, *size)[..., 0]
        top, left = corner
        return self._read_mask(mask)[top : top + size[0], left : left + size[1]]

    def _distinct_values(self, tile):
        """Return the set of a tile's values; empty if it cannot be read: `check` reports that."""
        number, corner, size = tile
        try:
            return distinct_values(self._stored_labels(self._masks[number], corner, size))
        except (OSError, ValueError):
            return set()

    def image_path(self, index: int) -> Path:
        """Return the file of a scene."""
        return self._scenes[self._tiles[index][0]].path

    def name(self, index: int) -> str:
        """Return the scene's file name without its suffix; for a tile followed by "/<y>_<x>"."""
        number, (top, left), _ = self._tiles[index]
        stem = printable(self._scenes[number].path.stem)
        return f"{stem}/{top}_{left}" if self._has_tiles else stem


def _open(pair):
    """Return (scene, mask as a Scene or a path), or a sentence about what is wrong with them."""
    image, mask = pair
    try:
        scene = Scene(image)
        if mask.suffix.lower() in TIFF:
            labels = Scene(mask)
            size, bands = labels.size, labels.bands
        else:
            labels = mask
            size, bands = read_header(mask)[:2], 1
    except (OSError, ValueError) as error:
        return str(error)
    if bands != 1:
        return f"{mask} has {bands} bands. Expected one band of class ids."
    if size != scene.size:
        height, width = scene.size
        mask_height, mask_width = size
        return (
            f"{image} is {width} x {height}, but its mask {mask} is {mask_width} x {mask_height} "
            "pixels. Resample the mask to the scene's grid with nearest neighbor."
        )
    return scene, labels


def _bands(scenes, bands):
    """Return the positions of the bands to read; raise a ValueError if a scene lacks one."""
    if bands is None:
        wanted = list(range(scenes[0].bands))
        wrong = [scene for scene in scenes if scene.bands != len(wanted)]
    else:
        wanted = list(bands)
        wrong = [scene for scene in scenes if scene.bands <= max(wanted, default=0)]
    if wrong or not wanted or min(wanted) < 0:
        shown = dict.fromkeys([scenes[0], *wrong[:8]])  # without duplicates
        counts = ", ".join(f"{scene.path} has {scene.bands}" for scene in shown)
        raise ValueError(
            f"GeoTiff: bands={bands}, but {counts} bands. Pass positions from 0 that every scene "
            "has."
        )
    return wanted


def _tiles(number, extent, tile_size):
    """List (number of the scene, corner, size) of the tiles of a scene, row by row."""
    if tile_size is None:
        return [(number, (0, 0), extent)]
    height, width = [checks.positive_int("GeoTiff", "tile_size", side) for side in tile_size]
    return [
        (number, (top, left), (min(height, extent[0] - top), min(width, extent[1] - left)))
        for top in range(0, extent[0], height)
        for left in range(0, extent[1], width)
    ]


def _pair(images, masks):
    """List (scene, mask) by file name without suffix."""
    files = image_files(images)
    scenes = by_stem(path for path in files if path.suffix.lower() in TIFF)
    labels = by_stem(image_files(masks))
    if not scenes:
        raise FileNotFoundError(
            f"The folder '{images}' contains no TIFF. Expected files {', '.join(TIFF)}."
        )
    others = [path.name for path in files if path.suffix.lower() not in TIFF]
    if others:
        warnings.warn(
            f"GeoTiff: '{images}' contains {len(others)} images that are not TIFFs, which are left "
            f"out: {first_few(others)}. Convert them, or read them with Folder.",
            stacklevel=4,
        )
    return pair_by_stem(scenes, labels, "scene", image_suffix=".tif", mask_suffix=".tif")
