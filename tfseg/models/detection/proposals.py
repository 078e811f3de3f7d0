"""Proposals: the boxes of a region proposal network that may contain objects."""

import keras
from keras import layers, ops

from tfseg.models.detection.anchors import anchors
from tfseg.models.detection.rows import take_rows
from tfseg.models.letterbox import size_in_canvas
from tfseg.ops import clip_boxes, decode_boxes, nms

SMALLEST_SIDE = 1e-3  # in pixels


@keras.saving.register_keras_serializable(package="tfseg")
class Proposals(layers.Layer):
    """Turn the outputs of a region proposal network into boxes (arXiv:1506.01497, section 3.1).

    It also keeps how the network is trained, for `Detector`.

    Args:
        strides: pixels per position of each pyramid level, finest first.
        anchor_sizes: for each level a number or several; see `anchors.cell_anchors`.
        anchor_ratios: height / width of the anchors.
        train_count, test_count: number of boxes per image, in training and in prediction. As many
            are taken from each level before non-maximum suppression.
        anchor_samples, roi_samples: how many anchors and proposals per image the losses count.
        size: (height, width) of the canvas that images are resized to; None if they are not.
        nms_iou: a box is dropped if its IoU with a better one of its level is above this.
    """

    def __init__(
        self,
        strides,
        anchor_sizes,
        anchor_ratios,
        train_count: int,
        test_count: int,
        anchor_samples: int,
        roi_samples: int,
        size: tuple | None = None,
        nms_iou: float = 0.7,
        **kwargs,
    ):
        kwargs["dtype"] = "float32"
        super().__init__(autocast=False, **kwargs)
        self.strides = tuple(strides)
        self.anchor_sizes = _as_tuples(anchor_sizes)
        self.anchor_ratios = tuple(anchor_ratios)
        self.train_count, self.test_count = train_count, test_count
        self.anchor_samples, self.roi_samples = anchor_samples, roi_samples
        self.size = None if size is None else tuple(size)
        self.nms_iou = nms_iou

    def call(self, objectness, deltas, image):
        """Return boxes (B, test_count, 4), and (B, test_count) bool: which are not padding."""
        boxes, _, valid = self.propose(objectness, deltas, image, self.test_count)
        return boxes, valid

    def propose(self, objectness, deltas, image, count: int):
        """Return `count` boxes per image; see `propose`."""
        return propose(
            objectness,
            deltas,
            self.anchors(objectness),
            self.image_size(image),
            pre_nms=count,
            post_nms=count,
            nms_iou=self.nms_iou,
        )

    def anchors(self, objectness) -> list:
        """Return the (h * w * A, 4) anchors of each level of the (B, h, w, A) objectness."""
        rows, columns = ops.shape(objectness[0])[1:3]
        height, width = rows * self.strides[0], columns * self.strides[0]
        return anchors(height, width, self.strides, self.anchor_sizes, self.anchor_ratios)

    def image_size(self, image):
        """Return the height and width that images (B, H, W, C) have in the canvas."""
        height, width = ops.shape(image)[1:3]
        return size_in_canvas(height, width, self.size)

    def compute_output_spec(self, objectness, deltas, image):
        """Return the symbolic boxes and validity."""
        shape = (image.shape[0], self.test_count)
        return keras.KerasTensor((*shape, 4), "float32"), keras.KerasTensor(shape, "bool")

    def get_config(self):
        """Return the arguments for `.keras` files."""
        return {
            **super().get_config(),
            "strides": self.strides,
            "anchor_sizes": self.anchor_sizes,
            "anchor_ratios": self.anchor_ratios,
            "train_count": self.train_count,
            "test_count": self.test_count,
            "anchor_samples": self.anchor_samples,
            "roi_samples": self.roi_samples,
            "size": self.size,
            "nms_iou": self.nms_iou,
        }


def _as_tuples(sizes):
    """Return a tuple of numbers and tuples of numbers; `.keras` files contain lists."""
    return tuple(tuple(size) if hasattr(size, "__len__") else size for size in sizes)


def propose(
    objectness,
    deltas,
    level_anchors,
    image_size,
    pre_nms: int,
    post_nms: int,
    nms_iou: float = 0.7,
):
    """Return the best boxes of each image.

    The best `pre_nms` anchors of each level are decoded and clipped to the image. Boxes with a side
    below 0.001 pixels are dropped, and those that overlap a better box of their level. The best
    `post_nms` of all levels remain. Source: torchvision's region proposal network.

    Args:
        objectness: list of (B, h, w, A) logits, one map per level.
        deltas: list of (B, h, w, 4 A), see `ops.encode_boxes`.
        level_anchors: list of (h * w * A, 4) boxes.
        image_size: height and width of the image without its padding.
        pre_nms, post_nms: numbers of boxes.
        nms_iou: in [0, 1].

    Returns:
        boxes (B, post_nms, 4) float32 in pixels, zeros for padding; scores (B, post_nms) float32
        logits in descending order, -inf for padding; (B, post_nms) bool, False for padding.
    """
    boxes, scores = [], []
    for level in zip(objectness, deltas, level_anchors, strict=True):
        level_boxes, level_scores = _best_of_level(*level, image_size, pre_nms, post_nms, nms_iou)
        boxes.append(level_boxes)
        scores.append(level_scores)
    boxes, scores = ops.concatenate(boxes, axis=1), ops.concatenate(scores, axis=1)
    scores, indices = _top(scores, post_nms)
    valid = scores > -float("inf")
    return ops.where(valid[..., None], take_rows(boxes, indices), 0.0), scores, valid


def _best_of_level(objectness, deltas, level_anchors, image_size, pre_nms, post_nms, nms_iou):
    """Return (B, K, 4) boxes and (B, K) scores of a level, -inf for those that are dropped."""
    batch = ops.shape(objectness)[0]
    scores = ops.cast(ops.reshape(objectness, (batch, -1)), "float32")
    deltas = ops.reshape(deltas, (batch, -1, 4))
    scores, indices = _top(ops.stop_gradient(scores), _fewer(pre_nms, objectness.shape[1:]))
    boxes = decode_boxes(
        take_rows(ops.stop_gradient(deltas), indices), ops.take(level_anchors, indices, axis=0)
    )
    boxes = clip_boxes(boxes, image_box(*image_size))
    large = ops.all(boxes[..., 2:] - boxes[..., :2] >= SMALLEST_SIDE, axis=-1)
    valid = ops.logical_and(large, scores > -float("inf"))
    count = min(post_nms, scores.shape[1])
    indices, kept = nms(boxes, scores, nms_iou, count, valid=valid)
    return take_rows(boxes, indices), ops.where(kept, take_rows(scores, indices), -float("inf"))


def _fewer(count, shape):
    """Return `count`, or the number of anchors of a map (h, w, A) if it is known and smaller."""
    if None in shape:
        return count
    return min(count, shape[0] * shape[1] * shape[2])


def _top(scores, count):
    """Return the largest `count` of (B, N) scores and their indices; -inf where N is too small."""
    length = scores.shape[1]
    if length is None or length < count:
        scores = ops.pad(scores, ((0, 0), (0, count)), constant_values=-float("inf"))
    values, indices = ops.top_k(scores, count)
    if length is None or length < count:
        indices = ops.where(values > -float("inf"), indices, 0)
    return values, indices


def image_box(height, width):
    """Return (4,) float32: the box of a whole image."""
    sides = [ops.cast(side, "float32") for side in (width, height)]
    return ops.concatenate([ops.zeros(2), ops.stack(sides)])
