"""`tfseg doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from tfseg.cli.console import console, quiet_start, say, track
from tfseg.cli.options import (
    ClassNames,
    IgnoreValue,
    MaskValues,
    ValImages,
    ValMasks,
    parse_mask_values,
    split,
)

Images = Annotated[
    Path,
    typer.Argument(
        metavar="DIR|IMAGES",
        help="Folder of images, or a dataset folder that contains `images` and `masks`.",
    ),
]
Masks = Annotated[
    Path | None,
    typer.Argument(metavar="MASKS", help="Folder of masks with the names of their images."),
]
HtmlFile = Annotated[
    Path | None, typer.Option(help="Write an HTML report with images to this file.")
]
JsonFile = Annotated[Path | None, typer.Option(help="Write the report as JSON to this file.")]


def doctor(
    images: Images,
    masks: Masks = None,
    class_names: ClassNames = None,
    ignore_value: IgnoreValue = 255,
    mask_values: MaskValues = None,
    val_images: ValImages = None,
    val_masks: ValMasks = None,
    html: HtmlFile = None,
    json: JsonFile = None,
):
    """Check a dataset: files, duplicates, masks and classes.

    The exit code is 1 if training would refuse the dataset.
    Without --class-names every value in the masks counts as a class.

    Example:  [cyan]tfseg doctor photos labels --class-names background,leaf --html report.html[/]
    """
    if (val_images is None) != (val_masks is None):
        raise typer.BadParameter("Pass --val-images and --val-masks together.")
    for file in filter(None, (html, json)):
        file.parent.mkdir(parents=True, exist_ok=True)
    with quiet_start():
        from tfseg import data
        from tfseg.doctor import diagnose, write_html
    if masks is None:
        images, masks = data.find_folders(images)
    val = None if val_images is None else (val_images, val_masks)
    report = diagnose(
        (images, masks),
        split(class_names, str),
        val,
        ignore_value,
        parse_mask_values(mask_values),
        track=track("examining images"),
    )
    console.print(*report.tables(), sep="\n")
    say(f"Result: {report.verdict()}.")
    if html is not None:
        write_html(report, html, images.resolve().name)
    if json is not None:
        report.save(json)
    raise typer.Exit(bool(report.errors))
