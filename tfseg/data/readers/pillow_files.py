"""Open and decode image files with Pillow, and say what is wrong with those that cannot be."""

import os
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from tfseg.data.readers.orientation import ORIENTATION_TAG, UPRIGHT, valid_orientation
from tfseg.data.readers.png_chunks import png_orientation, without_metadata
from tfseg.data.readers.tiff_header import read_tiff_header

SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"),
)
CAMERA_FORMATS = ("JPEG", "MPO", "WEBP")  # whose EXIF orientation applies
ANIMATED_FORMATS = ("GIF", "PNG", "WEBP", "AVIF")
DEEP_GRAY_MODES = ("I;16", "I;16B", "I", "F")  # more than 8 bit per pixel
CODESTREAM = b"\xff\x4f\xff\x51"  # how that of JPEG 2000 starts
MOST_PARTIAL = 0.5  # fraction of an alpha channel that may be neither opaque nor transparent
GRAY_MODES = ("1", "L", "LA", "La", *DEEP_GRAY_MODES)


def open_image(path: str | Path) -> Image.Image:
    """Open an image file of one page with Pillow.

    Raises:
        OSError: the file is missing, empty, damaged or not an image.
        ValueError: the file has several pages, or is a kind of TIFF that Pillow cannot decode.
    """
    require_file(path)
    try:
        image = _open_with_or_without_metadata(path)
    except Image.DecompressionBombError as error:
        raise OSError(too_large(path, error)) from error
    except UnidentifiedImageError as error:
        _raise_if_tiff(path)
        raise OSError(f"{path} cannot be read as an image. {_why_unknown(path)}") from error
    except (OSError, SyntaxError, TypeError, ValueError, KeyError) as error:
        if getattr(error, "filename", None):  # from the operating system: no permission, etc.
            raise
        _raise_if_tiff(path)
        raise OSError(damaged(path, error)) from error
    frames = getattr(image, "n_frames", 1) if image.format in ANIMATED_FORMATS else 1
    if frames > 1:
        raise ValueError(f"{path} has {frames} frames. Save each frame as its own file.")
    return image


def _open_with_or_without_metadata(path):
    """Open a file; a PNG whose metadata Pillow refuses is opened without them."""
    try:
        return Image.open(path)
    except (UnidentifiedImageError, SyntaxError, ValueError):
        pixels = without_metadata(path)
        if pixels is None:
            raise
        return Image.open(pixels)


def load(image, path):
    """Decode an open image and return it; see `open_image` about the metadata of PNGs."""
    if image.format == "TIFF":
        image.filename = ""  # or Pillow maps the file with height and width of the upright image
    try:
        image.load()
    except (SyntaxError, ValueError):
        pixels = without_metadata(path)
        if pixels is None:
            raise
        image = Image.open(pixels)
        image.load()
    return image


def require_file(path):
    """Raise an OSError if a file is missing or empty."""
    path = Path(path)
    if not path.exists():
        if path.is_symlink():
            raise FileNotFoundError(
                f"{path} is a link to '{os.readlink(path)}', which does not exist. Restore that "
                "file, or remove the link."
            )
        raise FileNotFoundError(f"There is no file '{path}'. Check the path.")
    if path.is_file() and path.stat().st_size == 0:
        raise OSError(f"{path} is empty (0 bytes). Copy it again from its source, or remove it.")


def _raise_if_tiff(path):
    """Raise a ValueError that describes a file if it is a TIFF."""
    header = read_tiff_header(path)
    if header is not None:
        raise ValueError(
            f"{path} is a TIFF with {header.bands} bands of {header.dtype_name} (photometric "
            f"{header.photometric}, compression {header.compression}), which Pillow cannot decode. "
            "Save it as a gray or RGB TIFF or PNG of 8 or 16 bit."
        )


def _why_unknown(path):
    if Path(path).suffix.lower() in SUFFIXES:
        return "Its content does not start like one. Copy it again, or remove it."
    return f"Expected {', '.join(SUFFIXES)}."


def damaged(path, error) -> str:
    """Return the sentence about a file that cannot be decoded."""
    reason = str(error) or type(error).__name__
    return f"{path} is damaged ({reason}). Copy it again from its source, or remove it."


def too_large(path, error) -> str:
    """Return the sentence about an image with too many pixels."""
    return f"{path} is too large to be read whole ({error}). Cut it into tiles."


def orientation(image) -> int:
    """Return the orientation that applies to an open Pillow image, 1 to 8; 1 is upright."""
    # Only camera formats: PNGs are read as stored, and Pillow itself turns TIFFs.
    if image.format not in CAMERA_FORMATS:
        return UPRIGHT
    try:
        return valid_orientation(image.getexif().get(ORIENTATION_TAG, UPRIGHT))
    except (SyntaxError, ValueError, TypeError):  # damaged EXIF data
        return UPRIGHT


def stored_orientation(path: str | Path) -> int:
    """Return the orientation in a file's metadata, 1 to 8; 1 is upright.

    That of a PNG is not applied when it is read, those of other formats are.
    """
    header = read_tiff_header(path)
    if header is not None:
        return header.orientation
    with open_image(path) as image:
        return png_orientation(path) if image.format == "PNG" else orientation(image)


def raw_mode(image) -> str:
    """Return how the pixels of an open image are stored, such as "L;4" for gray of 4 bit."""
    arguments = image.tile[0][3] if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def is_gray(image) -> bool:
    """Return whether an open image is gray, with or without alpha."""
    return image.mode in GRAY_MODES or raw_mode(image).startswith("LA;16")


def is_deep_color(image) -> bool:
    """Return whether a file has several channels of 16 bit: Pillow would drop the lower 8."""
    if image.format == "JPEG2000":
        return image.mode != "I;16" and _bits_of_jpeg2000(image) > 8
    return image.mode in ("LA", "RGB", "RGBA", "RGBX") and ";16" in raw_mode(image)


def _bits_of_jpeg2000(image):
    """Return the bits per channel of a JPEG 2000 file."""
    image.fp.seek(_codestream_position(image.fp))
    start = image.fp.read(43)
    if len(start) < 43 or not start.startswith(CODESTREAM):
        return 8
    return (start[42] & 0x7F) + 1  # the first channel's, after the sizes of image and tiles


def _codestream_position(file):
    """Return where the codestream of a JPEG 2000 file is: in its box "jp2c", or 0 without boxes."""
    position = 0
    file.seek(position)
    header = file.read(16)
    while len(header) >= 8 and not header.startswith(CODESTREAM):
        length, kind = struct.unpack(">I4s", header[:8])
        is_long = length == 1  # the length is behind the kind, in 8 bytes
        if kind == b"jp2c":
            return position + (16 if is_long else 8)
        length = int.from_bytes(header[8:]) if is_long else length
        if length < 8:
            break  # a box that goes to the end of the file
        position += length
        file.seek(position)
        header = file.read(16)
    return 0


def decode(image, gray: bool):
    """Return the pixels of a loaded image: (H, W, 3) RGB, or (H, W) if it is `gray`."""
    if not gray:
        image = image.convert("RGB")
    elif image.mode == "La":
        image = image.convert("LA").convert("L")  # undoes the multiplication by alpha
    elif image.mode in ("1", "LA"):
        image = image.convert("L")
    return np.asarray(image)


def decode_deep_color(path, image_format: str):
    """Return the (H, W, 3) uint16 RGB pixels of a 16-bit color file.

    Raises:
        ValueError: OpenCV cannot decode it.
    """
    import cv2  # lazy import: cv2 takes 0.5 s

    pixels = without_metadata(path) if image_format == "PNG" else None
    data = np.fromfile(path, np.uint8) if pixels is None else np.frombuffer(pixels.read(), np.uint8)
    array = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16 or array.ndim != 3 or array.shape[-1] < 3:
        raise ValueError(
            f"{path}: OpenCV cannot decode its 16-bit colors. Save it as a 16-bit PNG."
        )
    if image_format == "TIFF" and array.shape[-1] == 4:
        warn_of_data_in_alpha(path, array[..., 3])
    return np.ascontiguousarray(array[..., 2::-1])


def warn_of_data_in_alpha(path, alpha):
    """Warn if most pixels of a TIFF's alpha channel are neither opaque nor transparent.

    GDAL calls the fourth band of 8 bit alpha by default, even if it is near infrared.
    """
    largest = np.iinfo(alpha.dtype).max
    if np.mean((alpha > 0) & (alpha < largest)) > MOST_PARTIAL:
        warnings.warn(
            f"{path}: its alpha channel, which is dropped, looks like a band of data. Read all "
            "bands with tfseg.data.GeoTiff.",
            stacklevel=4,
        )
