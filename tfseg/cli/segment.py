"""`tfseg segment`: segment images without training."""

import ast
import inspect
import multiprocessing
import os
from collections import deque
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from tfseg.cli.console import console, plural, quiet_start, say, track
from tfseg.cli.image_paths import Images, named_images

# Images per process that are read in advance. A whole folder might not fit into memory.
QUEUED_PER_PROCESS = 2


def _list_methods(requested: bool):
    """Print every method with its options and defaults, then exit."""
    if not requested:
        return
    from tfseg.classical import METHODS

    for name, function in METHODS.items():
        options = list(inspect.signature(function).parameters.values())[1:]
        summary = function.__doc__.strip().splitlines()[0]
        words = [_option_help(option) for option in options]
        console.print(name, style="bold", highlight=False)
        say(f"  {summary}")
        say(f"  {', '.join(words) or 'no options'}")
    raise typer.Exit


def _option_help(option):
    if option.name == "scribbles":
        return "--scribbles FILE"
    if option.default is inspect.Parameter.empty:
        return option.name
    return f"{option.name}={option.default!r}"


def segment(
    paths: Images,
    method: Annotated[
        str, typer.Option(help="A method of tfseg.classical, see --methods.")
    ] = "watershed",
    options: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Option of the method. Can be repeated."),
    ] = None,
    scribbles: Annotated[
        Path | None,
        typer.Option(help="Mask: class ids where drawn (0 background, 1 object), 255 elsewhere."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("segments"),
    processes: Annotated[
        int | None, typer.Option(min=1, help="Number of processes. Default: one per CPU.")
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
    """Segment images without training: writes NAME_labels.png (16-bit labels) and NAME_overlay.png.

    Example:  [cyan]tfseg segment cells/ --method watershed --set min_distance=5[/]

    Example:  [cyan]tfseg segment street.jpg --method slic --set num_segments=400[/]
    """
    with quiet_start():
        from tfseg import classical, data
    parsed = dict(_parse_option(text) for text in options or ())
    if scribbles is not None:
        parsed["scribbles"] = data.read_mask(scribbles)
    classical.check_options(method, parsed)
    files = named_images(paths)
    results = _segment_all(files, method, parsed, processes or os.cpu_count())
    for name, image, labels in track("segmenting")(results, len(files)):
        _save(out, name, image, labels)
    say(f"{plural(len(files), 'image')} -> {out}")


def _parse_option(text):
    """Parse "name=value" into (name, value); a value that is not a Python literal is a string."""
    name, sign, value = text.partition("=")
    if not sign:
        raise typer.BadParameter(f"--set {text}: expected NAME=VALUE, such as --set tolerance=20.")
    name, value = name.strip(), value.strip()
    if value.lower() in ("true", "false", "none"):
        value = value.title()
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _segment_all(files, method, options, processes):
    """Yield (name, image, labels) for each {name: file}, in order."""
    if len(files) == 1 or processes == 1:
        return _segment_here(files, method, options)
    return _segment_in_pool(files, method, options, min(processes, len(files)))


def _segment_here(files, method, options):
    from tfseg import classical, data

    for name, file in files.items():
        image = data.read_image(file)
        yield name, image, _naming_file(file, classical.segment, image, method, **options)


def _segment_in_pool(files, method, options, processes):
    from tfseg import classical, data

    # Spawn: forked processes would deadlock, because TensorFlow's threads do not survive a fork.
    context, queue = multiprocessing.get_context("spawn"), deque()
    with ProcessPoolExecutor(processes, context, initializer=_use_one_thread) as pool:
        for name, file in files.items():
            if len(queue) == QUEUED_PER_PROCESS * processes:
                yield _result(*queue.popleft())
            image = data.read_image(file)
            future = pool.submit(classical.segment, image, method, **options)
            queue.append((name, file, image, future))
        while queue:
            yield _result(*queue.popleft())


def _use_one_thread():
    import cv2

    cv2.setNumThreads(1)


def _result(name, file, image, future):
    return name, image, _naming_file(file, future.result)


def _naming_file(file, function, *args, **options):
    """Call a function; add the file's name to its errors."""
    try:
        return function(*args, **options)
    except BrokenExecutor as error:
        raise RuntimeError(
            f"{file}: a process was killed, probably out of memory. Pass fewer --processes."
        ) from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: {error}") from error


def _save(out, name, image, labels):
    import numpy as np
    from PIL import Image

    from tfseg import viz

    limit = np.iinfo(np.uint16).max
    if labels.max(initial=0) > limit:
        raise ValueError(
            f"{name}: got {labels.max()} regions, but a 16-bit PNG can number at most {limit}. "
            "Choose options that give fewer regions."
        )
    out.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels.astype(np.uint16)).save(out / f"{name}_labels.png")
    Image.fromarray(viz.regions(image, labels)).save(out / f"{name}_overlay.png")
