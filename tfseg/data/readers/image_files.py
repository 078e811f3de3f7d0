"""Read images and masks from disk as arrays.

Pillow decodes them, not OpenCV: `cv2.imread` returns a truncated JPEG as a half-gray image without
an error, and turns the class ids of a palette into colors. Only color images of 16 bit, of which
Pillow would drop the lower bits, are decoded by OpenCV, after Pillow has verified the file.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tfseg.data.readers.extract import block_means

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
EXIF_ORIENTATION = 0x0112
GRAY_MODES = ("1", "L", "LA", "I;16", "I;16B", "I", "F")
DEEP_GRAY_MODES = ("I;16", "I;16B", "I", "F")  # more than 8 bit per pixel
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as in Pillow


def image_files(folder: str | Path) -> list[Path]:
    """Return the image files of a folder, sorted by name, without hidden files.

    Raises:
        FileNotFoundError: the folder is missing or contains no image.

    Example:
        >>> import tfseg
        >>> [file.name for file in tfseg.data.image_files("photos")]
        ['leaf0.jpg', 'leaf1.jpg', 'leaf2.jpg', 'leaf3.jpg']
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}'. Check the path.")
    files = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    ]
    if not files:
        raise FileNotFoundError(
            f"The folder '{folder}' contains no image. Expected files {', '.join(SUFFIXES)}."
        )
    return sorted(files)


def by_stem(files) -> dict[str, Path]:
    """Return {name without suffix: file}.

    Raises:
        ValueError: two files have the same name.
    """
    found = {}
    for file in files:
        if file.stem in found:
            raise ValueError(
                f"{found[file.stem]} and {file} have the same name without suffix. Keep one of "
                "them."
            )
        found[file.stem] = file
    return found


def read_header(path: str | Path) -> tuple[int, int, int, bool]:
    """Return (height, width, channels, is_8_bit) as `read_image` returns them, without decoding.

    Example:
        >>> import tfseg
        >>> tfseg.data.read_header("photos/leaf0.jpg")
        (48, 64, 3, True)
    """
    with _open(path) as image:
        width, height = image.size
        if orientation(image) >= 5:  # stored sideways
            width, height = height, width
        channels = 1 if _is_gray(image) else 3
        is_8_bit = not _is_deep_color(image) and image.mode not in DEEP_GRAY_MODES
        return height, width, channels, is_8_bit


def read_image(path: str | Path, channels: int | None = None, shrink: int = 1):
    """Read an image, upright according to its EXIF orientation.

    Alpha is dropped; palettes become RGB.

    Args:
        path: image file.
        channels: 1 or 3 to convert to gray or RGB; None keeps what the file has.
        shrink: 1, 2, 4 or 8: read the image at this fraction of its size, rounded up, averaged
            over blocks. The decoder of JPEGs does this with less work.

    Returns:
        (H, W, 1 or 3) uint8; uint16 for files of 16 bit; (H, W, 1) float32 for gray files of
        floating point numbers.

    Raises:
        OSError: the file is missing, truncated or not an image.
        ValueError: the file has several pages, or 16-bit colors that OpenCV cannot decode.

    Example:
        >>> import tfseg
        >>> tfseg.data.read_image("photos/leaf0.jpg").shape
        (48, 64, 3)
        >>> tfseg.data.read_image("photos/leaf0.jpg", channels=1, shrink=2).shape
        (24, 32, 1)
    """
    with _open(path) as image:
        is_gray = _is_gray(image)
        try:
            remaining = _draft(image, shrink)
            if _is_deep_color(image):
                image.load()  # finds damage: OpenCV prints it to stderr, or ignores it
                array = _decode_deep_color(path)
            else:
                array = _decode(image, is_gray)
        except (OSError, SyntaxError, ValueError) as error:
            raise OSError(_damaged(path, error)) from error
    if array is None:
        raise ValueError(
            f"{path}: OpenCV cannot decode its 16-bit colors. Save it as a 16-bit PNG."
        )
    if array.dtype == np.int32:  # Pillow's type for some 16-bit files and for 32-bit files
        fits = array.min() >= 0 and array.max() < 2**16
        array = array.astype(np.uint16 if fits else np.float32)
    array = array.reshape(*array.shape[:2], -1)
    if is_gray:
        array = array[..., :1]
    return block_means(_with_channels(array, channels), remaining)


def _draft(image, shrink):
    """Let the JPEG decoder shrink the image if it can; return the factor that is left to do."""
    full = image.size
    # The decoder's blocks start at the corner that is stored first, the blocks of the mask at the
    # upper left one.
    same_blocks = orientation(image) == 1 or not (full[0] % shrink or full[1] % shrink)
    if shrink > 1 and min(full) >= shrink and same_blocks:
        image.draft(None, (full[0] // shrink, full[1] // shrink))
    return shrink if image.size == full else 1


def _decode(image, is_gray):
    """Return the pixels of an open image: RGB, or the channels of a gray file."""
    if orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    if not is_gray:
        image = image.convert("RGB")
    elif image.mode in ("1", "LA"):
        image = image.convert("L")
    return np.asarray(image)


def _decode_deep_color(path):
    """Return (H, W, 3) uint16 RGB of a 16-bit color file; None if OpenCV cannot decode it."""
    import cv2  # lazy import: cv2 takes 0.5 s

    array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16 or array.ndim != 3 or array.shape[-1] < 3:
        return None
    return np.ascontiguousarray(array[..., 2::-1])


def _with_channels(array, channels):
    """Convert (H, W, 1 or 3) to the number of channels wanted; None for any."""
    if channels == 3 and array.shape[-1] == 1:
        return np.repeat(array, 3, axis=-1)
    if channels == 1 and array.shape[-1] == 3:
        if array.dtype == np.uint8:
            return np.asarray(Image.fromarray(array).convert("L"))[..., None]
        return np.rint(array @ LUMA).astype(array.dtype)[..., None]
    return array


def read_mask(path: str | Path):
    """Read the values of a mask as they are on disk: gray levels or palette indices.

    Returns:
        (H, W) integers.

    Raises:
        OSError: the file is missing, truncated or not an image.
        ValueError: the file is a JPEG, or contains colors or floating point numbers.

    Example:
        >>> import numpy as np, tfseg
        >>> np.unique(tfseg.data.read_mask("labels/leaf0.png")).tolist()
        [0, 1]
    """
    array = _read_mask_array(path)
    if array.ndim == 3:
        # Gray with alpha has 2 channels, RGB(A) 3 or 4; gray levels may be stored as RGB.
        colors = array[..., :3] if array.shape[-1] >= 3 else array[..., :1]
        if (colors != array[..., :1]).any():
            raise ValueError(
                f"{path} contains colors, not class ids. Save one class id per pixel as a gray or "
                "palette PNG, or name the colors: "
                'Folder(..., colors={"road": (128, 64, 128), ...}).'
            )
        array = array[..., 0]
    if array.dtype.kind == "f":
        raise ValueError(
            f"{path} contains floating point numbers, not class ids. Save one class id per pixel "
            "as a PNG."
        )
    return array.astype(np.uint8) if array.dtype == bool else array


def read_colors(path: str | Path):
    """Read a mask in which colors stand for classes. Alpha is dropped; palettes become RGB.

    Returns:
        (H, W, 3) uint8.

    Raises:
        OSError: the file is missing, truncated or not an image.
        ValueError: the file is a JPEG, or has more than 8 bit per channel.
    """
    array = _read_mask_array(path, as_rgb=True)
    if array.dtype != np.uint8:
        raise ValueError(
            f"{path} contains {array.dtype} values, expected 8-bit colors. Save the mask as an RGB "
            "PNG."
        )
    return array


def read_palette(path: str | Path):
    """Return the (K, 3) uint8 RGB palette of a palette PNG without decoding it, else None."""
    with _open(path) as image:
        if image.format != "PNG" or image.mode != "P":
            return None
        return np.frombuffer(bytes(image.palette.palette), np.uint8).reshape(-1, 3)


def _read_mask_array(path, as_rgb=False):
    """Return the array of a mask file, or raise an error that says why it cannot be a mask."""
    with _open(path) as image:
        if image.format in ("JPEG", "MPO", "WEBP"):
            raise ValueError(
                f"{path} is a {image.format} used as a mask: lossy compression invents class ids "
                "along edges. Save masks as PNG from the original labels."
            )
        if _is_deep_color(image):
            raise ValueError(
                f"{path} contains 16-bit colors, not class ids. Save one class id per pixel as a "
                "gray or palette PNG."
            )
        try:
            if as_rgb and image.mode not in DEEP_GRAY_MODES:
                image = image.convert("RGB")
            return np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise OSError(_damaged(path, error)) from error


def _is_gray(image):
    return image.mode in GRAY_MODES or _raw_mode(image).startswith("LA;16")


def _is_deep_color(image):
    """Return whether a file has several channels of 16 bit: Pillow would drop the lower 8."""
    return image.mode in ("LA", "RGB", "RGBA", "RGBX") and ";16" in _raw_mode(image)


def _raw_mode(image):
    return str(image.tile[0][3]) if image.tile else ""


def orientation(image) -> int:
    """Return the EXIF orientation of an open Pillow image, 1 to 8; 1 is upright."""
    # Only camera formats: to find the EXIF data of a PNG, Pillow would decode it.
    if image.format not in ("JPEG", "MPO", "WEBP"):
        return 1
    try:
        return image.getexif().get(EXIF_ORIENTATION, 1)
    except SyntaxError:  # damaged EXIF data
        return 1


def _open(path):
    """Open an image file of one page with Pillow."""
    try:
        image = Image.open(path)
        pages = image.n_frames if image.format == "TIFF" else 1
    except Image.DecompressionBombError as error:
        raise OSError(
            f"{path} is too large to be read whole ({error}). Cut it into tiles."
        ) from error
    except UnidentifiedImageError as error:
        raise OSError(f"{path} cannot be read as an image. {_why_unknown(path)}") from error
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no file '{path}'. Check the path.") from error
    except (OSError, SyntaxError, TypeError, ValueError) as error:
        if getattr(error, "filename", None):  # from the operating system: no permission, etc.
            raise
        raise OSError(_damaged(path, error)) from error
    if pages > 1:
        raise ValueError(f"{path} has {pages} pages. Save each page as its own file.")
    return image


def _why_unknown(path):
    if Path(path).suffix.lower() in SUFFIXES:
        return "Its content does not start like one. Copy it again, or remove it."
    return f"Expected {', '.join(SUFFIXES)}."


def _damaged(path, error):
    return f"{path} is damaged ({error}). Copy it again from its source, or remove it."
