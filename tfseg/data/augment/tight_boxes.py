"""Boxes of rotated and warped objects: tight around their pixels, if those are all known."""

import numpy as np
from keras import ops

from tfseg.data.augment import mixing
from tfseg.ops import pixel_boxes

TOLERANCE = 1.5  # pixels between an annotated box and the pixels of its object


def masks_fit(around, boxes, extents, xp):
    """Return whether the pixels of objects reach all sides of their annotated boxes.

    They do not if an object has no mask, or a later object covers a side of it.

    Args:
        around: (..., N, 4) boxes around the pixels of the objects; 0, 0, 0, 0 for no pixel.
        boxes: (..., N, 4) annotated boxes in pixels. What is outside of the image does not count.
        extents: (..., 2) float32 heights and widths of the images in pixels.
        xp: module of the arrays, `numpy` or `keras.ops`.

    Returns:
        (..., N) bool.
    """
    sizes = extents[..., ::-1]  # width, height
    limits = xp.concatenate([sizes, sizes], -1)[..., None, :]
    distance = xp.abs(around - xp.minimum(xp.maximum(boxes, np.float32(0)), limits))
    return xp.all(distance <= TOLERANCE, -1) & (around[..., 2] > 0)


def is_tilted(params):
    """Return (B,) bool: whether the sides of boxes become oblique, see `CropSampler.tilts`."""
    tilted = params["rotate"] % 90 != 0
    for name in ("shear", "perspective", "perspective_y", "elastic"):
        tilted = tilted | (params[name] != 0)
    return tilted


def replace_hulls(boxes, removed, instances, tight, regions):
    """Replace the boxes around rotated boxes by those around the pixels of the objects.

    Args:
        boxes: (B, P N, 4) boxes in the mixed crops.
        removed: (B, P N) bool: whether an object is removed.
        instances: (B, height, width) of the mixed crops.
        tight: (B, N) bool of the crops before mixing: whether a box follows the object's pixels.
        regions: (B, P, 4) boxes from `mixing_regions`.

    Returns:
        The boxes, and whether objects are removed: also those whose pixels are all outside.
    """
    tight = mixing.mix_rows(tight, regions)
    around = pixel_boxes(instances, ops.shape(boxes)[1])
    removed = removed | (tight & (around[..., 2] == 0))
    return ops.where(tight[..., None], around, boxes), removed
