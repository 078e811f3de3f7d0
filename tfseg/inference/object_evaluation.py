"""Exact evaluation of a detector on a dataset: average precision, curves, confusion, files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfseg.inference.evaluation import class_rows, class_table, save_scores
from tfseg.inference.instance_evaluation import InstanceEvaluation, InstanceScorer
from tfseg.inference.object_predictor import detections_of, without_xla
from tfseg.metrics import CocoAP, DetectionConfusion
from tfseg.models import decode_instances, is_detector
from tfseg.models.instance_thresholds import DETECTOR_THRESHOLD, chosen_thresholds

COLUMNS = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ar100": "AR"}  # of the printed table
MASK_PREFIX = "mask_"


@dataclass
class ObjectEvaluation:
    """The scores of a detector on a dataset.

    Attributes:
        object_names: C names of the object categories.
        scores: {name: score over all classes}, see `tfseg.metrics.CocoAP.result`; those of masks
            begin with "mask_".
        class_scores: {name: (C,) scores}, NaN for classes without objects.
        object_counts: (C,) number of objects per class, without crowds.
        curves: precision by recall of the boxes at IoU 0.5, for `tfseg.viz.precision_recall`.
        confusion: (C + 1, C + 1) int64, for `tfseg.viz.detection_confusion`.
        image_scores: one F1 score per image: of the boxes from the object threshold on, at IoU 0.5
            and of the right class; 1 for an image without objects and detections.
        instances: for models with masks, the `InstanceEvaluation` of the objects with a score above
            the object threshold, without overlap; None for others.
        object_threshold: score that an object needs: 0.5, unless the model was tuned or changed by
            `tfseg.models.with_object_thresholds`.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> evaluation = tfseg.inference.ObjectEvaluation(
        ...     ["cat"], {"ap": 0.5, "ap50": 0.9}, {"ap": np.array([0.5])}, np.array([7]), {},
        ...     np.array([[6, 1], [2, 0]]), np.array([0.8]))
        >>> evaluation.rows()
        [{'class': 'cat', 'ap': 0.5, 'objects': 7}]
    """

    object_names: list
    scores: dict
    class_scores: dict
    object_counts: np.ndarray
    curves: dict
    confusion: np.ndarray
    image_scores: np.ndarray
    instances: InstanceEvaluation | None = None
    object_threshold: float = DETECTOR_THRESHOLD

    def rows(self) -> list[dict]:
        """Return one dict per class: "class", its scores, and "objects", their number."""
        return class_rows(self.object_names, self.class_scores, self.object_counts)

    def means(self) -> dict:
        """Return the scores over all classes: "ap", "ap50" and so on."""
        return dict(self.scores)

    def worst(self, count: int) -> np.ndarray:
        """Return the positions of the images with the lowest F1 scores, the lowest first."""
        return np.argsort(self.image_scores, kind="stable")[:count]

    def save(self, folder: str | Path):
        """Write evaluation.json (all scores, confusion) and evaluation.csv (one row per class).

        Undefined scores are null in the JSON file and empty in the CSV file.
        """
        save_scores(folder, self.means(), self.rows(), self.confusion)

    def table(self, title: str = "Scores"):
        """Return a `rich.table.Table` of the classes and their mean."""
        columns = dict(COLUMNS)
        if f"{MASK_PREFIX}ap" in self.scores:
            columns |= {f"{MASK_PREFIX}{name}": f"mask {text}" for name, text in COLUMNS.items()}
        caption = "COCO's AP over IoU 0.5 to 0.95, AR with 100 detections; '-': no object"
        return class_table(title, columns, self.rows(), self.scores, caption)


def evaluate_objects(
    model, reader, track: Callable = lambda indices, total: indices
) -> ObjectEvaluation:
    """Compare a detector's predictions with the objects of a dataset.

    Average precision counts the detections that the model returns: those above its score threshold
    (0.05 by default), at most `max_detections` per image. A higher threshold lowers it. For that of
    all detections pass `tfseg.models.with_thresholds(model, score_threshold=0)`.

    Args:
        model: a detector of `tfseg.models`, with one class per entry of `reader.object_names`.
        reader: a `tfseg.data.Reader` with objects; for models with masks, with their masks.
        track: wraps the iteration to show progress; called with the positions and their number.

    Returns:
        ObjectEvaluation.

    Raises:
        ValueError: the model is not a detector, has another number of classes, or the reader has
            no objects, or no masks of them.

    Warns:
        UserWarning: see `detect`; each image is named.

    Example:
        >>> import tfseg
        >>> _, val = tfseg.datasets.bccd("data/bccd")  # doctest: +SKIP
        >>> scores = tfseg.inference.evaluate_objects(model, val)  # doctest: +SKIP
        >>> round(scores.means()["ap50"], 2)  # doctest: +SKIP
        0.88
    """
    _require_alike(model, reader)
    predictor = without_xla(model)
    counts = np.zeros(model.num_classes, np.int64)
    metrics, instances = {"": CocoAP(model.num_classes)}, None
    if model.has_masks:
        instances = InstanceScorer("evaluate_objects", model, reader)
        metrics[MASK_PREFIX] = CocoAP(model.num_classes, kind="masks")
    threshold, _ = chosen_thresholds(model)
    matrices = []
    for index in track(range(len(reader)), len(reader)):
        labels = dict(reader[index])
        if model.has_masks and reader.has_exact_rle:
            labels["rle"] = reader.object_rle(index)
        owner = f"evaluate_objects: {reader.name(index)}"
        detections = detections_of(predictor, labels["image"], owner)
        for metric in metrics.values():
            metric.update_state(labels, detections)
        if instances is not None:
            instances.add(labels, decode_instances(model, detections, labels["image"].shape[:2]))
        confusion = DetectionConfusion(model.num_classes, score_threshold=threshold)
        confusion.update_state(labels, detections)
        matrices.append(confusion.result())
        counts += np.bincount(labels["classes"][~labels["crowd"]], minlength=model.num_classes)
    return ObjectEvaluation(
        list(reader.object_names),
        _prefixed({prefix: metric.result() for prefix, metric in metrics.items()}),
        _prefixed({prefix: metric.per_class() for prefix, metric in metrics.items()}),
        counts,
        metrics[""].precision_recall(),
        np.sum(matrices, axis=0),
        np.array([_f1(matrix) for matrix in matrices]),
        None if instances is None else instances.result(),
        threshold,
    )


def _require_alike(model, reader):
    if not is_detector(model):
        raise ValueError(
            f"evaluate_objects: the model {model.name!r} is not a detector. Use "
            "`tfseg.inference.evaluate` for segmentation models."
        )
    needed = {"boxes", "classes"} | ({"instances"} if model.has_masks else set())
    missing = sorted(needed - set(reader.fields))
    if missing:
        raise ValueError(
            f"evaluate_objects: the reader provides {', '.join(reader.fields)}, but no "
            f"{', '.join(missing)} to compare with. Use a reader with objects."
        )
    if model.num_classes != len(reader.object_names):
        raise ValueError(
            f"evaluate_objects: the model has {model.num_classes} classes, but the reader has "
            f"{len(reader.object_names)}: {', '.join(reader.object_names)}."
        )


def _prefixed(results):
    """Return {prefix + name: value} of {prefix: {name: value}}."""
    return {
        f"{prefix}{name}": value
        for prefix, result in results.items()
        for name, value in result.items()
    }


def _f1(matrix):
    """Return the F1 score of a confusion matrix whose last row and column are the background."""
    found, total = int(np.trace(matrix)), int(matrix[:-1].sum() + matrix[:, :-1].sum())
    return 2 * found / total if total else 1.0
