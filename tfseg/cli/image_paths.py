"""The images that a command gets, and the names of its results."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Annotated

import typer

from tfseg.cli.console import plural, say, warnings_said
from tfseg.files import is_own_result

Images = Annotated[
    list[Path], typer.Argument(metavar="IMAGE|DIR...", help="Images, or folders of images.")
]


def named_images(paths) -> dict:
    """Return {name of the results: image file}, before the first image is read.

    Results of tfseg, which may be in the same folder, are left out.

    Args:
        paths: image files and folders of images.

    Raises:
        FileNotFoundError: a folder contains no image.
        ValueError: there are only results of tfseg, or files would write the same results.
    """
    from tfseg import data

    files = []
    with warnings_said():  # of files that are left out
        for path in paths:
            files += data.image_files(path) if path.is_dir() else [path]
    files = without_results(list(dict.fromkeys(files)))
    stems = Counter(file.stem for file in files)
    named = defaultdict(list)
    for file in files:  # a.png and a.jpg keep their suffixes
        named[file.stem if stems[file.stem] == 1 else file.name].append(file)
    clashes = [" and ".join(map(str, same)) for same in named.values() if len(same) > 1]
    if clashes:
        raise ValueError(
            f"{'; '.join(clashes)} would write the same results. Pass one at a time, with "
            "different --out folders."
        )
    return {name: file for name, (file,) in named.items()}


def without_results(files: list) -> list:
    """Return the files that are no results of tfseg.

    Raises:
        ValueError: there are only results.
    """
    images = [file for file in files if not is_own_result(file)]
    left_out = plural(len(files) - len(images), "result")
    if files and not images:
        raise ValueError(f"The only files are {left_out} of tfseg. Pass images.")
    if len(images) < len(files):
        say(f"Leaving out {left_out} of tfseg among the images.")
    return images
