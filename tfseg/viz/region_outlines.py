"""Numbered regions, such as cells or superpixels, drawn over their image."""

import numpy as np

from tfseg.viz.class_colors import as_rgb, palette

NUM_COLORS = 12  # more regions repeat the colors


def regions(image, labels, alpha: float = 0.4):
    """Overlay an image with numbered regions in repeating colors and black lines between them.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `as_rgb`.
        labels: (H, W) integers; where they are 0 the image stays as it is.
        alpha: opacity of the regions in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the shapes of image and labels differ.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.full((1, 3), 200, np.uint8)
        >>> tfseg.viz.regions(image, np.array([[0, 0, 1]])).tolist()
        [[[200, 200, 200], [0, 0, 0], [154, 192, 213]]]
    """
    labels, image = np.asarray(labels), as_rgb(image)
    if labels.shape != image.shape[:2]:
        raise ValueError(
            f"regions: got labels of shape {labels.shape} and an image of shape "
            f"{image.shape[:2]}, expected equal shapes."
        )
    colors = palette(NUM_COLORS)[(labels - 1) % NUM_COLORS]
    mixed = (image * (1 - alpha) + colors * alpha).astype(np.uint8)
    result = np.where((labels != 0)[..., None], mixed, image)
    result[borders(labels)] = 0
    return result


def borders(labels):
    """Return (H, W) bool: pixels that differ from their right or lower neighbor."""
    differs = np.zeros(np.shape(labels), bool)
    differs[:, :-1] = labels[:, :-1] != labels[:, 1:]
    differs[:-1] |= labels[:-1] != labels[1:]
    return differs
