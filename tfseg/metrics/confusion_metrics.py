"""Scores from one confusion matrix of the whole dataset."""

import math
import warnings
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from tfseg import checks
from tfseg.metrics.base import FLOAT, WIDE, PixelMetric
from tfseg.metrics.matrix_scores import (
    REPORTABLE,
    SCORES,
    SINGLE_LABEL_SCORES,
    compute_scores,
    kept_classes,
)
from tfseg.ops import (
    channel_counts,
    channel_matrices,
    class_counts,
    class_fraction,
    confusion_matrix,
    ratio,
    split_ratio,
    top_class,
)

# Under this name, log keys are "val_mean_iou" and so on; under others, they begin with the name.
NAME = "confusion_metrics"
# Fixed-point 1.0. Scores of images are added as integers, whose sum does not depend on their order.
ONE = 2**40 if WIDE else 2**16


@keras.saving.register_keras_serializable(package="tfseg")
class ConfusionMetrics(PixelMetric):
    """Scores from one exact confusion matrix of the whole dataset.

    The state is one 64-bit integer count per (true class, predicted class): no count overflows
    below 2**63, and batch size, order and number of replicas do not change a digit. Under JAX
    without x64, a count is limited to 2**31 - 1 pixels, and "per_image" scores to 32767 images.

    A class absent from both ground truth and prediction has no score (NaN) and is excluded from
    means, unless `zero_division` sets its value. The same applies to every score that is 0 / 0,
    such as the precision of a class that is never predicted.

    Only `ignore_index` is ignored. Pixels with any other label outside [0, C), a fractional label
    or NaN are counted in the state `invalid`, and after the first one all scores are NaN.

    The callbacks of Keras cannot tell that these scores are to be maximized: pass them
    `mode="max"`.

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
        ignore_index: label of the pixels that are not counted. If it is in [0, C), that class has
            no score (NaN) and is left out of all averages; predicting it is an error like any
            other. With more than 255 classes, 255 is a class, and 65535 is used instead.
        multi_label: each channel is a sigmoid of its own, compared with `threshold`. Then
            "pixel_accuracy" is the fraction of correct decisions, and "matthews" and "cohen_kappa"
            are not defined.
        threshold: probability above which a channel is on, for C == 1 and `multi_label`.
        from_logits: whether the model returns logits (default) or probabilities.
        zero_division: the value of 0 / 0: None for no score, 0.0 or 1.0.
        name: put in front of the keys of the result, "<name>_mean_iou", unless it is the default.
            So several `ConfusionMetrics` of a model need names of their own.
        dtype: as in Keras.

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
        name: str = NAME,
        dtype: str | None = None,
    ):
        super().__init__(num_classes, ignore_index, multi_label, from_logits, name, dtype)
        owner = type(self).__name__
        self.classes = self.num_classes if self.multi_label else max(self.num_classes, 2)
        scores = checks.in_order(owner, "scores", scores, "names, such as ['mean_iou', 'iou']")
        self.scores = tuple(checks.one_of(owner, "scores", score, REPORTABLE) for score in scores)
        for score in SINGLE_LABEL_SCORES:
            if self.multi_label and score in self.scores:
                raise ValueError(
                    f"{owner}: {score!r} is undefined for multi-label models. Remove it from "
                    "`scores` or set multi_label=False."
                )
        if class_names is None:
            class_names = range(self.classes)
        expected = "one name per class, in the order of the class ids"
        class_names = checks.in_order(owner, "class_names", class_names, expected)
        self.class_names = [str(name) for name in class_names]
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
        self._has_warned = False
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
        else:
            predictions = top_class(y_pred, self._cutoff())
            matrix = confusion_matrix(labels, predictions, self.classes, valid, per_image)
        total = ops.cast(matrix, "int64")
        if self.multi_label or per_image:
            total = ops.sum(total, axis=0)
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
        fractions = [class_fraction(score, *counts) for score in self.per_image]
        numerator, denominator = (ops.stack(part) for part in zip(*fractions, strict=True))
        scores, has_score = split_ratio(numerator, denominator, self.zero_division)  # (S, B, C)
        kept = kept_classes(self.matrix.shape, self.ignored_label)
        has_score = ops.logical_and(has_score, kept)
        fixed = ops.cast(ops.round(ops.where(has_score, scores, 0) * ONE), "int64")
        classes = ops.sum(ops.cast(has_score, "int64"), axis=-1)
        means = ops.floor_divide(ops.sum(fixed, axis=-1), ops.maximum(classes, 1))
        self.image_sums.assign_add(ops.sum(means, axis=-1))
        self.images.assign_add(ops.sum(ops.cast(classes > 0, "int64"), axis=-1))

    def result(self) -> dict:
        """Return {name: scalar}; a per-class score has one entry per class, such as "iou/car".

        Outside compiled functions, it warns once if the ground truth contains a single class.
        """
        self._warn_of_a_single_class()
        prefix = "" if self.name == NAME else f"{self.name}_"
        return {prefix + score: value for score, value in self._values().items()}

    def _values(self):
        """Return {score: scalar}, or {score/class: scalar} for a per-class score."""
        pooled = [score for score in self.scores if not score.startswith("per_image")]
        values = compute_scores(pooled, self.matrix, self.zero_division, self.ignored_label)
        if self.per_image:
            means = ratio(ops.cast(self.image_sums, FLOAT) / ONE, ops.cast(self.images, FLOAT))
            values |= {f"per_image_{name}": means[i] for i, name in enumerate(self.per_image)}
        result, nan_if_invalid = {}, self.nan_if_invalid()
        for score in self.scores:
            value = values[score] + nan_if_invalid
            if score in SCORES:
                by_class = ops.unstack(value, self.classes)
                for name, value in zip(self.class_names, by_class, strict=True):
                    result[f"{score}/{name}"] = value
            else:
                result[score] = value
        return result

    def _warn_of_a_single_class(self):
        """Warn once, outside compiled functions, if every pixel has the same label.

        That is what a metric sees of masks with the values 0 and 255.
        """
        ids = range(max(self.num_classes, 2))
        matrix = None if self._has_warned else _to_numpy(self.matrix)
        if matrix is None or not matrix.any() or len(set(ids) - {self.ignored_label}) < 2:
            return
        if _to_numpy(self.invalid) > 0:  # the scores are NaN, and the labels are wrong otherwise
            return
        true = matrix.sum(axis=-1)  # (C,) pixels, or (C, 2) pixels outside and inside each class
        if self.multi_label:
            is_constant = np.all((true > 0).sum(axis=1) == 1)
            inside = np.flatnonzero(true[:, 1])
        else:
            inside = np.flatnonzero(true)
            is_constant = len(inside) == 1
        if is_constant:
            self._has_warned = True
            found = ", ".join(repr(self.class_names[i]) for i in inside) or "none"
            warnings.warn(
                f"{self.name}: every pixel of the ground truth has the same class: {found}. If "
                "your masks contain 0 and 255, 255 is taken for ignored pixels: read them with "
                "mask_values={0: 0, 255: 1}.",
                stacklevel=3,
            )

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


def _to_numpy(variable):
    """Return a NumPy array, or None inside a function that is being compiled."""
    try:
        return ops.convert_to_numpy(ops.copy(variable))
    except (NotImplementedError, TypeError):  # raised by TensorFlow and JAX for symbolic tensors
        return None
