"""`tfseg train`."""

import time
from dataclasses import replace

import typer

from tfseg.cli import train_options as options
from tfseg.cli.config_values import FIELDS_OF_OPTIONS, config_values, require_folders
from tfseg.cli.console import console, quiet_start, say, say_commands, track
from tfseg.cli.detector_runs import report_detector_run
from tfseg.cli.fine_tuning import fine_tuned_config
from tfseg.cli.fold_training import train_in_folds
from tfseg.cli.instance_runs import report_instance_run
from tfseg.cli.options import (
    ClassNames,
    Colors,
    IgnoreValue,
    MaskSuffix,
    MaskValues,
    MemoryGb,
    Recursive,
    ValImages,
    ValMasks,
    given_options,
)
from tfseg.cli.planned_run import planned_run
from tfseg.cli.run_data import DRAWING, EVALUATION, open_run, report_run
from tfseg.cli.training_summary import begin_training, say_best, say_interrupted


def train(
    context: typer.Context,
    *,  # so that `out`, which is required, comes after the data in the help
    task: options.TaskName = options.Task.semantic,
    images: options.Images = None,
    masks: options.Masks = None,
    labels: options.Labels = None,
    class_names: ClassNames = None,
    ignore_value: IgnoreValue = 255,
    mask_values: MaskValues = None,
    colors: Colors = None,
    recursive: Recursive = False,
    mask_suffix: MaskSuffix = None,
    gray: options.Gray = False,
    val_images: ValImages = None,
    val_masks: ValMasks = None,
    val_labels: options.ValLabels = None,
    val_fraction: options.ValFraction = 0.2,
    groups: options.Groups = None,
    folds: options.Folds = None,
    max_objects: options.MaxObjects = None,
    model: options.Model = None,
    head: options.Head = None,
    grid: options.Grid = None,
    layout: options.Layout = None,
    input_size: options.InputSize = None,
    anchor_sizes: options.AnchorSizes = None,
    anchor_ratios: options.AnchorRatios = None,
    encoder: options.Encoder = None,
    weights: options.Weights = None,
    filters: options.Filters = None,
    normalize_each: options.NormalizeEach = False,
    size: options.Size = None,
    epochs: options.Epochs = None,
    minutes: options.Minutes = None,
    patience: options.Patience = None,
    batch_size: options.BatchSize = None,
    optimizer: options.OptimizerName = None,
    learning_rate: options.LearningRate = None,
    class_weights: options.Balance = None,
    window: options.Window = None,
    plan: options.PlanFile = None,
    memory_gb: MemoryGb = 8,
    out: options.Out,
    seed: options.Seed = 0,
    from_run: options.From = None,
    resume: options.Resume = False,
    _: options.Networks = False,
):
    """Train a network on a folder of images, and a folder of masks or the labels of objects.

    Masks are PNG files of class ids (0, 1, 2 ...); masks of two classes may be black and white.
    Without --class-names the names are those in a file such as classes.txt beside the masks, or
    class_0, class_1 ... Whatever else is not given is planned from the data, as `tfseg plan` does,
    and shown with its reason.

    Examples:

    [cyan]tfseg train --images photos --masks labels --minutes 20 --out runs/leaves[/]

    [cyan]tfseg train --plan plan.json --out runs/leaves[/]  with a plan of `tfseg plan`, edited

    [cyan]tfseg train --task detect --images photos --labels boxes.json --out runs/cells[/]

    [cyan]tfseg train --task instances --head star --images photos --labels numbered_masks \\
      --out runs/nuclei[/]

    [cyan]tfseg train --task instances --head center --images photos --labels panoptic.json \\
      --out runs/streets[/]  things and stuff

    [cyan]tfseg train --groups '(patient\\d+)_.*' --images ...[/]  no patient is in both parts

    [cyan]tfseg train --folds 5 --minutes 60 --images ... --out runs/cv[/]  cross-validation

    [cyan]tfseg train --from runs/leaves --minutes 10 --out runs/better[/]  goes on from a run

    [cyan]tfseg train --resume --out runs/leaves[/]  after an interruption
    """
    began = time.monotonic()
    config, run, plan, checked = _open_run(context.params, set(given_options(context)))
    if config.folds is not None and config.fold is None:
        train_in_folds(config, run, plan, began)
    else:
        _train(config, run, plan, checked, began)


def _open_run(params, given):
    """Return the config and the run to start or to resume, and plan and data of a new one.

    Args:
        params: {parameter of `train`: value}.
        given: names of the parameters on the command line.
    """
    values, size = config_values(params, given), params["size"]
    if not params["resume"] and params["from_run"] is None:
        require_folders(values, given)
    with quiet_start():
        run = open_run(params["out"])
    if not params["resume"] and "val_fraction" in given:
        _refuse_val_fraction(values)
    if params["resume"]:
        _refuse_changes(run, run.config, values, size, given)
        return run.config, run, None, None
    run.raise_if_exists()
    if params["from_run"] is not None:
        return fine_tuned_config(params, values, given), run, None, None
    plan, config, checked = planned_run(values, params, given)
    return config, run, plan, checked


def _refuse_val_fraction(values):
    """Refuse a fraction to validate on if the data says which images those are."""
    from tfseg.data.readers.open_objects import has_voc_list

    if values["folds"] is not None:
        raise typer.BadParameter("--val-fraction contradicts --folds. Pass only one of them.")
    if values["val_images"] is not None:
        raise typer.BadParameter("--val-fraction contradicts --val-images. Pass only one of them.")
    labels, task = values["labels"], values["task"]
    if labels is not None and has_voc_list(labels, task, "val"):
        raise typer.BadParameter(
            f"--val-fraction contradicts '{labels}', which lists the images to validate on in "
            "val.txt in ImageSets. Remove the option, or the list."
        )


def _train(config, run, plan, checked, began):
    """Train, and print what happens and the result; `began` is when the minutes did."""
    import keras

    from tfseg import training
    from tfseg.training.trainer import task_of

    task_of(config)(config)  # raises if the weights of the encoder are missing
    if config.minutes is not None and run.can_start():
        say(f"Timing some steps, to plan {config.minutes:g} minutes.")
    frame = training.TimeFrame(began, validations=EVALUATION, seconds=DRAWING)
    begin = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: begin_training(run, plan))
    try:
        with training.Progress(console) as progress:
            training.train(
                config,
                callbacks=[begin, progress],
                track=track("checking images"),
                frame=frame,
                checked=checked,
            )
    except KeyboardInterrupt:
        say_interrupted(run)
        raise typer.Exit(130) from None
    record = run.record
    say_best(run.history(), record)
    _, val = training.open_readers(record.config, record.data)
    if record.config.is_boxless:
        report_instance_run(run, val, run.folder)
    elif record.config.is_detector:
        report_detector_run(run, val, run.folder)
    else:
        report_run(run, val, run.folder, record.config.val_batch_size or record.config.batch_size)
    commands = [("predict", "IMAGES"), ("export",)]
    if len(val) > 1 and record.config.task != "detect":
        commands.insert(0, ("tune",))
    say_commands(*(("tfseg", *words, "--run", run.folder) for words in commands))


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
    fields = {FIELDS_OF_OPTIONS.get(name, name) for name in given - {"size"}}
    changes = {name: values[name] for name in fields & values.keys()}
    for name in ("task", "head"):  # other fields depend on them
        if changes.get(name, getattr(config, name)) != getattr(config, name):
            raise _was_started_with(run, [_option(config, name)])
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
        raise _was_started_with(run, options)


def _was_started_with(run, options):
    return ValueError(
        f"'{run.folder}' was started with {', '.join(sorted(options))}. Remove the option, or "
        "start a new run."
    )


def _option(config, name):
    """Return a field of a config as the command line writes it: "--epochs 20", "no --gray"."""
    value = getattr(config, name)
    if name == "normalization":
        name, value = "normalize_each", value == "image"
    elif name == "size":
        name = "input_size"
    elif name == "init_from":
        name = "from"
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
