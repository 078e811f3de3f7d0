"""Pictures and masks on disk -> arrays.

Pillow reads them, not OpenCV: `cv2.imread` gives a truncated JPEG back as a half-grey picture without an error,
and turns a palette's class ids into colours.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
EXIF_ORIENTATION = 0x0112
GREY_MODES = ("1", "L", "LA", "I;16", "I;16B", "I", "F")


def picture_files(folder):
    """Return the picture files of a folder, sorted by name; hidden files are left out.

    Raises:
        FileNotFoundError: there is no such folder, or it holds no picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}'. Check the path.")
    files = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
    if not files:
        raise FileNotFoundError(f"The folder '{folder}' holds no picture. Expected files {', '.join(SUFFIXES)}.")
    return sorted(files)


def read_header(path):
    """Return (height, width, channels, is_8_bit) as `read_image` will give them, without decoding."""
    with _open(path) as image:
        width, height = image.size
        if _orientation(image) >= 5:  # stored on its side
            width, height = height, width
        grey = image.mode in GREY_MODES
        return height, width, 1 if grey else 3, image.mode not in ("I;16", "I;16B", "I", "F")


def read_image(path, channels=None):
    """Read a picture, upright as its EXIF orientation says; alpha is dropped, a palette becomes RGB.

    Args:
        path: file.
        channels: 1 or 3 to convert to grey or RGB; None keeps grey grey and colour RGB.

    Returns:
        (H, W, 1 or 3) uint8; (H, W, 1) uint16 or float32 for 16-bit and floating grey files.

    Raises:
        OSError: the file is missing, truncated or no picture; the message names it.
        ValueError: it holds several pages, or colours of 16 bit.
    """
    with _open(path) as image:
        grey = image.mode in GREY_MODES
        try:
            if _orientation(image) != 1:
                image = ImageOps.exif_transpose(image)
            if not grey:
                image = image.convert("RGB")
            elif image.mode in ("1", "LA"):
                image = image.convert("L")
            array = np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise OSError(_damaged(path, error)) from error
    if array.dtype == np.int32:  # how Pillow holds some 16-bit files, and those of 32 bit
        array = array.astype(np.uint16 if array.min() >= 0 and array.max() < 2**16 else np.float32)
    array = array.reshape(*array.shape[:2], -1)
    if channels == 3 and array.shape[-1] == 1:
        return np.repeat(array, 3, axis=-1)
    if channels == 1 and array.shape[-1] == 3:
        return np.asarray(Image.fromarray(array).convert("L"))[..., None]
    return array


def read_mask(path):
    """Read a mask's values as they are on disk: grey levels, or the indices of a palette.

    Returns:
        (H, W) integers.

    Raises:
        OSError: the file is missing, truncated or no picture.
        ValueError: it is a JPEG, or holds colours.
    """
    with _open(path) as image:
        if image.format in ("JPEG", "WEBP"):
            raise ValueError(
                f"{path} is a {image.format} used as a mask: lossy compression invents class ids along edges. "
                "Save masks as PNG from the original labels."
            )
        try:
            array = np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise OSError(_damaged(path, error)) from error
    if array.ndim == 3:
        first = array[..., :1]
        if (array[..., : 3 if array.shape[-1] >= 3 else 1] != first).any():
            raise ValueError(
                f"{path} holds colours, not class ids. Save one class id a pixel as a grey or palette PNG."
            )
        array = first[..., 0]
    if array.dtype.kind == "f":
        raise ValueError(f"{path} holds floating numbers, not class ids. Save one class id a pixel as a PNG.")
    return array.astype(np.uint8) if array.dtype == bool else array


def _orientation(image):
    # Only cameras' formats: to find a PNG's EXIF Pillow would decode it.
    return image.getexif().get(EXIF_ORIENTATION, 1) if image.format in ("JPEG", "MPO", "WEBP") else 1


def _open(path):
    try:
        image = Image.open(path)
    except Image.DecompressionBombError as error:
        raise OSError(f"{path} is too large to be read whole ({error}). Cut it into tiles.") from error
    except UnidentifiedImageError as error:
        raise OSError(f"{path} cannot be read as a picture. Expected one of {', '.join(SUFFIXES)}.") from error
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no file '{path}'. Check the path.") from error
    if image.format == "TIFF" and image.n_frames > 1:
        raise ValueError(f"{path} holds {image.n_frames} pages. Save every page as a file of its own.")
    if image.mode == "RGB" and image.tile and ";16" in str(image.tile[0][3]):  # Pillow would drop half of the bits
        raise ValueError(f"{path} holds colours of 16 bit. Save it with 8 bit a channel.")
    return image


def _damaged(path, error):
    return f"{path} is damaged ({error}). Copy it again from its source, or remove it."
