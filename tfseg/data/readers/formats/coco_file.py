"""What COCO's annotation files have in common: lists of images, annotations and categories."""

import json
from pathlib import Path

from tfseg.data.readers.base import format_problems
from tfseg.data.readers.folder import read_headers


def read_json(path):
    """Return a COCO file's content, or raise an error that names it."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file '{path}'. Check the path.")
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"{path} is no JSON file ({error}). Copy it again from its source."
        ) from error
    missing = [
        key
        for key in ("images", "annotations", "categories")
        if not (isinstance(data, dict) and key in data)
    ]
    if missing or not data["images"]:
        raise ValueError(
            f"{path} has no {', '.join(missing or ['images'])}. Expected a COCO file of annotations."
        )
    return data


def category_names(data):
    """Return the names of the categories in the order of their ids."""
    return [category["name"] for category in sorted(data["categories"], key=lambda c: c["id"])]


def pictures(data, folder, annotations, masks=()):
    """Find the images that the file lists, and check them against it.

    Args:
        data: the file's content.
        folder: where its file names start.
        annotations: the file's path.
        masks: one mask file an image, or none at all.

    Returns:
        files: list of (image,) or (image, mask).
        sizes, channels, dtype: as `read_headers` gives them.
    """
    files = [(folder / image["file_name"],) for image in data["images"]]
    if masks:
        files = [(picture, mask) for (picture,), mask in zip(files, masks, strict=True)]
    _check_files([path for paths in files for path in paths], annotations)
    sizes, channels, dtype = read_headers(files)
    problems = [
        f"{path} is {width} x {height} pixels, but {annotations} says {image['width']} x {image['height']}"
        for image, (path, *_), (height, width) in zip(data["images"], files, sizes, strict=True)
        if (image.get("height", height), image.get("width", width)) != (height, width)
    ]
    seen = {}
    for image, (path, *_) in zip(data["images"], files, strict=True):
        if seen.setdefault(stem(image), path) is not path:
            problems.append(
                f"{seen[stem(image)]} and {path} bear the same name. Keep one of them in {annotations}."
            )
    if problems:
        raise ValueError(format_problems(problems))
    return files, sizes, channels, dtype


def stem(image):
    """Return an image's file name, as the JSON file has it, without its suffix."""
    return str(Path(image["file_name"]).with_suffix(""))


def _check_files(paths, annotations):
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{annotations} names {len(missing)} files that are not there: {', '.join(missing[:8])}"
            f"{' ...' if len(missing) > 8 else ''}. Check the folder, from which the file names in it start."
        )
