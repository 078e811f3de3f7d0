"""`tfseg doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from tfseg.cli.console import console, quiet_start, say, track
from tfseg.cli.options import ClassNames, Ignore, MaskValues, ValImages, ValMasks, split, values


def doctor(
    images: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|IMAGES",
            help="A dataset's folder, such as of `images` and `masks`; or the images'.",
        ),
    ],
    masks: Annotated[
        Path | None,
        typer.Argument(metavar="[MASKS]", help="Folder of masks, named as their images."),
    ] = None,
    class_names: ClassNames = None,
    ignore: Ignore = 255,
    mask_values: MaskValues = None,
    val_images: ValImages = None,
    val_masks: ValMasks = None,
    html: Annotated[Path | None, typer.Option(help="File for the report with images.")] = None,
    json: Annotated[Path | None, typer.Option(help="File for the report as JSON.")] = None,
):
    """Examine a dataset: files, duplicates, masks, classes. Ends with 1 if training would refuse it.

    Without --class-names every value in the masks counts as a class.

    Example:  [cyan]tfseg doctor photos labels --class-names background,leaf --html report.html[/]
    """
    if (val_images is None) != (val_masks is None):
        raise typer.BadParameter("--val-images and --val-masks go together.")
    for file in filter(None, (html, json)):
        file.parent.mkdir(parents=True, exist_ok=True)
    with quiet_start():
        from tfseg import data
        from tfseg.doctor import diagnose, write_doctor_page
    if masks is None:
        images, masks = data.find_folders(images)
    val = None if val_images is None else (val_images, val_masks)
    table = {
        int(value): class_id for value, class_id in (values(mask_values) or {}).items()
    } or None
    names = split(class_names, str)
    report = diagnose((images, masks), names, val, ignore, table, track=track("examining images"))
    console.print(*report.tables(), sep="\n")
    say(f"The doctor says: {report.verdict()}.")
    if html is not None:
        write_doctor_page(report, html, images.resolve().name)
    if json is not None:
        report.save(json)
    raise typer.Exit(bool(report.errors))
