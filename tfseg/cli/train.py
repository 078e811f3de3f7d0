"""`tfseg train`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tfseg.cli.console import console, quiet_start, say, say_commands, track
from tfseg.cli.options import (
    BatchSize,
    ClassNames,
    Ignore,
    MaskValues,
    ValImages,
    ValMasks,
    split,
    values,
)
from tfseg.cli.use import report_run, warn_of_absent

ValFraction = Annotated[
    float, typer.Option(min=0.01, max=0.9, help="Share to validate on, without --val-images.")
]
Size = Annotated[int, typer.Option(min=8, help="Side in pixels of the windows to train on.")]
Epochs = Annotated[int, typer.Option(min=1, help="Passes over the images.")]
Network = Annotated[
    str, typer.Option(help="The network: unet, deeplab_v3_plus, lraspp ..., see --networks.")
]
Encoder = Annotated[
    str | None,
    typer.Option(
        help="The network's encoder: efficientnet_lite0, resnet50 ..., see --networks.",
        show_default=False,
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        help='The encoder\'s weights to begin with: "imagenet", "none" or a file `.weights.h5`.'
    ),
]
Filters = Annotated[
    str | None,
    typer.Option(
        help="Width of each level of the U-Net: 32,64,128,256,512 without encoder; five behind one.",
        show_default=False,
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        help="The highest, after a warm-up and before a cosine; 0.001 for adam, 0.05 for sgd.",
        show_default=False,
    ),
]


# What runs were trained with that were begun before there were these options.
OLDER = {"class_weights": "none", "normalize_each": False, "gray": False, "window": None}


class Optimizer(StrEnum):
    """The choices of --optimizer."""

    adam = "adam"
    sgd = "sgd"


class ClassWeights(StrEnum):
    """The choices of --class-weights."""

    none = "none"
    median = "median"


Balance = Annotated[
    ClassWeights,
    typer.Option(help="median: rare classes count as much as common ones, by median frequency."),
]
NormalizeEach = Annotated[
    bool,
    typer.Option(
        "--normalize-each", help="Each image by its own mean and deviation, as for microscopes."
    ),
]
Window = Annotated[
    int | None,
    typer.Option(
        min=32,
        help="Side of the windows in which larger images are validated, measured and predicted; by default 1024 if "
        "any has more than 2 megapixels, else they are taken whole.",
        show_default=False,
    ),
]


def _list_networks(asked):
    """Print the names for --model and --encoder, and end."""
    if not asked:
        return
    with quiet_start():
        from tfseg import models
    say(f"--model: {', '.join(models.list_models())}")
    say(f"--encoder: {', '.join(models.list_encoders())}")
    raise typer.Exit


def train(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder of the run, new or with --resume.")],
    images: Annotated[Path | None, typer.Option(help="Folder of images.")] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of masks, named as their images.")
    ] = None,
    class_names: ClassNames = None,
    ignore: Ignore = 255,
    mask_values: MaskValues = None,
    gray: Annotated[bool, typer.Option("--gray", help="Read all images as gray.")] = False,
    val_images: ValImages = None,
    val_masks: ValMasks = None,
    val_fraction: ValFraction = 0.2,
    size: Size = 256,
    epochs: Epochs = 20,
    batch_size: BatchSize = 8,
    model: Network = "unet",
    encoder: Encoder = None,
    weights: Weights = "imagenet",
    filters: Filters = None,
    optimizer: Annotated[
        Optimizer, typer.Option(help="Adam, or SGD with Nesterov momentum.")
    ] = Optimizer.adam,
    learning_rate: LearningRate = None,
    class_weights: Balance = ClassWeights.none,
    normalize_each: NormalizeEach = False,
    window: Window = None,
    seed: Annotated[
        int, typer.Option(help="Of the split, the weights, the order, the augmentation.")
    ] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    _: Annotated[
        bool,
        typer.Option(
            "--networks",
            is_eager=True,
            callback=_list_networks,
            help="List the networks and the encoders.",
        ),
    ] = False,
):
    """Train a network on a folder of images and a folder of masks.

    Masks are PNGs with one class id a pixel; of two classes, also black (0) and white (255).

    Examples:

    [cyan]tfseg train --images photos --masks labels --class-names background,leaf --out runs/leaves[/]

    [cyan]tfseg train --encoder efficientnet_lite0 --images ...[/]  the same with an encoder trained on ImageNet

    [cyan]tfseg train --resume --out runs/leaves[/]  after an interruption
    """
    if normalize_each and window is not None:
        raise typer.BadParameter(
            "--window does not go with --normalize-each: a window's mean is not its image's."
        )
    if learning_rate is not None and learning_rate <= 0:
        raise typer.BadParameter(f"--learning-rate {learning_rate} must be above 0.")
    asked = {
        "images": images,
        "masks": masks,
        "class_names": split(class_names, str),
        "ignore": ignore,
        "mask_values": values(mask_values),
        "gray": gray,
        "channels": 1 if gray else None,
        "val_images": val_images,
        "val_masks": val_masks,
        "val_fraction": val_fraction,
        "size": size,
        "epochs": epochs,
        "batch_size": batch_size,
        "model": model,
        "encoder": encoder,
        "weights": weights,
        "filters": split(filters, int),
        "optimizer": optimizer.value,
        "learning_rate": learning_rate or {"adam": 1e-3, "sgd": 5e-2}[optimizer.value],
        "class_weights": class_weights.value,
        "normalize_each": normalize_each,
        "window": window,
        "seed": seed,
    }
    asked = {k: str(v.resolve()) if isinstance(v, Path) else v for k, v in asked.items()}
    if Path(weights).is_file():
        asked["weights"] = str(Path(weights).resolve())
    with quiet_start():
        from tfseg import training
    run = training.Run(out)
    if resume:
        given = {
            name
            for name in context.params
            if context.get_parameter_source(name).name == "COMMANDLINE"
        }
        settings = _stored(run, asked, given)
    else:
        _require_all(asked)
        run.refuse_if_taken()
        settings = asked
    _train(run, settings, resume)


def _train(run, settings, resume):
    """Check the images, train, and report; a new run's settings first learn what is in the data."""
    from tfseg import training

    train_reader, val_reader = training.open_readers(settings)
    # What is wrong with the network's options is to be said before all images are read.
    training.network_for(train_reader, {"normalization": None, **settings})
    summary, val_summary = _check_both(train_reader, val_reader)
    if not resume:
        settings = training.remember(settings, train_reader, val_reader, summary)
    _describe(train_reader, val_reader, summary)
    warn_of_absent(train_reader, summary, "train")
    warn_of_absent(val_reader, val_summary, "validate")
    if settings.get("window"):
        say(
            f"Larger images are validated, measured and predicted in windows of {settings['window']} pixels."
        )
    _say_steps(len(train_reader), settings, done=len(run.history().get("epoch", [])))
    try:
        with training.Progress(console) as progress:
            training.train_folder(train_reader, val_reader, settings, run.folder, [progress])
    except KeyboardInterrupt:
        say("Interrupted." + ("" if run.has_settings() else " Nothing was kept."))
        if run.has_settings():
            say_commands(("tfseg", "train", "--resume", "--out", run.folder))
        raise typer.Exit(130) from None
    _say_best(run.history())
    report_run(run, val_reader, run.folder, settings["batch_size"])
    tune = [("tune",)] if len(val_reader) > 1 else []
    next_ = *tune, ("predict", "IMAGES"), ("export",)
    say_commands(*(("tfseg", *words, "--run", run.folder) for words in next_))


def _require_all(asked):
    """Refuse a new run that lacks an option."""
    missing = [
        f"--{name.replace('_', '-')}"
        for name in ("images", "masks", "class_names")
        if asked[name] is None
    ]
    if missing:
        raise typer.BadParameter(f"{', '.join(missing)} is needed, except with --resume.")
    if (asked["val_images"] is None) != (asked["val_masks"] is None):
        raise typer.BadParameter("--val-images and --val-masks go together.")


def _stored(run, asked, given):
    """Return the settings of a run to resume; an option that differs from them is refused."""
    settings = run.settings()
    if "epochs" not in settings or "images" not in settings:
        raise ValueError(f"'{run.folder}' is no run of `tfseg train`. Start a new one.")
    settings = OLDER | settings
    differing = sorted(name for name in given & asked.keys() if asked[name] != settings[name])
    if differing:
        named = ", ".join(f"--{name.replace('_', '-')} {settings[name]}" for name in differing)
        raise ValueError(
            f"'{run.folder}' was begun with {named}. Leave the option out, or start a new run."
        )
    return settings


def _check_both(train_reader, val_reader):
    """Read every sample; return both summaries, or raise all that is wrong in both."""
    from tfseg import doctor

    summaries, problems = [], []
    parts = (train_reader, "images to train on", 2), (val_reader, "images to validate on", 1)
    for reader, what, classes in parts:
        try:
            summaries.append(
                doctor.check(reader, track(f"checking {what}"), at_least=1, classes=classes)
            )
        except ValueError as error:
            problems.append(f"Among the {what}: {error}")
    if problems:
        raise ValueError("\n".join(problems))
    return summaries


def _describe(train_reader, val_reader, summary):
    shares = summary.class_pixels / max(summary.class_pixels.sum(), 1)
    classes = ", ".join(
        f"{n} {s:.1%}" for n, s in zip(train_reader.label_names, shares, strict=True)
    )
    say(
        f"{len(train_reader)} images to train on, {len(val_reader)} to validate on. Pixels: {classes}"
    )
    if train_reader.num_classes == 1:
        say(f"One class name: in the masks 0 is background and 1 is {train_reader.class_names[0]}.")
    if train_reader.mask_values == {0: 0, 255: 1}:
        say(f"The masks hold 0 and 255: read as {' and '.join(train_reader.label_names)}.")


def _say_steps(count, settings, done):
    steps = max(1, count // settings["batch_size"]) * settings["epochs"]
    if done >= settings["epochs"]:
        say(f"All {done} epochs are done: nothing is left to train.")
    elif steps < 200:
        say(
            f"Warning: only {steps} steps in all. Raise --epochs or lower --batch-size for a useful model."
        )


def _say_best(history):
    best = max(range(len(history["epoch"])), key=lambda i: history["val_mean_iou"][i])
    say(f"Best of {len(history['epoch'])} epochs by mean IoU on the validation images: {best + 1}.")
