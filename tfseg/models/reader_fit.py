"""Whether a model that predicts instances fits the classes of a reader."""

import numpy as np

from tfseg.checks import is_background
from tfseg.models.detection import is_detector
from tfseg.models.instance_settings import instance_settings, is_instance_model


def require_fitting_model(owner: str, model, reader) -> None:
    """Raise a ValueError unless a model predicts instances of the categories of a reader.

    Args:
        owner: name for the error message.
        model: a model of `instances`, or a detector with masks.
        reader: a reader with "instances".
    """
    names = reader.object_names
    if is_instance_model(model):
        count = instance_settings(model).num_classes
    elif is_detector(model) and model.has_masks:
        count = model.num_classes
    else:
        raise ValueError(
            f"{owner}: the model {model.name!r} predicts no instances. Build it with "
            f"tfseg.models.instances(num_classes={len(names)}) or tfseg.models.mask_rcnn."
        )
    if count != len(names):
        raise ValueError(
            f"{owner}: the model {model.name!r} has {count} object classes, but the reader has "
            f"{len(names)}: {', '.join(names)}. Build it with num_classes={len(names)}."
        )


def stuff_ids(reader) -> list[int]:
    """Return the ids in masks of a reader's classes that are neither things nor background."""
    things = set(np.asarray(reader.object_label_ids).tolist())
    names = enumerate(reader.label_names)
    return [i for i, name in names if i not in things and not is_background(name)]


def predicted_stuff(model, reader) -> list[int]:
    """Return the ids in masks of the stuff of a reader that a model predicts, too."""
    if not is_instance_model(model) or instance_settings(model).head != "center":
        return []
    ids = [int(i) for i in reader.object_label_ids]
    channels = model.output["class_logits"].shape[-1]
    has_same_ids = channels == len(reader.label_names)
    has_same_ids &= list(instance_settings(model).thing_ids) == ids
    return stuff_ids(reader) if has_same_ids else []
