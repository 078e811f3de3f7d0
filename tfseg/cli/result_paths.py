"""The results of `predict` and `segment`, and the images that fail among many."""

from typing import Annotated

import typer

from tfseg.cli.console import plural, say
from tfseg.files import check_overwrites, is_own_result

UNMARKED = (".npy", ".geojson")

SkipExisting = Annotated[
    bool,
    typer.Option(
        "--skip-existing", help="Skip images whose results exist, to continue after an interrupt."
    ),
]


def images_to_do(files: dict, results: dict, skip_existing: bool, listed=None) -> dict:
    """Return the images to process, after checking that no other files would be replaced.

    Args:
        files: {name: image file}.
        results: {name: paths that will be written}.
        skip_existing: leave out images all of whose results exist.
        listed: the image files that have results in a common file; None if there is none.

    Raises:
        FileExistsError: files exist that tfseg did not write; the message names them.
    """
    check_overwrites([path for paths in results.values() for path in _recognizable(paths)])
    if not skip_existing:
        return files
    to_do = {
        name: file
        for name, file in files.items()
        if not all(path.exists() for path in results[name])
        or (listed is not None and file not in listed)
    }
    if len(to_do) < len(files):
        say(f"Skipping {plural(len(files) - len(to_do), 'image')} with results.")
    return to_do


def _recognizable(paths):
    """Leave out files that do not say who wrote them, beside results that tfseg wrote.

    After an interrupt the labels, which are written last, may be missing.
    """
    is_own = any(is_own_result(path) for path in paths)
    return [path for path in paths if path.suffix not in UNMARKED or not is_own]


def named(file, error) -> str:
    """Return an error's message with the name of the file in it."""
    message = str(error) or type(error).__name__
    return message if str(file) in message else f"{file}: {message}"


def raise_failures(failures: list, total: int) -> None:
    """Raise a ValueError that names all images that failed, if there are any.

    Args:
        failures: one message per image.
        total: number of images.
    """
    if not failures:
        return
    text = f"{len(failures)} of {plural(total, 'image')} failed"
    if len(failures) < total:
        text += "; the results of the others are complete"
    raise ValueError("\n".join([f"{text}:", *failures]))
