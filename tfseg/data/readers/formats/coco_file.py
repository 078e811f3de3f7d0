"""What all COCO files share: lists of images, annotations and categories."""

import json
from pathlib import Path, PurePosixPath

from tfseg.data.readers.file_names import FileFinder, with_slashes
from tfseg.data.readers.other_formats import other_format
from tfseg.data.readers.pairing import read_headers
from tfseg.data.readers.pillow_files import open_image, orientation
from tfseg.data.readers.problems import first_few, format_problems

REQUIRED = {
    "images": ("id", "file_name"),
    "annotations": (),
    "categories": ("id", "name"),
}
EXPORT_AGAIN = "Correct it, or export the file again."


def read_json(path: Path) -> dict:
    """Return the content of a COCO file.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is not JSON; or images, annotations or categories are missing, incomplete or
            share an id.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file '{path}'. Check the path.")
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        other = other_format(path)
        if other:
            raise ValueError(f"{path} is {other} Expected a COCO annotation file.") from error
        raise ValueError(
            f"{path} is not a JSON file ({error}). Copy it again from its source, and save it as "
            "UTF-8."
        ) from error
    if not isinstance(data, dict) or not data.keys() >= REQUIRED.keys():
        _raise_not_coco(data, path)
    problems = [problem for key in REQUIRED for problem in _faults(data[key], key, path)]
    if problems:
        raise ValueError(format_problems(problems))
    return data


def _raise_not_coco(data, path):
    other = other_format(path)
    if other:
        raise ValueError(f"{path} is {other} Expected a COCO annotation file.")
    missing = [key for key in REQUIRED if not isinstance(data, dict) or key not in data]
    raise ValueError(f"{path} has no {', '.join(missing)}. Expected a COCO annotation file.")


def _faults(entries, key, path):
    """Return what is wrong with one of the lists of a COCO file."""
    if not isinstance(entries, list):
        found = "null" if entries is None else f"of type {type(entries).__name__}"
        return [f"{path}: {key!r} is {found}, expected a list. {EXPORT_AGAIN}"]
    if not entries and key == "images":
        return [f"{path} has no images. Expected a COCO annotation file."]
    problems = []
    for index, entry in enumerate(entries):
        where = f"{path}: {key}[{index}]"
        if not isinstance(entry, dict):
            problems.append(f"{where} is not a JSON object. {EXPORT_AGAIN}")
            continue
        missing = [name for name in REQUIRED[key] if not _is_usable(entry.get(name))]
        if missing:
            problems.append(f"{where} has no {' and no '.join(missing)}. {EXPORT_AGAIN}")
    return problems if problems or key == "annotations" else _shared_ids(entries, key, path)


def _is_usable(value):
    """Return whether a value can be an id or a name."""
    return isinstance(value, (int, float, str)) and not isinstance(value, bool) and value != ""


def _shared_ids(entries, key, path):
    """List the ids that two entries share."""
    problems = []
    names = {}
    for entry in entries:
        number, name = entry["id"], entry[REQUIRED[key][1]]
        if number in names:
            problems.append(
                f"{path}: {key} contains the id {number!r} twice: {names[number]} and {name}. Give "
                "each its own id."
            )
        names[number] = name
    return problems


def image_name(image: dict) -> str:
    """Return the file name of an entry of "images" without its suffix."""
    return str(PurePosixPath(with_slashes(str(image["file_name"]))).with_suffix(""))


def open_images(data: dict, folder: Path, annotations: Path, masks=()):
    """Find the images that a COCO file lists, and check their sizes and names.

    Args:
        data: content of the file.
        folder: folder that the file names are relative to.
        annotations: path of the file, for errors.
        masks: one mask file per image, or none at all.

    Returns:
        files: list of (image,) or (image, mask).
        sizes, channels, dtype: see `read_headers`.
    """
    finder = FileFinder()
    images = [finder.find(folder, str(image["file_name"])) for image in data["images"]]
    files = list(zip(images, masks, strict=True)) if masks else [(image,) for image in images]
    check_exist([path for paths in files for path in paths], annotations)
    sizes, channels, dtype = read_headers(files)
    problems = _wrong_sizes(data, images, sizes, annotations)
    problems += _duplicate_names(data, images, annotations)
    if problems:
        raise ValueError(format_problems(problems))
    return files, sizes, channels, dtype


def check_exist(paths, annotations: Path) -> None:
    """Raise a FileNotFoundError that names the files that do not exist."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{annotations} lists {len(missing)} files that do not exist: {first_few(missing)}. "
            "Check the folder that its file names are relative to."
        )


def _wrong_sizes(data, images, sizes, annotations):
    """List images whose size differs from the one in the file."""
    problems = []
    for entry, path, (height, width) in zip(data["images"], images, sizes, strict=True):
        listed = _length(entry.get("height"), height), _length(entry.get("width"), width)
        if listed != (height, width):
            problems.append(
                f"{path} is {width} x {height} pixels, but {annotations} says {listed[1]} x "
                f"{listed[0]}{_turned(path, listed, (height, width))}"
            )
    return problems


def _length(listed, default):
    """Return a height or width of a COCO file; `default` if the file does not know it."""
    try:
        length = float(listed or 0)
    except (TypeError, ValueError):
        return listed
    if length == 0:
        return default
    return int(length) if length.is_integer() else length


def _turned(path, listed, size):
    """Return a hint if an image was labeled without its EXIF orientation."""
    if listed != size[::-1]:
        return ""
    with open_image(path) as image:
        turn = orientation(image)
    if turn < 5:
        return ""
    return (
        f". Its EXIF orientation is {turn}, which turns it, but it was labeled unturned. Remove "
        "the orientation from the file, such as by `exiftool -Orientation=`."
    )


def _duplicate_names(data, images, annotations):
    """List images whose names differ only in their suffix, or not at all."""
    problems = []
    found = {}
    for entry, path in zip(data["images"], images, strict=True):
        first = found.setdefault(image_name(entry), path)
        if first is not path:
            problems.append(
                f"{first} and {path} have the same name without suffix. Keep one of them in "
                f"{annotations}."
            )
    return problems
