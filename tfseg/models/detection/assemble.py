"""Build the graph of a detector from its parts."""

from dataclasses import dataclass

from tfseg import checks
from tfseg.models.decoders import image_input, skip_features
from tfseg.models.detection.detections import Detections, ToImage
from tfseg.models.detection.detector import Detector
from tfseg.models.detection.heads import (
    BOX_POOL,
    MASK_POOL,
    ClassMasks,
    box_head,
    call_head,
    mask_head,
)
from tfseg.models.detection.proposals import Proposals
from tfseg.models.detection.pyramid import LAYOUTS, detection_pyramid, proposal_network
from tfseg.models.detection.roi_layers import RoiAlign
from tfseg.models.layer_graph import input_tensors

STRIDES = (4, 8, 16, 32, 64)
ANCHOR_SIZES = (32, 64, 128, 256, 512)
ANCHOR_RATIOS = (0.5, 1, 2)


@dataclass(frozen=True)
class LayoutDefaults:
    """The numbers that a layout has unless the caller chooses others.

    Attributes:
        pyramid_width: channels of the feature pyramid.
        proposals: number of proposals per image, in training and in prediction.
        samples: number of anchors and of proposals per image that the losses count.
    """

    pyramid_width: int
    proposals: tuple[int, int]
    samples: tuple[int, int]


TORCHVISION = LayoutDefaults(256, (2000, 1000), (256, 512))
DEFAULTS = {
    "light": LayoutDefaults(128, (500, 200), (128, 64)),
    "v1": TORCHVISION,
    "v2": TORCHVISION,
}


def assemble(
    name: str,
    num_classes: int,
    encoder: str,
    input_shape: tuple,
    weights,
    layout: str,
    size: tuple[int, int] | None,
    normalization,
    anchor_sizes: tuple,
    anchor_ratios: tuple,
    detections: Detections,
    proposals: tuple[int, int] | None,
    samples: tuple[int, int] | None,
    pyramid_width: int | None,
    has_masks: bool,
) -> Detector:
    """Build a detector; see `faster_rcnn` for the arguments.

    Args:
        detections: the last layer of the boxes.
        has_masks: whether to add the masks of Mask R-CNN.
    """
    anchor_sizes, anchor_ratios = check_anchors(name, anchor_sizes, anchor_ratios)
    defaults = DEFAULTS[checks.one_of(name, "layout", layout, LAYOUTS)]
    width = defaults.pyramid_width if pyramid_width is None else pyramid_width
    width = checks.positive_int(name, "pyramid_width", width)
    counts = _pair(name, "proposals", proposals, defaults.proposals)
    samples = _pair(name, "samples", samples, defaults.samples)
    image = image_input(name, num_classes, input_shape)
    features = skip_features(name, image, encoder, weights, normalization, STRIDES[:-1], size=size)
    levels = detection_pyramid(features, width, layout)
    cells = _anchors_per_cell(name, anchor_sizes) * len(anchor_ratios)
    objectness, deltas = proposal_network(levels, cells, layout)
    propose = Proposals(
        STRIDES, anchor_sizes, anchor_ratios, *counts, *samples, size=size, name="proposals"
    )
    boxes, valid = propose(objectness, deltas, image)
    levels = levels[:-1]  # the coarsest only has anchors
    pooled = RoiAlign(BOX_POOL, STRIDES[:-1], name="box_roi_align")(levels, boxes)
    outputs = call_head(box_head(num_classes, width, layout), pooled, valid)
    masks = None
    if has_masks:
        align = RoiAlign(MASK_POOL, STRIDES[:-1], name="mask_roi_align")
        masks = (align, mask_head(num_classes, width, layout))
    inputs = [outputs["class_logits"], outputs["box_deltas"], boxes, valid, image]
    return finish(name, detections, inputs, levels, masks)


def finish(name: str, detections: Detections, inputs: list, levels: list, masks) -> Detector:
    """Return the detector that ends with a `Detections` layer.

    Args:
        name: of the model.
        detections: layer, called on `inputs`; the last of these is the image.
        inputs: see `Detections.call`.
        levels: list of (B, h, w, C) maps of the pyramid.
        masks: (RoIAlign layer, mask head), or None for boxes only.
    """
    image = inputs[-1]
    boxes, scores, classes = detections(*inputs)
    outputs = {"boxes": boxes, "scores": scores, "classes": classes}
    if detections.size is not None:
        outputs["boxes"] = ToImage(detections.size, name="to_image")(boxes, image)
    if masks is not None:
        align, head = masks
        logits = call_head(head, align(levels, boxes), classes >= 0)
        outputs["masks"] = ClassMasks(name="masks")(logits, classes)
    return Detector(image, outputs, name=name)


def with_thresholds(
    model: Detector,
    score_threshold: float | None = None,
    nms_iou: float | None = None,
    max_detections: int | None = None,
) -> Detector:
    """Return a detector with the same layers and weights that keeps other detections.

    Args:
        model: a model from `faster_rcnn` or `mask_rcnn`. It is not changed.
        score_threshold: detections with this score or less are dropped, in [0, 1); None to keep
            that of the model.
        nms_iou: a detection is dropped if its IoU with a better one of its class is above this, in
            [0, 1); None to keep that of the model.
        max_detections: number of detections per image; None to keep that of the model.

    Returns:
        Detector, not compiled.

    Raises:
        TypeError: the model is not a detector.
        ValueError: an argument is out of its range.

    Example:
        >>> import tfseg
        >>> model = tfseg.models.faster_rcnn(3, encoder="mobilenet_v3_small")
        >>> tfseg.models.with_thresholds(model, max_detections=5).output["boxes"].shape
        (None, 5, 4)
    """
    if not isinstance(model, Detector):
        raise TypeError(
            f"with_thresholds: model={model!r} is not a detector. Pass a model from faster_rcnn or "
            "mask_rcnn."
        )
    thresholds = score_threshold, nms_iou, max_detections, None
    return with_detections(model, "with_thresholds", *thresholds)


def with_detections(
    model: Detector,
    owner: str,
    score_threshold: float | None = None,
    nms_iou: float | None = None,
    max_detections: int | None = None,
    object_threshold: float | None = None,
) -> Detector:
    """Do what `with_thresholds` does, and change the object threshold, too.

    Args:
        model, score_threshold, nms_iou, max_detections: see `with_thresholds`.
        owner: name for error messages.
        object_threshold: see `Detections`; None to keep that of the model.
    """
    old = model.get_layer("detections")
    chosen = {
        "score_threshold": old.score_threshold if score_threshold is None else score_threshold,
        "nms_iou": old.nms_iou if nms_iou is None else nms_iou,
        "max_detections": old.max_detections if max_detections is None else max_detections,
        "object_threshold": old.object_threshold if object_threshold is None else object_threshold,
    }
    new = detections_layer(owner, old.size, **chosen)
    levels = input_tensors(model.get_layer("box_roi_align"))[:-1]
    masks = None
    if model.has_masks:
        masks = (model.get_layer("mask_roi_align"), model.get_layer("mask_head"))
    return finish(model.name, new, input_tensors(old), levels, masks)


def detections_layer(
    owner: str,
    size,
    score_threshold: float,
    nms_iou: float,
    max_detections: int,
    object_threshold: float | None = None,
) -> Detections:
    """Check the thresholds and return the layer "detections"; see `Detections`."""
    if size is not None:
        size = checks.positive_ints(owner, "size", size)
        if len(size) != 2:
            raise ValueError(f"{owner}: size={tuple(size)} must be (height, width) in pixels.")
    if object_threshold is not None:
        object_threshold = checks.fraction(owner, "object_threshold", object_threshold)
    return Detections(
        checks.fraction(owner, "score_threshold", score_threshold),
        checks.fraction(owner, "nms_iou", nms_iou),
        checks.positive_int(owner, "max_detections", max_detections),
        size,
        object_threshold,
        name="detections",
    )


def check_anchors(owner: str, sizes, ratios) -> tuple[tuple, tuple]:
    """Return sizes and ratios as tuples; raise a ValueError unless there are sizes per level."""
    sizes = checks.in_order(owner, "anchor_sizes", sizes, "sizes, one entry per pyramid level")
    if len(sizes) != len(STRIDES):
        raise ValueError(
            f"{owner}: anchor_sizes={tuple(sizes)} has {len(sizes)} entries; expected "
            f"{len(STRIDES)}, one per pyramid level, such as {ANCHOR_SIZES}."
        )
    for size in sizes:
        for number in size if hasattr(size, "__len__") else (size,):
            checks.above_zero(owner, "anchor_sizes", number)
    ratios = checks.numbers(owner, "anchor_ratios", ratios)
    if not ratios:
        raise ValueError(f"{owner}: anchor_ratios=() must contain one or more numbers.")
    for ratio in ratios:
        checks.above_zero(owner, "anchor_ratios", ratio)
    return tuple(sizes), tuple(ratios)


def _anchors_per_cell(owner, sizes):
    """Return how many sizes each level has, which must be equal since all share one network."""
    counts = {len(size) if hasattr(size, "__len__") else 1 for size in sizes}
    if len(counts) > 1:
        raise ValueError(
            f"{owner}: anchor_sizes={sizes} has levels with different numbers of sizes. Give each "
            "level the same number."
        )
    return counts.pop()


def _pair(owner, argument, values, default):
    """Return two positive ints, of training and of prediction or of anchors and of proposals."""
    if values is None:
        return default
    counts = checks.positive_ints(owner, argument, values)
    if len(counts) != 2:
        raise ValueError(f"{owner}: {argument}={tuple(counts)} must be two numbers.")
    return tuple(counts)
