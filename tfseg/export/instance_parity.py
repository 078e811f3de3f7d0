"""Comparison of an exported instance model with what the Keras model gives on the host."""

import numpy as np

from tfseg.data.readers.objects import boxes_around
from tfseg.export.detection_outputs import PADDING
from tfseg.export.detection_parity import MIN_MATCHES, require_matches
from tfseg.models import decode_instances

MIN_AGREEMENT = 0.999  # fraction of the pixels of the mask


def instances_runner(model):
    """Return a function of images (B, H, W, C) that finds objects as `predict_instances` does.

    Args:
        model: a model of `tfseg.models.instances`.

    Returns:
        function of an array (B, H, W, C) -> dict of arrays, see `instance_signature`.
    """

    def run(images):
        outputs = model.predict_on_batch(np.asarray(images, np.float32))
        return objects_on_host(model, outputs, images.shape[1:3])

    return run


def objects_on_host(model, outputs: dict, size) -> dict:
    """Return the objects that the outputs of a model for a batch stand for.

    Args:
        model: a model of `tfseg.models.instances`, whose thresholds are used.
        outputs: dict of arrays (B, ...).
        size: height and width of the images.

    Returns:
        dict of arrays, see `instance_signature`.
    """
    outputs = {name: np.asarray(value) for name, value in outputs.items()}
    found = []
    for index in range(len(next(iter(outputs.values())))):
        objects = decode_instances(model, {n: v[index] for n, v in outputs.items()}, size)
        objects.pop("polygons", None)
        objects["boxes"] = boxes_around(objects["instances"])
        objects["num_detections"] = np.int32(len(objects["scores"]))
        found.append(objects)
    return {name: _stacked(name, [objects[name] for objects in found]) for name in found[0]}


def require_same_objects(expected: dict, found: dict, source) -> None:
    """Raise a RuntimeError unless the objects, and the mask if there is one, are those of a model.

    Args:
        expected: result of `instances_runner`.
        found: the same of an exported format.
        source: what gave `found`, for the message.
    """
    require_matches(expected, found, source, MIN_MATCHES)
    if "mask" not in expected:
        return
    agreement = float(np.mean(np.asarray(found["mask"]) == expected["mask"]))
    if agreement < MIN_AGREEMENT:
        raise RuntimeError(
            f"The export ({source}) agrees with the model on the class of {agreement:.2%} of the "
            f"pixels; expected at least {MIN_AGREEMENT:.1%}."
        )


def _stacked(name, values):
    """Return the outputs for several images as one array, with rows of padding if they differ."""
    if name in ("instances", "mask", "num_detections"):
        return np.stack(values)
    rows = max(map(len, values))
    blank = PADDING.get(name, 0)
    padding = [[(0, rows - len(value)), *[(0, 0)] * (value.ndim - 1)] for value in values]
    return np.stack(
        [np.pad(v, p, constant_values=blank) for v, p in zip(values, padding, strict=True)]
    )
