"""`tfseg doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from tfseg.cli.console import console, quiet_start, say, track
from tfseg.cli.next_training import say_training
from tfseg.cli.options import (
    ClassNames,
    Colors,
    DatasetImages,
    DatasetLabels,
    IgnoreValue,
    MaskSuffix,
    MaskValues,
    Recursive,
    ValImages,
    ValMasks,
    given_options,
    parse_colors,
    parse_mask_values,
    split,
)
from tfseg.cli.train_options import Task

TaskName = Annotated[
    Task, typer.Option("--task", help="What the labels are for: semantic, detect or instances.")
]
HtmlFile = Annotated[
    Path | None, typer.Option(help="Write an HTML report with images to this file.")
]
JsonFile = Annotated[Path | None, typer.Option(help="Write the report as JSON to this file.")]


def doctor(
    context: typer.Context,
    images: DatasetImages,
    masks: DatasetLabels = None,
    task: TaskName = Task.semantic,
    class_names: ClassNames = None,
    ignore_value: IgnoreValue = 255,
    mask_values: MaskValues = None,
    colors: Colors = None,
    recursive: Recursive = False,
    mask_suffix: MaskSuffix = None,
    val_images: ValImages = None,
    val_masks: ValMasks = None,
    html: HtmlFile = None,
    json: JsonFile = None,
):
    """Check a dataset: files, duplicates, masks and classes.

    It ends with the command that trains on the dataset. The exit code is 1 if training would refuse
    the dataset.
    Without --class-names every value in the masks counts as a class.
    --colors, --recursive and --mask-suffix need --class-names.
    With --task detect or instances, it also compares the anchors of detectors with the objects.

    Example:  [cyan]tfseg doctor photos labels --class-names background,leaf --html report.html[/]
    Example:  [cyan]tfseg doctor photos instances.json --task detect[/]
    """
    if (val_images is None) != (val_masks is None):
        raise typer.BadParameter("Pass --val-images and --val-masks together.")
    if masks is None and task != Task.semantic:
        raise typer.BadParameter(f"--task {task} needs LABELS, the file or folder of the objects.")
    for file in filter(None, (html, json)):
        file.parent.mkdir(parents=True, exist_ok=True)
    with quiet_start():
        from tfseg import data
        from tfseg.doctor import diagnose
    folders = data.find_folders(images) if masks is None else (images, masks)
    val = None if val_images is None else (val_images, val_masks)
    names, values = split(class_names, str), parse_mask_values(mask_values)
    options = {"colors": colors, "recursive": recursive, "mask_suffix": mask_suffix}
    if task != Task.semantic:
        _refuse_mask_options(task, {"mask_values": values, **options})
        report = _diagnose_readers(*_open_objects(task, folders, val, names))
        # models of objects take no class weights
        report.with_weights = False
        report.findings = [found for found in report.findings if found.kind != "class_imbalance"]
    elif any(options.values()):
        options |= {"mask_values": values, "ignore_value": ignore_value}
        report = _diagnose_readers(*_open_masks(folders, val, names, options))
    else:
        report = diagnose(
            folders, names, val, ignore_value, values, track=track("examining images")
        )
    _show(report, folders[0], html, json)
    is_numbered = any(found.kind == "numbered_objects" for found in report.findings)
    if task == Task.semantic and not report.errors and not is_numbered:
        say_training(folders, context.params, given_options(context), values)
    raise typer.Exit(bool(report.errors))


def _refuse_mask_options(task, options):
    """Refuse options that describe masks of classes."""
    if any(options.values()):
        words = [f"--{name.replace('_', '-')}" for name in options]
        raise typer.BadParameter(
            f"{', '.join(words[:-1])} and {words[-1]} are for masks of classes; remove them, or "
            f"--task {task}."
        )


def _open_masks(folders, val_folders, class_names, options):
    """Return the readers of two pairs of folders, of which the second may be None.

    Unlike the doctor itself, a reader knows colors, subfolders and suffixes of masks.
    """
    from tfseg import data

    if class_names is None:
        raise typer.BadParameter("--colors, --recursive and --mask-suffix need --class-names.")
    options["colors"], ignored_color = parse_colors(options["colors"])
    options["ignore_value"] = ignored_color or options["ignore_value"]
    train = data.Folder(*folders, class_names, **options)
    val = None if val_folders is None else data.Folder(*val_folders, class_names, **options)
    return train, val


def _open_objects(task, folders, val_folders, class_names):
    """Return the readers of images with objects, of which the second may be None."""
    from tfseg import data
    from tfseg.data.readers.open_objects import has_voc_list

    train = data.open_objects(*folders, task, class_names)
    if val_folders is None:
        if not has_voc_list(folders[1], task, "val"):
            return train, None
        val_folders = folders
    return train, data.open_objects(*val_folders, task, train.label_names, split="val")


def _diagnose_readers(train, val):
    """Return the report of readers, to which the number of images is added."""
    from tfseg.doctor import diagnose
    from tfseg.doctor.file_findings import too_few_images

    report = diagnose(train, val=val, track=track("examining images"))
    report.findings[:0] = too_few_images(report.samples.values())  # an error: errors come first
    return report


def _show(report, images, html, json):
    """Print a report, and write it into the files that are wanted."""
    from tfseg.doctor import write_html

    console.print(*report.tables(), sep="\n")
    say(f"Result: {report.verdict()}.")
    if html is not None:
        write_html(report, html, images.resolve().name)
    if json is not None:
        report.save(json)
