"""Mask R-CNN."""

from pathlib import Path

from tfseg.models.detection.assemble import (
    ANCHOR_RATIOS,
    ANCHOR_SIZES,
    assemble,
    detections_layer,
)
from tfseg.models.detection.detector import Detector


def mask_rcnn(
    num_classes: int,
    encoder: str = "efficientnet_lite0",
    input_shape: tuple = (None, None, 3),
    weights: str | Path | None = None,
    layout: str = "light",
    size: tuple[int, int] | None = None,
    normalization: tuple | str | None = None,
    anchor_sizes: tuple = ANCHOR_SIZES,
    anchor_ratios: tuple = ANCHOR_RATIOS,
    score_threshold: float = 0.05,
    nms_iou: float = 0.5,
    max_detections: int = 100,
    proposals: tuple[int, int] | None = None,
    samples: tuple[int, int] | None = None,
    pyramid_width: int | None = None,
) -> Detector:
    """Mask R-CNN (arXiv:1703.06870) with a feature pyramid (arXiv:1612.03144).

    Images (B, H, W, C) in 0..255 -> dict of the detections of `faster_rcnn`, and "masks"
    (B, M, 28, 28) float32: probabilities inside each box, which `ops.paste_masks` puts into the
    image.

    It computes its own losses: `compile(optimizer)`, then `fit` on batches of an image and a dict
    of the labels of `faster_rcnn`, and "instances" (B, H, W) int32: 0 for no object, k for the
    object with the k-th box.

    Args:
        num_classes, encoder, input_shape, weights, size, normalization: see `faster_rcnn`.
        layout: "light" for CPUs; "v1" and "v2" are those of torchvision's maskrcnn_resnet50_fpn
            and maskrcnn_resnet50_fpn_v2.
        anchor_sizes, anchor_ratios, score_threshold, nms_iou, max_detections: see `faster_rcnn`.
        proposals, samples, pyramid_width: see `faster_rcnn`.

    Returns:
        Detector named "mask_rcnn".

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.

    Example:
        >>> import tfseg
        >>> model = tfseg.models.mask_rcnn(3, encoder="mobilenet_v3_small")
        >>> model.output["masks"].shape
        (None, 100, 28, 28)
    """
    detections = detections_layer("mask_rcnn", size, score_threshold, nms_iou, max_detections)
    return assemble(
        "mask_rcnn",
        num_classes,
        encoder,
        input_shape,
        weights,
        layout,
        detections.size,
        normalization,
        anchor_sizes,
        anchor_ratios,
        detections,
        proposals,
        samples,
        pyramid_width,
        has_masks=True,
    )
