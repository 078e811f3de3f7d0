"""`tfseg train`."""

import math
from dataclasses import replace

import typer

from tfseg.cli import train_options as options
from tfseg.cli.console import console, plural, quiet_start, say, say_commands, track
from tfseg.cli.options import (
    BatchSize,
    ClassNames,
    Colors,
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
from tfseg.cli.run_data import report_run, warn_if_absent

FEW_STEPS = 200  # below this, a network has hardly learned anything


def train(
    context: typer.Context,
    *,  # so that `out`, which is required, comes after the data in the help
    images: options.Images = None,
    masks: options.Masks = None,
    class_names: ClassNames = None,
    ignore_value: IgnoreValue = 255,
    mask_values: MaskValues = None,
    colors: Colors = None,
    recursive: Recursive = False,
    mask_suffix: MaskSuffix = None,
    gray: options.Gray = False,
    val_images: ValImages = None,
    val_masks: ValMasks = None,
    val_fraction: options.ValFraction = 0.2,
    model: options.Model = "unet",
    encoder: options.Encoder = None,
    weights: options.Weights = "imagenet",
    filters: options.Filters = None,
    normalize_each: options.NormalizeEach = False,
    size: options.Size = 256,
    epochs: options.Epochs = 20,
    minutes: options.Minutes = None,
    batch_size: BatchSize = 8,
    optimizer: options.OptimizerName = options.Optimizer.adam,
    learning_rate: options.LearningRate = None,
    class_weights: options.Balance = options.ClassWeights.none,
    window: options.Window = None,
    out: options.Out,
    seed: options.Seed = 0,
    resume: options.Resume = False,
    _: options.Networks = False,
):
    """Train a network on a folder of images and a folder of masks.

    Masks are PNG files of class ids (0, 1, 2 ...); masks of two classes may be black and white.

    Examples:

    [cyan]tfseg train --images photos --masks labels --class-names background,leaf \\
      --out runs/leaves[/]

    [cyan]tfseg train --encoder efficientnet_lite0 --images ...[/]  with an ImageNet encoder

    [cyan]tfseg train --resume --out runs/leaves[/]  after an interruption
    """
    _train(*_open_run(context.params, set(given_options(context))))


def _open_run(params, given):
    """Return the config and the run to start or to resume.

    Args:
        params: {parameter of `train`: value}.
        given: names of the parameters on the command line.
    """
    values, size = _config_values(params, given), params["size"]
    if not params["resume"]:
        _require_folders(values)
    with quiet_start():
        from tfseg import training
    run = training.Run(params["out"])
    if params["resume"]:
        config = run.config
        _refuse_changes(run, config, values, size, given)
    else:
        run.raise_if_exists()
        config = _new_config(values, size, params["out"])
    return config, run


def _config_values(params, given):
    """Return {field of `TrainConfig`: value}; the size is a part of another field.

    Args:
        params: {parameter of `train`: value}.
        given: names of the parameters on the command line.
    """
    same = ("images", "masks", "ignore_value", "gray", "val_images", "val_masks", "val_fraction")
    same += ("model", "encoder", "epochs", "minutes", "batch_size", "learning_rate", "window")
    same += ("recursive", "mask_suffix")
    values = {name: params[name] for name in (*same, "seed")}
    values["colors"], ignored_color = parse_colors(params["colors"])
    if ignored_color is not None:
        values["ignore_value"] = ignored_color
    values["class_names"] = split(params["class_names"], str)
    values["mask_values"] = parse_mask_values(params["mask_values"])
    values["weights"] = None if params["weights"].lower() == "none" else params["weights"]
    values["filters"] = split(params["filters"], int)
    values["normalization"] = "image" if params["normalize_each"] else "dataset"
    values["optimizer"] = str(params["optimizer"])
    weights = str(params["class_weights"])
    values["class_weights"] = None if weights == "none" else weights
    if params["minutes"] is not None and "epochs" not in given:
        values["epochs"] = None
    return values


def _new_config(values, size, out):
    """Return the `TrainConfig` of a new run; what it refuses is an error of usage."""
    from tfseg import training

    default = training.TrainConfig(out=str(out))
    try:
        return replace(default, **values, augment={**default.augment, "size": size})
    except ValueError as error:
        raise typer.BadParameter(str(error).removeprefix("TrainConfig: ")) from error


def _train(config, run):
    """Train, and print what happens and the result."""
    import keras

    from tfseg import training

    if config.minutes is not None and run.can_start():
        say(f"Timing some steps, to plan {config.minutes:g} minutes.")
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


def _refuse_changes(run, config, values, size, given):
    """Refuse options that differ from the config of the run to resume.

    Args:
        run: a `tfseg.training.Run`.
        config: its config.
        values: {field of `TrainConfig`: value} by the command line.
        size: by the command line.
        given: names of the options that were given.
    """
    if config.images is None:
        raise ValueError(
            f"'{run.folder}' was not started by `tfseg train`. Run the script that started it."
        )
    if "normalize_each" in given:
        given = given | {"normalization"}
    changes = {name: values[name] for name in given & values.keys()}
    for name, other in (("epochs", "minutes"), ("minutes", "epochs")):
        if name in changes:
            changes.setdefault(other, None)
    changed = replace(config, **changes)
    names = set(config.differences(changed))
    # of the two the run has one
    names -= {name for name in ("epochs", "minutes") if getattr(config, name) is None}
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
    """Return a field of a config as the command line writes it: "--epochs 20", "no --gray"."""
    value = getattr(config, name)
    if name == "normalization":
        name, value = "normalize_each", value == "image"
    elif name == "learning_rate":
        value = config.peak_learning_rate
    elif name in ("weights", "class_weights") and value is None:
        value = "none"
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return option if value else f"no {option}"
    if value is None:
        return f"no {option}"
    if name == "colors":
        value = {key: "/".join(map(str, color)) for key, color in value.items()}
    if isinstance(value, dict):
        value = ",".join(f"{key}={part}" for key, part in value.items())
    elif isinstance(value, tuple):
        value = ",".join(map(str, value))
    return f"{option} {value}"


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
    scores = [-math.inf if math.isnan(score) else score for score in history["val_mean_iou"]]
    best = max(range(len(scores)), key=lambda i: scores[i])
    say(f"Best of {len(scores)} epochs by validation mean IoU: {best + 1}.")
