"""The reader of scenes of several bands: satellite and aerial images as GeoTIFF, cut into windows."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfseg import checks
from tfseg.checks import IGNORE_INDEX
from tfseg.data.readers.base import Reader, class_ids, format_problems, identity
from tfseg.data.readers.cached import thread_safe_lru
from tfseg.data.readers.formats.large_files import common_dtype, whole_numbers
from tfseg.data.readers.formats.scene import Scene
from tfseg.data.readers.image_files import by_stem, image_files, read_header, read_mask

TIFF = (".tif", ".tiff")
KEPT = 4  # decoded masks of other formats than TIFF


class GeoTiff(Reader):
    """A folder of TIFF scenes of any number of bands and a folder of masks, paired by file name without suffix.

    Values that the file's tag GDAL_NODATA names, and NaN, become 0; a pixel of which all bands are without data
    becomes 255 in the mask. The map's coordinates are not looked at: scene and mask have the same pixels. Needs
    tifffile (extra `tiff`).

    Args:
        images: folder of scenes: chunky or planar, in strips or tiles, packed or not.
        masks: folder of masks of class ids: TIFF of one band, or PNG or BMP.
        class_names: names in the order of their ids.
        bands: positions of the bands to read, from 0, in the order wanted; None for all. Alpha counts as a band.
        window: (height, width) of the pieces into which scenes are cut, those at the right and lower edge being
            smaller; None for whole scenes. Only the tiles or strips that a piece touches are read.
        ignore: the value on disk of pixels without a label, translated to 255; -1 for none.
        mask_values: {value on disk: class id}, which go before `ignore`; None: values are ids.

    Raises:
        FileNotFoundError: a folder is missing or empty.
        ValueError: scenes without a mask or the reverse, sizes or numbers of bands that differ; every one is named.
        OSError: a file cannot be read.
    """

    def __init__(
        self,
        images,
        masks,
        class_names,
        bands=None,
        window=None,
        ignore=IGNORE_INDEX,
        mask_values=None,
    ):
        pairs = _pairs(Path(images), Path(masks))
        with ThreadPoolExecutor() as pool:
            opened = list(pool.map(_open, pairs))
        problems = [scene for scene in opened if isinstance(scene, str)]
        if problems:
            raise ValueError(format_problems(problems))
        self._scenes, self._masks = zip(*opened, strict=True)
        self._bands = _bands(self._scenes, bands)
        self._windows = [
            w for i, scene in enumerate(self._scenes) for w in _windows(i, scene.size, window)
        ]
        dtype = common_dtype([scene.dtype for scene in self._scenes])
        super().__init__(class_names, [size for *_, size in self._windows], len(self._bands), dtype)
        self._cut = window is not None
        self.mask_values = mask_values or {
            v: i for v, i in identity(self.label_names).items() if v != ignore
        }
        self._table = {ignore: IGNORE_INDEX, **self.mask_values}
        self._picture = thread_safe_lru(read_mask, KEPT)

    def __getitem__(self, index):
        number, (top, left), (height, width) = self._windows[index]
        scene, mask = self._scenes[number], self._masks[number]
        image = scene.read(top, left, height, width)[..., self._bands]
        void = np.isnan(image) if image.dtype.kind == "f" else np.zeros(image.shape, bool)
        if scene.nodata is not None:
            void |= image == scene.nodata
        image[void] = 0
        if isinstance(mask, Scene):
            where, values = mask.path, mask.read(top, left, height, width)[..., 0]
        else:
            where, values = mask, self._picture(mask)[top : top + height, left : left + width]
        where = f"{where} from row {top}, column {left}"
        labels = class_ids(whole_numbers(values, where), self._table, where)
        labels[void.all(axis=-1)] = IGNORE_INDEX
        return {"image": image.astype(self.dtype, copy=False), "mask": labels}

    def name(self, index):
        """Return the scene's file name without its suffix; of a window, with "/y_x" of its upper left pixel."""
        number, (top, left), _ = self._windows[index]
        stem = self._scenes[number].path.stem
        return f"{stem}/{top}_{left}" if self._cut else stem


def _open(pair):
    """Return (scene, mask: a Scene or a path), or what is wrong with them."""
    image, mask = pair
    try:
        scene = Scene(image)
        labels = Scene(mask) if mask.suffix.lower() in TIFF else mask
        size = labels.size if isinstance(labels, Scene) else read_header(mask)[:2]
    except (OSError, ValueError) as error:
        return str(error)
    if isinstance(labels, Scene) and labels.bands != 1:
        return f"{mask} holds {labels.bands} bands. A mask has one, of class ids."
    if size != scene.size:
        (height, width), (mask_height, mask_width) = scene.size, size
        return (
            f"{image} is {width} x {height}, but its mask {mask} is {mask_width} x {mask_height} pixels. "
            "Bring the mask to the scene's grid with nearest neighbor."
        )
    return scene, labels


def _bands(scenes, bands):
    """Return the positions of the bands to read, which every scene has."""
    wanted = list(range(scenes[0].bands)) if bands is None else list(bands)
    least = len(wanted) if bands is None else max(wanted, default=0) + 1
    wrong = [s for s in scenes if s.bands < least or (bands is None and s.bands != least)]
    if wrong or not wanted or min(wanted) < 0:
        told = ", ".join(
            f"{scene.path} has {scene.bands}" for scene in dict.fromkeys([scenes[0], *wrong[:8]])
        )
        raise ValueError(
            f"GeoTiff: bands={bands} came; {told}. Give positions from 0 that every scene has."
        )
    return wanted


def _windows(number, size, window):
    """List (number of the scene, upper left pixel, size) of its windows, row after row."""
    height, width = (
        size if window is None else (checks.positive_int("GeoTiff", "window", n) for n in window)
    )
    return [
        (number, (top, left), (min(height, size[0] - top), min(width, size[1] - left)))
        for top in range(0, size[0], height)
        for left in range(0, size[1], width)
    ]


def _pairs(images, masks):
    """List (scene, mask) by file stem."""
    scenes = by_stem(path for path in image_files(images) if path.suffix.lower() in TIFF)
    labels = by_stem(image_files(masks))
    if not scenes:
        raise FileNotFoundError(
            f"The folder '{images}' holds no TIFF. Expected files {', '.join(TIFF)}."
        )
    problems = [
        f"{path} has no mask '{stem}.tif' in {masks}"
        for stem, path in scenes.items()
        if stem not in labels
    ]
    problems += [
        f"{path} has no scene '{stem}.tif' in {images}"
        for stem, path in labels.items()
        if stem not in scenes
    ]
    if problems:
        raise ValueError(
            format_problems(problems)
            + "\nA mask has the name of its scene: add what is missing, or remove it."
        )
    return [(path, labels[stem]) for stem, path in scenes.items()]
