"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

# panels of the help
DATA, MODEL, TRAINING, RUN, DETECTORS = "Data", "Model", "Training", "Run", "Detectors"

EVALUATION_BATCH_SIZE = 8

DatasetImages = Annotated[
    Path,
    typer.Argument(
        metavar="DIR|IMAGES",
        help="Folder of images, or a dataset folder that contains `images` and `masks`.",
    ),
]
DatasetLabels = Annotated[
    Path | None,
    typer.Argument(
        metavar="MASKS|LABELS",
        help="Folder of masks with the names of their images. Or labels of objects: a COCO file, "
        "or a folder in the layout of VOC, YOLO, LabelMe or of numbered objects.",
    ),
]
RunFolder = Annotated[
    Path, typer.Option("--run", help="Folder of a run, as written by `tfseg train`.")
]
MemoryGb = Annotated[
    float,
    typer.Option(
        min=0.1,
        help="Memory in GB that the training may take; crops and batches become smaller.",
        rich_help_panel=TRAINING,
    ),
]
EvaluationBatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        min=1,
        help=f"Number of images processed together; by default {EVALUATION_BATCH_SIZE}. Detectors "
        "take one at a time.",
        show_default=False,
    ),
]
ClassNames = Annotated[
    str | None,
    typer.Option(
        help="Names of the class ids 0, 1, 2 ..., separated by commas. A single name is id 1; 0 is "
        "background.",
        rich_help_panel=DATA,
    ),
]
IgnoreValue = Annotated[
    int,
    typer.Option(
        "--ignore-value",
        help="Mask value to ignore (unlabeled pixels); -1 to ignore nothing.",
        rich_help_panel=DATA,
    ),
]
MaskValues = Annotated[
    str | None,
    typer.Option(
        help="Class ids of the mask values, as VALUE=ID separated by commas, such as 0=0,1=1,9=2.",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
Colors = Annotated[
    str | None,
    typer.Option(
        help="Colors of the classes in RGB masks, as NAME=RED/GREEN/BLUE separated by commas, such "
        "as road=128/64/128,sky=70/130/180; ignore=... for pixels without a label.",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
Recursive = Annotated[
    bool,
    typer.Option("--recursive", help="Read subfolders, too.", rich_help_panel=DATA),
]
MaskSuffix = Annotated[
    str | None,
    typer.Option(
        help="What the names of masks have after those of images, such as _mask. Images and masks "
        "may then be in one folder, and an image may have several: a_mask.png, a_mask_1.png.",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
ValImages = Annotated[
    Path | None, typer.Option(help="Folder of validation images.", rich_help_panel=DATA)
]
ValMasks = Annotated[
    Path | None, typer.Option(help="Folder of validation masks.", rich_help_panel=DATA)
]
LabeledImages = Annotated[
    Path | None,
    typer.Option("--images", help="Folder of images; by default the validation images of the run."),
]
LabeledObjects = Annotated[
    Path | None,
    typer.Option(
        "--labels", help="Labels of the objects in --images, for runs on objects; see `train`."
    ),
]
ScoreThreshold = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Keep detections, or objects of --task instances, with a higher score; by default "
        "that of the trained or tuned model, such as 0.05 for detections and 0.5 for objects.",
        show_default=False,
        rich_help_panel=DETECTORS,
    ),
]
NmsIou = Annotated[
    float | None,
    typer.Option(
        "--nms-iou",
        min=0,
        max=1,
        help="Drop detections that overlap a better one of their class by a higher IoU; by default "
        "the model's, 0.5.",
        show_default=False,
        rich_help_panel=DETECTORS,
    ),
]
MaxDetections = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of detections per image; by default the model's, 100.",
        show_default=False,
        rich_help_panel=DETECTORS,
    ),
]
LabeledMasks = Annotated[Path | None, typer.Option("--masks", help="Folder of masks for --images.")]
OtherIgnoreValue = Annotated[
    int | None,
    typer.Option(
        "--ignore-value",
        help="Mask value to ignore in --masks; by default the run's.",
        show_default=False,
    ),
]
OtherWindow = Annotated[
    int | None,
    typer.Option(
        "--window",
        min=32,
        help="Side of the sliding windows for larger images; by default the run's, or 1024 "
        "for images above 2 megapixels.",
        show_default=False,
    ),
]


def parse_mask_values(text: str | None) -> dict | None:
    """Return {9: 2} for "9=2"; None for None."""
    if text is None:
        return None
    try:
        pairs = [part.split("=") for part in text.split(",")]
        return {int(value): int(class_id) for value, class_id in pairs}
    except ValueError as error:
        raise typer.BadParameter(
            f"'{text}' must be VALUE=ID separated by commas, such as 0=0,1=1,9=2."
        ) from error


def parse_colors(text: str | None):
    """Return ({"road": (128, 64, 128)}, (0, 0, 0)) for "road=128/64/128,ignore=0/0/0".

    The second is the color of pixels without a label, None if there is none. None for None.
    """
    if text is None:
        return None, None
    colors = {}
    for part in text.split(","):
        name, _, color = part.partition("=")
        try:
            red, green, blue = (int(level) for level in color.split("/"))
        except ValueError as error:
            raise typer.BadParameter(
                f"'{part}' must be NAME=RED/GREEN/BLUE, such as road=128/64/128."
            ) from error
        colors[name.strip()] = (red, green, blue)
    return colors, colors.pop("ignore", None)


def split(text: str | None, kind: type) -> list | None:
    """Return the parts of "a,b,c" as a list of `kind`, str or int; None for None."""
    if text is None:
        return None
    try:
        return [kind(part.strip()) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"'{text}' must be numbers separated by commas.") from error


def given_options(context: typer.Context) -> list[str]:
    """Return the names of the parameters that the command line gives."""
    return [
        name for name in context.params if context.get_parameter_source(name).name == "COMMANDLINE"
    ]
