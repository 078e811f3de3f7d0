"""Exact metrics: the state is counts over the whole data set, and one division at the end."""

from tfseg.metrics.confusion import ConfusionMetrics, MeanDice, MeanIoU, PixelAccuracy, scores_of

METRICS = {
    "confusion_metrics": ConfusionMetrics,
    "mean_dice": MeanDice,
    "mean_iou": MeanIoU,
    "pixel_accuracy": PixelAccuracy,
}

__all__ = ["METRICS", "ConfusionMetrics", "MeanDice", "MeanIoU", "PixelAccuracy", "scores_of"]
