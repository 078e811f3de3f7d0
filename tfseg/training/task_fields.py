"""The fields of `TrainConfig` that depend on the task: which belong to it, and their defaults."""

from dataclasses import fields

import numpy as np

from tfseg import checks
from tfseg.models import DEFAULT_ENCODERS
from tfseg.models.detection.assemble import ANCHOR_RATIOS, ANCHOR_SIZES, check_anchors
from tfseg.models.detection.pyramid import LAYOUTS
from tfseg.models.instances import GRIDS

SEMANTIC = "semantic"
# The heads of `tfseg.models.instances`; those of detectors are in `tfseg.models.DETECTORS`.
BOXLESS_HEADS = ("star", "center")
HEADS = {"detect": ("faster_rcnn",), "instances": ("mask_rcnn", *BOXLESS_HEADS)}
TASK_NAMES = (SEMANTIC, *HEADS)
MONITORS = {SEMANTIC: "val_mean_iou", "detect": "val_ap", "instances": "val_mask_ap"}
# PQ rates the stuff, too
BOXLESS_MONITORS = {"star": "val_ap", "center": "val_pq"}
DEFAULT_MODEL = "unet"
BOXLESS_ENCODER = "efficientnet_lite0"  # of networks that have no encoder by default
DEFAULT_LAYOUT = "light"
DEFAULT_LOSS = {"CrossEntropy": 1.0, "Dice": 1.0}
SEMANTIC_AUGMENT = {"size": 256, "scale": (0.7, 1.5), "rotate": 10, "flip": "horizontal"}
# larger, so that crops contain whole objects; not rotated, since boxes without masks would be loose
OBJECT_AUGMENT = {"size": 384, "scale": (0.7, 1.5), "flip": "horizontal"}
BOXLESS_AUGMENT = {
    # seen from above, cells and particles have no up and down
    "star": {"size": 256, "scale": (0.7, 1.5), "rotate": 180, "flip": "both"},
    "center": {"size": 256, "scale": (0.7, 1.5), "rotate": 10, "flip": "horizontal"},
}
MASK_FIELDS = (
    *("masks", "ignore_value", "mask_values", "colors", "recursive", "mask_suffix", "gray"),
    *("val_masks", "class_weights"),
)
SEMANTIC_FIELDS = (*MASK_FIELDS, "filters", "window")
ANCHOR_FIELDS = ("layout", "size", "anchor_sizes", "anchor_ratios", "max_objects")
DETECTOR_FIELDS = ("head", "labels", "val_labels", *ANCHOR_FIELDS)


def task_defaults(task: str, head: str | None = None) -> dict:
    """Return {field: value} of the fields whose default depends on the task and the head."""
    if head in BOXLESS_HEADS:
        augment, loss, monitor = BOXLESS_AUGMENT[head], {}, BOXLESS_MONITORS[head]
    elif task == SEMANTIC:
        augment, loss, monitor = SEMANTIC_AUGMENT, DEFAULT_LOSS, MONITORS[task]
    else:  # detectors have losses of their own
        augment, loss, monitor = OBJECT_AUGMENT, {}, MONITORS[task]
    return {"augment": dict(augment), "loss": dict(loss), "monitor": monitor}


def default_encoder(model: str | None, head: str | None) -> str | None:
    """Return the encoder of a network whose config names none; None for the network's default."""
    takes_encoder = DEFAULT_ENCODERS.get(model, "") is None
    return BOXLESS_ENCODER if head in BOXLESS_HEADS and takes_encoder else None


def _foreign_fields(config):
    """Return the names of the fields that do not belong to the task and head of a config."""
    if config.task == SEMANTIC:
        return (*DETECTOR_FIELDS, "grid")
    if config.head == "star":
        return (*MASK_FIELDS, *ANCHOR_FIELDS)
    if config.head == "center":  # class weights are for its classes of pixels
        masks = (name for name in MASK_FIELDS if name != "class_weights")
        return (*masks, *ANCHOR_FIELDS, "grid")
    return (*SEMANTIC_FIELDS, "grid")


def checked_task_fields(config) -> dict:
    """Check the task and the fields that belong to it; return its defaults for those left out.

    Raises:
        ValueError: the task is unknown, or a field is set that belongs to another one.
    """
    checks.one_of("TrainConfig", "task", config.task, TASK_NAMES)
    if config.head is not None and config.task != SEMANTIC:
        _check_head(config)
    defaults = {field.name: field.default for field in fields(config)}
    for name in _foreign_fields(config):
        if getattr(config, name) != defaults[name]:
            owner = f"task={config.task!r}"
            if config.task != SEMANTIC and config.head in BOXLESS_HEADS:
                owner = f"head={config.head!r}"
            fail(config, name, f"has no meaning for {owner}. Remove it.")
    missing = task_defaults(config.task, config.head)
    missing["encoder"] = default_encoder(config.model, config.head)
    missing = {name: value for name, value in missing.items() if getattr(config, name) is None}
    if config.task == SEMANTIC:
        return missing
    if config.loss:
        fail(
            config, "loss", "has no effect: heads for objects have losses of their own. Remove it."
        )
    if config.head in BOXLESS_HEADS:
        return missing
    if config.model not in (None, DEFAULT_MODEL):
        fail(config, "model", f"contradicts task={config.task!r}. Pass a head instead.")
    return {**missing, "model": None}


def checked_grid(config) -> dict:
    """Check the distance of the samples of the head "star"."""
    if config.grid is None:
        return {}
    return {"grid": checks.one_of("TrainConfig", "grid", config.grid, GRIDS)}


def checked_detector_fields(config) -> dict:
    """Return {field: plain value} of the fields of a detector; {} for other networks.

    Raises:
        ValueError: a value is unknown or out of range.
    """
    if not config.is_detector:
        return {}
    owner = "TrainConfig"
    layout = config.layout or DEFAULT_LAYOUT
    checked = {"layout": checks.one_of(owner, "layout", layout, LAYOUTS)}
    if config.max_objects is not None:
        checked["max_objects"] = checks.positive_int(owner, "max_objects", config.max_objects)
    if config.size is not None:
        checked["size"] = _checked_size(config.size)
    if config.anchor_sizes is not None:
        checked["anchor_sizes"] = _checked_anchor_sizes(config)
    if config.anchor_ratios is not None:
        checked["anchor_ratios"] = check_anchors(owner, ANCHOR_SIZES, config.anchor_ratios)[1]
    return checked


def _checked_size(size):
    """Return (height, width); one number stands for a square."""
    sides = size if hasattr(size, "__iter__") else (size, size)
    sides = tuple(checks.positive_ints("TrainConfig", "size", sides))
    if len(sides) != 2:
        raise ValueError(f"TrainConfig: size={size!r} must be a number or (height, width).")
    return sides


def _checked_anchor_sizes(config):
    """Return a number, or a tuple of several, for each level of the pyramid."""
    levels, _ = check_anchors("TrainConfig", config.anchor_sizes, ANCHOR_RATIOS)
    levels = [tuple(map(float, np.ravel(level))) for level in levels]
    if len(set(map(len, levels))) > 1:
        fail(config, "anchor_sizes", "must have the same number of sizes for each level.")
    return tuple(level[0] if len(level) == 1 else level for level in levels)


def _check_head(config):
    tasks = {head: task for task, heads in HEADS.items() for head in heads}
    checks.one_of("TrainConfig", "head", config.head, tasks)
    if tasks[config.head] != config.task:
        fail(
            config,
            "head",
            f"contradicts task={config.task!r}. Pass task={tasks[config.head]!r}, or "
            f"head={HEADS[config.task][0]!r}.",
        )


def fail(config, name: str, expected: str):
    """Raise a ValueError that names a field, its value, and what was expected."""
    raise ValueError(f"TrainConfig: {name}={getattr(config, name)!r} {expected}")
