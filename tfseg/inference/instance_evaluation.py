"""Exact evaluation of predicted instances on a dataset: AP, PQ, AJI and counting errors."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfseg.inference.evaluation import class_rows, class_table, save_scores
from tfseg.inference.instance_predictor import instances_of
from tfseg.metrics import InstanceMetrics, PanopticQuality
from tfseg.models.reader_fit import predicted_stuff, require_fitting_model

# {score: header of the printed table}
COLUMNS = {
    "ap": "AP",
    "ap50": "AP50",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "pq": "PQ",
}


@dataclass
class InstanceEvaluation:
    """The scores of predicted instances on a dataset.

    Attributes:
        names: names of the object categories, then those of the stuff, if it is predicted.
        scores: {name: score over all classes}, see `tfseg.metrics.InstanceMetrics.result`, and
            "pq", "sq" and "rq" of `tfseg.metrics.PanopticQuality.result`.
        class_scores: {name: (C,) scores}, NaN for classes without objects; those of stuff have only
            "pq", "sq" and "rq".
        object_counts: (C,) number of objects per class, or of images with the stuff.
        image_names: names of the images.
        image_scores: (images,) F1 scores of the objects at an IoU of 0.5; 1 for an image without
            objects and predictions.
        numbers: (images, 2) numbers of true and of predicted objects.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> evaluation = tfseg.inference.InstanceEvaluation(
        ...     ["nucleus"], {"ap": 0.5, "pq": 0.7}, {"ap": np.array([0.5])}, np.array([9]),
        ...     ["a", "b"], np.array([0.9, 0.8]), np.array([[5, 4], [4, 4]]))
        >>> evaluation.rows(), evaluation.worst(1).tolist()
        ([{'class': 'nucleus', 'ap': 0.5, 'objects': 9}], [1])
    """

    names: list
    scores: dict
    class_scores: dict
    object_counts: np.ndarray
    image_names: list
    image_scores: np.ndarray
    numbers: np.ndarray

    def rows(self) -> list[dict]:
        """Return one dict per class: "class", its scores, and "objects", their number."""
        return class_rows(self.names, self.class_scores, self.object_counts)

    def means(self) -> dict:
        """Return the scores over all classes: "ap", "pq", "count_error" and so on."""
        return dict(self.scores)

    def worst(self, count: int) -> np.ndarray:
        """Return the positions of the images with the lowest F1 scores, the lowest first."""
        return np.argsort(self.image_scores, kind="stable")[:count]

    def save(self, folder: str | Path):
        """Write evaluation.json, evaluation.csv (a row per class) and image_scores.csv.

        Undefined scores are null in the JSON file and empty in the CSV file.
        """
        save_scores(folder, self.means(), self.rows())
        file = Path(folder) / "image_scores.csv"
        with file.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.writer(opened)
            writer.writerow(["image", "objects", "predicted", "f1"])
            for name, (true, found), f1 in zip(
                self.image_names, self.numbers.tolist(), self.image_scores.tolist(), strict=True
            ):
                writer.writerow([name, true, found, round(f1, 6)])

    def table(self, title: str = "Scores"):
        """Return a `rich.table.Table` of the classes and their mean."""
        caption = (
            "AP: TP / (TP + FP + FN) over IoU 0.5 to 0.95; F1, precision and recall at IoU 0.5; "
            "'-': no object"
        )
        return class_table(title, COLUMNS, self.rows(), self.scores, caption)

    def counting_error(self) -> str:
        """Return a sentence about the numbers of objects."""
        true, found = self.numbers.sum(axis=0)
        error, bias = self.scores["count_error"], self.scores["count_bias"]
        mean = self.numbers[:, 0].mean()
        return (
            f"Counts: {found} predicted, {true} true; per image off by {error:.2f} of {mean:.1f} "
            f"on average ({bias:+.2f} with its sign)."
        )


def evaluate_instances(
    model,
    reader,
    tile: int | None = None,
    object_threshold: float | None = None,
    nms_overlap: float | None = None,
    track: Callable = lambda indices, total: indices,
    flips: bool = False,
) -> InstanceEvaluation:
    """Compare the predicted instances of a model with those of a dataset.

    Args:
        model: a model of `tfseg.models.instances`, or a detector with masks, with one class per
            entry of `reader.object_names`.
        reader: a `tfseg.data.Reader` with "instances" and "classes".
        tile, object_threshold, nms_overlap, flips: see `predict_instances`.
        track: wraps the iteration to show progress; called with the positions and their number.

    Returns:
        InstanceEvaluation.

    Raises:
        ValueError: the model predicts no instances, has another number of classes, or the reader
            has no instances.

    Warns:
        UserWarning: see `predict_instances`; each image is named.

    Example:
        >>> import tfseg
        >>> _, val = tfseg.datasets.dsb2018("data/dsb2018_fluo")  # doctest: +SKIP
        >>> scores = tfseg.inference.evaluate_instances(model, val)  # doctest: +SKIP
        >>> round(scores.means()["ap50"], 2)  # doctest: +SKIP
        0.86
    """
    owner = "evaluate_instances"
    if not {"instances", "classes"} <= set(reader.fields):
        raise ValueError(
            f"{owner}: the reader provides {', '.join(reader.fields)}, but no instances and "
            "classes to compare with. Use a reader of objects with masks."
        )
    scores = InstanceScorer(owner, model, reader)
    for index in track(range(len(reader)), len(reader)):
        labels = reader[index]
        image_owner = f"{owner}: {reader.name(index)}"
        found = instances_of(
            model, labels["image"], tile, object_threshold, nms_overlap, flips, image_owner
        )
        scores.add(labels, found)
    return scores.result()


class InstanceScorer:
    """The metrics behind `evaluate_instances`, for predictions that are there already.

    Args:
        owner: name for error messages.
        model: see `evaluate_instances`.
        reader: see `evaluate_instances`; its samples are added in their order.
    """

    def __init__(self, owner: str, model, reader):
        require_fitting_model(owner, model, reader)
        things, ignored = reader.object_label_ids, reader.ignore_index
        self._reader, self._stuff = reader, predicted_stuff(model, reader)
        self._instances = InstanceMetrics(things, ignored)
        self._panoptic = PanopticQuality(things, self._stuff, ignored)

    def add(self, labels: dict, found: dict) -> None:
        """Add the labels of a sample, and what `predict_instances` finds in its image."""
        for metric in (self._instances, self._panoptic):
            metric.update_state(labels, found)

    def result(self) -> InstanceEvaluation:
        """Return the scores of all samples."""
        reader, stuff, instances = self._reader, self._stuff, self._instances
        classes, qualities = instances.per_class(), self._panoptic.per_class()
        nothing = np.full(len(stuff), np.nan)
        return InstanceEvaluation(
            names=[*reader.object_names, *(reader.label_names[i] for i in stuff)],
            scores={**instances.result(), **self._panoptic.result()},
            class_scores={
                **{name: np.concatenate([values, nothing]) for name, values in classes.items()},
                **{name: qualities[name] for name in ("pq", "sq", "rq")},
            },
            object_counts=qualities["tp"] + qualities["fn"],
            image_names=[reader.name(index) for index in range(len(reader))],
            image_scores=instances.image_f1,
            numbers=instances.numbers,
        )
