"""Anchors: boxes of a few sizes and shapes at every position of a feature pyramid."""

import numpy as np
from keras import ops


def cell_anchors(sizes, ratios) -> np.ndarray:
    """Return the anchors of the position (0, 0), rounded to whole pixels.

    Args:
        sizes: one number, or several: the square root of the area in pixels.
        ratios: numbers, height / width.

    Returns:
        (A, 4) float32 x_min, y_min, x_max, y_max around (0, 0), with A = sizes x ratios, by ratio,
        then by size.

    Example:
        >>> from tfseg.models.detection.anchors import cell_anchors
        >>> cell_anchors(32, (1,)).tolist()
        [[-16.0, -16.0, 16.0, 16.0]]
    """
    sizes = np.atleast_1d(np.asarray(sizes, "float32"))
    heights = np.sqrt(np.asarray(ratios, "float32"))
    widths = (1 / heights)[:, None] * sizes
    heights = heights[:, None] * sizes
    corners = np.stack([-widths, -heights, widths, heights], axis=-1) / 2
    return np.round(corners).reshape(-1, 4).astype("float32")


def anchors(height, width, strides, sizes, ratios) -> list:
    """Return the anchors of each pyramid level, as torchvision places them.

    Position (i, j) of a level has its anchors around the pixel (j * step, i * step) of the canvas,
    without half a step of offset. The step is the size of the canvas divided by that of the level
    and rounded down: 96 pixels at stride 64 have 2 positions, 48 pixels apart.

    Args:
        height, width: size in pixels of the canvas, the padded image; ints or scalar tensors.
        strides: one per level.
        sizes: for each level a number or several, see `cell_anchors`.
        ratios: numbers, height / width, for all levels.

    Returns:
        list of (h * w * A, 4) float32, by row, column, anchor.
    """
    levels = []
    for stride, level_sizes in zip(strides, sizes, strict=True):
        y = _positions(height, stride)
        x = _positions(width, stride)
        y, x = ops.meshgrid(y, x, indexing="ij")
        shifts = ops.stack([x, y, x, y], axis=-1)[:, :, None]
        levels.append(ops.reshape(shifts + cell_anchors(level_sizes, ratios), (-1, 4)))
    return levels


def _positions(length, stride):
    count = (length + stride - 1) // stride
    return ops.cast(ops.arange(count, dtype="int32") * (length // count), "float32")


def anchor_coverage(boxes, image_sizes, strides, sizes, ratios, padding: int = 32) -> np.ndarray:
    """Return how well the anchors fit boxes, without listing all anchors.

    An object that no anchor overlaps with an IoU of at least 0.5 can hardly be learned.

    Args:
        boxes: (N, 4) x_min, y_min, x_max, y_max in pixels.
        image_sizes: (N, 2) height and width of the image of each box.
        strides, sizes, ratios: see `anchors`.
        padding: images are padded to a multiple of this.

    Returns:
        (N,) float64: the IoU of each box with the anchor that fits it best; 0 for boxes without
        area.

    Example:
        >>> import numpy as np
        >>> from tfseg.models.detection.anchors import anchor_coverage
        >>> box = np.array([[8.0, 8.0, 40.0, 24.0]])
        >>> anchor_coverage(box, [[64, 64]], (8,), (32,), (1,)).tolist()
        [0.5]
    """
    boxes = np.asarray(boxes, "float64").reshape(-1, 4)
    padded = -(-np.asarray(image_sizes, "int64").reshape(-1, 2) // padding) * padding
    area = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    best = np.zeros(len(boxes))
    for stride, level_sizes in zip(strides, sizes, strict=True):
        for cell in cell_anchors(level_sizes, ratios).astype("float64"):
            width = _largest_overlap(boxes[:, 0], boxes[:, 2], cell[0::2], padded[:, 1], stride)
            height = _largest_overlap(boxes[:, 1], boxes[:, 3], cell[1::2], padded[:, 0], stride)
            inter = width * height
            union = area + np.prod(cell[2:] - cell[:2]) - inter
            best = np.maximum(best, inter / union)
    return best


def _largest_overlap(low, high, side, length, stride):
    """Return the largest overlap of each interval with those of one anchor along an axis.

    The overlap decreases with the distance of the centers, so one of the two positions around the
    center of the interval is the best.
    """
    count = -(-length // stride)
    step = length // count
    center = (low + high) / 2 - side.sum() / 2
    largest = np.zeros(len(low))
    for position in (np.floor(center / step), np.ceil(center / step)):
        shift = np.clip(position, 0, count - 1) * step
        overlap = np.minimum(high, side[1] + shift) - np.maximum(low, side[0] + shift)
        largest = np.maximum(largest, overlap)
    return largest
