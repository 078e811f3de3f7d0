"""Exact evaluation of a model on a dataset: confusion matrix, scores, files."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfseg.data import Resize
from tfseg.inference.image_scores import ImageScores
from tfseg.inference.pixel_counts import PixelCounts
from tfseg.metrics import scores_of

# {score: header of the printed table}; the files also contain "specificity"
COLUMNS = {"dice": "Dice", "iou": "IoU", "precision": "precision", "recall": "recall"}
SCORES = (*COLUMNS, "specificity")
IMAGE_SCORES_FILE = "image_scores.csv"
ROWS_SHOWN = 20  # of a printed table that also has rows of classes without objects


@dataclass
class Evaluation:
    """The scores of a model on a dataset.

    Attributes:
        class_names: C names.
        matrix: (C, C) int64 pixel counts; rows are true classes, columns predicted classes.
        images: `ImageScores`, the scores of each image; None if only the matrix is known.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> matrix = np.array([[6, 2], [1, 3]])
        >>> evaluation = tfseg.inference.Evaluation(["background", "leaf"], matrix)
        >>> [(row["class"], round(row["iou"], 3)) for row in evaluation.rows()]
        [('background', 0.667), ('leaf', 0.5)]
        >>> round(evaluation.means()["mean_iou"], 3)
        0.583
    """

    class_names: list
    matrix: np.ndarray
    images: ImageScores | None = None

    @property
    def scores(self) -> dict:
        """The scores of `tfseg.metrics.scores_of` as NumPy arrays."""
        return {name: np.asarray(value) for name, value in scores_of(self.matrix).items()}

    def rows(self) -> list[dict]:
        """Return one dict per class.

        Its keys are "class", "dice", "iou", "precision", "recall", "specificity" and "pixels", the
        number of pixels that have the class in the ground truth. A score is NaN where it is
        undefined: "dice" and "iou" if the class is absent from ground truth and prediction,
        "precision" if it is never predicted, "recall" if it is absent from the ground truth.
        """
        scores = self.scores
        scores = {name: scores[name] for name in SCORES}
        return class_rows(self.class_names, scores, self.matrix.sum(axis=1), "pixels")

    def means(self) -> dict:
        """Return the scores over all classes as floats: "mean_iou", "micro_dice" and so on."""
        return {name: float(value) for name, value in self.scores.items() if value.ndim == 0}

    def save(self, folder: str | Path):
        """Write evaluation.json (all scores and the matrix) and evaluation.csv (one row per class).

        With scores of each image also image_scores.csv, one row per image in the order of the
        reader. Undefined scores are null in the JSON file and empty in the CSV files.
        """
        save_scores(folder, self.means(), self.rows(), self.matrix)
        if self.images is not None:
            self.images.save(Path(folder) / IMAGE_SCORES_FILE)

    def table(self, title: str = "Scores"):
        """Return a `rich.table.Table` of the classes and their mean."""
        fractions = self.matrix.sum(1) / max(self.matrix.sum(), 1)
        means = self.means()
        accuracy = format_score(means["pixel_accuracy"])
        return class_table(
            title,
            COLUMNS,
            self.rows(),
            {name: means[f"mean_{name}"] for name in COLUMNS},
            f"pixel accuracy {accuracy}; '-': undefined, the class does not occur",
            ("pixels", [f"{fraction:.1%}" for fraction in fractions], ""),
        )


def class_rows(names, scores: dict, counts, counted: str = "objects") -> list[dict]:
    """Return one dict per class: "class", its scores, and its number of objects or pixels.

    Args:
        names: C names of the classes.
        scores: {name: (C,) scores}.
        counts: (C,) integers.
        counted: name of the counts.
    """
    return [
        {
            "class": name,
            **{score: float(values[i]) for score, values in scores.items()},
            counted: int(counts[i]),
        }
        for i, name in enumerate(names)
    ]


def class_table(title: str, columns: dict, rows: list[dict], means: dict, caption: str, last=None):
    """Return a `rich.table.Table` of the classes and their mean.

    Of more than 20 classes, those without objects are left out, which the caption says.

    Args:
        title: text above the table.
        columns: {score: header} of the scores to show.
        rows: one dict per class, from `class_rows`.
        means: {score: value} over all classes.
        caption: text below the table.
        last: header, texts of the classes and text of the mean of the last column; None for the
            numbers of objects.
    """
    from rich.table import Table
    from rich.text import Text

    if last is None:
        rows, caption = _with_objects(rows, caption)
        counts = [row["objects"] for row in rows]
        last = "objects", map(str, counts), str(sum(counts))
    header, texts, of_mean = last
    table = Table("class", title=Text(title), title_justify="left", caption=caption)
    for column in (*columns.values(), header):
        table.add_column(column, justify="right")
    for row, text in zip(rows, texts, strict=True):
        table.add_row(Text(row["class"]), *(format_score(row[name]) for name in columns), text)
    table.add_section()
    table.add_row("mean", *(format_score(means[name]) for name in columns), of_mean)
    return table


def _with_objects(rows, caption):
    """Return the rows to print and the caption; of many classes only those with objects."""
    shown = [row for row in rows if row["objects"]]
    if len(rows) <= ROWS_SHOWN or len(shown) == len(rows):
        return rows, caption
    return shown, f"{caption}; not shown: {len(rows) - len(shown)} classes without objects"


def save_scores(folder, means: dict, rows: list[dict], matrix=None) -> None:
    """Write evaluation.json (means, rows and matrix) and evaluation.csv (the rows).

    Args:
        folder: is created if it does not exist.
        means: {name: score over all classes}.
        rows: one dict per class, all with the same keys.
        matrix: confusion matrix, or None.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [_nan_to_none(row) for row in rows]
    content = {**_nan_to_none(means), "classes": rows}
    if matrix is not None:
        content["confusion_matrix"] = np.asarray(matrix).tolist()
    text = json.dumps(content, indent=1) + "\n"
    (folder / "evaluation.json").write_text(text, encoding="utf-8")
    with (folder / "evaluation.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _nan_to_none(row):
    """Replace NaN, which JSON does not have."""
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in row.items()
    }


def format_score(value) -> str:
    """Return a score with four digits; "-" for NaN."""
    return "-" if math.isnan(value) else f"{value:.4f}"


def evaluate(
    model,
    reader,
    batch_size: int = 8,
    track: Callable = lambda batches, total: batches,
    resize: Resize | None = None,
    window: int | tuple[int, int] | None = None,
) -> Evaluation:
    """Compare a model's predictions with the ground truth of a dataset, at the original sizes.

    Args:
        model: a model of `tfseg.models` with `reader.num_classes` channels.
        reader: a `tfseg.data.Reader` with masks.
        batch_size: number of images of equal size per batch.
        track: wraps the iteration to show progress; called with the batches and their number.
        resize, window: see `predict_logits`. With either, and if the images are floating point
            numbers, images are predicted one at a time.

    Returns:
        Evaluation.

    Raises:
        ValueError: the reader has no masks, or they contain labels that are not classes.

    Warns:
        UserWarning: see `predict_logits`; each image is named.

    Example:
        >>> import tfseg
        >>> reader = tfseg.data.Folder("photos", "labels", ["background", "leaf"])
        >>> model = tfseg.models.unet(2, filters=(4, 8))
        >>> evaluation = tfseg.inference.evaluate(model, reader)
        >>> evaluation.matrix.sum(axis=1).tolist()
        [9984, 2304]
    """
    if "mask" not in reader.fields:
        raise ValueError(
            f"evaluate: the reader provides {', '.join(reader.fields)}, but no mask to compare "
            "with. Use a reader with masks."
        )
    counts = PixelCounts(model, reader)
    is_float = np.dtype(reader.dtype).kind == "f"  # may have NaN, which are reported by name
    if resize is None and window is None and not is_float:
        counts.add_batches(batch_size, track)
    else:
        counts.add_images(resize, window, track)
    if counts.invalid:
        raise ValueError(
            f"evaluate: the masks have {counts.invalid} pixels with labels that are not "
            f"classes. Expected 0 to {max(reader.num_classes, 2) - 1}, or {reader.ignore_index} to "
            "ignore a pixel. Check the masks with `tfseg doctor`."
        )
    names = [reader.name(index) for index in range(len(reader))]
    images = ImageScores(names, reader.label_names, *counts.of_images)
    return Evaluation(reader.label_names, counts.matrix, images)
