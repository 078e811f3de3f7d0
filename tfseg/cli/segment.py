"""Images segmented without training: `tfseg segment`."""

import ast
import inspect
import multiprocessing
import os
from collections import deque
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from tfseg.cli.console import console, quiet_start, say, track
from tfseg.cli.image_paths import Images, named_images

AHEAD = 2  # images a process that are read before they are needed: a folder is never held whole


def _list_methods(asked):
    """Print every method with its options and their defaults, and end."""
    if not asked:
        return
    from tfseg.classical import METHODS

    for name, function in METHODS.items():
        _, *options = inspect.signature(function).parameters.values()
        summary, *_ = function.__doc__.strip().splitlines()
        console.print(name, style="bold", highlight=False)
        say(f"  {summary}")
        words = [
            "--scribbles FILE" if option.name == "scribbles" else str(option) for option in options
        ]
        say(f"  {', '.join(words) or 'no options'}")
    raise typer.Exit


def segment(
    paths: Images,
    method: Annotated[
        str, typer.Option(help="A method of tfseg.classical, see --methods.")
    ] = "watershed",
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="An option of the method. May be repeated."
        ),
    ] = None,
    scribbles: Annotated[
        Path | None,
        typer.Option(
            help="Mask of class ids where you drew (0 background, 1 object), 255 elsewhere."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("segments"),
    processes: Annotated[
        int | None, typer.Option(min=1, help="As many as there are processors by default.")
    ] = None,
    _: Annotated[
        bool,
        typer.Option(
            "--methods",
            is_eager=True,
            callback=_list_methods,
            help="List the methods and their options.",
        ),
    ] = False,
):
    """Segment images without training: NAME_labels.png (numbers of 16 bit) and NAME_overlay.png (to look at).

    Example:  [cyan]tfseg segment cells/ --method watershed --set min_distance=5[/]

    Example:  [cyan]tfseg segment street.jpg --method slic --set count=400[/]
    """
    with quiet_start():
        from tfseg import classical, data
    chosen = dict(_option(text) for text in options or ())
    if scribbles is not None:
        chosen["scribbles"] = data.read_mask(scribbles)
    classical.check_options(method, chosen)
    pictures = named_images(paths)
    found = _segmented(pictures, method, chosen, processes or os.cpu_count())
    for name, image, labels in track("segmenting")(found, len(pictures)):
        _save(out, name, image, labels)
    say(f"{len(pictures)} image{'s' * (len(pictures) > 1)} -> {out}")


def _option(text):
    """Return (name, value) of "name=value"; a value that is no number, list or True is a word."""
    name, sign, value = text.partition("=")
    if not sign:
        raise typer.BadParameter(f"--set {text}: expected NAME=VALUE, such as --set tolerance=20.")
    word = value.strip()
    try:
        return name.strip(), ast.literal_eval(
            word.title() if word.lower() in ("true", "false", "none") else word
        )
    except (ValueError, SyntaxError):
        return name.strip(), word


def _segmented(pictures, method, options, processes):
    """Yield (name, image, its labels) of {name: file}; an error names the file."""
    from tfseg import classical, data

    if len(pictures) == 1 or processes == 1:
        for name, file in pictures.items():
            image = data.read_image(file)
            yield name, image, _named(file, classical.segment, image, method, **options)
        return
    # processes of their own, not copies of this one: TensorFlow's threads do not survive a fork
    context, waiting = multiprocessing.get_context("spawn"), deque()
    with ProcessPoolExecutor(
        min(processes, len(pictures)), context, initializer=_one_thread
    ) as pool:
        for name, file in pictures.items():
            if len(waiting) == AHEAD * processes:
                yield _finished(*waiting.popleft())
            image = data.read_image(file)
            waiting.append(
                (name, file, image, pool.submit(classical.segment, image, method, **options))
            )
        while waiting:
            yield _finished(*waiting.popleft())


def _one_thread():
    import cv2

    cv2.setNumThreads(1)


def _finished(name, file, image, future):
    return name, image, _named(file, future.result)


def _named(file, function, *args, **options):
    try:
        return function(*args, **options)
    except BrokenExecutor as error:
        raise RuntimeError(
            f"{file}: a process was killed, likely for want of memory. Pass fewer --processes."
        ) from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: {error}") from error


def _save(out, name, image, labels):
    import numpy as np
    from PIL import Image

    from tfseg import viz

    if labels.max(initial=0) > np.iinfo(np.uint16).max:
        raise ValueError(
            f"{name}: {labels.max()} regions are more than a PNG can number, 65535. Ask for fewer."
        )
    out.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels.astype(np.uint16)).save(out / f"{name}_labels.png")
    Image.fromarray(viz.regions(image, labels)).save(out / f"{name}_overlay.png")
