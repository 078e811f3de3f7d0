"""Training targets of object centers, from numbered pixels; for NumPy arrays.

As in Panoptic-DeepLab (arXiv:1911.10194).
"""

import numpy as np

REACH = 3  # standard deviations after which heat is 0


def object_centers(instances):
    """Return the centers of mass of the pixels of all objects.

    Args:
        instances: (B, H, W) integers: 0 for no object, k for the k-th object.

    Returns:
        (B, N + 1, 2) float32 (y, x), for the largest number N. NaN for object 0, the background,
        and for numbers that no pixel has.

    Example:
        >>> import numpy as np, tfseg
        >>> tfseg.ops.object_centers(np.array([[[1, 1, 1, 2], [0, 0, 1, 2]]]))[0, 1:].tolist()
        [[0.25, 1.25], [0.5, 3.0]]
    """
    count = int(instances.max(initial=0)) + 1
    image, row, column = np.nonzero(instances)
    objects = image * count + instances[image, row, column]
    slots = len(instances) * count
    pixels = np.bincount(objects, minlength=slots)
    sums = [np.bincount(objects, weights=axis, minlength=slots) for axis in (row, column)]
    means = np.stack(sums, axis=1) / np.where(pixels > 0, pixels, np.nan)[:, None]
    return means.reshape(len(instances), count, 2).astype(np.float32)


def center_offsets(instances, centers):
    """Return the offset (dy, dx) from each pixel to the center of its object.

    Args:
        instances: (B, H, W) integers.
        centers: (B, N + 1, 2) of `object_centers`.

    Returns:
        (B, H, W, 2) float32, 0 outside of objects.
    """
    image, row, column = np.nonzero(instances)
    offsets = np.zeros((*instances.shape, 2), np.float32)
    pixels = np.stack([row, column], axis=1)
    offsets[image, row, column] = centers[image, instances[image, row, column]] - pixels
    return offsets


def center_heat(centers, height: int, width: int, sigma: float):
    """Return Gaussians around the pixels nearest to the centers; the largest where they overlap.

    Args:
        centers: (B, N, 2) y, x; NaN for none.
        height, width: size of the images.
        sigma: standard deviation in pixels. The heat is 0 from 3 sigma on, in each axis.

    Returns:
        (B, height, width) float32 in [0, 1].

    Example:
        >>> import numpy as np, tfseg
        >>> centers = np.array([[[0, 1.2], [0, 4]]])
        >>> print(tfseg.ops.center_heat(centers, 1, 6, sigma=1)[0, 0].round(2))
        [0.61 1.   0.61 0.61 1.   0.61]
    """
    radius = int(np.ceil(REACH * sigma))
    squares = np.arange(-radius, radius + 1) ** 2
    gaussian = np.exp(-(squares[:, None] + squares) / (2 * sigma**2)).astype(np.float32)
    heat = np.zeros((len(centers), height + 2 * radius, width + 2 * radius), np.float32)
    side = 2 * radius + 1
    image, number = np.nonzero(~np.isnan(centers[..., 0]))
    corners = np.rint(centers[image, number]).astype(int)
    for index, (top, left) in zip(image, corners, strict=True):
        patch = heat[index, top : top + side, left : left + side]
        np.maximum(patch, gaussian, out=patch)
    return heat[:, radius : radius + height, radius : radius + width]
