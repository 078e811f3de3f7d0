"""How `tfseg export --inspect` words the metadata of an exported version."""

import json
import math

from rich.table import Table
from rich.text import Text

from tfseg.cli.console import console, say

SCORES_SHOWN = 5  # per class; the file of the metadata has all
COUNTS = ("pixels", "objects")  # of the classes, which follow their scores


def network_of(run, model) -> dict:
    """Return {"model": name, "encoder": name, "head": name, "folds": number} of a run.

    Those that the run has not are left out.

    Args:
        run: a `tfseg.training.Run`.
        model: its Keras model, which names a network that was passed to `train`.
    """
    from tfseg.models import DEFAULT_ENCODERS
    from tfseg.training.detection_task import DEFAULT_ENCODER

    config = run.config
    name, encoder = config.model, config.encoder or DEFAULT_ENCODERS.get(config.model)
    if name is None and config.is_detector:
        name, encoder = config.head, config.encoder or DEFAULT_ENCODER
    if name is None:
        return {"model": model.name}
    head = config.head if config.is_boxless else None
    folds = config.folds if config.fold is None else None
    parts = {"model": name, "encoder": encoder, "head": head, "folds": folds}
    return {part: value for part, value in parts.items() if value is not None}


def scores_of_run(run) -> dict:
    """Return {"metrics": scores over all classes, "class_scores": a dict per class} of a run.

    They are those of the run's last evaluation on its validation images; both are None before there
    is one.
    """
    file = run.folder / "evaluation.json"
    if not file.is_file():
        return {"metrics": None, "class_scores": None}
    report = json.loads(file.read_text("utf-8"))
    metrics = {name: value for name, value in report.items() if isinstance(value, float)}
    return {"metrics": metrics, "class_scores": report.get("classes")}


def show_metadata(metadata: dict) -> None:
    """Print the metadata of a version: network and classes first, the table of formats last.

    Args:
        metadata: result of `tfseg.export.inspect`, also of versions that older exports wrote.
    """
    from tfseg import export as exporting

    metadata = dict(metadata)
    parity = metadata.pop("parity", None)
    for name, text in _facts(metadata).items():
        say(f"{name}: {text}")
    _show_classes(metadata)
    for name, value in metadata.items():
        if not isinstance(value, dict):
            say(f"{name}: {value}")
            continue
        say(f"{name}:")
        for key, part in value.items():
            say(f"  {key}: {part}")
    if parity:
        console.print(exporting.parity_table(exporting.read_parity(parity)))


def _facts(metadata):
    """Return {name: text} of the network and its images, and remove them from the metadata."""
    facts = {}
    network = metadata.pop("network", None)
    if network is not None:  # older exports have none
        parts = [f"{part} {network[part]}" for part in ("encoder", "head") if part in network]
        if "folds" in network:
            parts.append(f"mean of {network['folds']} folds")
        facts["network"] = ", ".join([network["model"], *parts])
    shape = metadata.pop("image_shape", None)
    if shape is not None:
        low_high = metadata.pop("value_range", None)
        facts["images"] = _images_text(shape, low_high)
    normalization = metadata.pop("normalization", None)
    if normalization is not None:
        facts["normalization"] = _normalization_text(normalization)
    return facts


def _images_text(shape, value_range):
    height, width, channels = shape
    noun = "channel" if channels == 1 else "channels"
    size = "any size" if height is None and width is None else f"{height} x {width} pixels"
    text = f"{size}, {channels} {noun}"
    if value_range is not None:
        text += ", values {:g} to {:g}".format(*value_range)
    return text


def _normalization_text(normalization):
    if normalization == "image":
        return "inside the model, by the mean and std of each image"
    mean, std = (", ".join(f"{value:g}" for value in normalization[x]) for x in ("mean", "std"))
    return f"inside the model, (value - mean) / std with mean {mean} and std {std}"


def _show_classes(metadata):
    """Print the classes in their colors with their scores, and remove them from the metadata."""
    names = metadata.pop("object_names" if "object_names" in metadata else "class_names")
    rows = {row["class"]: row for row in metadata.pop("class_scores", None) or []}
    keys = list(next(iter(rows.values()), {}))
    scores = [key for key in keys if key not in ("class", *COUNTS)][:SCORES_SHOWN]
    scores += [key for key in keys if key in COUNTS]
    table = Table("", "id", "class", box=None, pad_edge=False)
    for score in scores:
        table.add_column(score, justify="right")
    for class_id, (name, color) in enumerate(zip(names, metadata.pop("palette"), strict=True)):
        # Spaces on the color: the encoding of a log file may lack the full block.
        swatch = Text("  ", "on rgb({},{},{})".format(*color))
        cells = [_cell(rows.get(name, {}).get(score)) for score in scores]
        table.add_row(swatch, str(class_id), Text(name), *cells)
    console.print(table)


def _cell(value):
    """Return a count, or a score with four digits; "-" for one that is undefined."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
