"""From the options of `tfseg train` to the fields of its `TrainConfig`."""

import typer

from tfseg.cli.options import parse_colors, parse_mask_values, split

SEMANTIC = "semantic"
BOXLESS_HEADS = ("star", "center")  # they are added to the network of --model
# options whose field has another name
FIELDS_OF_OPTIONS = {
    "normalize_each": "normalization",
    "input_size": "size",
    "from_run": "init_from",
}
SAME = (
    *("images", "masks", "labels", "ignore_value", "gray", "recursive", "mask_suffix"),
    *("val_images", "val_masks", "val_labels", "val_fraction", "groups", "folds", "max_objects"),
    *("model", "head", "grid", "layout", "encoder", "epochs", "minutes", "patience", "batch_size"),
    *("learning_rate", "window", "seed"),
)


def config_values(params: dict, given: set) -> dict:
    """Return {field of `TrainConfig`: value}; the side of crops is a part of another field.

    Args:
        params: {parameter of `train`: value}.
        given: names of the parameters on the command line.
    """
    values = {name: params[name] for name in SAME}
    values["task"] = str(params["task"])
    values["init_from"] = None if params["from_run"] is None else str(params["from_run"])
    values["colors"], ignored_color = parse_colors(params["colors"])
    if ignored_color is not None:
        values["ignore_value"] = ignored_color
    values["class_names"] = split(params["class_names"], str)
    values["mask_values"] = parse_mask_values(params["mask_values"])
    weights = params["weights"] or "imagenet"
    values["weights"] = None if weights.lower() == "none" else weights
    values["filters"] = split(params["filters"], int)
    values["size"] = _parse_size(params["input_size"])
    values["anchor_sizes"] = _parse_levels(params["anchor_sizes"])
    values["anchor_ratios"] = split(params["anchor_ratios"], float)
    values["normalization"] = "image" if params["normalize_each"] else "dataset"
    values["optimizer"] = str(params["optimizer"])
    balance = str(params["class_weights"])
    values["class_weights"] = None if balance == "none" else balance
    return values


def require_folders(values: dict, given: set) -> None:
    """Refuse a new run without its folders, or with those of another task.

    Args:
        values: what `config_values` returned.
        given: names of the parameters on the command line.
    """
    if "plan" in given:
        return  # it names the data
    is_semantic = values["task"] == SEMANTIC
    for name in ("labels", "head"):
        if is_semantic and values[name] is not None:
            option = f"--{name} needs --task detect or --task instances"
            raise typer.BadParameter(f"{option}, not {SEMANTIC}.")
    if not is_semantic and values["head"] not in BOXLESS_HEADS and "model" in given:
        raise typer.BadParameter(f"--model contradicts --task {values['task']}. Pass --head.")
    targets = "masks" if is_semantic else "labels"
    missing = [f"--{name}" for name in ("images", targets) if values[name] is None]
    if missing:
        raise typer.BadParameter(f"{', '.join(missing)} required, except with --resume.")
    if (values["val_images"] is None) != (values[f"val_{targets}"] is None):
        raise typer.BadParameter(f"Pass --val-images and --val-{targets} together.")


def _parse_size(text):
    """Return 512 for "512", (512, 768) for "512,768", and None for None."""
    sides = split(text, int)
    return sides[0] if sides is not None and len(sides) == 1 else sides


def _parse_levels(text):
    """Return [16, (32, 40)] for "16,32/40": a size, or several, per pyramid level."""
    if text is None:
        return None
    try:
        levels = [[float(size) for size in level.split("/")] for level in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(
            f"'{text}' must be numbers separated by commas, one per level, such as "
            "16,32,64,128,256."
        ) from error
    return [level[0] if len(level) == 1 else tuple(level) for level in levels]
