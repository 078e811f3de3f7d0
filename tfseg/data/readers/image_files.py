"""Read images and masks from disk as arrays.

Pillow decodes them, not OpenCV: `cv2.imread` returns a truncated JPEG as a half-gray image without
an error, and turns the class ids of a palette into colors. Only color images of 16 bit, of which
Pillow would drop the lower bits, are decoded by OpenCV, after Pillow has verified the file, and
TIFFs that Pillow cannot decode by tifffile.
"""

import re
from pathlib import Path

import numpy as np
from PIL import Image

from tfseg.data.readers.extract import block_means
from tfseg.data.readers.mask_values import whole_numbers
from tfseg.data.readers.orientation import is_sideways, upright
from tfseg.data.readers.pillow_files import (
    DEEP_GRAY_MODES,
    damaged,
    decode,
    decode_deep_color,
    is_deep_color,
    is_gray,
    load,
    open_image,
    orientation,
    raw_mode,
    require_file,
    warn_of_data_in_alpha,
)
from tfseg.data.readers.png_chunks import is_png
from tfseg.data.readers.tiff_pixels import read_tiff_image, read_tiff_values, tifffile_header

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as in Pillow
LOSSY_FORMATS = ("AVIF", "JPEG", "JPEG2000", "MPO")


def read_header(path: str | Path) -> tuple[int, int, int, bool]:
    """Return (height, width, channels, is_8_bit) as `read_image` returns them, without decoding.

    Example:
        >>> import tfseg
        >>> tfseg.data.read_header("photos/leaf0.jpg")
        (48, 64, 3, True)
    """
    require_file(path)
    tiff = tifffile_header(path)
    if tiff is not None:
        return *tiff.size, tiff.colors, tiff.kind == "uint" and tiff.bits <= 8
    with open_image(path) as image:
        width, height = image.size
        if is_sideways(orientation(image)):
            width, height = height, width
        channels = 1 if is_gray(image) else 3
        is_8_bit = not is_deep_color(image) and image.mode not in DEEP_GRAY_MODES
        return height, width, channels, is_8_bit


def read_image(path: str | Path, channels: int | None = None, shrink: int = 1):
    """Read an image, upright according to the orientation in its EXIF or TIFF tags.

    Alpha is dropped; palettes become RGB.

    Args:
        path: image file.
        channels: 1 or 3 to convert to gray or RGB; None keeps what the file has.
        shrink: 1, 2, 4 or 8: read the image at this fraction of its size, rounded up, averaged
            over blocks. The decoder of JPEGs does this with less work.

    Returns:
        (H, W, 1 or 3) uint8; uint16 for files of 9 to 16 bit; float32 for floating point numbers,
        and for integers that do not fit into uint16.

    Raises:
        OSError: the file is missing, truncated or not an image.
        ValueError: the file has several pages, bands other than gray or RGB, or 16-bit colors that
            OpenCV cannot decode.

    Example:
        >>> import tfseg
        >>> tfseg.data.read_image("photos/leaf0.jpg").shape
        (48, 64, 3)
        >>> tfseg.data.read_image("photos/leaf0.jpg", channels=1, shrink=2).shape
        (24, 32, 1)
    """
    require_file(path)
    tiff = tifffile_header(path)
    if tiff is None:
        array, shrink = _read_with_pillow(path, shrink)
    else:
        array = read_tiff_image(path, tiff)
    if array.dtype not in (np.uint8, np.uint16, np.float32):
        is_integer = array.dtype.kind in "iu"
        fits = is_integer and array.min(initial=0) >= 0 and array.max(initial=0) < 2**16
        array = array.astype(np.uint16 if fits else np.float32)
    return block_means(_with_channels(array, channels), shrink)


def _read_with_pillow(path, shrink):
    """Return (H, W, 1 or 3) pixels, and the factor by which they are still to be shrunk."""
    with open_image(path) as image:
        gray, deep = is_gray(image), is_deep_color(image)
        turn = orientation(image)
        try:
            shrink = _draft(image, shrink)
            width, height = image.size
            image = load(image, path)  # finds damage: OpenCV prints it to stderr, or ignores it
            array = None if deep else upright(decode(image, gray), turn)
            alpha = image.format == "TIFF" and image.mode == "RGBA" and image.getchannel("A")
        except (OSError, SyntaxError, ValueError) as error:
            raise OSError(damaged(path, error)) from error
    if deep:
        array = decode_deep_color(path, image.format)
    elif alpha:
        warn_of_data_in_alpha(path, np.asarray(alpha))
    size = (width, height) if is_sideways(turn) else (height, width)
    if array.shape[:2] != size:
        raise OSError(damaged(path, f"its header says {size}, its pixels are {array.shape[:2]}"))
    array = array.reshape(*size, -1)
    return np.ascontiguousarray(array[..., :1] if gray else array), shrink


def _draft(image, shrink):
    """Let the JPEG decoder shrink the image if it can; return the factor that is left to do."""
    full = image.size
    # The decoder's blocks start at the corner that is stored first, the blocks of the mask at the
    # upper left one.
    same_blocks = orientation(image) == 1 or not (full[0] % shrink or full[1] % shrink)
    if shrink > 1 and min(full) >= shrink and same_blocks:
        image.draft(None, (full[0] // shrink, full[1] // shrink))
    return shrink if image.size == full else 1


def _with_channels(array, channels):
    """Convert (H, W, 1 or 3) to the number of channels wanted; None for any."""
    if channels == 3 and array.shape[-1] == 1:
        return np.repeat(array, 3, axis=-1)
    if channels == 1 and array.shape[-1] == 3:
        if array.dtype == np.uint8:
            return np.asarray(Image.fromarray(array).convert("L"))[..., None]
        gray = array @ LUMA
        if array.dtype.kind in "iu":
            gray = np.rint(gray)
        return gray.astype(array.dtype)[..., None]
    return array


def read_mask(path: str | Path):
    """Read the values of a mask as they are on disk: gray levels or palette indices.

    Gray levels of less than 8 bit, or whose tags say that 0 is white, are neither scaled nor
    inverted. A GIF contains gray levels: its programs renumber palettes.

    Returns:
        (H, W) integers.

    Raises:
        OSError: the file is missing, truncated or not an image.
        ValueError: the file is a JPEG, or contains colors, fractions, or a shape in its alpha
            channel.

    Example:
        >>> import numpy as np, tfseg
        >>> np.unique(tfseg.data.read_mask("labels/leaf0.png")).tolist()
        [0, 1]
    """
    require_file(path)
    tiff = tifffile_header(path)
    array = _read_mask_array(path) if tiff is None else read_tiff_values(path)
    if array.ndim == 3:
        # Gray with alpha has 2 channels, RGB(A) 3 or 4; gray levels may be stored as RGB.
        colors = array[..., :3] if array.shape[-1] >= 3 else array[..., :1]
        if (colors != array[..., :1]).any():
            raise ValueError(
                f"{path} contains colors, not class ids. Save one class id per pixel as a gray or "
                "palette PNG, or name the colors: "
                'Folder(..., colors={"road": (128, 64, 128), ...}), --colors for the commands.'
            )
        _check_alpha(colors, array[..., colors.shape[-1] :], path)
        array = array[..., 0]
    values = whole_numbers(array, path)
    return values.astype(np.int64) if values.dtype == np.uint64 else values


def read_colors(path: str | Path):
    """Read a mask in which colors stand for classes. Alpha is dropped; palettes become RGB.

    Returns:
        (H, W, 3) uint8.

    Raises:
        OSError: the file is missing, truncated or not an image.
        ValueError: the file is a JPEG, has more than 8 bit per channel, or a shape in its alpha
            channel.
    """
    require_file(path)
    tiff = tifffile_header(path)
    if tiff is None:
        array = _read_mask_array(path, as_rgb=True)
    else:
        array = _with_channels(read_tiff_image(path, tiff), 3)
    if array.dtype != np.uint8:
        raise ValueError(
            f"{path} contains {array.dtype} values, expected 8-bit colors. Save the mask as an RGB "
            "PNG."
        )
    return array


def read_palette(path: str | Path):
    """Return the (K, 3) uint8 RGB palette of a palette PNG without decoding it, else None."""
    if not is_png(path):
        return None
    with open_image(path) as image:
        if image.mode != "P":
            return None
        return np.frombuffer(bytes(image.palette.palette), np.uint8).reshape(-1, 3)


def _read_mask_array(path, as_rgb=False):
    """Return the array of a mask file, or raise an error that says why it cannot be a mask."""
    with open_image(path) as image:
        _refuse_lossy(path, image)
        if is_deep_color(image):
            raise ValueError(
                f"{path} contains 16-bit colors, not class ids. Save one class id per pixel as a "
                "gray or palette PNG."
            )
        stored, is_gif = raw_mode(image), image.format == "GIF"
        try:
            image = load(image, path)
            array = np.asarray(image)
            in_color = is_gif or (as_rgb and image.mode not in DEEP_GRAY_MODES)
            converted = np.asarray(image.convert("RGB")) if in_color else None
        except (OSError, SyntaxError, ValueError) as error:
            raise OSError(damaged(path, error)) from error
    if image.mode in ("LA", "RGBA"):
        _check_alpha(array[..., :-1], array[..., -1:], path)
    return converted if in_color else _as_stored(array, stored)


def _refuse_lossy(path, image):
    """Raise a ValueError for formats that change values."""
    name = image.format
    if name == "WEBP":
        with open(path, "rb") as file:
            if b"VP8L" in file.read(64):
                raise ValueError(
                    f"{path} is a lossless WebP, which is not supported as a mask. Convert it to "
                    "PNG."
                )
    if name == "WEBP" or name in LOSSY_FORMATS:
        raise ValueError(
            f"{path} is a {name} used as a mask: lossy compression invents class ids along edges. "
            "Save masks as PNG from the original labels."
        )


def _as_stored(array, stored):
    """Undo what Pillow does to gray levels of less than 8 bit, and where 0 is white.

    Args:
        array: pixels of a loaded image.
        stored: its raw mode, such as "L;4I": gray of 4 bit, inverted.
    """
    match = re.fullmatch(r"[1L];([124]?)(I?)R?", stored)
    if match is None:
        return array
    bits, inverted = match.groups()
    if inverted:
        array = ~array  # 0 and 255, or False and True, swap
    return array // (255 // (2 ** int(bits) - 1)) if bits else array


def _check_alpha(colors, alpha, path):
    """Raise a ValueError if colors are the same everywhere, but alpha is not."""
    if alpha.size and (colors == colors[0, 0]).all() and (alpha != alpha[0, 0]).any():
        raise ValueError(
            f"{path} has the color {tuple(colors[0, 0].tolist())} everywhere, and its shapes are "
            "in the alpha channel. Save that as the mask: PIL.Image.open(file).getchannel('A')."
        )
