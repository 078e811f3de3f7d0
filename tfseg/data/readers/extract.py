"""Samples in part or smaller: windows that slide over an image, and images at a half, a fourth, an eighth."""

from itertools import pairwise

import numpy as np

SMALLEST_SHARE = 0.1  # of a box that a window must show, or the object is not in it
LARGE, WINDOW = (
    2**21,
    1024,
)  # pixels of an image that is not taken whole, and the side of its windows
AT_ONCE = 2**22  # pixels of a batch of whole images


def window_for(sizes):
    """Return the side of the windows that slide over images too large to go through a network whole, or None.

    A U-Net holds some hundred numbers a pixel at once: an image of 12 megapixels takes 5 GB, one of 2 takes less
    than one.

    Args:
        sizes: (N, 2) heights and widths.
    """
    return WINDOW if _largest(sizes) > LARGE else None


def batch_for(sizes, batch_size):
    """Return how many images of these (N, 2) sizes go through a network at once: `batch_size`, fewer large ones."""
    return int(min(batch_size, max(1, AT_ONCE // _largest(sizes))))


def _largest(sizes):
    return np.prod(np.asarray(sizes, np.int64).reshape(-1, 2), axis=1).max(initial=1)


def parts(extent, size):
    """Return [(corner, (height, width))] of nearly equal parts of an image, at most `size` on a side: each pixel is in
    one of them.
    """
    edges = [
        np.linspace(0, length, -(-int(length) // size) + 1).round().astype(int).tolist()
        for length in extent
    ]
    rows, columns = (list(pairwise(along)) for along in edges)
    return [
        ((top, left), (bottom - top, right - left))
        for top, bottom in rows
        for left, right in columns
    ]


def window_of(sample, corner, size):
    """Return the part of a sample in a window; objects of which it shows less than a tenth are left out."""
    (top, left), (height, width) = corner, size
    part = {
        # A copy: a view would keep the whole image in memory.
        name: array[top : top + height, left : left + width].copy()
        if array.ndim > 1 and name != "boxes"
        else array
        for name, array in sample.items()
    }
    if "boxes" not in sample:
        return part
    shift = np.array([left, top, left, top], "float32")
    edge = np.array(part["image"].shape[1::-1] * 2, "float32")
    boxes = np.clip(sample["boxes"] - shift, 0, edge)
    kept = _areas(boxes) >= SMALLEST_SHARE * _areas(sample["boxes"])
    part |= {"boxes": boxes[kept], "classes": sample["classes"][kept]}
    if "instances" in part:
        numbers = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)]).astype(np.int32)
        part["instances"] = numbers[part["instances"]]
    return part


def _areas(boxes):
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)


def reduced(sample, shrink):
    """Return a sample at 1 / `shrink` of its size, rounded up: block means of the image, masks at blocks' middles."""
    return {**reduced_labels(sample, shrink), "image": block_means(sample["image"], shrink)}


def reduced_labels(labels, shrink):
    """Return a sample with "mask", "instances" and "boxes", whichever there are, at 1 / `shrink` of their size."""
    smaller = dict(labels)
    for name in {"mask", "instances"} & labels.keys():
        smaller[name] = block_middles(labels[name], shrink)
    if "boxes" in labels:
        smaller["boxes"] = labels["boxes"] / np.float32(shrink)
    return smaller


def block_means(image, shrink):
    """(H, W, C) means of blocks of `shrink` x `shrink` pixels, of the image's dtype; at the border of what is there."""
    if shrink == 1:
        return image
    height, width, channels = image.shape
    image = np.pad(image, [(0, -height % shrink), (0, -width % shrink), (0, 0)])
    blocks = image.reshape(image.shape[0] // shrink, shrink, -1, shrink, channels)
    rows, columns = (
        np.minimum(shrink, n - np.arange(0, n, shrink, dtype=np.float32)) for n in (height, width)
    )
    means = blocks.sum(axis=(1, 3), dtype=np.float32) / (rows[:, None, None] * columns[:, None])
    return (np.rint(means) if image.dtype.kind in "iu" else means).astype(image.dtype)


def block_middles(mask, shrink):
    """(H, W) values at the middles of blocks of `shrink` x `shrink` pixels."""
    if shrink == 1:
        return mask
    rows, columns = (
        np.minimum(np.arange(shrink // 2, n + shrink // 2, shrink), n - 1) for n in mask.shape
    )
    return mask[rows[:, None], columns]
