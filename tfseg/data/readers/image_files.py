"""Images and masks on disk -> arrays.

Pillow reads them, not OpenCV: `cv2.imread` gives a truncated JPEG back as a half-gray image without an error,
and turns a palette's class ids into colors. Only colors of 16 bit, of which Pillow would drop half, are OpenCV's,
after Pillow has found the file whole.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tfseg.data.readers.extract import block_means

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
EXIF_ORIENTATION = 0x0112
GREY_MODES = ("1", "L", "LA", "I;16", "I;16B", "I", "F")
DEEP_MODES = ("I;16", "I;16B", "I", "F")
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow's


def image_files(folder):
    """Return the image files of a folder, sorted by name; hidden files are left out.

    Raises:
        FileNotFoundError: there is no such folder, or it holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}'. Check the path.")
    files = [
        p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
    ]
    if not files:
        raise FileNotFoundError(
            f"The folder '{folder}' holds no image. Expected files {', '.join(SUFFIXES)}."
        )
    return sorted(files)


def by_stem(files):
    """Return {name without suffix: file}; raise a ValueError if two files bear the same."""
    found = {}
    for path in files:
        if path.stem in found:
            raise ValueError(f"{found[path.stem]} and {path} bear the same name. Keep one of them.")
        found[path.stem] = path
    return found


def read_header(path):
    """Return (height, width, channels, is_8_bit) as `read_image` will give them, without decoding."""
    with _open(path) as image:
        width, height = image.size
        if orientation(image) >= 5:  # stored on its side
            width, height = height, width
        eight_bit = not _is_deep(image) and image.mode not in DEEP_MODES
        return height, width, 1 if _is_gray(image) else 3, eight_bit


def read_image(path, channels=None, shrink=1):
    """Read an image, upright as its EXIF orientation says; alpha is dropped, a palette becomes RGB.

    Args:
        path: file.
        channels: 1 or 3 to convert to gray or RGB; None keeps gray gray and color RGB.
        shrink: 1, 2, 4 or 8: read it at this fraction of its size, rounded up, by means of blocks. JPEGs are decoded
            so, for a fraction of the work.

    Returns:
        (H, W, 1 or 3) uint8; uint16 for files of 16 bit; (H, W, 1) float32 for floating gray files.

    Raises:
        OSError: the file is missing, truncated or no image; the message names it.
        ValueError: it holds several pages, or colors of 16 bit packed in a way that OpenCV does not know.
    """
    with _open(path) as image:
        gray, deep = _is_gray(image), _is_deep(image)
        try:
            left = _drafted(image, shrink)
            if orientation(image) != 1:
                image = ImageOps.exif_transpose(image)
            if deep:
                image.load()  # finds what is damaged; OpenCV says so on stderr, or not at all, by its version
                array = _deep_colors(path)
            elif not gray:
                array = np.asarray(image.convert("RGB"))
            else:
                array = np.asarray(image.convert("L") if image.mode in ("1", "LA") else image)
        except (OSError, SyntaxError, ValueError) as error:
            raise OSError(_damaged(path, error)) from error
    if array is None:
        raise ValueError(
            f"{path}: OpenCV cannot decode its colors of 16 bit. Save it as a PNG of 16 bit."
        )
    if array.dtype == np.int32:  # how Pillow holds some 16-bit files, and those of 32 bit
        array = array.astype(np.uint16 if array.min() >= 0 and array.max() < 2**16 else np.float32)
    array = array.reshape(*array.shape[:2], -1)
    if gray:
        array = array[..., :1]
    array = _with_channels(array, channels)
    return block_means(array, left)


def _drafted(image, shrink):
    """Let the decoder of a JPEG make the image smaller where it can; return by how much it is still too large."""
    full = image.size
    # The decoder's blocks begin at the corner that is stored first; masks are read from the one that is upper left.
    same_blocks = orientation(image) == 1 or not (full[0] % shrink or full[1] % shrink)
    if shrink > 1 and min(full) >= shrink and same_blocks:
        image.draft(None, (full[0] // shrink, full[1] // shrink))
    return shrink if image.size == full else 1


def _with_channels(array, channels):
    """Return (H, W, 1 or 3) with the channels asked for."""
    if channels == 3 and array.shape[-1] == 1:
        return np.repeat(array, 3, axis=-1)
    if channels == 1 and array.shape[-1] == 3:
        if array.dtype == np.uint8:
            return np.asarray(Image.fromarray(array).convert("L"))[..., None]
        return np.rint(array @ LUMA).astype(array.dtype)[..., None]
    return array


def read_mask(path):
    """Read a mask's values as they are on disk: gray levels, or the indices of a palette.

    Returns:
        (H, W) integers.

    Raises:
        OSError: the file is missing, truncated or no image.
        ValueError: it is a JPEG, or holds colors or floating numbers.
    """
    array = _mask_array(path)
    if array.ndim == 3:
        first = array[..., :1]
        if (array[..., : 3 if array.shape[-1] >= 3 else 1] != first).any():
            raise ValueError(
                f"{path} holds colors, not class ids. Save one class id a pixel as a gray or palette PNG, or name "
                'the colors: Folder(..., colors={"road": (128, 64, 128), ...}).'
            )
        array = first[..., 0]
    if array.dtype.kind == "f":
        raise ValueError(
            f"{path} holds floating numbers, not class ids. Save one class id a pixel as a PNG."
        )
    return array.astype(np.uint8) if array.dtype == bool else array


def read_colors(path):
    """Read the colors of a mask in which colors stand for classes; alpha is dropped, a palette becomes RGB.

    Returns:
        (H, W, 3) uint8.

    Raises:
        OSError: the file is missing, truncated or no image.
        ValueError: it is a JPEG, or has more than 8 bit a channel.
    """
    array = _mask_array(
        path, lambda image: image if image.mode in DEEP_MODES else image.convert("RGB")
    )
    if array.dtype != np.uint8:
        raise ValueError(
            f"{path} holds {array.dtype} numbers, not colors of 8 bit. Save the mask as an RGB PNG."
        )
    return array


def read_palette(path):
    """Return the (K, 3) uint8 RGB palette of a palette PNG, without decoding it; None of any other file."""
    with _open(path) as image:
        if image.format != "PNG" or image.mode != "P":
            return None
        return np.frombuffer(bytes(image.palette.palette), np.uint8).reshape(-1, 3)


def _mask_array(path, convert=lambda image: image):
    """Return the array of a mask file, or say why it can be no mask."""
    with _open(path) as image:
        if image.format in ("JPEG", "MPO", "WEBP"):
            raise ValueError(
                f"{path} is a {image.format} used as a mask: lossy compression invents class ids along edges. "
                "Save masks as PNG from the original labels."
            )
        if _is_deep(image):
            raise ValueError(
                f"{path} holds colors of 16 bit, not class ids. Save one class id a pixel as a gray or palette PNG."
            )
        try:
            return np.asarray(convert(image))
        except (OSError, SyntaxError, ValueError) as error:
            raise OSError(_damaged(path, error)) from error


def _is_gray(image):
    return image.mode in GREY_MODES or _raw_mode(image).startswith("LA;16")


def _is_deep(image):
    """Tell whether a file holds more than one channel of 16 bit: Pillow would drop the lower eight."""
    return image.mode in ("LA", "RGB", "RGBA", "RGBX") and ";16" in _raw_mode(image)


def _raw_mode(image):
    return str(image.tile[0][3]) if image.tile else ""


def _deep_colors(path):
    """Return (H, W, 3) uint16 RGB of a file whose several channels have 16 bit; None if OpenCV cannot."""
    import cv2  # its half second is spent by those alone who have such files

    array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16 or array.ndim != 3 or array.shape[-1] < 3:
        return None
    return np.ascontiguousarray(array[..., 2::-1])


def orientation(image):
    """Return the EXIF orientation of an open Pillow image, 1 to 8; 1 is upright."""
    # Only cameras' formats: to find a PNG's EXIF Pillow would decode it.
    if image.format not in ("JPEG", "MPO", "WEBP"):
        return 1
    try:
        return image.getexif().get(EXIF_ORIENTATION, 1)
    except SyntaxError:  # what is broken tells nothing
        return 1


def _open(path):
    try:
        image = Image.open(path)
        pages = image.n_frames if image.format == "TIFF" else 1
    except Image.DecompressionBombError as error:
        raise OSError(
            f"{path} is too large to be read whole ({error}). Cut it into tiles."
        ) from error
    except UnidentifiedImageError as error:
        known = Path(path).suffix.lower() in SUFFIXES
        told = (
            "It does not begin as one. Copy it again, or remove it"
            if known
            else f"Expected {', '.join(SUFFIXES)}"
        )
        raise OSError(f"{path} cannot be read as an image. {told}.") from error
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no file '{path}'. Check the path.") from error
    except (OSError, SyntaxError, TypeError, ValueError) as error:
        if getattr(
            error, "filename", None
        ):  # the system's own, such as of a file that nobody may read
            raise
        raise OSError(_damaged(path, error)) from error
    if pages > 1:
        raise ValueError(f"{path} holds {pages} pages. Save every page as a file of its own.")
    return image


def _damaged(path, error):
    return f"{path} is damaged ({error}). Copy it again from its source, or remove it."
