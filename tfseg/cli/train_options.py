"""Options of `tfseg train`, in the panels of its help."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tfseg.cli.config_values import BOXLESS_HEADS
from tfseg.cli.console import quiet_start, say
from tfseg.cli.options import DATA, MODEL, RUN, TRAINING


class Optimizer(StrEnum):
    """The choices of --optimizer."""

    adam = "adam"
    adamw = "adamw"
    sgd = "sgd"


class Task(StrEnum):
    """The choices of --task."""

    semantic = "semantic"
    detect = "detect"
    instances = "instances"


class ClassWeights(StrEnum):
    """The choices of --class-weights."""

    none = "none"
    median = "median"


def _list_networks(requested):
    """Print the names for --model and --encoder, and exit."""
    if not requested:
        return
    with quiet_start():
        from tfseg import models
    say(f"--model: {', '.join(models.list_models())}")
    say(f"--head: {', '.join([*models.DETECTORS, *BOXLESS_HEADS])}")
    say(f"--encoder: {', '.join(models.list_encoders())}")
    raise typer.Exit


TaskName = Annotated[
    Task,
    typer.Option(
        "--task",
        help="semantic: classes of pixels, from --masks; detect: boxes, from --labels; instances: "
        "masks of objects, such as numbered cells, from --labels.",
        rich_help_panel=DATA,
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        help="Labels of the objects: a COCO JSON file (also a panoptic one, with its PNGs in the "
        "folder of its name), a Pascal VOC folder (with its lists train and val), or a folder of "
        "YOLO files, LabelMe files or PNGs of numbered objects.",
        rich_help_panel=DATA,
    ),
]
ValLabels = Annotated[
    Path | None,
    typer.Option(help="Labels of the objects in --val-images.", rich_help_panel=DATA),
]
MaxObjects = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Objects per training image that are used, the largest ones; by default all, up to "
        "100.",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
Images = Annotated[Path | None, typer.Option(help="Folder of images.", rich_help_panel=DATA)]
Masks = Annotated[
    Path | None,
    typer.Option(
        help="Folder of masks, with the same file names as the images.", rich_help_panel=DATA
    ),
]
Gray = Annotated[
    bool, typer.Option("--gray", help="Convert all images to gray.", rich_help_panel=DATA)
]
ValFraction = Annotated[
    float,
    typer.Option(
        min=0.01,
        max=0.9,
        help="Fraction of the images to validate on, without --val-images or a list val of Pascal "
        "VOC.",
        rich_help_panel=DATA,
    ),
]
Groups = Annotated[
    str | None,
    typer.Option(
        help="Keep the images of one patient, slide or sequence together, in training or in "
        "validation: a regular expression for their names, such as '(patient\\d+)_.*', or a CSV "
        "file of names and groups, as FILE.csv or FILE.csv:COLUMN.",
        show_default=False,
        rich_help_panel=DATA,
    ),
]
Folds = Annotated[
    int | None,
    typer.Option(
        min=2,
        help="Cross-validation: train this many networks, each validated on images that only the "
        "others train on. predict and export use the mean of the networks. --minutes are for all "
        "together.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="Network: unet, deeplab_v3_plus, lraspp ..., see --networks; by default unet.",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
Head = Annotated[
    str | None,
    typer.Option(
        help="With --task detect: faster_rcnn. With --task instances: star (many small round "
        "objects, such as nuclei) or center (objects of any shape, and the stuff of panoptic "
        "labels), both without boxes on top of --model; or mask_rcnn (default), a detector with "
        "masks.",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
Grid = Annotated[
    int | None,
    typer.Option(
        help="Distance in pixels of the points at which --head star looks for objects: 1 (objects "
        "of a few pixels), 2 (default) or 4 (large objects, faster).",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
Layout = Annotated[
    str | None,
    typer.Option(
        help="Heads of the detector: light (default), v1 or v2 (those of torchvision, for GPUs).",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
InputSize = Annotated[
    str | None,
    typer.Option(
        help="Size that the detector resizes images to, as a side or HEIGHT,WIDTH; by default it "
        "takes them as they are.",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
AnchorSizes = Annotated[
    str | None,
    typer.Option(
        help="Sizes in pixels of the detector's anchors on its five levels, such as "
        "16,32,64,128,256; see `tfseg doctor`.",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
AnchorRatios = Annotated[
    str | None,
    typer.Option(
        help="Height / width of the detector's anchors, such as 0.5,1,2.",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
Encoder = Annotated[
    str | None,
    typer.Option(
        help="Encoder of the network: efficientnet_lite0, resnet50 ..., see --networks.",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        help='Initial weights of the encoder: "imagenet" (default), "none" or a `.weights.h5` '
        "file.",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
Filters = Annotated[
    str | None,
    typer.Option(
        help="Width of each level of the U-Net, such as 32,64,128,256,512; with an encoder, of its "
        "five decoder levels.",
        show_default=False,
        rich_help_panel=MODEL,
    ),
]
NormalizeEach = Annotated[
    bool,
    typer.Option(
        "--normalize-each",
        help="Normalize each image by its own mean and standard deviation, as for microscopy.",
        rich_help_panel=MODEL,
    ),
]
Networks = Annotated[
    bool,
    typer.Option(
        "--networks",
        is_eager=True,
        callback=_list_networks,
        help="List the networks, heads and encoders.",
        rich_help_panel=MODEL,
    ),
]
Size = Annotated[
    int | None,
    typer.Option(
        min=8,
        help="Side of the training crops in pixels; by default planned.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Passes over the images, instead of --minutes.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of images per step; by default planned. Lower it if memory runs out.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
PlanFile = Annotated[
    Path | None,
    typer.Option(
        "--plan", help="A plan that `tfseg plan` wrote, instead of a new one.", rich_help_panel=RUN
    ),
]
Minutes = Annotated[
    float | None,
    typer.Option(
        help="Train and evaluate in this time, by default 20 minutes: the number of steps follows "
        "the speed of the machine, also if it changes.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Stop after this many epochs in a row without a better validation score; by default 8 "
        "of the 20 rounds of --minutes.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
OptimizerName = Annotated[
    Optimizer | None,
    typer.Option(
        help="Adam, AdamW (default), or SGD with Nesterov momentum.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        help="Peak learning rate (linear warm-up, then cosine decay); by default 0.002 for adamw, "
        "0.001 for adam and detectors, 0.05 for sgd.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
Balance = Annotated[
    ClassWeights | None,
    typer.Option(
        help="median: give rare classes more weight, by median frequency balancing; by default "
        "planned.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
Window = Annotated[
    int | None,
    typer.Option(
        min=32,
        help="Side of the windows for larger images in validation and prediction; by default 1024 "
        "if any image has more than 2 megapixels.",
        show_default=False,
        rich_help_panel=TRAINING,
    ),
]
Out = Annotated[Path, typer.Option(help="Folder of the run.", rich_help_panel=RUN)]
Seed = Annotated[
    int,
    typer.Option(
        help="Random seed for the split, weight initialization, shuffling and augmentation.",
        rich_help_panel=RUN,
    ),
]
From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        help="Begin with the best weights of this run: go on with its data, or with other --images "
        "and classes. Options that are not given are those of the run; the learning rate is a "
        "tenth of its.",
        show_default=False,
        rich_help_panel=RUN,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Continue the run in --out after an interruption.", rich_help_panel=RUN
    ),
]
