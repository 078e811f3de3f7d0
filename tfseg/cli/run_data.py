"""What `evaluate`, `tune`, `predict` and `export` share: a run's data, windows and report."""

import functools
import warnings
from pathlib import Path

import typer

from tfseg.cli.console import console, plural, say, track, warnings_said
from tfseg.cli.object_hint import say_if_objects

# of the time of `train --minutes` that is kept for the results
EVALUATION = 1.5  # times a validation of the training
DRAWING = 6.0  # seconds on an idle machine, with loading the model


def open_run(folder):
    """Return the run in a folder, or the training in folds: a `Run` or a `FoldRuns`."""
    from tfseg import training

    folds = training.FoldRuns(folder)
    return folds if folds.exists() else training.Run(folder)


def open_labeled(run, images, masks, ignore_value):
    """Return a checked reader of a run's validation images, or of other labeled images.

    Args:
        run: a `tfseg.training.Run`.
        images, masks: folders of other images, or None for the run's validation images.
        ignore_value: mask value to ignore in `masks`; None for the run's.
    """
    from tfseg import doctor

    if (images is None) != (masks is None):
        raise typer.BadParameter(
            "--images and --masks go together. Without them the validation images are used."
        )
    if ignore_value is not None and images is None:
        raise typer.BadParameter(
            "--ignore-value goes with --images and --masks: the run knows the value of its masks."
        )
    record = run.record
    if images is None:
        reader = _open_validation(run, record)
    else:
        reader = _open_other(record, images, masks, ignore_value)
        warn_if_trained_on(reader, record, images)
    summary = doctor.check(reader, track("checking images"), min_samples=1)
    if images is not None:
        _check_range(record, reader, summary, images)
    warn_if_absent(reader.label_names, summary.class_pixels, summary.ignored_pixels, "evaluation")
    return reader


def _open_validation(run, record):
    from tfseg import training

    if record.config.images is None:
        raise ValueError(
            f"'{run.folder}' was not trained on folders. Pass labeled images: --images and --masks."
        )
    try:
        return training.open_readers(record.config, record.data)[1]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} Or pass other images: --images and --masks.") from error


def _open_other(record, images, masks, ignore_value):
    from tfseg import training

    table = record.data.mask_values
    if ignore_value is None:
        ignore_value = record.config.ignore_value
    elif table is not None:
        # the option has priority over the value's meaning in the run's own masks
        kept = {value: class_id for value, class_id in table.items() if value != ignore_value}
        table = kept or None
    return training.open_like(record.data, images, masks, ignore_value, table, record.config)


def _check_range(record, reader, summary, images):
    """Refuse images of less depth than those of the training; warn of another range."""
    from tfseg.data.value_range import range_warning

    if record.config.normalization == "image":
        return  # the model normalizes each image
    if reader.dtype == "uint8" and only_deep_images(record):
        raise ValueError(
            f"The images in '{images}' have 8 bits per channel, but the run was trained on more "
            "than 8 bits. Convert them to the range of the training images."
        )
    trained = record.data.value_range
    if trained is None or summary.value_range is None:
        return
    text = range_warning(*summary.value_range, trained, f"evaluate: {images}")
    if text is not None:
        say(f"Warning: {text}")


def require_depth(file, image, run):
    """Raise a ValueError if an image has another depth than those of the training.

    A model that normalizes each image takes images of 8 bits in the place of deeper ones.
    """
    eight_bit = image.dtype == "uint8"
    if run.data.dtype == "uint8" and not eight_bit:
        raise ValueError(
            f"{file} has more than 8 bits per channel, but the run was trained on 8 bits. Convert "
            "it to 0..255."
        )
    if eight_bit and run.config.normalization != "image" and only_deep_images(run.record):
        raise ValueError(
            f"{file} has 8 bits per channel, but the run was trained on more than 8 bits. Convert "
            "it to the range of the training images, or pass the original."
        )


def only_deep_images(record) -> bool:
    """Whether a run is known to be trained on images of more than 8 bits per channel only.

    A folder is read as float32 if one of its images has more than 8 bits; others may have 8.

    Args:
        record: a `tfseg.training.RunRecord`.
    """
    facts, config = record.data, record.config
    if facts.dtype in ("uint8", "uint16"):
        return facts.dtype == "uint16"
    if config.images is None or facts.value_range is None or facts.value_range[1] <= 255:
        return False
    return _has_only_deep_images(config.images, config.recursive)


@functools.cache  # once for all the images of a command
def _has_only_deep_images(folder, recursive):
    from tfseg import data
    from tfseg.data.readers.image_files import read_header

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about files that the training left out, too
            files = data.image_files(folder, recursive)
        return not any(is_8_bit for *_, is_8_bit in map(read_header, files))
    except (OSError, ValueError):
        return False  # the images are gone


def warn_if_trained_on(reader, record, images):
    """Warn if other images for an evaluation are those of the training."""
    if str(images.resolve()) != record.config.images:
        return
    names = {reader.name(index) for index in range(len(reader))}
    known = names & set(record.data.train_names)
    if known:
        say(
            f"Warning: {len(known)} of these {len(reader)} images were used for training. Scores "
            "on new images are lower."
        )


def warn_if_absent(label_names, class_pixels, ignored_pixels, purpose):
    """Warn about classes without a pixel: their masks may have another value, which is ignored.

    Args:
        label_names: names of the class ids in the masks.
        class_pixels: number of pixels per class.
        ignored_pixels: number of unlabeled pixels.
        purpose: "training", "validation" or "evaluation".
    """
    absent = [name for name, pixels in zip(label_names, class_pixels, strict=True) if not pixels]
    if absent:
        ignored = f"; {ignored_pixels} pixels are ignored" if ignored_pixels else ""
        say(
            f"Warning: the {purpose} masks have no pixel of the class {', '.join(absent)}{ignored}."
        )


def window_of(facts, sizes, window=None):
    """Return the side of the sliding windows for images, or None to process them whole.

    Args:
        facts: the run's `DataFacts`.
        sizes: heights and widths of the images.
        window: the user's choice; None for the run's, or by size.
    """
    from tfseg import data

    return window or facts.window or data.window_for(sizes)


def report_run(run, reader, out, batch_size, window=None):
    """Evaluate a run's best model, write tables and images into `out`, and print the table."""
    from tfseg import data, inference

    history = run.history() if Path(out) == run.folder else None
    window = window_of(run.data, reader.sizes, window)
    batch_size = data.batch_for(reader.sizes, batch_size)
    with warnings_said():
        scores = inference.report(
            run.model(),
            reader,
            out,
            history,
            batch_size,
            track("evaluating"),
            window,
            monitor=run.config.monitor,
        )
    console.print(scores.table(f"{run.folder.name} on {plural(len(reader), 'image')}"))
    images = "samples.png, confusion.png"
    if history:
        images += ", curves.png"
    say(f"Tables and images in {out}: evaluation.json, evaluation.csv, image_scores.csv, {images}.")
    say_if_objects(reader)
