"""Faster R-CNN and Mask R-CNN."""

from tfseg.models.detection.anchors import anchor_coverage
from tfseg.models.detection.assemble import with_thresholds
from tfseg.models.detection.detector import Detector, is_detector
from tfseg.models.detection.faster_rcnn import faster_rcnn
from tfseg.models.detection.mask_rcnn import mask_rcnn
from tfseg.models.detection.torchvision_weights import load_torchvision

__all__ = [
    "Detector",
    "anchor_coverage",
    "faster_rcnn",
    "is_detector",
    "load_torchvision",
    "mask_rcnn",
    "with_thresholds",
]
