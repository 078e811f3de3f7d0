"""`tfseg train --from`: the config of a training that begins with the weights of a run."""

import math
from dataclasses import replace

import typer

from tfseg.cli.config_values import FIELDS_OF_OPTIONS
from tfseg.cli.console import plural, say

# of the network, which the weights are made for
NETWORK = (
    *("model", "head", "grid", "layout", "input_size", "anchor_sizes", "anchor_ratios"),
    *("encoder", "weights", "filters", "normalize_each", "plan"),
)
OWN = ("epochs", "minutes", "groups", "folds", "fold")  # not those of the run
SLOWER = 10  # how many times lower the learning rate is than that of the run
# what belongs to other data, and what stands for other names
OF_IMAGES = ("val_images", "val_masks", "val_labels")
OF_NAMES = ("mask_values", "colors")


def fine_tuned_config(params: dict, values: dict, given: set):
    """Return the config of a new training that goes on from the run of --from.

    Options that are not given are those of that run, except for the length of the training and the
    learning rate.

    Args:
        params: {parameter of `train`: value}.
        values: what `config_values` made of them.
        given: names of the parameters on the command line.
    """
    from tfseg import training

    source = training.Run(params["from_run"])
    old = source.config
    _refuse_contradictions(source.folder, values, given, old)
    _refuse_other_data(source.folder, given, old)
    fields = {FIELDS_OF_OPTIONS.get(name, name) for name in given}
    changes = {name: values[name] for name in fields & values.keys() - {"size"}}
    changes |= _reset(given, values, changes)
    if params["size"] is not None:
        changes["augment"] = {**old.augment, "size": params["size"]}
    changes |= {"out": str(params["out"]), "init_from": str(params["from_run"]), "weights": None}
    try:
        config = replace(old, **changes)
        if "learning_rate" not in given:
            config = replace(config, learning_rate=_learning_rate(old, config))
    except ValueError as error:
        raise typer.BadParameter(str(error).removeprefix("TrainConfig: ")) from error
    _say_source(source, config, "learning_rate" in given)
    return config


def _refuse_contradictions(run, values, given, old):
    """Refuse options that do not fit the network of a run, whose config is `old`."""
    if not old.names_network:
        raise typer.BadParameter(
            f"'{run}' was trained with a network that a script built. Load it with "
            f"tfseg.training.Run('{run}').model(), and pass it to `train` in Python."
        )
    for name in NETWORK:
        _refuse(name, given, f"the network is that of '{run}'")
    _refuse("folds", given, "the network has seen the images of every fold")
    if values["task"] != old.task:
        _refuse("task", given, f"'{run}' was trained for the task {old.task}")


def _refuse_other_data(run, given, old):
    """Refuse options of the data that do not fit the run, whose config is `old`."""
    targets, others = ("labels", "masks") if old.has_objects else ("masks", "labels")
    for name in (others, f"val_{others}"):
        _refuse(name, given, f"'{run}' was trained on --{targets}")
    if ("images" in given or old.images is None) and not {"images", targets} <= given:
        raise typer.BadParameter(f"Pass --images and --{targets}, or neither to train on the same.")
    if "images" not in given:
        for name in ("val_fraction", "groups"):
            _refuse(name, given, "the images to validate on are those of the run, too")


def _refuse(name, given, reason):
    if name in given:
        option = f"--{name.replace('_', '-')}"
        raise typer.BadParameter(f"{option} contradicts --from: {reason}. Remove one of them.")


def _reset(given, values, changes):
    """Return {field: default} of what does not carry over from the run."""
    reset = dict.fromkeys(OWN)
    if "images" in given:
        reset |= dict.fromkeys(OF_IMAGES)
    if "class_names" in given:
        reset |= dict.fromkeys(OF_NAMES)
    if given & {"class_names", "colors"}:
        reset["ignore_value"] = values["ignore_value"]  # the default, or part of --colors
    return {name: value for name, value in reset.items() if name not in changes}


def _learning_rate(old, config):
    """Return a tenth of the run's learning rate, or of the default of another optimizer."""
    if config.optimizer == old.optimizer:
        return old.peak_learning_rate / SLOWER
    return replace(config, learning_rate=None).peak_learning_rate / SLOWER


def _say_source(source, config, has_rate):
    history, record = source.history(), source.record
    done, planned = len(history.get("epoch", [])), record.length.epochs
    if not done:
        return  # `train` says that there is no model
    best, patience = source.best_epoch(), record.config.patience
    say(f"Going on from epoch {best} of '{source.folder}', its best of {done}.")
    if done < planned and done - best < (patience or math.inf):
        say(f"That run was interrupted after {plural(done, 'epoch')} of {planned}.")
    if not has_rate:
        say(f"Learning rate {config.learning_rate:g}: a tenth, for fine-tuning.")


def describe_origin(origin: dict) -> None:
    """Print which classes began with the weights of the run, and which did not."""
    kept, new, dropped = (", ".join(origin[name]) for name in ("kept", "new", "dropped"))
    if not new and not dropped:
        return
    say(f"Output weights kept: {kept or 'none'}. Random for new classes: {new or 'none'}.")
    if dropped:
        say(f"Classes of '{origin['run']}' that are not predicted any longer: {dropped}.")
