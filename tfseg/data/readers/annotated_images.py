"""Pair images with annotation files of their own, such as those of LabelMe and Pascal VOC."""

import warnings
from pathlib import Path

from tfseg.data.readers.file_names import FileFinder, is_hidden, same_form
from tfseg.data.readers.image_listing import image_files
from tfseg.data.readers.other_formats import layout_hint
from tfseg.data.readers.problems import first_few, format_problems


def annotation_files(folder: Path, suffix: str) -> list[Path]:
    """Return the files of a folder with a suffix such as ".json", sorted, without hidden files.

    Raises:
        FileNotFoundError: the folder is missing or contains no such file.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}'. Check the path.")
    files = sorted(
        path for path in folder.iterdir() if path.suffix.lower() == suffix and not is_hidden(path)
    )
    if not files:
        raise FileNotFoundError(
            f"The folder '{folder}' contains no {suffix} file. Expected one per image."
            f"{layout_hint(folder)}"
        )
    return files


def pair_annotations(owner: str, folder: Path, image_names: dict) -> list[tuple[Path, Path]]:
    """Return [(image, annotation file)], sorted by image.

    Args:
        owner: name of the reader, for warnings.
        folder: folder of the images.
        image_names: {annotation file: name of its image, or None for the name of the file}.

    Raises:
        ValueError: files belong to no image, or to the same one; all are named.

    Warns:
        UserWarning: there are images without a file, which are left out.
    """
    finder, by_image, problems = FileFinder(), {}, []
    stems = {same_form(image.stem): image for image in image_files(folder)}
    for path, name in image_names.items():
        image = stems.get(same_form(path.stem))
        if image is None and name:
            found = finder.find(folder, name)
            image = found if found.is_file() else None
        if image is None:
            problems.append(
                f"{path} has no image '{name or path.stem}' in {folder}. Add the image, or remove "
                "the file."
            )
        elif image in by_image:
            problems.append(
                f"{by_image[image]} and {path} belong to the same image {image}. Keep one of them."
            )
        else:
            by_image[image] = path
    if problems:
        raise ValueError(format_problems(problems))
    without = sorted(image.name for image in set(stems.values()) - by_image.keys())
    if without:
        warnings.warn(
            f"{owner}: {len(without)} images in '{folder}' have no annotation file and are left "
            f"out: {first_few(without)}. Save an empty one for images without objects.",
            stacklevel=4,
        )
    return sorted(by_image.items())
