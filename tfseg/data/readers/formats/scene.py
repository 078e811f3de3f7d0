"""One TIFF file of any number of bands, read by windows: only the tiles or strips that a window touches are decoded."""

import itertools
import math
import os

import numpy as np

from tfseg import checks

GDAL_NODATA = 42113  # tag: the value of pixels without data, as text


class Scene:
    """The first page of a TIFF file; reduced copies and transparency masks after it have no part.

    Args:
        path: file of one or more bands, chunky or planar, in strips or tiles, packed or not.

    Attributes:
        size: (height, width).
        bands: number of bands.
        dtype: NumPy dtype, in the machine's byte order.
        nodata: the value of pixels without data, as `dtype` holds it; or None.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it is no TIFF.
        ValueError: it holds several images, or a volume.
    """

    def __init__(self, path):
        self.path = path
        self._page = page = _first_page(path)
        self.size = (page.imagelength, page.imagewidth)
        self.bands = page.samplesperpixel
        self.dtype = page.dtype.newbyteorder("=")
        tag = page.tags.get(GDAL_NODATA)
        self.nodata = _number(tag.value, self.dtype) if tag is not None else None
        self._planar = page.axes.startswith("S")
        self._packed = not page.is_memmappable
        if self._packed:
            self._chunk = page.chunks[:2]

    def read(self, top=0, left=0, height=None, width=None):
        """Return the window (height, width, bands), cut off at the scene's edges; all of it by default.

        Raises:
            OSError: the file is damaged.
        """
        bottom = min(top + (height or self.size[0]), self.size[0])
        right = min(left + (width or self.size[1]), self.size[1])
        try:
            return (self._decode if self._packed else self._map)(top, left, bottom, right)
        except Exception as error:  # the codecs' errors have no class in common
            raise OSError(
                f"{self.path} is damaged ({error}). Copy it again from its source, or remove it."
            ) from error

    def _map(self, top, left, bottom, right):
        page = self._page
        stored = page.dtype.newbyteorder(page.parent.byteorder)
        values = np.memmap(self.path, stored, "r", page.dataoffsets[0], page.shape)
        values = np.moveaxis(values, 0, -1) if self._planar else values.reshape(*self.size, -1)
        return values[top:bottom, left:right].astype(self.dtype)

    def _decode(self, top, left, bottom, right):
        rows, columns = self._chunk
        result = np.full((bottom - top, right - left, self.bands), self.nodata or 0, self.dtype)
        down, across = math.ceil(self.size[0] / rows), math.ceil(self.size[1] / columns)
        touched = itertools.product(
            range(self.bands if self._planar else 1),
            range(top // rows, math.ceil(bottom / rows)),
            range(left // columns, math.ceil(right / columns)),
        )
        with open(self.path, "rb") as file:
            for plane, y, x in touched:
                piece = self._piece(file, (plane * down + y) * across + x)
                if piece is not None:  # GDAL leaves out tiles without data
                    bands = result[..., plane : plane + 1] if self._planar else result
                    _paste(bands, piece, y * rows - top, x * columns - left)
        return result

    def _piece(self, file, index):
        count, offset = self._page.databytecounts[index], self._page.dataoffsets[index]
        data = os.pread(file.fileno(), count, offset)
        if len(data) != count:
            raise ValueError("it ends too early")
        decoded = self._page.decode(data or None, index, jpegtables=self._page.jpegtables)[0]
        return None if decoded is None else decoded[0]


def _paste(target, piece, y, x):
    """Copy (h, w, C) `piece` into `target`, its corner at (y, x), which may lie outside."""
    height, width = (
        min(a, b)
        for a, b in zip(piece.shape, (target.shape[0] - y, target.shape[1] - x), strict=False)
    )
    target[max(y, 0) : y + height, max(x, 0) : x + width] = piece[
        max(-y, 0) : height, max(-x, 0) : width
    ]


def _first_page(path):
    tifffile = checks.require_package("tifffile", "tiff")
    if not path.is_file():
        raise FileNotFoundError(f"There is no file '{path}'. Check the path.")
    try:
        with tifffile.TiffFile(path) as file:
            first, *rest = file.pages
            more = [page for page in rest if not (page.is_reduced or page.is_mask)]
            first.jpegtables  # noqa: B018, read while the file is open
    except (tifffile.TiffFileError, ValueError, IndexError) as error:
        raise OSError(
            f"{path} cannot be read as a TIFF ({error}). Copy it again from its source."
        ) from error
    if more or first.imagedepth != 1:
        raise ValueError(
            f"{path} holds {len(more) + 1} pages of depth {first.imagedepth}. Save one page; bands go into its "
            "samples, chunky or planar."
        )
    return first


def _number(text, dtype):
    """Return the tag's number as the dtype holds it, or None if it is none that occurs."""
    try:
        value = float(text)
    except ValueError:
        return None
    if dtype.kind == "f":
        return dtype.type(value)  # GDAL writes -3.4e38 with more digits than float32 has
    held = np.iinfo(dtype)
    return dtype.type(value) if value == value // 1 and held.min <= value <= held.max else None
