"""Read images and masks from disk as arrays.

Pillow decodes them, not OpenCV: `cv2.imread` returns a truncated JPEG as a half-gray image without
an error, and turns the class ids of a palette into colors. Only color images of 16 bit, of which
Pillow would drop the lower bits, are decoded by OpenCV, after Pillow has verified the file, and
TIFFs that Pillow cannot decode by tifffile.
"""

import os
import re
import unicodedata
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from tfseg.data.readers.extract import block_means
from tfseg.data.readers.mask_values import whole_numbers
from tfseg.data.readers.orientation import is_sideways, upright
from tfseg.data.readers.other_formats import layout_hint
from tfseg.data.readers.pillow_files import (
    DEEP_GRAY_MODES,
    SUFFIXES,
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
from tfseg.data.readers.problems import first_few
from tfseg.data.readers.tiff_pixels import read_tiff_image, read_tiff_values, tifffile_header
from tfseg.files import is_own_result

OTHER_FORMATS = (  # of images that are not read
    *(".heic", ".heif", ".jxl", ".jpf", ".jpx", ".j2k", ".exr", ".hdr", ".tga", ".psd", ".svg"),
    *(".pbm", ".pgm", ".pnm", ".ppm", ".pcx", ".ico", ".dcm", ".dng", ".cr2", ".cr3", ".nef"),
    *(".arw", ".orf", ".raf", ".rw2"),
)
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as in Pillow
LOSSY_FORMATS = ("AVIF", "JPEG", "JPEG2000", "MPO")


def image_files(folder: str | Path, recursive: bool = False) -> list[Path]:
    """Return the image files of a folder, sorted by path, without hidden files.

    Warns of images in other formats and in subfolders, which are left out.

    Args:
        folder: path of the folder.
        recursive: whether to add the images of its subfolders.

    Raises:
        FileNotFoundError: the folder is missing or contains no image.

    Example:
        >>> import tfseg
        >>> [file.name for file in tfseg.data.image_files("photos")]
        ['leaf0.jpg', 'leaf1.jpg', 'leaf2.jpg', 'leaf3.jpg']
    """
    files = _files_with_suffix(_existing(folder), SUFFIXES, recursive)
    _report_left_out(folder, files, passed_over(folder, recursive))
    return files


def images_of_dataset(images: str | Path, masks: str | Path, recursive: bool = False) -> list[Path]:
    """Return the `image_files` of a folder without results of tfseg and without masks.

    Args:
        images: folder of images.
        masks: folder of their masks. If it is inside `images`, its files are no images.
        recursive: whether to add the images of subfolders.

    Raises:
        FileNotFoundError: the folder is missing or contains no image.
    """
    found = _files_with_suffix(_existing(images), SUFFIXES, recursive)
    if recursive and Path(images).resolve() != Path(masks).resolve():
        found = [file for file in found if not _is_inside(file, masks)]
    files = [file for file in found if not is_own_result(file)]
    _report_left_out(images, files, passed_over(images, recursive, masks))
    return files


def _existing(folder):
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}'. Check the path.")
    return folder


def _is_inside(path, folder):
    return path.resolve().is_relative_to(Path(folder).resolve())


def _report_left_out(folder, files, sentences):
    """Warn of what was left out; raise a FileNotFoundError if there are no other files."""
    if not files:
        expected = f"Expected files {', '.join(SUFFIXES)}."
        raise FileNotFoundError(
            " ".join([f"The folder '{folder}' contains no image. {expected}", *sentences])
            + layout_hint(Path(folder))
        )
    for sentence in sentences:
        warnings.warn(sentence, stacklevel=3)


def passed_over(
    folder: str | Path, recursive: bool = False, masks: str | Path | None = None
) -> list[str]:
    """Return sentences about the images in a folder that are left out.

    Args:
        folder: path of the folder.
        recursive: whether its subfolders are read.
        masks: folder of the masks, for `images_of_dataset`; None for `image_files`.
    """
    sentences = []
    folder = Path(folder)
    others = _files_with_suffix(folder, OTHER_FORMATS, recursive)
    if others:
        sentences.append(
            f"'{folder}' contains {len(others)} files in formats that are not read: "
            f"{first_few(printable(file.name) for file in others)}. Convert them to PNG or JPEG."
        )
    nested = [] if recursive else subfolders_with_images(folder)
    remedy = "Pass one of them to read it."
    if masks is not None:
        nested = [path for path in nested if not _is_inside(Path(masks), path)]
        remedy = "Pass one of them, or recursive=True (`--recursive`) to read them all."
        results = sum(map(is_own_result, _files_with_suffix(folder, SUFFIXES, recursive)))
        if results:
            sentences.append(
                f"'{folder}' contains {results} results of tfseg, which are not read as images."
            )
    if nested:
        names = first_few(printable(path.name) for path in nested)
        sentences.append(
            f"'{folder}' has subfolders with images, which are left out: {names}. {remedy}"
        )
    return sentences


def _files_with_suffix(folder, suffixes, recursive):
    """List the files with certain suffixes, sorted by path, without hidden ones."""
    found, visited = [], set()
    for root, folders, names in os.walk(folder, followlinks=True):
        if os.path.realpath(root) in visited:  # a link to a folder that contains it
            folders.clear()
            continue
        visited.add(os.path.realpath(root))
        folders[:] = sorted(name for name in folders if recursive and not name.startswith("."))
        found += [
            Path(root, name)
            for name in names
            if name.lower().endswith(suffixes) and not name.startswith(".")
        ]
    return sorted(found)


def subfolders_with_images(folder: Path) -> list[Path]:
    """Return the visible subfolders that contain an image at any depth, sorted."""
    subfolders = sorted(path for path in folder.iterdir() if path.is_dir())
    return [path for path in subfolders if not path.name.startswith(".") and _contains_image(path)]


def _contains_image(folder):
    for _, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if any(name.lower().endswith(SUFFIXES) and not name.startswith(".") for name in names):
            return True
    return False


def by_stem(files, root: Path | None = None) -> dict[str, Path]:
    """Return {name without suffix: file}.

    Names that look the same are the same: macOS writes "\u00e9" as two characters (NFD), other
    systems as one (NFC).

    Args:
        files: paths.
        root: folder that names start at, such as "summer/leaf0"; None for the file's own name.

    Raises:
        ValueError: two files have the same name.
    """
    found = {}
    for file in files:
        path = file if root is None else file.relative_to(root)
        stem = path.stem if root is None else path.with_suffix("").as_posix()
        stem = unicodedata.normalize("NFC", stem)
        if stem in found:
            raise ValueError(
                f"{found[stem]} and {file} have the same name without suffix. Keep one of them."
            )
        found[stem] = file
    return found


def printable(name: str) -> str:
    """Return a file name that can be printed and written: bytes that are not UTF-8 are escaped.

    Example:
        >>> printable(b"m\\xfcller".decode("utf-8", "surrogateescape"))
        'm\\\\xfcller'
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


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
