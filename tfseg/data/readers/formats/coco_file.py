"""What all COCO files share: lists of images, annotations and categories."""

import json
from pathlib import Path

from tfseg.data.readers.pairing import read_headers
from tfseg.data.readers.problems import first_few, format_problems


def read_json(path: Path) -> dict:
    """Return the content of a COCO file.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is not JSON, or has no images, annotations or categories.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file '{path}'. Check the path.")
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"{path} is not a JSON file ({error}). Copy it again from its source."
        ) from error
    keys = ("images", "annotations", "categories")
    missing = [key for key in keys if not isinstance(data, dict) or key not in data]
    if not missing and not data["images"]:
        missing = ["images"]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)}. Expected a COCO annotation file.")
    return data


def category_names(data: dict) -> list[str]:
    """Return the names of the categories in the order of their ids."""
    return [category["name"] for category in _sorted_categories(data)]


def category_table(data: dict, label_names) -> dict[int, int]:
    """Return {category id: class id}. The last of the `label_names` are the categories."""
    categories = _sorted_categories(data)
    first = len(label_names) - len(categories)
    return {category["id"]: first + i for i, category in enumerate(categories)}


def _sorted_categories(data):
    return sorted(data["categories"], key=lambda category: category["id"])


def image_name(image: dict) -> str:
    """Return the file name of an entry of "images" without its suffix."""
    return str(Path(image["file_name"]).with_suffix(""))


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
    files = [(folder / image["file_name"],) for image in data["images"]]
    if masks:
        files = [(image, mask) for (image,), mask in zip(files, masks, strict=True)]
    _check_exist([path for paths in files for path in paths], annotations)
    sizes, channels, dtype = read_headers(files)
    images = [paths[0] for paths in files]
    problems = _wrong_sizes(data, images, sizes, annotations)
    problems += _duplicate_names(data, images, annotations)
    if problems:
        raise ValueError(format_problems(problems))
    return files, sizes, channels, dtype


def _check_exist(paths, annotations):
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
        listed_height, listed_width = entry.get("height", height), entry.get("width", width)
        if (listed_height, listed_width) != (height, width):
            problems.append(
                f"{path} is {width} x {height} pixels, but {annotations} says {listed_width} x "
                f"{listed_height}"
            )
    return problems


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
