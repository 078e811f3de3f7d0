"""Single figures of the confusion matrix as metrics of their own, each a scalar under its own name."""

import keras

from tfseg.metrics.confusion_metrics import ConfusionMetrics


class SingleFigure(ConfusionMetrics):
    """One figure of `ConfusionMetrics`, as a scalar; the arguments are the same but for the report's."""

    figure = None

    def __init__(
        self,
        num_classes,
        ignore_index=255,
        multi_label=False,
        threshold=0.5,
        from_logits=True,
        zero_division=None,
        name=None,
        dtype=None,
    ):
        super().__init__(
            num_classes,
            report=(self.figure,),
            ignore_index=ignore_index,
            multi_label=multi_label,
            threshold=threshold,
            from_logits=from_logits,
            zero_division=zero_division,
            name=name or self.figure,
            dtype=dtype,
        )

    def result(self):
        """Return the figure, a scalar."""
        return super().result()[self.figure]

    def get_config(self):
        """Return the arguments, for `.keras` files."""
        config = super().get_config()
        del config["report"], config["class_names"]
        return config


@keras.saving.register_keras_serializable(package="tfseg")
class MeanIoU(SingleFigure):
    """Mean over classes of the Jaccard index TP / (TP + FP + FN), from counts over the whole dataset."""

    figure = "mean_iou"


@keras.saving.register_keras_serializable(package="tfseg")
class FrequencyWeightedIoU(SingleFigure):
    """Mean over classes of the Jaccard index, each weighing as much as its share of the true pixels."""

    figure = "weighted_iou"


@keras.saving.register_keras_serializable(package="tfseg")
class MeanDice(SingleFigure):
    """Mean over classes of the Dice coefficient 2 TP / (2 TP + FP + FN), from counts over the dataset."""

    figure = "mean_dice"


@keras.saving.register_keras_serializable(package="tfseg")
class PixelAccuracy(SingleFigure):
    """Share of the counted pixels whose class is right."""

    figure = "pixel_accuracy"


@keras.saving.register_keras_serializable(package="tfseg")
class MeanAccuracy(SingleFigure):
    """Mean over classes of the share of the class' pixels that are right (its recall)."""

    figure = "mean_accuracy"


@keras.saving.register_keras_serializable(package="tfseg")
class MatthewsCorrelation(SingleFigure):
    """Matthews' correlation of truth and prediction for any number of classes: 1 perfect, 0 chance."""

    figure = "matthews"


@keras.saving.register_keras_serializable(package="tfseg")
class CohenKappa(SingleFigure):
    """Cohen's kappa, the agreement of truth and prediction beyond chance: 1 perfect, 0 chance."""

    figure = "cohen_kappa"
