"""Exact evaluation of a model on a reader: the confusion matrix, the table, the files."""

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfseg.data import pipeline
from tfseg.inference.predictor import predict_logits
from tfseg.metrics import ConfusionMetrics, scores_of

# as the table prints them; the files hold "specificity" as well
COLUMNS = {"dice": "Dice", "iou": "IoU", "precision": "precision", "recall": "recall"}
SCORES = (*COLUMNS, "specificity")


@dataclass
class Evaluation:
    """The scores of a model on a dataset.

    Attributes:
        class_names: list of C names.
        matrix: (C, C) int64 pixel counts, true classes down, predicted classes across.
    """

    class_names: list
    matrix: np.ndarray

    @property
    def scores(self):
        """The figures of `tfseg.metrics.scores_of`, as NumPy."""
        return {name: np.asarray(value) for name, value in scores_of(self.matrix).items()}

    def rows(self):
        """Return one dict a class: "class", "dice", "iou", "precision", "recall", "specificity", true "pixels".

        NaN where a class has no score: "dice" and "iou" if it is absent from truth and prediction, "precision" if
        it is never predicted, "recall" if it is never true.
        """
        scores = self.scores
        return [
            {
                "class": name,
                **{score: float(scores[score][i]) for score in SCORES},
                "pixels": int(self.matrix[i].sum()),
            }
            for i, name in enumerate(self.class_names)
        ]

    def means(self):
        """Return the figures of all classes together, "mean_iou", "micro_dice", "matthews" and so on: float."""
        return {name: float(value) for name, value in self.scores.items() if value.ndim == 0}

    def save(self, folder):
        """Write evaluation.json (all figures and the matrix) and evaluation.csv (the per-class table)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        blank = lambda row: {k: None if v != v else v for k, v in row.items()}  # noqa: E731  JSON has no NaN
        report = {
            **blank(self.means()),
            "classes": [blank(row) for row in self.rows()],
            "confusion_matrix": self.matrix.tolist(),
        }
        (folder / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n")
        with (folder / "evaluation.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["class", *SCORES, "pixels"])
            writer.writeheader()
            writer.writerows(blank(row) for row in self.rows())

    def table(self, title="Scores"):
        """Return a `rich.table.Table` of the classes and their mean."""
        from rich.table import Table
        from rich.text import Text

        table = Table("class", title=Text(title), title_justify="left")
        for column in (*COLUMNS.values(), "pixels"):
            table.add_column(column, justify="right")
        shares = self.matrix.sum(1) / max(self.matrix.sum(), 1)
        for row, share in zip(self.rows(), shares, strict=True):
            table.add_row(
                Text(row["class"]), *(_figure(row[column]) for column in COLUMNS), f"{share:.1%}"
            )
        table.add_section()
        means = self.means()
        table.add_row("mean", *(_figure(means[f"mean_{column}"]) for column in COLUMNS), "")
        table.caption = (
            f"pixel accuracy {_figure(means['pixel_accuracy'])}; a dash: no pixel to judge by"
        )
        return table


def _figure(value):
    return "-" if math.isnan(value) else f"{value:.4f}"


def evaluate(
    model, reader, batch_size=8, track=lambda batches, total: batches, resize=None, window=None
):
    """Count a model's right and wrong pixels over a whole dataset, in the pixels of every image's own.

    Args:
        model: a model of `tfseg.models`, with `reader.num_classes` channels.
        reader: a `tfseg.data.Reader`.
        batch_size: images of one size that go through the model together.
        track: wraps the iteration to show progress; called with the batches and their number.
        resize, window: how the model sees an image, one at a time, see `predict_logits`; None for as it is.

    Returns:
        Evaluation.

    Raises:
        ValueError: the reader has no masks.
    """
    if "mask" not in reader.fields:
        raise ValueError(
            f"evaluate: the reader gives {', '.join(reader.fields)}, but no mask to count pixels by."
        )
    metric = ConfusionMetrics(reader.num_classes)
    if resize is not None or window is not None:
        for index in track(range(len(reader)), len(reader)):
            sample = reader[index]
            metric.update_state(
                sample["mask"][None], predict_logits(model, sample["image"], resize, window)[None]
            )
        return Evaluation(reader.label_names, np.asarray(metric.matrix))
    batches = pipeline(reader, batch_size)

    @tf.function(input_signature=batches.element_spec)
    def count(images, labels):
        masks = labels["mask"] if isinstance(labels, dict) else labels
        metric.update_state(masks, model(images, training=False))

    count = (
        count.get_concrete_function()
    )  # called by itself, the fifth evaluation would bring a warning of retracing
    for images, labels in track(batches, len(batches)):
        count(images, labels)
    return Evaluation(reader.label_names, np.asarray(metric.matrix))
