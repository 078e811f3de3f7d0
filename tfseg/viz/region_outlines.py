"""Numbered regions, such as cells or superpixels, drawn over their image."""

import numpy as np

from tfseg.viz.class_colors import palette
from tfseg.viz.label_maps import class_ids
from tfseg.viz.rgb import as_rgb, row_bands

NUM_COLORS = 12  # more regions repeat the colors


def regions(image, labels, alpha: float = 0.4):
    """Overlay an image with numbered regions in repeating colors and black lines between them.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `as_rgb`.
        labels: (H, W) or (H, W, 1) integers; where they are 0 the image stays as it is.
        alpha: opacity of the regions in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the sizes of image and labels differ, or the labels are not whole numbers.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.full((1, 3), 200, np.uint8)
        >>> tfseg.viz.regions(image, np.array([[0, 0, 1]])).tolist()
        [[[200, 200, 200], [0, 0, 0], [154, 192, 213]]]
    """
    image = as_rgb(image)
    labels = class_ids("regions", labels, image.shape[:2])
    colors = palette(NUM_COLORS) * alpha
    result = np.array(image)  # `as_rgb` may return the caller's own array
    for rows in row_bands(labels.shape):
        inside = labels[rows] != 0
        numbers = (labels[rows][inside].astype(np.int64) - 1) % NUM_COLORS
        kept = image[rows][inside] * (1 - alpha)
        result[rows][inside] = (kept + colors[numbers]).astype(np.uint8)
    result[borders(labels)] = 0
    return result


def borders(labels):
    """Return (H, W) bool: pixels that differ from their right or lower neighbor."""
    differs = np.zeros(np.shape(labels), bool)
    differs[:, :-1] = labels[:, :-1] != labels[:, 1:]
    differs[:-1] |= labels[:-1] != labels[1:]
    return differs
