"""Clean masks and label maps: remove small or odd objects, fill holes, smooth outlines.

Each function takes a bool mask (H, W) and returns one, or takes an integer label map (H, W), 0 for
background, and returns int32. The objects of a label map are its numbers, in one piece or several;
the objects of a mask are its 4-connected components.
"""

import math

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import to_mask
from tfseg.classical.labels import boxes, connected_components, relabel


def remove_small(labels, min_pixels: int):
    """Remove objects of fewer than `min_pixels` pixels.

    Args:
        labels: mask or label map (H, W).
        min_pixels: at least 0.

    Returns:
        (H, W): bool for a mask; int32 for a label map, remaining objects numbered from 1 in scan
        order.

    Raises:
        ValueError: the labels are not valid, or `min_pixels` is negative.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> labels = np.array([[1, 0, 2, 2]])
        >>> tfseg.classical.remove_small(labels, min_pixels=2).tolist()
        [[0, 0, 1, 1]]
    """
    checks.at_least("remove_small", "min_pixels", min_pixels, 0)
    objects = _objects("remove_small", labels)
    return _keep(objects, np.bincount(objects.ravel()) >= min_pixels, labels)


def filter_objects(
    labels,
    min_pixels: int = 0,
    max_pixels: int | None = None,
    min_solidity: float = 0,
    min_circularity: float = 0,
    touching_border: bool = True,
):
    """Keep the objects whose size and shape are within bounds.

    Args:
        labels: mask or label map (H, W).
        min_pixels, max_pixels: size in pixels; None for no upper bound.
        min_solidity: minimum ratio of the area to the area of the convex hull of the pixels'
            corners: 1 for a rectangle, 0.9 to 0.97 for a disc of pixels, less for objects with
            bays or holes.
        min_circularity: minimum 4 pi area / perimeter ** 2. The perimeter is Crofton's formula in
            four directions, as in `skimage.measure.perimeter_crofton`; it includes holes and the
            image border. About 1 for a disc, 0.87 for a square, near 0 for a line; can exceed 1
            for a few pixels.
        touching_border: whether to keep objects that touch the image border.

    Returns:
        (H, W): bool for a mask; int32 for a label map, remaining objects numbered from 1 in scan
        order.

    Raises:
        ValueError: the labels are not valid, or a bound is negative.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> labels = np.array([[1, 0, 2, 2], [0, 0, 2, 2], [3, 3, 0, 0]])
        >>> tfseg.classical.filter_objects(labels, min_pixels=2, max_pixels=3).tolist()
        [[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]]
    """
    owner = "filter_objects"
    max_pixels = math.prod(np.shape(labels)) if max_pixels is None else max_pixels
    checks.at_least(owner, "min_pixels", min_pixels, 0)
    checks.at_least(owner, "max_pixels", max_pixels, 0)
    checks.at_least(owner, "min_solidity", min_solidity, 0)
    checks.at_least(owner, "min_circularity", min_circularity, 0)
    objects = _objects(owner, labels)
    areas = np.bincount(objects.ravel())
    kept = (areas >= min_pixels) & (areas <= max_pixels)
    if min_solidity:
        kept &= areas >= min_solidity * _hull_areas(objects)
    if min_circularity:
        kept &= 4 * math.pi * areas >= min_circularity * _perimeters(objects) ** 2
    if not touching_border:
        kept[_border(objects)] = False
    return _keep(objects, kept, labels)


def fill_holes(labels, max_pixels: int | None = None):
    """Fill the holes of each object.

    A hole is a 4-connected component of the background that does not touch the image border and is
    surrounded by a single object. A hole that two objects enclose together stays, as does a hole
    that contains another object. In a mask, these are filled too, as by
    `scipy.ndimage.binary_fill_holes`.

    Args:
        labels: mask or label map (H, W).
        max_pixels: size of the largest hole to fill, in pixels; None to fill all.

    Returns:
        (H, W): bool for a mask; int32 for a label map, objects numbered as before.

    Raises:
        ValueError: the labels are not valid, or `max_pixels` is negative.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
        >>> tfseg.classical.fill_holes(mask).all().item()
        True
    """
    if max_pixels is not None:
        checks.at_least("fill_holes", "max_pixels", max_pixels, 0)
    holes = connected_components(~to_mask("fill_holes", "labels", labels))
    dtype = _result_dtype(labels)
    objects = np.asarray(labels).astype(np.int32)
    areas = np.bincount(holes.ravel(), minlength=1)
    owners, enclosed = _enclosing_objects(holes, objects, len(areas))
    enclosed[_border(holes)] = False
    if max_pixels is not None:
        enclosed &= areas <= max_pixels
    enclosed[0] = False
    return (objects + np.where(enclosed, owners, 0)[holes]).astype(dtype)


def smooth(labels, radius: int = 1):
    """Smooth the outline of each object: morphological opening, then closing, by a disc.

    Opening removes necks and spikes thinner than the disc, and objects smaller than it; closing
    fills gaps and bays. Pixels that the closings of several objects claim stay background. The
    image border does not erode objects.

    Args:
        labels: mask or label map (H, W). A mask is smoothed as a single object.
        radius: radius of the disc x ** 2 + y ** 2 <= radius ** 2 in pixels, an integer of at
            least 1.

    Returns:
        (H, W): bool for a mask; int32 for a label map, objects numbered as before.

    Raises:
        ValueError: the labels or the radius are not valid.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> mask = np.zeros((7, 9), bool)
        >>> mask[2:5, 2:6] = mask[3, 6:9] = True  # a rectangle with a thin spike
        >>> tfseg.classical.smooth(mask)[3].astype(int).tolist()
        [0, 0, 1, 1, 1, 1, 1, 0, 0]
    """
    radius = checks.positive_int("smooth", "radius", radius)
    mask = to_mask("smooth", "labels", labels)
    dtype = _result_dtype(labels)
    objects = relabel(mask if dtype is bool else labels)
    kept = np.zeros(mask.shape, np.int32)  # by the opening
    added = np.zeros(mask.shape, np.int32)  # by the closing
    claims = np.zeros(mask.shape, np.int32)
    for number, box in enumerate(boxes(objects), 1):
        box = tuple(_widen(side, 2 * radius) for side in box)
        opened, closed = _open_and_close(objects[box] == number, radius)
        kept[box][opened] = number
        added[box][closed] = number
        claims[box] += closed
    original_numbers = np.zeros(int(objects.max(initial=0)) + 1, dtype)
    original_numbers[objects] = labels
    added[claims != 1] = 0
    return original_numbers[np.where(kept > 0, kept, added)]


def _widen(side, margin):
    return slice(max(side.start - margin, 0), side.stop + margin)


def _open_and_close(mask, radius):
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    # cv2's own ellipses are not symmetric under rotation.
    disc = (x**2 + y**2 <= radius**2).astype(np.uint8)
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disc)
    closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, disc)
    return opened > 0, closed > 0


def _result_dtype(labels):
    """Return bool for a mask and int32 for a label map that fits it.

    Raises:
        ValueError: a label is above the maximum of int32.
    """
    labels = np.asarray(labels)
    if labels.dtype == bool:
        return bool
    if labels.size and labels.max() > np.iinfo(np.int32).max:
        raise ValueError(
            f"regions: got labels up to {labels.max()}, expected 32-bit integers. Renumber them "
            "with `relabel`."
        )
    return np.int32


def _objects(owner, labels):
    """Return the objects, numbered from 1 in scan order."""
    mask = to_mask(owner, "labels", labels)
    if _result_dtype(labels) is bool:
        return connected_components(mask)
    return relabel(labels)


def _keep(objects, kept, labels):
    """Return the mask or label map of the objects for which `kept` (N + 1,) is True."""
    kept[:1] = False
    mask = kept[objects]
    if _result_dtype(labels) is bool:
        return mask
    return relabel(np.where(mask, objects, 0))


def _border(objects):
    """Return the numbers along the image border, with duplicates."""
    top, bottom = objects[:1], objects[-1:]
    left, right = objects[:, :1], objects[:, -1:]
    return np.concatenate([side.ravel() for side in (top, bottom, left, right)])


def _enclosing_objects(holes, objects, count):
    """Return an object adjacent to each hole, and whether it is the only one."""
    limits = np.iinfo(np.int32)
    lowest, highest = np.full(count, limits.max), np.full(count, limits.min)
    height, width = objects.shape
    padded = np.pad(objects, 1)
    for y, x in ((0, 1), (1, 0), (1, 2), (2, 1)):  # above, left, right, below
        neighbor = padded[y : y + height, x : x + width]
        touches = (holes > 0) & (neighbor != 0)
        np.minimum.at(lowest, holes[touches], neighbor[touches])
        np.maximum.at(highest, holes[touches], neighbor[touches])
    return highest, lowest == highest


def _perimeters(objects):
    """Return the perimeter of each number by Crofton's formula.

    It counts how often lines in four directions cross the outline, weighted by the spacing of the
    lines: 1 for rows and columns, sqrt(1 / 2) for diagonals. A single pixel has 2 crossings per
    direction: pi / 8 * (2 + 2 + 2 * 0.71 + 2 * 0.71) = 2.68.
    """
    padded, count = np.pad(objects, 1), int(objects.max(initial=0)) + 1
    crossings = np.zeros(count)
    for first, second, spacing in (
        (padded[:, :-1], padded[:, 1:], 1),
        (padded[:-1], padded[1:], 1),
        (padded[:-1, :-1], padded[1:, 1:], math.sqrt(0.5)),
        (padded[:-1, 1:], padded[1:, :-1], math.sqrt(0.5)),
    ):
        differ = first != second
        leaving = np.bincount(first[differ], minlength=count)
        entering = np.bincount(second[differ], minlength=count)
        crossings += spacing * (leaving + entering)
    return math.pi / 8 * crossings


def _hull_areas(objects):
    """Return the area of the convex hull of each object's pixel squares; 0 for number 0."""
    areas = [0.0]
    for number, box in enumerate(boxes(objects), 1):
        part = (objects[box] == number).astype(np.uint8)
        outlines = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
        corners = np.concatenate(outlines) + np.array([(0, 0), (0, 1), (1, 0), (1, 1)], np.int32)
        areas.append(cv2.contourArea(cv2.convexHull(corners.reshape(-1, 1, 2))))
    return np.array(areas)
