"""Numbered regions, such as cells or superpixels, over their image."""

import numpy as np

from tfseg.viz.class_colors import as_rgb, palette

COLOURS = 12  # of regions; then they repeat


def regions(image, labels, alpha=0.4):
    """Return (H, W, 3) uint8: the image with numbered regions in colors that repeat, and black lines between them.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), 0..255 or any other range, which is then stretched.
        labels: (H, W) integers; where they are 0 the image stays bare.
        alpha: 0 shows the image and the lines only, 1 the regions only.
    """
    labels, image = np.asarray(labels), as_rgb(image)
    if labels.shape != image.shape[:2]:
        raise ValueError(
            f"regions: labels of shape {labels.shape} came with an image {image.shape[:2]}."
        )
    colors = palette(COLOURS)[(labels - 1) % COLOURS]
    mixed = (image * (1 - alpha) + colors * alpha).astype(np.uint8)
    shown = np.where((labels != 0)[..., None], mixed, image)
    shown[borders(labels)] = 0
    return shown


def borders(labels):
    """(H, W) labels -> (H, W) bool: pixels that differ from their right or lower neighbor."""
    lines = np.zeros(np.shape(labels), bool)
    lines[:, :-1] = labels[:, :-1] != labels[:, 1:]
    lines[:-1] |= labels[:-1] != labels[1:]
    return lines
