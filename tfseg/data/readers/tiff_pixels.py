"""TIFF files that Pillow cannot decode, or decodes wrongly: tifffile reads them."""

from PIL import Image

from tfseg import checks
from tfseg.data.readers.tiff_header import (
    BLACK_IS_ZERO,
    PALETTE,
    RGB,
    WHITE_IS_ZERO,
    TiffHeader,
    read_tiff_header,
)

GRAY = (WHITE_IS_ZERO, BLACK_IS_ZERO)
# Compressions that Pillow decodes: none, CCITT, LZW, JPEG, deflate, PackBits, LZMA, Zstandard.
PILLOW_COMPRESSIONS = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000)
OPENCV_COMPRESSIONS = (1, 5, 8, 32773, 32946)
SMALL = [("uint", bits) for bits in (1, 2, 4, 8)]
PILLOW_KINDS = {  # of files of one band
    RGB: (),
    WHITE_IS_ZERO: (*SMALL, ("float", 32)),
    BLACK_IS_ZERO: (*SMALL, ("uint", 16), ("int", 16), ("int", 32), ("float", 32)),
}


def tifffile_header(path) -> TiffHeader | None:
    """Return the header of a TIFF that tifffile must decode; None for all other files.

    Raises:
        ImportError: tifffile is needed, but not installed.
        OSError: the file cannot be opened.
        ValueError: the TIFF has several pages, complex numbers, or bands that are not gray or RGB.
    """
    header = read_tiff_header(path)
    if header is None:
        return None
    if header.pages > 1:
        raise ValueError(f"{path} has {header.pages} pages. Save each page as its own file.")
    if header.photometric in (*GRAY, RGB):
        _require_gray_or_rgb(path, header)
    if _pillow_decodes(header):
        return None
    if header.photometric not in (*GRAY, RGB, PALETTE):
        return None  # Pillow says why it cannot decode other colors
    _require_size(path, header)
    checks.require_package("tifffile", "tiff")
    return header


def _require_gray_or_rgb(path, header):
    if header.kind == "complex":
        raise ValueError(
            f"{path} is a TIFF of complex numbers. Save their magnitude, or the real and the "
            "imaginary part as two bands."
        )
    if header.colors not in (1, 3) or header.bits == 0:
        raise ValueError(
            f"{path} is a TIFF with {header.bands} bands of {header.dtype_name}, expected gray or "
            "RGB, with or without alpha. Read it with tfseg.data.GeoTiff, whose `bands` chooses "
            "among them, or save three bands as an RGB file."
        )


def _require_size(path, header):
    """Raise an OSError above Pillow's limit for the number of pixels."""
    limit = Image.MAX_IMAGE_PIXELS
    height, width = header.size
    if limit and height * width > 2 * limit:
        raise OSError(
            f"{path} is too large to be read whole ({width} x {height} pixels). Cut it into tiles."
        )


def _pillow_decodes(header):
    """Return whether Pillow, or OpenCV for colors of 16 bit, reads the pixels exactly."""
    if header.is_sparse or header.compression not in PILLOW_COMPRESSIONS:
        return False
    if header.photometric not in (*GRAY, RGB):
        return header.photometric != PALETTE or header.bits <= 8
    if header.bands == 1:
        # Pillow swaps the bytes of some big-endian values after libtiff has swapped them.
        swapped = header.big_endian and header.compression != 1 and header.bits > 8
        kind = header.kind, header.bits
        return kind in PILLOW_KINDS[header.photometric] and not swapped
    if header.kind != "uint" or header.photometric == WHITE_IS_ZERO:
        return False
    if header.photometric == BLACK_IS_ZERO:  # with alpha
        return header.bits == 8 and header.bands == 2 and not header.is_planar
    if header.bits == 16 and not header.is_planar:
        return header.compression in OPENCV_COMPRESSIONS
    return header.bits == 8


def read_tiff_image(path, header: TiffHeader):
    """Return the pixels of a TIFF, (H, W, 1 or 3), as its photometric tag says.

    Raises:
        OSError: the file is damaged.
        ValueError: the file has a palette of more than 8 bit.
    """
    if header.photometric == PALETTE:
        raise ValueError(f"{path} is a TIFF with a palette of {header.bits} bit. Save it as RGB.")
    scene = _scene(path)
    return scene.as_displayed(scene.read())[..., : header.colors]


def read_tiff_values(path):
    """Return the values of a TIFF as they are stored, (H, W, bands).

    Raises:
        OSError: the file is damaged.
    """
    return _scene(path).read()


def _scene(path):
    from pathlib import Path

    # `formats` imports the module that imports this one.
    from tfseg.data.readers.formats.scene import Scene

    return Scene(Path(path))
