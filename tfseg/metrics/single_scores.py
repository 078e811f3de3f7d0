"""Single scores of the confusion matrix as metrics, each a scalar under its own name."""

import keras

from tfseg.metrics.confusion_metrics import ConfusionMetrics


class SingleScore(ConfusionMetrics):
    """Base of the metrics that return one score of `ConfusionMetrics` as a scalar.

    Args:
        num_classes: C, the number of channels of the model's output; 1 for a single sigmoid
            channel.
        ignore_index, multi_label, threshold, from_logits, zero_division: see `ConfusionMetrics`.
        name: the score's name by default.
        dtype: as in Keras.
    """

    score = None
    _direction = "up"  # Keras' callbacks with mode="auto" ask for it

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None = 255,
        multi_label: bool = False,
        threshold: float = 0.5,
        from_logits: bool = True,
        zero_division: float | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ):
        super().__init__(
            num_classes,
            scores=(self.score,),
            ignore_index=ignore_index,
            multi_label=multi_label,
            threshold=threshold,
            from_logits=from_logits,
            zero_division=zero_division,
            name=name or self.score,
            dtype=dtype,
        )

    def result(self):
        """Return the score, a scalar; NaN after an invalid label."""
        self._warn_of_a_single_class()
        return self._values()[self.score]

    def get_config(self) -> dict:
        """Return the arguments, for `.keras` files."""
        config = super().get_config()
        del config["scores"], config["class_names"]
        return config


@keras.saving.register_keras_serializable(package="tfseg")
class MeanIoU(SingleScore):
    """Mean over classes of the IoU (Jaccard index) TP / (TP + FP + FN), over the whole dataset.

    The arguments are those of `SingleScore`.

    Example:
        >>> import tfseg
        >>> metric = tfseg.metrics.MeanIoU(2)
        >>> metric.update_state([[[0, 1]]], [[[[2.0, 0.0], [1.0, 0.0]]]])
        >>> float(metric.result())  # class 0: 1 / 2, class 1: 0 / 1
        0.25
    """

    score = "mean_iou"


@keras.saving.register_keras_serializable(package="tfseg")
class FrequencyWeightedIoU(SingleScore):
    """Mean over classes of the IoU, weighted by the number of true pixels.

    The arguments are those of `SingleScore`.

    Example:
        >>> import tfseg
        >>> metric = tfseg.metrics.FrequencyWeightedIoU(2)
        >>> metric.update_state([[[0, 0, 0, 1]]], [[[[2.0, 0.0]] * 4]])
        >>> float(metric.result())  # 3/4 of class 0 with IoU 3/4, 1/4 of class 1 with 0
        0.5625
    """

    score = "weighted_iou"


@keras.saving.register_keras_serializable(package="tfseg")
class MeanDice(SingleScore):
    """Mean over classes of the Dice coefficient 2 TP / (2 TP + FP + FN), over the whole dataset.

    The arguments are those of `SingleScore`.

    Example:
        >>> import tfseg
        >>> metric = tfseg.metrics.MeanDice(2)
        >>> logits = [[[[2.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 1.0]]]]
        >>> metric.update_state([[[0, 0, 0, 1]]], logits)
        >>> print(f"{metric.result():.3f}")  # class 0: 4/5, class 1: 2/3
        0.733
    """

    score = "mean_dice"


@keras.saving.register_keras_serializable(package="tfseg")
class PixelAccuracy(SingleScore):
    """Fraction of the counted pixels that are predicted correctly.

    The arguments are those of `SingleScore`.

    Example:
        >>> import tfseg
        >>> metric = tfseg.metrics.PixelAccuracy(2)
        >>> metric.update_state([[[0, 0, 0, 1]]], [[[[2.0, 0.0]] * 4]])
        >>> float(metric.result())
        0.75
    """

    score = "pixel_accuracy"


@keras.saving.register_keras_serializable(package="tfseg")
class MeanAccuracy(SingleScore):
    """Mean over classes of the recall, the fraction of the class' pixels that are correct.

    The arguments are those of `SingleScore`.

    Example:
        >>> import tfseg
        >>> metric = tfseg.metrics.MeanAccuracy(2)
        >>> metric.update_state([[[0, 0, 0, 1]]], [[[[2.0, 0.0]] * 4]])
        >>> float(metric.result())  # class 0: 3/3, class 1: 0/1
        0.5
    """

    score = "mean_accuracy"


@keras.saving.register_keras_serializable(package="tfseg")
class MatthewsCorrelation(SingleScore):
    """Matthews correlation coefficient for any number of classes: 1 for perfect, 0 for chance.

    The arguments are those of `SingleScore`.

    Example:
        >>> import tfseg
        >>> metric = tfseg.metrics.MatthewsCorrelation(2)
        >>> metric.update_state([[[0, 0, 1]]], [[[[2.0, 0.0], [0.0, 1.0], [0.0, 1.0]]]])
        >>> float(metric.result())  # (TP TN - FP FN) / sqrt(2 * 1 * 2 * 1)
        0.5
    """

    score = "matthews"


@keras.saving.register_keras_serializable(package="tfseg")
class CohenKappa(SingleScore):
    """Cohen's kappa, the agreement beyond chance: 1 for perfect, 0 for chance.

    The arguments are those of `SingleScore`.

    Example:
        >>> import tfseg
        >>> metric = tfseg.metrics.CohenKappa(2)
        >>> metric.update_state([[[0, 0, 1]]], [[[[2.0, 0.0], [0.0, 1.0], [0.0, 1.0]]]])
        >>> print(f"{metric.result():.3f}")  # agreement 2/3, by chance 4/9
        0.400
    """

    score = "cohen_kappa"
