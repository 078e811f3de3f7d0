"""`tfseg train`."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tfseg.cli.console import console, plural, quiet_start, say, say_commands, track
from tfseg.cli.options import (
    DATA,
    MODEL,
    RUN,
    TRAINING,
    BatchSize,
    ClassNames,
    IgnoreValue,
    MaskValues,
    ValImages,
    ValMasks,
    parse_mask_values,
    split,
)
from tfseg.cli.run_data import report_run, warn_if_absent

FEW_STEPS = 200  # below this, a network has hardly learned anything


class Optimizer(StrEnum):
    """The choices of --optimizer."""

    adam = "adam"
    adamw = "adamw"
    sgd = "sgd"


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
    say(f"--encoder: {', '.join(models.list_encoders())}")
    raise typer.Exit


def train(
    context: typer.Context,
    out: Annotated[
        Path, typer.Option(help="Folder of the run, new or with --resume.", rich_help_panel=RUN)
    ],
    images: Annotated[
        Path | None, typer.Option(help="Folder of images.", rich_help_panel=DATA)
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Folder of masks, with the same file names as the images.", rich_help_panel=DATA
        ),
    ] = None,
    class_names: ClassNames = None,
    ignore_value: IgnoreValue = 255,
    mask_values: MaskValues = None,
    gray: Annotated[
        bool, typer.Option("--gray", help="Convert all images to gray.", rich_help_panel=DATA)
    ] = False,
    val_images: ValImages = None,
    val_masks: ValMasks = None,
    val_fraction: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=0.9,
            help="Fraction of the images to validate on, without --val-images.",
            rich_help_panel=DATA,
        ),
    ] = 0.2,
    model: Annotated[
        str,
        typer.Option(
            help="Network: unet, deeplab_v3_plus, lraspp ..., see --networks.",
            rich_help_panel=MODEL,
        ),
    ] = "unet",
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Encoder of the network: efficientnet_lite0, resnet50 ..., see --networks.",
            show_default=False,
            rich_help_panel=MODEL,
        ),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            help='Initial weights of the encoder: "imagenet", "none" or a `.weights.h5` file.',
            rich_help_panel=MODEL,
        ),
    ] = "imagenet",
    filters: Annotated[
        str | None,
        typer.Option(
            help="Width of each level of the U-Net, such as 32,64,128,256,512; with an encoder, of "
            "its five decoder levels.",
            show_default=False,
            rich_help_panel=MODEL,
        ),
    ] = None,
    normalize_each: Annotated[
        bool,
        typer.Option(
            "--normalize-each",
            help="Normalize each image by its own mean and standard deviation, as for microscopy.",
            rich_help_panel=MODEL,
        ),
    ] = False,
    size: Annotated[
        int,
        typer.Option(min=8, help="Side of the training crops in pixels.", rich_help_panel=TRAINING),
    ] = 256,
    epochs: Annotated[
        int, typer.Option(min=1, help="Passes over the images.", rich_help_panel=TRAINING)
    ] = 20,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Train for this long, instead of --epochs.",
            show_default=False,
            rich_help_panel=TRAINING,
        ),
    ] = None,
    batch_size: BatchSize = 8,
    optimizer: Annotated[
        Optimizer,
        typer.Option(help="Adam, AdamW, or SGD with Nesterov momentum.", rich_help_panel=TRAINING),
    ] = Optimizer.adam,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Peak learning rate (linear warm-up, then cosine decay); by default 0.001, "
            "or 0.05 for sgd.",
            show_default=False,
            rich_help_panel=TRAINING,
        ),
    ] = None,
    class_weights: Annotated[
        ClassWeights,
        typer.Option(
            help="median: give rare classes more weight, by median frequency balancing.",
            rich_help_panel=TRAINING,
        ),
    ] = ClassWeights.none,
    window: Annotated[
        int | None,
        typer.Option(
            min=32,
            help="Side of the windows for larger images in validation and prediction; by "
            "default 1024 if any image has more than 2 megapixels.",
            show_default=False,
            rich_help_panel=TRAINING,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            help="Random seed for the split, weight initialization, shuffling and augmentation.",
            rich_help_panel=RUN,
        ),
    ] = 0,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Continue the run in --out after an interruption.", rich_help_panel=RUN
        ),
    ] = False,
    _: Annotated[
        bool,
        typer.Option(
            "--networks",
            is_eager=True,
            callback=_list_networks,
            help="List the networks and encoders.",
            rich_help_panel=MODEL,
        ),
    ] = False,
):
    """Train a network on a folder of images and a folder of masks.

    Masks are PNG files of class ids (0, 1, 2 ...); masks of two classes may also be black and
    white.

    Examples:

    [cyan]tfseg train --images photos --masks labels --class-names background,leaf --out
    runs/leaves[/]

    [cyan]tfseg train --encoder efficientnet_lite0 --images ...[/]  with an encoder trained on
    ImageNet

    [cyan]tfseg train --resume --out runs/leaves[/]  after an interruption
    """
    values = {
        "images": images,
        "masks": masks,
        "class_names": split(class_names, str),
        "ignore_value": ignore_value,
        "mask_values": parse_mask_values(mask_values),
        "gray": gray,
        "val_images": val_images,
        "val_masks": val_masks,
        "val_fraction": val_fraction,
        "model": model,
        "encoder": encoder,
        "weights": None if weights.lower() == "none" else weights,
        "filters": split(filters, int),
        "normalization": "image" if normalize_each else "dataset",
        "epochs": epochs,
        "minutes": minutes,
        "batch_size": batch_size,
        "optimizer": optimizer.value,
        "learning_rate": learning_rate,
        "class_weights": None if class_weights is ClassWeights.none else class_weights.value,
        "window": window,
        "seed": seed,
    }
    given = {
        name for name in context.params if context.get_parameter_source(name).name == "COMMANDLINE"
    }
    if minutes is not None and "epochs" not in given:
        values["epochs"] = None
    if not resume:
        _require_folders(values)
    with quiet_start():
        from tfseg import training
    run = training.Run(out)
    if resume:
        config = run.config
        _refuse_changes(run, values, size, given)
    else:
        run.raise_if_exists()
        config = _new_config(values, size, out)
    _train(config, run)


def _new_config(values, size, out):
    """Return the `TrainConfig` of a new run; what it refuses is an error of usage."""
    from tfseg import training

    default = training.TrainConfig(out=str(out))
    try:
        return replace(default, **values, augment={**default.augment, "size": size})
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _train(config, run):
    """Train, and print what happens and the result."""
    import keras

    from tfseg import training

    describe = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: _describe(run))
    try:
        with training.Progress(console) as progress:
            training.train(config, callbacks=[describe, progress], track=track("checking images"))
    except KeyboardInterrupt:
        _say_interrupted(run)
        raise typer.Exit(130) from None
    _say_best(run.history())
    record = run.record
    _, val = training.open_readers(record.config, record.data)
    report_run(run, val, run.folder, record.config.val_batch_size or record.config.batch_size)
    commands = [("predict", "IMAGES"), ("export",)]
    if len(val) > 1:
        commands.insert(0, ("tune",))
    say_commands(*(("tfseg", *words, "--run", run.folder) for words in commands))


def _require_folders(values):
    """Refuse a new run without its folders."""
    missing = [
        f"--{name.replace('_', '-')}"
        for name in ("images", "masks", "class_names")
        if values[name] is None
    ]
    if missing:
        raise typer.BadParameter(f"{', '.join(missing)} required, except with --resume.")
    if (values["val_images"] is None) != (values["val_masks"] is None):
        raise typer.BadParameter("Pass --val-images and --val-masks together.")


def _refuse_changes(run, values, size, given):
    """Refuse options that differ from the config of the run to resume.

    Args:
        run: a `tfseg.training.Run`.
        values: {field of `TrainConfig`: value} by the command line.
        size: by the command line.
        given: names of the options that were given.
    """
    config = run.config
    if config.images is None:
        raise ValueError(
            f"'{run.folder}' was not started by `tfseg train`. Run the script that started it."
        )
    if "normalize_each" in given:
        given = given | {"normalization"}
    changed = replace(config, **{name: values[name] for name in given & values.keys()})
    names = set(config.differences(changed))
    if changed.peak_learning_rate == config.peak_learning_rate:
        names.discard("learning_rate")  # 0.001 given, and it is the default
    options = [_option(config, name) for name in names]
    if "size" in given and config.augment["size"] != (size, size):
        options.append(f"--size {config.augment['size'][0]}")
    if options:
        raise ValueError(
            f"'{run.folder}' was started with {', '.join(sorted(options))}. Remove the option, or "
            "start a new run."
        )


def _option(config, name):
    """Return a field of a config as the command line writes it, such as "--epochs 20"."""
    value = getattr(config, name)
    if name == "normalization":
        return "--normalize-each" if value == "image" else "no --normalize-each"
    if name == "learning_rate":
        value = config.peak_learning_rate
    elif value is None:
        value = "none"
    elif isinstance(value, dict):
        value = ",".join(f"{key}={part}" for key, part in value.items())
    elif isinstance(value, tuple):
        value = ",".join(map(str, value))
    return f"--{name.replace('_', '-')} {value}"


def _describe(run):
    """Print what a training that begins has found in its data."""
    record = run.record
    config, data, plan = record.config, record.data, record.plan
    names = _label_names(data)
    total = max(sum(data.class_pixels), 1)
    fractions = [
        f"{name} {pixels / total:.1%}"
        for name, pixels in zip(names, data.class_pixels, strict=True)
    ]
    say(
        f"Training on {plural(len(data.train_names), 'image')}, validating on "
        f"{len(data.val_names)}. Pixels: {', '.join(fractions)}."
    )
    if len(data.class_names) == 1:
        say(f"One class name: mask id 0 is background, 1 is {data.class_names[0]}.")
    if data.mask_values == {0: 0, 255: 1}:
        say(f"The masks contain 0 and 255: read as {' and '.join(names)}.")
    warn_if_absent(names, data.class_pixels, data.ignored_pixels, "training")
    warn_if_absent(names, data.val_class_pixels, data.val_ignored_pixels, "validation")
    if data.window is not None:
        say(f"Larger images are validated and predicted in windows of {data.window} pixels.")
    done = len(run.history().get("epoch", []))
    if done >= plan.epochs:
        say(f"All {done} epochs are done: nothing left to train.")
    elif plan.steps < FEW_STEPS and config.minutes is None:
        say(
            f"Warning: only {plan.steps} training steps. Raise --epochs or lower --batch-size for "
            "a useful model."
        )


def _label_names(data):
    from tfseg.checks import label_names

    return label_names(data.class_names)


def _say_interrupted(run):
    if not run.exists():
        say("Interrupted. Nothing was saved.")
        return
    say("Interrupted.")
    say_commands(("tfseg", "train", "--resume", "--out", run.folder))


def _say_best(history):
    scores = history["val_mean_iou"]
    best = max(range(len(scores)), key=lambda i: scores[i])
    say(f"Best of {len(scores)} epochs by validation mean IoU: {best + 1}.")
