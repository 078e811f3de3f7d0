"""Masks of single objects: cropped to boxes as targets of mask heads, and pasted into images.

`paste_mask` and `paste_masks` are for NumPy arrays.
"""

import numpy as np
from keras import ops

from tfseg.ops.roi_align import bilinear_taps

MASK_THRESHOLD = 0.5  # pixels of a higher probability belong to the object


def crop_masks(instances, boxes, ids, size: int):
    """Return the fraction of each bin of each box that an object covers, by RoIAlign.

    Matches torchvision's mask targets: RoIAlign of the object's mask with aligned=False and as many
    samples per bin along each axis as the bin has pixels, rounded up.

    Args:
        instances: (B, H, W) integers, k where object k is.
        boxes: (B, R, 4) x_min, y_min, x_max, y_max in pixels.
        ids: (B, R) integers, the object to crop for each box. Ids that are not in `instances` give
            zeros.
        size: number of rows and columns of the output.

    Returns:
        (B, R, size, size) float32 in [0, 1].

    Example:
        >>> import numpy as np
        >>> instances = np.zeros((1, 8, 8), "int32")
        >>> instances[0, 2:4, 2:6] = 1
        >>> targets = crop_masks(instances, np.array([[[2.0, 2, 6, 6]]]), np.array([[1]]), 4)
        >>> np.array(targets)[0, 0].tolist()
        [[1.0, 1.0, 1.0, 0.5], [0.5, 0.5, 0.5, 0.25], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    instances, ids = ops.cast(instances, "int32"), ops.cast(ids, "int32")
    batch, height, width = ops.shape(instances)
    if boxes.shape[1] == 0:
        return ops.zeros((batch, 0, size, size))
    # One box of every image at a time: float masks of all boxes would not fit into memory.
    boxes = ops.transpose(ops.cast(boxes, "float32"), (1, 0, 2))
    rows = _mean_weights(boxes[..., 1], boxes[..., 3], height, size)
    columns = _mean_weights(boxes[..., 0], boxes[..., 2], width, size)

    def crop(box):
        ids, rows, columns = box
        mask = ops.cast(instances == ids[:, None, None], "float32")
        return ops.matmul(ops.matmul(rows, mask), ops.transpose(columns, (0, 2, 1)))

    cropped = ops.map(crop, (ops.transpose(ids), rows, columns))
    # sums of rounded weights may exceed 1
    return ops.minimum(ops.transpose(cropped, (1, 0, 2, 3)), 1)


def _mean_weights(low, high, extent, size):
    """Return (R, B, size, extent) weights: each output is the mean of its bin's samples.

    Args:
        low, high: (R, B) sides of boxes in pixels.
        extent: length of the axis in pixels.
        size: number of bins.
    """
    length = ops.maximum(high - low, 1)
    step = length / size
    per_bin = ops.ceil(step)
    # Only samples inside of the image count. They are at most extent + size + 2, since the distance
    # of two samples, length / (size * ceil(length / size)), is at least length / (length + size).
    first = ops.maximum(ops.floor((-1 - low) * per_bin / step) - 1, 0)
    index = first[..., None] + ops.cast(ops.arange(extent + size + 6), "float32")
    low, step, per_bin = low[..., None], step[..., None], per_bin[..., None]
    bins = ops.floor(index / per_bin)
    point = low + bins * step + (index - bins * per_bin + 0.5) * step / per_bin
    taps, weights = bilinear_taps(point, ops.cast(extent, "float32"))
    weights = weights * ops.cast(bins < size, "float32")[..., None] / per_bin[..., None]
    bins = ops.cast(ops.minimum(bins, size - 1), "int32")
    count, batch = ops.shape(low)[:2]
    axis = ops.reshape(ops.arange(count * batch, dtype="int32"), (count, batch, 1)) * size + bins
    flat = ops.segment_sum(
        ops.reshape(weights, (-1,)),
        ops.reshape(axis[..., None] * extent + taps, (-1,)),
        num_segments=count * batch * size * extent,
    )
    return ops.reshape(flat, (count, batch, size, extent))


def paste_mask(mask, box, height: int, width: int):
    """Resize one object's mask to its box; return the part inside of the image and its place.

    Matches torchvision's `paste_masks_in_image`: the mask gets a border of one zero pixel, the box
    grows accordingly and is cut to whole pixels, and the mask is resized with bilinear
    interpolation to all pixels from the first to the last.

    Args:
        mask: (S, S) NumPy probabilities inside of the box.
        box: (4,) x_min, y_min, x_max, y_max in pixels.
        height, width: size of the image.

    Returns:
        (h, w) float32 probabilities; int row and int column of their first pixel in the image.
        h or w is 0 if the box is outside.
    """
    mask = np.pad(np.asarray(mask, "float32"), 1)
    left, top, right, bottom = _grown_box(box, mask.shape[0])
    rows = _resize(mask, top, bottom, height)
    crop = _resize(rows.T, left, right, width).T
    return crop, min(max(top, 0), height), min(max(left, 0), width)


def paste_masks(masks, boxes, height: int, width: int):
    """Paste the masks of one image's objects; see `paste_mask`.

    Args:
        masks: (M, S, S) NumPy probabilities inside of the boxes.
        boxes: (M, 4) x_min, y_min, x_max, y_max in pixels.
        height, width: size of the image.

    Returns:
        (M, height, width) float32 probabilities, 0 outside of the boxes. Pixels of an object are
        those above `MASK_THRESHOLD`.
    """
    pasted = np.zeros((len(masks), height, width), "float32")
    for canvas, mask, box in zip(pasted, masks, boxes, strict=True):
        crop, top, left = paste_mask(mask, box, height, width)
        canvas[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    return pasted


def _grown_box(box, padded_size):
    """Return four ints: the box, grown as the mask by its border, with sides cut to integers."""
    box = np.asarray(box, "float32")
    half = (box[2:] - box[:2]) * np.float32(0.5) * np.float32(padded_size / (padded_size - 2))
    center = (box[2:] + box[:2]) * np.float32(0.5)
    return [int(side) for side in (*(center - half), *(center + half))]


def _resize(values, first, last, extent):
    """Resize (S, N) values to the visible pixels from `first` to `last`; return (pixels, N)."""
    size = len(values)
    length = max(last - first + 1, 1)
    pixels = np.arange(max(first, 0), min(last + 1, extent))
    scale = np.float32(size) / np.float32(length)
    source = np.maximum((pixels - first + np.float32(0.5)) * scale - np.float32(0.5), 0)
    before = np.minimum(source.astype("int64"), size - 1)
    after = np.minimum(before + 1, size - 1)
    weight = (source - before).astype("float32")[:, None]
    # two rows each: as a product of matrices it takes thirty times the operations
    return values[before] * (1 - weight) + values[after] * weight
