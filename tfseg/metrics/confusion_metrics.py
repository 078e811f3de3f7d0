"""Scores from one confusion matrix of the whole dataset."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from tfseg import checks
from tfseg.metrics.base import FLOAT, WIDE, PixelMetric
from tfseg.ops import (
    agreement,
    channel_counts,
    channel_matrices,
    class_counts,
    class_score,
    confusion_matrix,
    mean_present,
    ratio,
    top_class,
)

SCORES = ("iou", "dice", "precision", "recall", "specificity")
SINGLE_LABEL_SCORES = ("matthews", "cohen_kappa")
AVERAGES = ("mean", "micro", "weighted", "per_image")
REPORTABLE = (
    *SCORES,
    *(f"{average}_{score}" for average in AVERAGES for score in SCORES),
    "pixel_accuracy",
    "mean_accuracy",
    *SINGLE_LABEL_SCORES,
)
# Fixed-point 1.0. Scores of images are added as integers, whose sum does not depend on their order.
ONE = 2**40 if WIDE else 2**16


def scores_of(matrix, zero_division: float | None = None) -> dict:
    """Compute all scores of a confusion matrix, except the averages "per_image".

    Args:
        matrix: (C, C) counts, rows are true classes, columns predicted classes; or, for multi-label
            masks, (C, 2, 2), [[TN, FP], [FN, TP]] of each channel.
        zero_division: the value of 0 / 0: None for no score (NaN), 0.0 or 1.0.

    Returns:
        dict of float64 (under JAX float32). For each of the scores "iou", "dice", "precision",
        "recall", "specificity":

        - "<score>" (C,), per class, NaN where it has none;
        - "mean_<score>", the mean over the classes that have one (macro average);
        - "micro_<score>", the score of the summed counts of all classes;
        - "weighted_<score>", the mean weighted by the number of true pixels;

        and "pixel_accuracy", the fraction of correct pixels, or of correct decisions for (C, 2, 2);
        "mean_accuracy", equal to "mean_recall"; for (C, C), "matthews" and "cohen_kappa".

    Example:
        >>> import tfseg
        >>> scores = tfseg.metrics.scores_of([[3, 1], [0, 4]])
        >>> print(f"{scores['mean_iou']:.3f}, {scores['pixel_accuracy']:.3f}")
        0.775, 0.875
    """
    matrix = ops.cast(matrix, FLOAT)  # before anything else: JAX would truncate int64 to 32 bits
    names = [name for name in REPORTABLE if not name.startswith("per_image")]
    if len(matrix.shape) == 3:
        names = [name for name in names if name not in SINGLE_LABEL_SCORES]
    return _compute_scores(names, matrix, zero_division)


def _compute_scores(names, matrix, zero_division):
    """Return {name: score}; see `scores_of`."""
    matrix = ops.cast(matrix, FLOAT)
    counts = _counts(matrix)
    return {name: _compute_score(name, matrix, counts, zero_division) for name in names}


def _compute_score(name, matrix, counts, zero_division):
    tp, _, fn, tn = counts
    if name in SINGLE_LABEL_SCORES:
        return agreement(matrix, zero_division)[SINGLE_LABEL_SCORES.index(name)]
    if name == "pixel_accuracy":
        correct = tp + tn if len(matrix.shape) == 3 else tp
        return ratio(ops.sum(correct), ops.sum(matrix), zero_division)
    if name == "mean_accuracy":
        name = "mean_recall"
    average, _, score = name.rpartition("_")
    if average == "micro":
        return class_score(score, *(ops.sum(count) for count in counts), zero_division)
    scores = class_score(score, *counts, zero_division)
    if average == "weighted":
        return mean_present(scores, tp + fn, zero_division)
    return mean_present(scores) if average == "mean" else scores


def _counts(matrix):
    """Return (tp, fp, fn, tn) of (C, C) or (C, 2, 2)."""
    return channel_counts(matrix) if len(matrix.shape) == 3 else class_counts(matrix)


@keras.saving.register_keras_serializable(package="tfseg")
class ConfusionMetrics(PixelMetric):
    """Scores from one exact confusion matrix of the whole dataset.

    The state is one 64-bit integer count per (true class, predicted class): no count overflows
    below 2**63, and batch size, order and number of replicas do not change a digit. Under JAX
    without x64, a count is limited to 2**31 - 1 pixels, and "per_image" scores to 32767 images.

    A class absent from both ground truth and prediction has no score (NaN) and is excluded from
    means, unless `zero_division` sets its value. The same applies to every score that is 0 / 0,
    such as the precision of a class that is never predicted.

    Args:
        num_classes: C, the number of channels of the model's output. For a single sigmoid channel
            pass 1: background and foreground are counted.
        scores: names of the scores that `result()` returns. For each of "iou", "dice", "precision",
            "recall" and "specificity": the score itself, per class; "mean_iou", over the classes
            that have one; "micro_iou", of the summed counts of all classes; "weighted_iou", by the
            number of true pixels (frequency-weighted IoU); "per_image_iou", the mean over images of
            each image's own "mean_iou", without images that have no score. In addition
            "pixel_accuracy", "mean_accuracy" (the mean recall), "matthews" and "cohen_kappa".
        class_names: names for the per-class scores, such as "iou/car"; class ids by default.
        ignore_index: label that is not counted. Labels outside [0, C) are not counted either.
        multi_label: each channel is a sigmoid of its own, compared with `threshold`. Then
            "pixel_accuracy" is the fraction of correct decisions, and "matthews" and "cohen_kappa"
            are not defined.
        threshold: probability above which a channel is on, for C == 1 and `multi_label`.
        from_logits: whether the model returns logits (default) or probabilities.
        zero_division: the value of 0 / 0: None for no score, 0.0 or 1.0.
        name, dtype: as in Keras.

    Raises:
        ValueError: an argument is not one of the above, or a batch does not match (see
            `update_state`).

    Example:
        >>> import tfseg
        >>> metric = tfseg.metrics.ConfusionMetrics(2, scores=["iou", "pixel_accuracy"])
        >>> metric.update_state([[[0, 1]]], [[[[2.0, 0.0], [1.0, 0.0]]]])
        >>> {name: float(value) for name, value in metric.result().items()}
        {'iou/0': 0.5, 'iou/1': 0.0, 'pixel_accuracy': 0.5}
    """

    def __init__(
        self,
        num_classes: int,
        scores: Sequence[str] = ("mean_iou", "mean_dice", "pixel_accuracy"),
        class_names: Sequence[str] | None = None,
        ignore_index: int | None = 255,
        multi_label: bool = False,
        threshold: float = 0.5,
        from_logits: bool = True,
        zero_division: float | None = None,
        name: str = "confusion_metrics",
        dtype: str | None = None,
    ):
        super().__init__(num_classes, ignore_index, multi_label, from_logits, name, dtype)
        owner = type(self).__name__
        self.classes = self.num_classes if self.multi_label else max(self.num_classes, 2)
        self.scores = tuple(checks.one_of(owner, "scores", score, REPORTABLE) for score in scores)
        for score in SINGLE_LABEL_SCORES:
            if self.multi_label and score in self.scores:
                raise ValueError(
                    f"{owner}: {score!r} is undefined for multi-label models. Remove it from "
                    "`scores` or set multi_label=False."
                )
        self.class_names = [str(name) for name in class_names or range(self.classes)]
        if not len(set(self.class_names)) == len(self.class_names) == self.classes:
            raise ValueError(
                f"{owner}: got {len(self.class_names)} class_names for {self.classes} classes. "
                "Pass one unique name per class."
            )
        if not 0 < threshold < 1:
            raise ValueError(
                f"{owner}: threshold={threshold!r} must be a probability above 0 and below 1."
            )
        self.threshold = float(threshold)
        self.zero_division = checks.one_of(owner, "zero_division", zero_division, (None, 0.0, 1.0))
        self._add_states()

    def _add_states(self):
        def counts(*shape, name):
            return self.add_weight(shape=shape, initializer="zeros", dtype="int64", name=name)

        cells = (2, 2) if self.multi_label else (self.classes,)
        self.matrix = counts(self.classes, *cells, name="matrix")
        self.per_image = [
            score.removeprefix("per_image_")
            for score in self.scores
            if score.startswith("per_image")
        ]
        if self.per_image:
            self.image_sums = counts(len(self.per_image), name="image_sums")
            self.images = counts(len(self.per_image), name="images")

    def count(self, labels, valid, y_pred):
        """Add a batch to the counts; see `PixelMetric`."""
        per_image = bool(self.per_image)
        if self.multi_label:
            predictions = ops.cast(y_pred, "float32") > self._cutoff()
            matrix = channel_matrices(labels, predictions, valid)
            total = ops.sum(ops.cast(matrix, "int64"), axis=0)
        else:
            predictions = top_class(y_pred, self._cutoff())
            matrix = confusion_matrix(labels, predictions, self.classes, valid, per_image)
            total = ops.cast(ops.sum(matrix, axis=0) if per_image else matrix, "int64")
        self.matrix.assign_add(total)
        if per_image:
            self._count_images(ops.cast(matrix, FLOAT))

    def _cutoff(self):
        """Return the threshold in the unit of the model's output: for logits, that of 0.5 is 0."""
        if self.from_logits:
            return math.log(self.threshold / (1 - self.threshold))
        return self.threshold

    def _count_images(self, matrices):
        """Add each image's mean score, as fixed point.

        Scores are converted to integers before they are added. The score of a class is a single
        division, which is rounded the same everywhere.
        """
        counts = channel_counts(matrices) if self.multi_label else class_counts(matrices)
        scores = [class_score(score, *counts, self.zero_division) for score in self.per_image]
        scores = ops.stack(scores)  # (scores, B, C)
        has_score = ops.logical_not(ops.isnan(scores))
        fixed = ops.cast(ops.round(ops.where(has_score, scores, 0) * ONE), "int64")
        classes = ops.sum(ops.cast(has_score, "int64"), axis=-1)
        means = ops.floor_divide(ops.sum(fixed, axis=-1), ops.maximum(classes, 1))
        self.image_sums.assign_add(ops.sum(means, axis=-1))
        self.images.assign_add(ops.sum(ops.cast(classes > 0, "int64"), axis=-1))

    def result(self) -> dict:
        """Return {name: scalar}; a per-class score has one entry per class, such as "iou/car"."""
        pooled = [score for score in self.scores if not score.startswith("per_image")]
        values = _compute_scores(pooled, self.matrix, self.zero_division)
        if self.per_image:
            means = ratio(ops.cast(self.image_sums, FLOAT) / ONE, ops.cast(self.images, FLOAT))
            values |= {f"per_image_{name}": means[i] for i, name in enumerate(self.per_image)}
        result = {}
        for score in self.scores:
            if score in SCORES:
                by_class = ops.unstack(values[score], self.classes)
                for name, value in zip(self.class_names, by_class, strict=True):
                    result[f"{score}/{name}"] = value
            else:
                result[score] = values[score]
        return result

    def get_config(self) -> dict:
        """Return the arguments, for `.keras` files."""
        return {
            **super().get_config(),
            "scores": list(self.scores),
            "class_names": self.class_names,
            "multi_label": self.multi_label,
            "threshold": self.threshold,
            "zero_division": self.zero_division,
        }
