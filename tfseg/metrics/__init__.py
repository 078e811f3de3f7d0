"""Exact metrics: they count over the whole dataset and divide once, at the end."""

from tfseg.metrics.base import PixelMetric
from tfseg.metrics.calibration import CalibrationError
from tfseg.metrics.coco_ap import CocoAP
from tfseg.metrics.confusion_metrics import ConfusionMetrics
from tfseg.metrics.detection_confusion import DetectionConfusion
from tfseg.metrics.instance_matching import (
    InstanceMatch,
    average_precision,
    match_instances,
    panoptic_quality,
)
from tfseg.metrics.instance_metrics import InstanceMetrics
from tfseg.metrics.jaccard import aggregated_jaccard
from tfseg.metrics.matrix_scores import scores_of
from tfseg.metrics.panoptic import PanopticQuality
from tfseg.metrics.rand_error import adapted_rand_error
from tfseg.metrics.single_scores import (
    CohenKappa,
    FrequencyWeightedIoU,
    MatthewsCorrelation,
    MeanAccuracy,
    MeanDice,
    MeanIoU,
    PixelAccuracy,
    SingleScore,
)
from tfseg.metrics.surface import (
    average_surface_distance,
    boundary_f1,
    boundary_iou,
    hausdorff_distance,
    surface_dice,
)

METRICS = {
    "calibration_error": CalibrationError,
    "cohen_kappa": CohenKappa,
    "confusion_metrics": ConfusionMetrics,
    "matthews": MatthewsCorrelation,
    "mean_accuracy": MeanAccuracy,
    "mean_dice": MeanDice,
    "mean_iou": MeanIoU,
    "pixel_accuracy": PixelAccuracy,
    "weighted_iou": FrequencyWeightedIoU,
}

__all__ = [
    "METRICS",
    "CalibrationError",
    "CocoAP",
    "CohenKappa",
    "ConfusionMetrics",
    "DetectionConfusion",
    "FrequencyWeightedIoU",
    "InstanceMatch",
    "InstanceMetrics",
    "MatthewsCorrelation",
    "MeanAccuracy",
    "MeanDice",
    "MeanIoU",
    "PanopticQuality",
    "PixelAccuracy",
    "PixelMetric",
    "SingleScore",
    "adapted_rand_error",
    "aggregated_jaccard",
    "average_precision",
    "average_surface_distance",
    "boundary_f1",
    "boundary_iou",
    "hausdorff_distance",
    "match_instances",
    "panoptic_quality",
    "scores_of",
    "surface_dice",
]
