"""Faster R-CNN."""

from pathlib import Path

from tfseg.models.detection.assemble import (
    ANCHOR_RATIOS,
    ANCHOR_SIZES,
    assemble,
    detections_layer,
)
from tfseg.models.detection.detector import Detector


def faster_rcnn(
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
    """Faster R-CNN (arXiv:1506.01497) with a feature pyramid (arXiv:1612.03144).

    Images (B, H, W, C) in 0..255 -> dict of detections in pixels of these images: "boxes"
    (B, M, 4) float32 as x_min, y_min, x_max, y_max; "scores" (B, M) float32 in descending order;
    "classes" (B, M) int32 from 0. Images with fewer detections are padded: class -1, score 0.

    It computes its own losses: `compile(optimizer)`, then `fit` on batches of an image and a dict
    of "boxes" (B, N, 4), "classes" (B, N) with -1 for padding, and optionally "crowd" (B, N) bool.

    Args:
        num_classes: number of categories, without background.
        encoder: a name from `list_encoders()` with features at strides 4 to 32.
        input_shape: (H, W, C) of the images; H and W may be None.
        weights: encoder weights: None (random), "imagenet" or the path of a `.weights.h5` file.
        layout: "light" for CPUs; "v1" and "v2" are those of torchvision's fasterrcnn_resnet50_fpn
            and fasterrcnn_resnet50_fpn_v2.
        size: (height, width) in pixels to resize images into, keeping their proportions; None to
            take them as they are.
        normalization: (mean, std) of the images, or "image" to standardize each image; None for the
            statistics the encoder was trained with.
        anchor_sizes: for each of the five pyramid levels, the square root of the area of its
            anchors in pixels (after resizing); a number or several.
        anchor_ratios: height / width of the anchors.
        score_threshold: detections with this score or less are dropped, in [0, 1).
        nms_iou: a detection is dropped if its IoU with a better one of its class is above this, in
            [0, 1).
        max_detections: M, the number of detections per image.
        proposals: numbers of proposals per image in training and in prediction; None for those of
            the layout: (500, 200) for "light", otherwise (2000, 1000).
        samples: numbers of anchors and proposals per image that the losses count; None for those
            of the layout: (128, 64) for "light", otherwise (256, 512).
        pyramid_width: channels of the feature pyramid; None for that of the layout: 128 for
            "light", otherwise 256.

    Returns:
        Detector named "faster_rcnn".

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.

    Example:
        >>> import tfseg
        >>> model = tfseg.models.faster_rcnn(3, encoder="mobilenet_v3_small")
        >>> model.output["boxes"].shape
        (None, 100, 4)
    """
    detections = detections_layer("faster_rcnn", size, score_threshold, nms_iou, max_detections)
    return assemble(
        "faster_rcnn",
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
        has_masks=False,
    )
