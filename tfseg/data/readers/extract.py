"""Crop samples, and shrink them to a half, a quarter or an eighth of their size."""

import numpy as np

MIN_VISIBLE = 0.1  # fraction of an object's box that a crop must show to keep the object


def extract(sample: dict, corner, size) -> dict:
    """Crop a sample. Objects of which less than a tenth is visible are dropped.

    Args:
        sample: dict of arrays, as a `Reader` returns it.
        corner: (top, left) of the crop.
        size: (height, width) of the crop, cut off at the image's border.

    Returns:
        dict of arrays that share no memory with the sample's images and masks.
    """
    top, left = corner
    height, width = size
    crop = dict(sample)
    for name, array in sample.items():
        if array.ndim > 1 and name != "boxes":
            # A view would keep the whole image in memory.
            crop[name] = array[top : top + height, left : left + width].copy()
    if "boxes" in sample:
        crop.update(_visible_objects(sample, crop, corner))
    return crop


def visible_boxes(boxes, corner, size):
    """Crop boxes.

    Args:
        boxes: (N, 4) in pixels of the image.
        corner: (top, left) of the crop.
        size: (height, width) of the crop.

    Returns:
        boxes: (N, 4) in pixels of the crop.
        fraction: (N,) float32 of each box that is visible.
        kept: (N,) bool: whether it is at least a tenth.
    """
    top, left = corner
    height, width = size
    limit = np.array([width, height, width, height], np.float32)
    visible = np.clip(boxes - np.array([left, top, left, top], np.float32), 0, limit)
    areas = _areas(boxes)
    kept = _areas(visible) >= MIN_VISIBLE * areas
    return visible, _areas(visible) / np.maximum(areas, np.float32(1e-6)), kept


def _visible_objects(sample, crop, corner):
    """Return the arrays of a crop's objects and, where there are any, "instances"."""
    boxes, fraction, kept = visible_boxes(sample["boxes"], corner, crop["image"].shape[:2])
    objects = {"boxes": boxes[kept]}
    for name in {"classes", "crowd"} & sample.keys():
        objects[name] = sample[name][kept]
    if "areas" in sample:
        objects["areas"] = (sample["areas"] * fraction)[kept]
    if "instances" in sample:
        # New number of each object, 0 if it is dropped: kept = 1, 0, 1 -> table 0, 1, 0, 2.
        table = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)]).astype(np.int32)
        objects["instances"] = table[crop["instances"]]
    return objects


def _areas(boxes):
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)


def shrink_sample(sample: dict, shrink: int) -> dict:
    """Return a sample at 1 / `shrink` of its size, rounded up."""
    return {**shrink_labels(sample, shrink), "image": block_means(sample["image"], shrink)}


def shrink_labels(labels: dict, shrink: int) -> dict:
    """Return a sample's mask, instances, boxes and areas at 1 / `shrink` of their size.

    Other entries, and those that are missing, stay as they are.
    """
    smaller = dict(labels)
    for name in ("mask", "instances"):
        if name in labels:
            smaller[name] = block_centers(labels[name], shrink)
    if "boxes" in labels:
        smaller["boxes"] = labels["boxes"] / np.float32(shrink)
    if "areas" in labels:
        smaller["areas"] = labels["areas"] / np.float32(shrink**2)
    return smaller


def block_means(image, shrink: int):
    """Average blocks of `shrink` x `shrink` pixels of an image.

    Args:
        image: (H, W, C).
        shrink: side of the blocks. Those at the lower and right border may contain fewer pixels.

    Returns:
        (ceil(H / shrink), ceil(W / shrink), C) of the image's dtype; integers are rounded.
    """
    if shrink == 1:
        return image
    height, width = image.shape[:2]
    padded = np.pad(image, [(0, -height % shrink), (0, -width % shrink), (0, 0)])
    # Sums of slices are ten times as fast as NumPy's sum over two axes.
    sums = sum(padded[start::shrink].astype(np.float32) for start in range(shrink))
    sums = sum(sums[:, start::shrink] for start in range(shrink))
    rows = _block_lengths(height, shrink)[:, None, None]
    columns = _block_lengths(width, shrink)[:, None]
    means = sums / (rows * columns)
    if image.dtype.kind in "iu":
        means = np.rint(means)
    return means.astype(image.dtype)


def _block_lengths(length, shrink):
    """Return how many pixels each block has along an axis, as float32: 5, 2 -> 2, 2, 1."""
    return np.minimum(shrink, length - np.arange(0, length, shrink, dtype=np.float32))


def block_centers(mask, shrink: int):
    """Take the value at the middle of each block of `shrink` x `shrink` pixels of a mask (H, W)."""
    if shrink == 1:
        return mask
    rows = _block_middles(mask.shape[0], shrink)
    columns = _block_middles(mask.shape[1], shrink)
    return mask[rows[:, None], columns]


def _block_middles(length, shrink):
    """Return the positions of the blocks' middles along an axis: 5, 2 -> 1, 3, 4."""
    return np.minimum(np.arange(shrink // 2, length + shrink // 2, shrink), length - 1)
