"""Scores of each image of an evaluation, of which the best and the worst are worth a look."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfseg.data.readers.image_listing import printable


@dataclass
class ImageScores:
    """The scores of a model on each image of a dataset.

    A score is NaN where it is undefined: an IoU if the class is absent from ground truth and
    prediction, everything for an image without a labeled pixel.

    Attributes:
        names: N names of the images, in the order of the reader.
        class_names: C names.
        tp, fp, fn: (N, C) int64 pixel counts of each class.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> tp, fp, fn = np.array([[[5, 1], [6, 0]], [[1, 0], [2, 0]], [[0, 1], [0, 2]]])
        >>> images = tfseg.inference.ImageScores(["a", "b"], ["background", "leaf"], tp, fp, fn)
        >>> images.iou.round(3).tolist(), images.mean_iou.round(3).tolist()
        ([[0.833, 0.5], [0.75, 0.0]], [0.667, 0.375])
        >>> images.ranking().tolist()
        [0, 1]
    """

    names: list
    class_names: list
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        """(N, C) IoU of each class."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def mean_iou(self) -> np.ndarray:
        """(N,) mean IoU over the classes that are present in ground truth or prediction."""
        iou = self.iou
        return _ratio(np.nansum(iou, axis=1), np.sum(~np.isnan(iou), axis=1))

    @property
    def pixel_accuracy(self) -> np.ndarray:
        """(N,) fraction of the labeled pixels that are correct."""
        return _ratio(self.tp.sum(axis=1), self.pixels)

    @property
    def pixels(self) -> np.ndarray:
        """(N,) number of labeled pixels."""
        return (self.tp + self.fn).sum(axis=1)

    def ranking(self) -> np.ndarray:
        """Return the positions of the images with a score, from the highest mean IoU to the lowest.

        Equal images keep their order.
        """
        order = np.argsort(-self.mean_iou, kind="stable")
        return order[: np.count_nonzero(self.pixels)]  # NaN is sorted last

    def rows(self) -> list[dict]:
        """Return one dict per image: "image", its scores, "pixels", and "iou/<class>" per class."""
        classes = [f"iou/{name}" for name in self.class_names]
        scores = zip(self.mean_iou, self.pixel_accuracy, self.pixels, self.iou, strict=True)
        return [
            {
                "image": name,
                "mean_iou": float(mean_iou),
                "pixel_accuracy": float(accuracy),
                "pixels": int(pixels),
                **dict(zip(classes, iou.tolist(), strict=True)),
            }
            for name, (mean_iou, accuracy, pixels, iou) in zip(self.names, scores, strict=True)
        ]

    def save(self, file: str | Path) -> None:
        """Write a CSV file with one row per image; undefined scores are empty."""
        rows = self.rows()
        with Path(file).open("w", newline="", encoding="utf-8") as opened:
            writer = csv.writer(opened)
            writer.writerow(rows[0])
            writer.writerows([_as_text(value) for value in row.values()] for row in rows)


def _ratio(numerator, denominator):
    """Return numerator / denominator; NaN where the denominator is 0."""
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), np.nan)


def _as_text(value):
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6f}"
    return printable(value) if isinstance(value, str) else value
