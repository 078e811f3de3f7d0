"""The images that a command is given, and what their results are called."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Annotated

import typer

Images = Annotated[
    list[Path], typer.Argument(metavar="IMAGE|DIR...", help="Images, or folders of images.")
]


def named_images(paths, dtype=None):
    """Return {name of its results: file} of images and of those in folders, before the first of them is read.

    Args:
        paths: images, and folders of images.
        dtype: "uint8" if all must have 8 bit.

    Raises:
        FileNotFoundError: a folder holds no image.
        ValueError: files that cannot be read or are of another depth, all of them, or would write the same results.
    """
    from tfseg import data

    files = [
        file for path in paths for file in (data.image_files(path) if path.is_dir() else [path])
    ]
    files = list(dict.fromkeys(files))
    _require_readable(files, dtype)
    stems = Counter(file.stem for file in files)
    named = defaultdict(list)
    for file in files:  # images that differ in their suffix only keep it
        named[file.stem if stems[file.stem] == 1 else file.name].append(file)
    if alike := [" and ".join(map(str, same)) for same in named.values() if len(same) > 1]:
        raise ValueError(
            f"{'; '.join(alike)} would write the same results. Name them one by one, each with its --out."
        )
    return {name: file for name, (file,) in named.items()}


def _require_readable(files, dtype):
    from tfseg import data

    problems = []
    for file in files:
        try:
            eight_bit = data.read_header(file)[-1]
            if dtype == "uint8" and not eight_bit:
                problems.append(
                    f"{file} has more than 8 bit, but the run was trained on 8. Bring it to 0..255."
                )
        except (OSError, ValueError) as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))
