"""The config of a new run of `tfseg train`: what was given, and what is planned for the rest."""

from dataclasses import replace

import typer

from tfseg.cli.class_guess import guessed_classes
from tfseg.cli.config_values import FIELDS_OF_OPTIONS, SEMANTIC
from tfseg.cli.console import console, say, track

DATA_FIELDS = (
    *("task", "images", "masks", "labels", "class_names", "ignore_value", "mask_values", "colors"),
    *("recursive", "mask_suffix", "gray", "val_images", "val_masks", "val_labels", "val_fraction"),
    *("groups", "folds", "max_objects", "seed"),
)


def planned_run(values: dict, params: dict, given: set):
    """Return the plan of a new run, its `TrainConfig` and its checked data; print the plan.

    Args:
        values: {field of `TrainConfig`: value} by the command line.
        params: {parameter of `train`: value}.
        given: names of the parameters on the command line.
    """
    from tfseg import training

    choices = given_choices(values, params, given)
    if params["plan"] is not None:
        data = {name: values[name] for name in DATA_FIELDS if name in given}
        plan = training.TrainingPlan.load(params["plan"]).changed({**data, **choices})
        config = _usable(plan.config, params["out"])
        checked = training.open_checked(config, track("checking images"))
    else:
        minutes = params["minutes"]
        plan, checked = make_plan(values, choices, minutes, params["memory_gb"], params["out"])
        config = _usable(plan.config, params["out"])
    show_plan(plan)
    return plan, config, checked


def _usable(make_config, *arguments):
    """Return a `TrainConfig`; what it refuses is an error of usage."""
    from tfseg.training.trainer import task_of

    try:
        config = make_config(*arguments)
    except ValueError as error:
        raise typer.BadParameter(str(error).removeprefix("TrainConfig: ")) from error
    if config.task == SEMANTIC or config.head is not None:  # otherwise the head is planned
        task_of(config)(config)  # raises if the weights of the encoder are missing
    return config


def given_choices(values: dict, params: dict, given: set) -> dict:
    """Return {field: value} that the command line decides, without those about the data."""
    fields = {FIELDS_OF_OPTIONS.get(name, name) for name in given - {"size"}}
    choices = {name: values[name] for name in fields & values.keys() if name not in DATA_FIELDS}
    if "size" in given:
        choices["augment.size"] = (params["size"], params["size"])
    return choices


def make_plan(values: dict, choices: dict, minutes: float | None, memory_gb: float, out="runs/x"):
    """Plan a training on the data that the command line names.

    Args:
        values: {field of `TrainConfig`: value}, of which those about the data are used.
        choices: {field: value} that are decided.
        minutes: duration of the training; None for the default.
        memory_gb: memory that it may take.
        out: folder of the run.

    Returns:
        (TrainingPlan, CheckedData).
    """
    from tfseg import training
    from tfseg.training.planning.plan import MINUTES
    from tfseg.training.planning.training_plan import assemble

    data = {name: values[name] for name in DATA_FIELDS if values.get(name) is not None}
    if data["task"] == SEMANTIC and "class_names" not in data:
        data |= guessed_classes(data)
    fields = assemble(data["task"], choices.get("head"), {**data, **choices})
    config = _usable(lambda: training.TrainConfig(out=str(out), **fields))
    data = {name: getattr(config, name) for name in data}  # folders are absolute now
    # a plan for folds is made from what a single training would see
    checked = training.open_checked(replace(config, folds=None), track("checking images"))
    plan = training.plan_training(
        checked.train,
        MINUTES if minutes is None else minutes,
        memory_gb,
        {**data, **choices},
        config.task,
        summary=checked.summary,
    )
    return plan, checked


def show_plan(plan) -> None:
    """Print the decisions of a plan with their reasons."""
    from rich.table import Table
    from rich.text import Text

    table = Table("choice", "value", "why", box=None, pad_edge=False)
    for row in plan.rows():
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    say("Plan:")
    console.print(table)
