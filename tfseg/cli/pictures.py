"""The pictures that a command is given, and what their results are called."""

from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer

Pictures = Annotated[list[Path], typer.Argument(metavar="PICTURE|DIR...", help="Pictures, or folders of pictures.")]


def named_pictures(paths):
    """Return {name of its results: file} of pictures and of those in folders, before the first of them is read.

    Raises:
        FileNotFoundError: a folder holds no picture.
        ValueError: files that cannot be read, all of them, or that would write the same results.
    """
    from tfseg import data

    files = [file for path in paths for file in (data.picture_files(path) if path.is_dir() else [path])]
    files = list(dict.fromkeys(files))
    _require_readable(files)
    stems = [file.stem for file in files]
    named = defaultdict(list)
    for file in files:  # pictures that differ in their suffix only keep it
        named[file.stem if stems.count(file.stem) == 1 else file.name].append(file)
    if alike := [" and ".join(map(str, same)) for same in named.values() if len(same) > 1]:
        raise ValueError(f"{'; '.join(alike)} would write the same results. Name them one by one, each with its --out.")
    return {name: file for name, (file,) in named.items()}


def _require_readable(files):
    from tfseg import data

    problems = []
    for file in files:
        try:
            data.read_header(file)
        except (OSError, ValueError) as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))
