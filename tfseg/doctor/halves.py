"""How labels are divided between the halves of images: what tells streets from cells."""

import numpy as np


def label_halves(mask, num_classes: int) -> np.ndarray:
    """Count the pixels of each class in the halves of a mask.

    Args:
        mask: (H, W) class ids; others are left out. Of an odd height or width, the pixels in the
            middle belong to no half.
        num_classes: number of classes C.

    Returns:
        (4, C) pixels in the top, bottom, left and right half.

    Example:
        >>> label_halves(np.array([[0, 0], [0, 1]]), 2).tolist()
        [[2, 0], [1, 1], [2, 0], [1, 1]]
    """
    height, width = mask.shape[0] // 2, mask.shape[1] // 2
    top, bottom = mask[:height], mask[mask.shape[0] - height :]
    left, right = mask[:, :width], mask[:, mask.shape[1] - width :]
    return np.stack([_class_pixels(half, num_classes) for half in (top, bottom, left, right)])


def _class_pixels(labels, num_classes):
    known = labels[(labels >= 0) & (labels < num_classes)]
    return np.bincount(known, minlength=num_classes)


def object_halves(boxes, size) -> np.ndarray:
    """Count the centers of boxes in the halves of an image.

    Args:
        boxes: (N, 4) x_min, y_min, x_max, y_max in pixels.
        size: (height, width) of the image.

    Returns:
        (4, 1) centers in the top, bottom, left and right half.
    """
    centers = np.asarray(boxes, float).reshape(-1, 2, 2).mean(axis=1)
    is_right, is_bottom = (centers > np.array(size[::-1]) / 2).T
    return np.stack([~is_bottom, is_bottom, ~is_right, is_right]).sum(axis=1, keepdims=True)


def half_differences(halves) -> tuple[float, float]:
    """Return how differently labels are distributed in opposite halves of images.

    This is the total variation distance in [0, 1] between the distributions in the two halves,
    averaged over the images; for centers of objects, between the numbers in the two halves.

    Args:
        halves: list of (4, C) arrays of `label_halves` or `object_halves`, one per image.

    Returns:
        (between top and bottom, between left and right); 0 without labels.

    Example:
        >>> sky_above_road = label_halves(np.array([[0, 0], [1, 1]]), 2)
        >>> half_differences([sky_above_road])
        (1.0, 0.0)
    """
    counts = np.array([half for half in halves if half.any()], float)
    if not len(counts):
        return 0.0, 0.0
    if counts.shape[-1] == 1:
        total = counts.sum(axis=0)[:, 0]
        pairs = total[:2], total[2:]
        return tuple(float(abs(first - second) / total[:2].sum()) for first, second in pairs)
    fractions = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    top, bottom, left, right = fractions.mean(axis=0)
    return float(np.abs(top - bottom).sum() / 2), float(np.abs(left - right).sum() / 2)
