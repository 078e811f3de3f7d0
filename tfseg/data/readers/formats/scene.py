"""One TIFF file with any number of bands, read in parts without decoding the rest."""

import itertools
import math
import os
from pathlib import Path

import numpy as np

from tfseg import checks
from tfseg.data.readers.orientation import is_sideways, stored_part, upright, valid_orientation
from tfseg.data.readers.tiff_header import BLACK_IS_ZERO, RGB, WHITE_IS_ZERO

GDAL_NODATA = 42113  # TIFF tag: the value of pixels without data, as text
SCALED_BITS = (1, 2, 4)  # of gray levels, which images show as 0..255


class Scene:
    """The first page of a TIFF file. Overviews and transparency masks after it are ignored.

    Its orientation is applied: positions are those of the upright image.

    Args:
        path: file of one or more bands, chunky or planar, in strips or tiles, compressed or not.

    Attributes:
        size: (height, width).
        bands: number of bands.
        dtype: NumPy dtype, in the machine's byte order.
        nodata: the value of pixels without data, as `dtype`; or None.

    Raises:
        FileNotFoundError: the file is missing.
        OSError: it is not a TIFF.
        ValueError: it contains several images, a volume, or values of an unknown kind.
    """

    def __init__(self, path: Path):
        self.path = path
        page = _first_page(path)
        _check_values(path, page)
        self._page = page
        self._stored_size = (page.imagelength, page.imagewidth)
        self._orientation = valid_orientation(page.tags.valueof(274))
        sideways = is_sideways(self._orientation)
        self.size = self._stored_size[::-1] if sideways else self._stored_size
        self.bands = page.samplesperpixel
        # tifffile reads single bits as booleans
        self.dtype = np.dtype("uint8" if page.dtype == bool else page.dtype).newbyteorder("=")
        self.nodata = None
        if GDAL_NODATA in page.tags:
            self.nodata = _parse_nodata(page.tags[GDAL_NODATA].value, self.dtype)
        self._is_planar = page.axes.startswith("S")
        self._is_mappable = page.is_memmappable
        if not self._is_mappable:
            self._chunk = page.chunks[:2]  # (height, width) of the TIFF tiles or strips

    def read(self, top: int = 0, left: int = 0, height: int | None = None, width=None):
        """Return a part of the scene, by default all of it, with its values as stored.

        Returns:
            (height, width, bands), cut off at the scene's border.

        Raises:
            OSError: the file is damaged.
        """
        bottom = min(top + (height or self.size[0]), self.size[0])
        right = min(left + (width or self.size[1]), self.size[1])
        rows, columns = stored_part((top, bottom), (left, right), self.size, self._orientation)
        read = self._map if self._is_mappable else self._decode
        try:
            stored = read(rows[0], columns[0], rows[1], columns[1])
        except NotImplementedError as error:
            raise OSError(
                f"{self.path} cannot be decoded ({error}). Save it with another compression."
            ) from error
        except Exception as error:  # the errors of the codecs share no base class
            reason = str(error) or type(error).__name__
            raise OSError(
                f"{self.path} is damaged ({reason}). Copy it again from its source, or remove it."
            ) from error
        return np.ascontiguousarray(upright(stored, self._orientation))

    def as_displayed(self, values):
        """Return values of this scene as an image shows them, whatever is stored for white.

        Where 0 stands for white, integers are inverted; those of 1, 2 or 4 bit are scaled to
        0..255.
        """
        photometric, bits = self._page.photometric, self._page.bitspersample
        if values.dtype.kind != "u" or photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB):
            return values
        largest = values.dtype.type(2**bits - 1)
        if photometric == WHITE_IS_ZERO:
            values = largest - values
        return values * (255 // largest) if bits in SCALED_BITS else values

    def _map(self, top, left, bottom, right):
        """Read from an uncompressed file mapped into memory."""
        page = self._page
        stored = page.dtype.newbyteorder(page.parent.byteorder)
        values = np.memmap(self.path, stored, "r", page.dataoffsets[0], page.shape)
        if not self._is_planar:
            values = values.reshape(*self._stored_size, -1)
            return values[top:bottom, left:right].astype(self.dtype)
        return np.moveaxis(values[:, top:bottom, left:right], 0, -1).astype(self.dtype)

    def _decode(self, top, left, bottom, right):
        """Decode the TIFF tiles or strips that overlap the part."""
        rows, columns = self._chunk
        down = math.ceil(self._stored_size[0] / rows)
        across = math.ceil(self._stored_size[1] / columns)
        result = np.full((bottom - top, right - left, self.bands), self.nodata or 0, self.dtype)
        chunks = itertools.product(
            range(self.bands if self._is_planar else 1),
            range(top // rows, math.ceil(bottom / rows)),
            range(left // columns, math.ceil(right / columns)),
        )
        with open(self.path, "rb") as file:
            for plane, y, x in chunks:
                chunk = self._read_chunk(file, (plane * down + y) * across + x)
                if chunk is None:  # GDAL omits tiles without data
                    continue
                target = result[..., plane : plane + 1] if self._is_planar else result
                _paste(target, chunk, y * rows - top, x * columns - left)
        return result

    def _read_chunk(self, file, index):
        """Return a decoded TIFF tile or strip (h, w, bands), or None if the file omits it."""
        page = self._page
        count = page.databytecounts[index]
        data = os.pread(file.fileno(), count, page.dataoffsets[index])
        if len(data) != count:
            raise ValueError("the file is truncated")
        decoded = page.decode(data or None, index, jpegtables=page.jpegtables)[0]
        return None if decoded is None else decoded[0]


def _paste(target, chunk, y, x):
    """Copy (h, w, C) `chunk` into `target` at (y, x); parts outside `target` are cut off."""
    height = min(chunk.shape[0], target.shape[0] - y)
    width = min(chunk.shape[1], target.shape[1] - x)
    inside = chunk[max(-y, 0) : height, max(-x, 0) : width]
    target[max(y, 0) : y + height, max(x, 0) : x + width] = inside


def _first_page(path):
    tifffile = checks.require_package("tifffile", "tiff")
    if not path.is_file():
        raise FileNotFoundError(f"There is no file '{path}'. Check the path.")
    try:
        with tifffile.TiffFile(path) as file:
            first, *others = file.pages
            images = [page for page in others if not (page.is_reduced or page.is_mask)]
            _load_lazy_properties(first)
    except PermissionError:
        raise
    except Exception as error:  # those of damaged tags share no base class
        reason = str(error) or type(error).__name__
        raise OSError(
            f"{path} cannot be read as a TIFF ({reason}). Copy it again from its source."
        ) from error
    if images or first.imagedepth != 1:
        raise ValueError(
            f"{path} has {len(images) + 1} pages of depth {first.imagedepth}. Save a single page "
            "with the bands as its samples, chunky or planar."
        )
    return first


def _load_lazy_properties(page):
    """Let tifffile compute what it can compute only while the file is open, and then remembers."""
    page.jpegtables  # noqa: B018
    page.dataoffsets, page.databytecounts  # noqa: B018
    page.is_memmappable  # noqa: B018, would be False afterwards
    page.decode  # noqa: B018, could not decode JPEG afterwards


def _check_values(path, page):
    """Raise a ValueError if a page has values that are not real numbers of one type."""
    if not isinstance(page.imagewidth, int) or not isinstance(page.imagelength, int):
        raise ValueError(
            f"{path} is damaged (its size is {page.imagewidth} x {page.imagelength}). Copy it "
            "again from its source, or remove it."
        )
    if page.dtype is None:
        raise ValueError(
            f"{path} has values that tifffile cannot decode: sample format {page.sampleformat} of "
            f"{page.bitspersample} bit. Save integers or floating point numbers of 8 to 64 bit."
        )
    if page.dtype.kind == "c":
        raise ValueError(
            f"{path} is a TIFF of complex numbers. Save their magnitude, or the real and the "
            "imaginary part as two bands."
        )


def _parse_nodata(text, dtype):
    """Return the number in a GDAL_NODATA tag as `dtype`; None if no pixel can have this value."""
    try:
        value = float(text)
    except ValueError:
        return None
    if dtype.kind == "f":
        return dtype.type(value)  # GDAL writes -3.4e38 with more digits than float32 has
    limits = np.iinfo(dtype)
    if value == value // 1 and limits.min <= value <= limits.max:
        return dtype.type(value)
    return None
