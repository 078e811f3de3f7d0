"""The images that a command gets, and the names of its results."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Annotated

import typer

Images = Annotated[
    list[Path], typer.Argument(metavar="IMAGE|DIR...", help="Images, or folders of images.")
]


def named_images(paths, dtype: str | None = None) -> dict:
    """Return {name of the results: image file}, before the first image is read.

    Args:
        paths: image files and folders of images.
        dtype: "uint8" to require 8 bits per channel; None for any depth.

    Raises:
        FileNotFoundError: a folder contains no image.
        ValueError: files cannot be read, have more than 8 bits, or would write the same results;
            the message names all of them.
    """
    from tfseg import data

    files = []
    for path in paths:
        files += data.image_files(path) if path.is_dir() else [path]
    files = list(dict.fromkeys(files))
    _require_readable(files, dtype)
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


def _require_readable(files, dtype):
    from tfseg import data

    problems = []
    for file in files:
        try:
            eight_bit = data.read_header(file)[-1]
        except (OSError, ValueError) as error:
            problems.append(str(error))
            continue
        if dtype == "uint8" and not eight_bit:
            problems.append(
                f"{file} has more than 8 bits per channel, but the run was trained on 8 bits. "
                "Convert it to 0..255."
            )
    if problems:
        raise ValueError("\n".join(problems))
