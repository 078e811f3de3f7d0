"""Many figures from one confusion matrix of the whole dataset."""

import math

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
OF_ONE_CLASS_A_PIXEL = ("matthews", "cohen_kappa")
FIGURES = (
    *SCORES,
    *(
        f"{average}_{score}"
        for average in ("mean", "micro", "weighted", "per_image")
        for score in SCORES
    ),
    "pixel_accuracy",
    "mean_accuracy",
    *OF_ONE_CLASS_A_PIXEL,
)
# 1.0 as fixed point: scores of images are added as integers, whose sum does not depend on their order.
ONE = 2**40 if WIDE else 2**16


def scores_of(matrix, zero_division=None):
    """Every figure of a confusion matrix, but those "per_image".

    Args:
        matrix: (C, C) counts, true classes down, predicted classes across; or, for several classes a pixel,
            (C, 2, 2), each channel's [[TN, FP], [FN, TP]].
        zero_division: what 0 / 0 counts as: None for no score, 0.0 or 1.0. See `ConfusionMetrics`.

    Returns:
        dict of float64 (under JAX float32): for each score of "iou", "dice", "precision", "recall", "specificity"

        - "<score>" (C,), one a class, NaN where it has none;
        - "mean_<score>", the mean over the classes that have one (macro average);
        - "micro_<score>", the score of the classes' counts added up;
        - "weighted_<score>", the mean by each class' share of the true pixels;

        "pixel_accuracy", the share of pixels that are right, or of decisions for (C, 2, 2); "mean_accuracy", which
        is "mean_recall"; and, for (C, C), "matthews" and "cohen_kappa".
    """
    matrix = ops.cast(matrix, FLOAT)  # first of all: JAX would cut int64 to 32 bits
    left_out = OF_ONE_CLASS_A_PIXEL if len(matrix.shape) == 3 else ()
    names = [name for name in FIGURES if not name.startswith("per_image") and name not in left_out]
    return _figures(names, matrix, zero_division)


def _figures(names, matrix, zero_division):
    """Return {name: figure}; see `scores_of`."""
    matrix = ops.cast(matrix, FLOAT)
    counts = _counts(matrix)
    return {name: _figure(name, matrix, counts, zero_division) for name in names}


def _figure(name, matrix, counts, zero_division):
    hit, _, missed, rest = counts
    if name in OF_ONE_CLASS_A_PIXEL:
        return agreement(matrix, zero_division)[OF_ONE_CLASS_A_PIXEL.index(name)]
    if name == "pixel_accuracy":
        right = hit + rest if len(matrix.shape) == 3 else hit
        return ratio(ops.sum(right), ops.sum(matrix), zero_division)
    average, _, score = ("mean_recall" if name == "mean_accuracy" else name).rpartition("_")
    if average == "micro":
        return class_score(score, *(ops.sum(part) for part in counts), zero_division)
    scores = class_score(score, *counts, zero_division)
    if average == "weighted":
        return mean_present(scores, hit + missed, zero_division)
    return mean_present(scores) if average == "mean" else scores


def _counts(matrix):
    """TP, FP, FN, TN of (C, C) or (C, 2, 2)."""
    return channel_counts(matrix) if len(matrix.shape) == 3 else class_counts(matrix)


@keras.saving.register_keras_serializable(package="tfseg")
class ConfusionMetrics(PixelMetric):
    """Many figures from one exact confusion matrix of the whole dataset.

    The state is an integer count for every (true class, predicted class), in 64 bits: no count saturates before
    2**63, and batch size, order and replicas cannot change a digit. Under JAX without x64 a cell holds 2**31 - 1
    pixels, and figures "per_image" 32767 images.

    A class absent from truth and prediction has no score (NaN) and is left out of means, unless `zero_division`
    says what it counts as. The same holds for every score that is 0 / 0, as the precision of a class never predicted.

    Args:
        num_classes: C, the channels of the model's output. For one sigmoid channel pass 1: background and
            foreground are counted.
        report: the figures that `result()` gives. For each score of "iou", "dice", "precision", "recall",
            "specificity": the score itself, one a class; "mean_iou", over the classes that have one; "micro_iou",
            of the classes' counts added up; "weighted_iou", by the classes' share of the true pixels (the
            frequency-weighted IoU); "per_image_iou", the mean over images of each image's own "mean_iou",
            images without any score left out. And "pixel_accuracy", "mean_accuracy" (the mean recall),
            "matthews", "cohen_kappa".
        class_names: names for the per-class figures, such as "iou/car"; their numbers by default.
        ignore_index: label that is not counted. Labels outside [0, C) are not counted either.
        multi_label: each channel is a decision of its own, counted by `threshold`. "pixel_accuracy" is then the
            share of right decisions; "matthews" and "cohen_kappa" are not defined.
        threshold: probability above which a channel is on, for C == 1 and `multi_label`.
        from_logits: whether the model gives logits (default) or probabilities.
        zero_division: what 0 / 0 counts as: None for no score, 0.0 or 1.0.
        name, dtype: as in Keras.

    Raises:
        ValueError: an argument is not among those above; a batch does not fit (see `update_state`).
    """

    def __init__(
        self,
        num_classes,
        report=("mean_iou", "mean_dice", "pixel_accuracy"),
        class_names=None,
        ignore_index=255,
        multi_label=False,
        threshold=0.5,
        from_logits=True,
        zero_division=None,
        name="confusion_metrics",
        dtype=None,
    ):
        super().__init__(num_classes, ignore_index, multi_label, from_logits, name, dtype)
        owner = type(self).__name__
        self.classes = self.num_classes if self.multi_label else max(self.num_classes, 2)
        self.report = tuple(checks.one_of(owner, "report", figure, FIGURES) for figure in report)
        for figure in OF_ONE_CLASS_A_PIXEL:
            if self.multi_label and figure in self.report:
                raise ValueError(
                    f"{owner}: {figure!r} is of one class a pixel. Leave it or multi_label=True out."
                )
        self.class_names = [str(name) for name in class_names or range(self.classes)]
        if (
            len(set(self.class_names)) != len(self.class_names)
            or len(self.class_names) != self.classes
        ):
            raise ValueError(
                f"{owner}: {len(self.class_names)} class_names for {self.classes} classes. Pass one a class, "
                "each another."
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
            figure.removeprefix("per_image_")
            for figure in self.report
            if figure.startswith("per_image")
        ]
        if self.per_image:
            self.image_sums = counts(len(self.per_image), name="image_sums")
            self.images = counts(len(self.per_image), name="images")

    def count(self, truth, valid, y_pred):
        """Add a batch to the counts; see `PixelMetric`."""
        per_image = bool(self.per_image)
        if self.multi_label:
            matrix = channel_matrices(truth, self._is_on(y_pred), valid)
            total = ops.sum(ops.cast(matrix, "int64"), axis=0)
        else:
            predictions = (
                self._is_on(y_pred)[..., 0] if self.num_classes == 1 else top_class(y_pred)
            )
            matrix = confusion_matrix(truth, predictions, self.classes, valid, per_image)
            total = ops.cast(ops.sum(matrix, axis=0) if per_image else matrix, "int64")
        self.matrix.assign_add(total)
        if per_image:
            self._count_images(ops.cast(matrix, FLOAT))

    def _is_on(self, y_pred):
        """Whether each channel is above the threshold; in float32 whatever the logits are."""
        bar = (
            math.log(self.threshold / (1 - self.threshold)) if self.from_logits else self.threshold
        )
        return ops.cast(y_pred, "float32") > bar

    def _count_images(self, matrices):
        """Add each image's mean score, as fixed point.

        Scores become integers before they are added: that of a class is one division, rounded the same everywhere.
        """
        counts = channel_counts(matrices) if self.multi_label else class_counts(matrices)
        scores = [class_score(score, *counts, self.zero_division) for score in self.per_image]
        scores = ops.stack(scores)  # (figures, B, C)
        has_score = ops.logical_not(ops.isnan(scores))
        fixed = ops.cast(ops.round(ops.where(has_score, scores, 0) * ONE), "int64")
        classes = ops.sum(ops.cast(has_score, "int64"), axis=-1)
        means = ops.floor_divide(ops.sum(fixed, axis=-1), ops.maximum(classes, 1))
        self.image_sums.assign_add(ops.sum(means, axis=-1))
        self.images.assign_add(ops.sum(ops.cast(classes > 0, "int64"), axis=-1))

    def result(self):
        """Return {figure: scalar}; a per-class figure is spread over names such as "iou/car"."""
        pooled = [figure for figure in self.report if not figure.startswith("per_image")]
        values = _figures(pooled, self.matrix, self.zero_division)
        if self.per_image:
            means = ratio(ops.cast(self.image_sums, FLOAT) / ONE, ops.cast(self.images, FLOAT))
            values |= {f"per_image_{name}": means[i] for i, name in enumerate(self.per_image)}
        figures = {}
        for figure in self.report:
            if figure in SCORES:
                by_class = ops.unstack(values[figure], self.classes)
                pairs = zip(self.class_names, by_class, strict=True)
                figures.update({f"{figure}/{name}": value for name, value in pairs})
            else:
                figures[figure] = values[figure]
        return figures

    def get_config(self):
        """Return the arguments, for `.keras` files."""
        return {
            **super().get_config(),
            "report": list(self.report),
            "class_names": self.class_names,
            "multi_label": self.multi_label,
            "threshold": self.threshold,
            "zero_division": self.zero_division,
        }
