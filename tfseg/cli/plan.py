"""`tfseg plan`."""

from pathlib import Path
from typing import Annotated

import typer

from tfseg.cli.console import quiet_start, say, say_commands
from tfseg.cli.options import (
    ClassNames,
    Colors,
    DatasetImages,
    DatasetLabels,
    IgnoreValue,
    MaskSuffix,
    MaskValues,
    MemoryGb,
    Recursive,
    parse_colors,
    parse_mask_values,
    split,
)
from tfseg.cli.planned_run import make_plan, show_plan
from tfseg.cli.train_options import Task

TaskName = Annotated[
    Task | None,
    typer.Option("--task", help="semantic, detect or instances; by default what suits the labels."),
]
Minutes = Annotated[float, typer.Option(help="Duration of the training.")]
Out = Annotated[Path, typer.Option(help="File of the plan.")]


def plan(
    images: DatasetImages,
    labels: DatasetLabels = None,
    task: TaskName = None,
    class_names: ClassNames = None,
    ignore_value: IgnoreValue = 255,
    mask_values: MaskValues = None,
    colors: Colors = None,
    recursive: Recursive = False,
    mask_suffix: MaskSuffix = None,
    minutes: Minutes = 20,
    memory_gb: MemoryGb = 8,
    out: Out = Path("plan.json"),
):
    """Plan a training: task, network, crops, augmentation and more, each with its reason.

    Every image is read once. The plan is a JSON file: edit "values" in it as you like, then pass it
    to `tfseg train`. The same data and options give the same plan.

    Example:  [cyan]tfseg plan dataset --minutes 30[/]

    Example:  [cyan]tfseg plan photos labels.json --task detect[/]
    """
    with quiet_start():
        from tfseg.doctor.guessed_task import find_data, guess_task
    folders = find_data(images) if labels is None else (images, labels)
    if task is None:
        task = guess_task(*folders)
    colors, ignored_color = parse_colors(colors)
    masks = {
        "mask_values": parse_mask_values(mask_values),
        "colors": colors,
        "ignore_value": ignored_color or ignore_value,
        "recursive": recursive,
        "mask_suffix": mask_suffix,
    }
    names = split(class_names, str)
    made = _make(str(task), folders, names, masks, minutes, memory_gb)
    show_plan(made)
    made.save(out)
    say(f"The plan is in {out}.")
    say_commands(("tfseg", "train", "--plan", out, "--out", "runs/first"))


def _make(task, folders, class_names, mask_options, minutes, memory_gb):
    """Return the plan of a training on masks of classes, of numbered objects, or other labels."""
    from tfseg.doctor.guessed_classes import NumberedObjectsError
    from tfseg.doctor.guessed_task import find_validation

    images, labels = folders
    values = {"images": images, "class_names": class_names}
    if task == Task.semantic:
        validation = find_validation(images, labels) or (None, None)
        values |= dict(zip(("val_images", "val_masks"), validation, strict=True))
        try:
            masks = {**values, **mask_options, "task": task, "masks": labels}
            return make_plan(masks, {}, minutes, memory_gb)[0]
        except NumberedObjectsError:
            say("The masks number objects, so the objects are separated.")
            task = str(Task.instances)
    objects = {"task": task, "images": images, "labels": labels, "class_names": class_names}
    return make_plan(objects, {}, minutes, memory_gb)[0]
