"""List the image files of a folder, and say which files are left out."""

import os
import warnings
from pathlib import Path

from tfseg.data.readers.file_names import same_form
from tfseg.data.readers.other_formats import layout_hint
from tfseg.data.readers.pillow_files import SUFFIXES
from tfseg.data.readers.problems import first_few
from tfseg.files import is_own_result

OTHER_FORMATS = (  # of images that are not read
    *(".heic", ".heif", ".jxl", ".jpf", ".jpx", ".j2k", ".exr", ".hdr", ".tga", ".psd", ".svg"),
    *(".pbm", ".pgm", ".pnm", ".ppm", ".pcx", ".ico", ".dcm", ".dng", ".cr2", ".cr3", ".nef"),
    *(".arw", ".orf", ".raf", ".rw2"),
)


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
        stem = same_form(stem)
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
