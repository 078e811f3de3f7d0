"""Choose the thresholds of instance models by the average precision on validation images."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfseg.inference.instance_predictor import finite_image, raw_predictions, require_instances
from tfseg.metrics import average_precision
from tfseg.models import instance_settings, is_detector
from tfseg.models.instance_decoding import (
    CENTER_THRESHOLD,
    NMS_OVERLAP,
    OBJECT_THRESHOLD,
    objects_of,
)

THRESHOLDS = tuple(k / 20 for k in range(2, 19))  # 0.1 to 0.9
CENTER_THRESHOLDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
OVERLAPS = (0.3, 0.4, 0.5)


@dataclass(frozen=True)
class InstanceTuning:
    """Thresholds of an instance model and their effect on the average precision.

    Attributes:
        object_threshold, nms_overlap: best arguments for `predict_instances`; nms_overlap is None
            for models without.
        ap: the mean average precision with them, on the images that they were chosen on.
        ap_untuned: the same with the defaults.
    """

    object_threshold: float
    nms_overlap: float | None
    ap: float
    ap_untuned: float


def tune_instances(
    model,
    reader,
    tile: int | None = None,
    track: Callable = lambda items, total: items,
) -> InstanceTuning:
    """Find the thresholds that maximize the average precision on a dataset.

    The score is "mean_ap" of `tfseg.metrics.average_precision`, over IoU 0.5 to 0.95 and pooled
    over the images; categories are not distinguished. All combinations of thresholds are scored.
    Pixels without a label do not count.

    Args:
        model: see `predict_instances`.
        reader: samples with "instances" that the model was not trained on.
        tile: see `predict_instances`.
        track: wraps the iteration to show progress; called with the indices and their number.

    Returns:
        InstanceTuning. On equal scores, the thresholds closest to the defaults.

    Raises:
        ValueError: the model predicts no instances, or the reader has none.

    Example:
        >>> import tfseg
        >>> model = tfseg.training.Run("runs/nuclei").model()  # doctest: +SKIP
        >>> _, val = tfseg.datasets.dsb2018("data/dsb2018_fluo")  # doctest: +SKIP
        >>> tuning = tfseg.inference.tune_instances(model, val)  # doctest: +SKIP
        >>> found = tfseg.inference.predict_instances(  # doctest: +SKIP
        ...     model, image, None, tuning.object_threshold, tuning.nms_overlap
        ... )
    """
    require_instances("tune_instances", model)
    if len(reader) == 0 or "instances" not in reader[0]:
        raise ValueError(
            "tune_instances: the reader provides no objects with masks. Open the labels with "
            "`tfseg.data.open_objects(images, labels, task='instances')`."
        )
    choices, default = _choices(model)
    targets, voids, maps = [], [], {choice: [] for choice in choices}
    for index in track(range(len(reader)), len(reader)):
        sample = reader[index]
        targets.append(sample["instances"])
        voids.append(sample["mask"] == reader.ignore_index if "mask" in sample else None)
        for choice, labels in _label_maps(model, sample["image"], tile, choices):
            maps[choice].append(labels)
    scores = {
        choice: average_precision(targets, maps[choice], void=voids)["mean_ap"]
        for choice in choices
    }
    best = max(choices, key=lambda choice: (scores[choice], -_distance(choice, default)))
    return InstanceTuning(*best, scores[best], scores[default])


def _choices(model):
    """Return the (object threshold, NMS overlap) to compare, and the default among them."""
    if is_detector(model):
        return [(value, None) for value in THRESHOLDS], (OBJECT_THRESHOLD, None)
    if instance_settings(model).head == "star":
        choices = [(value, overlap) for overlap in OVERLAPS for value in THRESHOLDS]
        return choices, (OBJECT_THRESHOLD, NMS_OVERLAP)
    return [(value, None) for value in CENTER_THRESHOLDS], (CENTER_THRESHOLD, None)


def _distance(choice, default):
    overlaps = 0 if choice[1] is None else abs(choice[1] - default[1])
    return abs(choice[0] - default[0]) + overlaps


def _label_maps(model, image, tile, choices):
    """Yield each choice with the label map that it gives; the model predicts the image once."""
    image = finite_image(model, image, "tune_instances")
    lowest = min(threshold for threshold, _ in choices)
    outputs = raw_predictions(model, image, tile, lowest)
    is_center = not is_detector(model) and instance_settings(model).head == "center"
    found = {}
    for threshold, overlap in choices:
        # A higher threshold removes whole objects: suppression goes by descending score, and an
        # object is drawn behind those of higher scores. Only pixels of centers join other ones.
        key = (threshold if is_center else lowest, overlap)
        if key not in found:
            found[key] = objects_of(model, outputs, image.shape[:2], *key)
        count = len(found[key]["scores"])
        if not is_center:
            count = np.count_nonzero(found[key]["scores"] > threshold)
        labels = found[key]["instances"]
        yield (threshold, overlap), np.where(labels <= count, labels, 0).astype(_small(count))


def _small(count):
    """Return the dtype for numbers up to `count`: the maps of all images are kept in memory."""
    return np.min_scalar_type(count)
