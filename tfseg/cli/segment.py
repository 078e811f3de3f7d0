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
from tfseg.cli.result_paths import SkipExisting, images_to_do, named, raise_failures
from tfseg.files import write_png

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
    skip_existing: SkipExisting = False,
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
    results = {name: _results(out, name) for name in files}
    to_do, failures = images_to_do(files, results, skip_existing), []
    segmented = _segment_all(to_do, method, parsed, processes or os.cpu_count(), failures)
    for name, image, labels in track("segmenting")(segmented, len(to_do)):
        _save(results[name], image, labels)
    raise_failures(failures, len(to_do))
    say(f"{plural(len(to_do), 'image')} -> {out}")


def _results(out, name):
    return [out / f"{name}_labels.png", out / f"{name}_overlay.png"]


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


def _segment_all(files, method, options, processes, failures):
    """Yield (name, image, labels) for each {name: file}, in order.

    Images that cannot be read or segmented are left out; their messages are added to `failures`.
    """
    if len(files) <= 1 or processes == 1:
        return _segment_here(files, method, options, failures)
    return _segment_in_pool(files, method, options, min(processes, len(files)), failures)


def _segment_here(files, method, options, failures):
    from tfseg import classical, data

    for name, file in files.items():
        try:
            image = data.read_image(file)
            labels = _checked(classical.segment(image, method, **options))
        except (OSError, ValueError, TypeError) as error:
            failures.append(named(file, error))
            continue
        yield name, image, labels


def _segment_in_pool(files, method, options, processes, failures):
    from tfseg import classical, data

    # Spawn: forked processes would deadlock, because TensorFlow's threads do not survive a fork.
    context, queue = multiprocessing.get_context("spawn"), deque()
    with ProcessPoolExecutor(processes, context, initializer=_use_one_thread) as pool:
        for name, file in files.items():
            if len(queue) == QUEUED_PER_PROCESS * processes:
                yield from _result(*queue.popleft(), failures)
            try:
                image = data.read_image(file)
            except (OSError, ValueError) as error:
                failures.append(named(file, error))
                continue
            future = pool.submit(classical.segment, image, method, **options)
            queue.append((name, file, image, future))
        while queue:
            yield from _result(*queue.popleft(), failures)


def _use_one_thread():
    import cv2

    cv2.setNumThreads(1)


def _result(name, file, image, future, failures):
    """Yield (name, image, labels) of a segmented image; nothing if it failed."""
    try:
        labels = _checked(future.result())
    except BrokenExecutor as error:
        raise RuntimeError(
            f"{file}: a process was killed, probably out of memory. Pass fewer --processes, and "
            "--skip-existing to keep what is done."
        ) from error
    except (OSError, ValueError, TypeError) as error:
        failures.append(named(file, error))
        return
    yield name, image, labels


def _checked(labels):
    """Return the labels as 16-bit numbers, if there are not too many."""
    import numpy as np

    limit = np.iinfo(np.uint16).max
    if labels.max(initial=0) > limit:
        raise ValueError(
            f"got {labels.max()} regions, but a 16-bit PNG can number at most {limit}. Choose "
            "options that give fewer regions."
        )
    return labels.astype(np.uint16)


def _save(paths, image, labels):
    from tfseg import viz

    labels_file, overlay_file = paths
    write_png(overlay_file, viz.regions(image, labels))
    write_png(labels_file, labels)
