"""Metrics that follow from one confusion matrix of the whole data set."""

import keras
from keras import ops

from tfseg import checks
from tfseg.ops import class_scores, confusion_matrix, mean_present, split_dense, split_labels, target_kind

FIGURES = ("mean_iou", "mean_dice", "pixel_accuracy", "mean_accuracy", "iou", "dice", "accuracy")


def scores_of(matrix):
    """Every figure of a confusion matrix.

    Args:
        matrix: (C, C) counts, true classes down, predicted classes across.

    Returns:
        dict: "iou", "dice", "accuracy" a class (C,), NaN for a class absent from truth and prediction (from
        truth, for accuracy); "mean_iou", "mean_dice", "mean_accuracy", their means over the classes that have
        a score; "pixel_accuracy", the share of pixels that are right.
    """
    matrix = ops.cast(matrix, "float64" if keras.backend.backend() == "tensorflow" else "float32")
    scores = class_scores(matrix)
    means = {f"mean_{name}": mean_present(values) for name, values in scores.items()}
    right, total = ops.trace(matrix), ops.sum(matrix)
    pixel_accuracy = ops.where(total == 0, float("nan"), right / ops.maximum(total, 1))
    return {**scores, **means, "pixel_accuracy": pixel_accuracy}


@keras.saving.register_keras_serializable(package="tfseg")
class ConfusionMetrics(keras.metrics.Metric):
    """Many figures from one exact confusion matrix.

    The state is an integer count for every (true class, predicted class), so batch size, order and replicas
    cannot change a digit. A class absent from truth and prediction has no score (NaN) and is left out of means.

    Args:
        num_classes: C, the channels of the model's output. For one sigmoid channel pass 1: background and
            foreground are counted, the foreground being where the probability is above one half.
        report: the figures that `result()` gives, of "mean_iou", "mean_dice", "pixel_accuracy",
            "mean_accuracy", and, for each class, "iou", "dice", "accuracy".
        class_names: names for the per-class figures; their numbers by default.
        ignore_index: label that is not counted. Labels outside [0, C) are not counted either.
        name: name of the metric.
        dtype: kept for Keras; counts are integers.
    """

    def __init__(
        self,
        num_classes,
        report=("mean_iou", "mean_dice", "pixel_accuracy"),
        class_names=None,
        ignore_index=255,
        name="confusion_metrics",
        dtype=None,
    ):
        super().__init__(name=name, dtype=dtype)
        owner = type(self).__name__
        self.num_classes = checks.positive_int(owner, "num_classes", num_classes)
        self.classes = max(self.num_classes, 2)
        self.report = tuple(checks.one_of(owner, "report", figure, FIGURES) for figure in report)
        self.class_names = [str(name) for name in class_names or range(self.classes)]
        if len(self.class_names) != self.classes:
            raise ValueError(f"{owner}: {len(self.class_names)} class_names for {self.classes} classes.")
        self.ignore_index = ignore_index
        self.matrix = self.add_weight(
            shape=(self.classes, self.classes), initializer="zeros", dtype="int64", name="matrix"
        )

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Count a batch: labels (B, ...) or (B, ..., 1) or one-hot (B, ..., C), logits (B, ..., C)."""
        if sample_weight is not None:
            raise ValueError(
                f"{type(self).__name__} counts whole pixels. Pass it to compile as `metrics`, not "
                "`weighted_metrics`, and mark pixels that shall not count with ignore_index."
            )
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        if y_pred.shape[-1] != self.num_classes:
            raise ValueError(
                f"{type(self).__name__}: num_classes={self.num_classes}, but y_pred of shape "
                f"{tuple(y_pred.shape)} has {y_pred.shape[-1]} channels."
            )
        if target_kind(type(self).__name__, y_true, y_pred) == "dense":
            dense, valid = split_dense(y_true, self.ignore_index)
            classes = ops.argmax(dense, axis=-1) if self.num_classes > 1 else dense[..., 0] > 0.5
            y_true = ops.where(valid, ops.cast(classes, "int32"), -1)
        labels, valid = split_labels(y_true, len(y_pred.shape) - 1, self.classes, self.ignore_index)
        predictions = y_pred[..., 0] > 0 if self.num_classes == 1 else ops.argmax(y_pred, axis=-1)
        counts = confusion_matrix(labels, predictions, self.classes, valid)
        self.matrix.assign_add(ops.cast(counts, "int64"))

    def result(self):
        """Return {figure: scalar}; a per-class figure is spread over names such as "iou/car"."""
        scores = scores_of(self.matrix)
        figures = {}
        for figure in self.report:
            if figure in ("iou", "dice", "accuracy"):
                values = ops.unstack(scores[figure], self.classes)
                pairs = zip(self.class_names, values, strict=True)
                figures.update({f"{figure}/{name}": value for name, value in pairs})
            else:
                figures[figure] = scores[figure]
        return figures

    def get_config(self):
        """Return the arguments, for `.keras` files."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "report": list(self.report),
            "class_names": self.class_names,
            "ignore_index": self.ignore_index,
        }


class _SingleFigure(ConfusionMetrics):
    """One figure of `ConfusionMetrics`, as a scalar under its own name."""

    figure = None

    def __init__(self, num_classes, ignore_index=255, name=None, dtype=None):
        super().__init__(num_classes, (self.figure,), None, ignore_index, name or self.figure, dtype)

    def result(self):
        """Return the figure, a scalar."""
        return super().result()[self.figure]

    def get_config(self):
        """Return the arguments, for `.keras` files."""
        config = super().get_config()
        return {key: config[key] for key in ("num_classes", "ignore_index", "name", "dtype")}


@keras.saving.register_keras_serializable(package="tfseg")
class MeanIoU(_SingleFigure):
    """Mean over classes of the Jaccard index TP / (TP + FP + FN), from counts over the whole data set."""

    figure = "mean_iou"


@keras.saving.register_keras_serializable(package="tfseg")
class MeanDice(_SingleFigure):
    """Mean over classes of the Dice coefficient 2 TP / (2 TP + FP + FN), from counts over the data set."""

    figure = "mean_dice"


@keras.saving.register_keras_serializable(package="tfseg")
class PixelAccuracy(_SingleFigure):
    """Share of the counted pixels whose class is right."""

    figure = "pixel_accuracy"
