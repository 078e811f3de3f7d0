"""Detections: the boxes, scores and classes that a detector returns."""

import math

import keras
import numpy as np
from keras import layers, ops

from tfseg.models.detection.proposals import image_box
from tfseg.models.detection.rows import take_rows
from tfseg.models.detection.sampling import BOX_WEIGHTS
from tfseg.models.letterbox import size_in_canvas
from tfseg.ops import clip_boxes, decode_boxes, nms

SMALLEST_SIDE = 1e-2  # in pixels


@keras.saving.register_keras_serializable(package="tfseg")
class Detections(layers.Layer):
    """Turn the outputs of the box head into detections, see `detect`.

    Args:
        score_threshold: detections with this score or less are dropped.
        nms_iou: a detection is dropped if its IoU with a better one of its class is above this.
        max_detections: number of detections per image.
        size: (height, width) of the canvas that images are resized to; None if they are not.
        object_threshold: score that a detection needs to be an object of a label map; None for the
            default. The layer only keeps it, for `.keras` files.
    """

    def __init__(
        self,
        score_threshold: float = 0.05,
        nms_iou: float = 0.5,
        max_detections: int = 100,
        size: tuple | None = None,
        object_threshold: float | None = None,
        **kwargs,
    ):
        kwargs["dtype"] = "float32"
        super().__init__(autocast=False, **kwargs)
        self.score_threshold, self.nms_iou = score_threshold, nms_iou
        self.max_detections = max_detections
        self.size = None if size is None else tuple(size)
        self.object_threshold = object_threshold

    def call(self, class_logits, box_deltas, proposals, valid, image):
        """Return boxes (B, M, 4) in pixels of the canvas, scores (B, M) and classes (B, M)."""
        return detect(
            class_logits,
            box_deltas,
            proposals,
            valid,
            size_in_canvas(*ops.shape(image)[1:3], self.size),
            self.score_threshold,
            self.nms_iou,
            self.max_detections,
        )

    def compute_output_spec(self, class_logits, box_deltas, proposals, valid, image):
        """Return the symbolic detections."""
        shape = (proposals.shape[0], self.max_detections)
        return (
            keras.KerasTensor((*shape, 4), "float32"),
            keras.KerasTensor(shape, "float32"),
            keras.KerasTensor(shape, "int32"),
        )

    def get_config(self):
        """Return the arguments for `.keras` files."""
        return {
            **super().get_config(),
            "score_threshold": self.score_threshold,
            "nms_iou": self.nms_iou,
            "max_detections": self.max_detections,
            "size": self.size,
            "object_threshold": self.object_threshold,
        }


def detect(
    class_logits,
    box_deltas,
    proposals,
    valid,
    image_size,
    score_threshold: float = 0.05,
    nms_iou: float = 0.5,
    max_detections: int = 100,
):
    """Return the best detections of each image.

    Each class of each proposal has a box of its own. Those above the score threshold are clipped to
    the image; boxes with a side below 0.01 pixels are dropped, and those that overlap a better box
    of their class. Source: torchvision's RoIHeads.

    Args:
        class_logits: (B, P, C + 1), background first.
        box_deltas: (B, P, 4 (C + 1)), four per class, see `ops.encode_boxes`.
        proposals: (B, P, 4) boxes in pixels.
        valid: (B, P) bool, False for padding.
        image_size: height and width of the image without its padding.
        score_threshold, nms_iou, max_detections: see `Detections`.

    Returns:
        boxes (B, M, 4) float32, zeros for padding; scores (B, M) float32 in descending order, 0 for
        padding; classes (B, M) int32 from 0, -1 for padding.
    """
    scores = ops.softmax(ops.cast(class_logits, "float32"), axis=-1)[..., 1:]
    scores = ops.where(valid[..., None], scores, -1.0)
    scores, proposal, category = _pairs(scores, score_threshold)
    boxes = _decode(box_deltas, proposals, proposal, category, class_logits.shape[2])
    boxes = clip_boxes(boxes, image_box(*image_size))
    large = ops.all(boxes[..., 2:] - boxes[..., :2] >= SMALLEST_SIDE, axis=-1)
    allowed = ops.logical_and(large, scores > score_threshold)
    indices, kept = nms(boxes, scores, nms_iou, max_detections, category, allowed)
    return (
        ops.where(kept[..., None], take_rows(boxes, indices), 0.0),
        ops.where(kept, take_rows(scores, indices), 0.0),
        ops.where(kept, take_rows(category, indices), -1),
    )


def _pairs(scores, score_threshold):
    """Return the pairs of proposal and class that can be above the threshold.

    The scores of a proposal sum to at most 1, so that at most 1 / threshold of its classes are.

    Args:
        scores: (B, P, C).
        score_threshold: in [0, 1).

    Returns:
        scores (B, K), positions of the proposals (K,) and classes (B, K).
    """
    proposals, classes = scores.shape[1:]
    count = math.ceil(1 / max(score_threshold, 1 / classes))
    count = min(count, classes)
    scores, category = ops.top_k(scores, count)
    pairs = (-1, proposals * count)
    category = ops.cast(ops.reshape(category, pairs), "int32")
    proposal = np.repeat(np.arange(proposals, dtype="int32"), count)
    return ops.reshape(scores, pairs), proposal, category


def _decode(box_deltas, proposals, proposal, category, channels):
    """Return (B, K, 4): the boxes of the pairs of proposal and class."""
    deltas = ops.reshape(box_deltas, (-1, proposals.shape[1] * channels, 4))
    deltas = take_rows(deltas, proposal * channels + category + 1)
    return decode_boxes(deltas, take_rows(proposals, proposal), BOX_WEIGHTS)


@keras.saving.register_keras_serializable(package="tfseg")
class ToImage(layers.Layer):
    """Map boxes (B, M, 4) from a canvas to the image before it was resized.

    Args:
        size: (height, width) of the canvas.
    """

    def __init__(self, size: tuple, **kwargs):
        kwargs["dtype"] = "float32"
        super().__init__(autocast=False, **kwargs)
        self.size = tuple(size)

    def call(self, boxes, image):
        """Return the boxes in pixels of the image."""
        return ops.cast(boxes, "float32") / canvas_scale(image, self.size)

    def compute_output_spec(self, boxes, image):
        """Return the symbolic boxes."""
        return keras.KerasTensor(boxes.shape, "float32")

    def get_config(self):
        """Return the arguments for `.keras` files."""
        return {**super().get_config(), "size": self.size}


def canvas_scale(image, size: tuple):
    """Return (4,) float32 factors from pixels of images (B, H, W, C) to those of their canvas."""
    height, width = ops.shape(image)[1:3]
    rows, columns = size_in_canvas(height, width, size)
    x = ops.cast(columns, "float32") / ops.cast(width, "float32")
    y = ops.cast(rows, "float32") / ops.cast(height, "float32")
    return ops.stack([x, y, x, y])
