"""Cleaning of masks and label maps: small and odd objects, holes, ragged outlines.

Each function takes a mask (H, W) of bool and returns one, or a label map (H, W) of integers, 0 outside, and returns one
of int32. The objects of a label map are its numbers, in one piece or several; those of a mask are its pieces, of pixels
that share a side.
"""

import math

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import mask_of
from tfseg.classical.labels import boxes, connected_components, in_scan_order


def remove_small(labels, min_area):
    """Remove the objects of fewer than `min_area` pixels.

    Args:
        labels: mask or label map (H, W).
        min_area: pixels, at least 0.

    Returns:
        (H, W): bool for a mask, else int32, the objects that are left numbered from 1 in scan order.

    Raises:
        ValueError: no such array, or an area below 0.
    """
    checks.at_least("remove_small", "min_area", min_area, 0)
    objects = _objects("remove_small", labels)
    return _only(objects, np.bincount(objects.ravel()) >= min_area, labels)


def filter_objects(
    labels, min_area=0, max_area=None, min_solidity=0, min_circularity=0, touching_border=True
):
    """Keep the objects whose size and shape are within bounds.

    Args:
        labels: mask or label map (H, W).
        min_area, max_area: pixels; None for no upper bound.
        min_solidity: bound of the area over that of the convex hull of the pixels, corners and all: 1 for a
            rectangle, less for a disc of pixels (0.9 to 0.97) and for what has bays or holes.
        min_circularity: bound of 4 pi area / perimeter ** 2, with the perimeter by Crofton's formula in four
            directions, as `skimage.measure.perimeter_crofton`, holes and frame included: about 1 for a disc, 0.87 for
            a square, near 0 for a line; above 1 for a few pixels.
        touching_border: whether to keep objects that touch the frame.

    Returns:
        (H, W): bool for a mask, else int32, the objects that are left numbered from 1 in scan order.

    Raises:
        ValueError: no such array, or a bound below 0.
    """
    max_area = math.prod(np.shape(labels)) if max_area is None else max_area
    bounds = {"min_area": min_area, "max_area": max_area}
    for name, bound in (
        bounds | {"min_solidity": min_solidity, "min_circularity": min_circularity}
    ).items():
        checks.at_least("filter_objects", name, bound, 0)
    objects = _objects("filter_objects", labels)
    areas = np.bincount(objects.ravel())
    kept = (areas >= min_area) & (areas <= max_area)
    if min_solidity:
        kept &= areas >= min_solidity * _hull_areas(objects)
    if min_circularity:
        kept &= 4 * math.pi * areas >= min_circularity * _perimeters(objects) ** 2
    if not touching_border:
        kept[_on_frame(objects)] = False
    return _only(objects, kept, labels)


def fill_holes(labels, max_area=None):
    """Give each hole that is wholly enclosed by one object to that object.

    A hole is a piece of the outside, of pixels that share a side, that does not touch the frame; its neighbors all
    belong to one object. So two objects that enclose a hole together leave it open, and so does an object within the
    hole of another; in a mask these are filled too, as by `scipy.ndimage.binary_fill_holes`.

    Args:
        labels: mask or label map (H, W).
        max_area: pixels; greater holes stay. None for no bound.

    Returns:
        (H, W): bool for a mask, else int32, the objects numbered as before.

    Raises:
        ValueError: no such array, or an area below 0.
    """
    if max_area is not None:
        checks.at_least("fill_holes", "max_area", max_area, 0)
    holes = connected_components(~mask_of("fill_holes", "labels", labels))
    kind, objects = _kind(labels), np.asarray(labels).astype(np.int32)
    areas = np.bincount(holes.ravel(), minlength=1)
    owners, enclosed = _owners(holes, objects, len(areas))
    enclosed[_on_frame(holes)] = False
    if max_area is not None:
        enclosed &= areas <= max_area
    enclosed[0] = False
    return (objects + np.where(enclosed, owners, 0)[holes]).astype(kind)


def smooth(labels, radius=1):
    """Smooth the outline of every object: a morphological opening, then a closing, by a disc.

    Necks and spikes thinner than the disc go, and objects that it does not fit in; then gaps and bays go. Where the
    closings of several objects meet, the pixel stays outside. Nothing is known beyond the frame, so it wears
    nothing off.

    Args:
        labels: mask or label map (H, W). A mask is smoothed as one.
        radius: of the disc x ** 2 + y ** 2 <= radius ** 2, a whole number of pixels from 1.

    Returns:
        (H, W): bool for a mask, else int32, the objects numbered as before.

    Raises:
        ValueError: no such array, or no such radius.
    """
    radius = checks.positive_int("smooth", "radius", radius)
    mask = mask_of("smooth", "labels", labels)
    objects = in_scan_order(mask if _kind(labels) is bool else labels)
    kept, gained, claims = (np.zeros(mask.shape, np.int32) for _ in range(3))
    for number, box in enumerate(boxes(objects), 1):
        wide = tuple(slice(max(side.start - 2 * radius, 0), side.stop + 2 * radius) for side in box)
        opened, closed = _opened_and_closed(objects[wide] == number, radius)
        kept[wide][opened] = number
        gained[wide][closed] = number
        claims[wide] += closed
    numbers = np.zeros(int(objects.max(initial=0)) + 1, _kind(labels))
    numbers[objects] = labels
    return numbers[np.where(kept > 0, kept, np.where(claims == 1, gained, 0))]


def _opened_and_closed(part, radius):
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = (x**2 + y**2 <= radius**2).astype(np.uint8)  # cv2's own ellipses change when turned
    opened = cv2.morphologyEx(part.astype(np.uint8), cv2.MORPH_OPEN, disc)
    return opened > 0, cv2.morphologyEx(opened, cv2.MORPH_CLOSE, disc) > 0


def _kind(labels):
    """The dtype of the answer; a ValueError for numbers that it cannot hold."""
    if (
        np.size(labels)
        and np.asarray(labels).dtype != bool
        and np.max(labels) > np.iinfo(np.int32).max
    ):
        raise ValueError(
            f"regions: labels up to {np.max(labels)} came, expected 32 bit. `in_scan_order` numbers anew."
        )
    return bool if np.asarray(labels).dtype == bool else np.int32


def _objects(owner, labels):
    """The objects, 1 to N in scan order."""
    mask = mask_of(owner, "labels", labels)
    return connected_components(mask) if _kind(labels) is bool else in_scan_order(labels)


def _only(objects, kept, labels):
    """The mask or label map of the objects that are kept: a bool for each number."""
    kept[:1] = False
    mask = kept[objects]
    return mask if _kind(labels) is bool else in_scan_order(np.where(mask, objects, 0))


def _on_frame(objects):
    """The numbers along the frame, with repeats."""
    return np.concatenate(
        [objects[:1].ravel(), objects[-1:].ravel(), objects[:, :1].ravel(), objects[:, -1:].ravel()]
    )


def _owners(holes, objects, count):
    """An object beside each hole, and whether it is the only one."""
    least, most = np.full(count, np.iinfo(np.int32).max), np.full(count, np.iinfo(np.int32).min)
    height, width = objects.shape
    padded = np.pad(objects, 1)
    for y, x in ((0, 1), (1, 0), (1, 2), (2, 1)):
        other = padded[y : y + height, x : x + width]
        beside = (holes > 0) & (other != 0)
        np.minimum.at(least, holes[beside], other[beside])
        np.maximum.at(most, holes[beside], other[beside])
    return most, least == most


def _perimeters(objects):
    """The perimeter of each number by Crofton's formula: how often the lines of four directions cross it."""
    padded, count = np.pad(objects, 1), int(objects.max(initial=0)) + 1
    crossings = np.zeros(count)
    for one, other, spacing in (
        (padded[:, :-1], padded[:, 1:], 1),
        (padded[:-1], padded[1:], 1),
        (padded[:-1, :-1], padded[1:, 1:], math.sqrt(0.5)),
        (padded[:-1, 1:], padded[1:, :-1], math.sqrt(0.5)),
    ):
        apart = one != other
        crossings += spacing * sum(
            np.bincount(side[apart], minlength=count) for side in (one, other)
        )
    return math.pi / 8 * crossings


def _hull_areas(objects):
    """The area of the convex hull of the squares of each object's pixels; 0 for number 0."""
    areas = [0.0]
    for number, box in enumerate(boxes(objects), 1):
        part = (objects[box] == number).astype(np.uint8)
        outlines = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
        corners = np.concatenate(outlines) + np.array([(0, 0), (0, 1), (1, 0), (1, 1)], np.int32)
        areas.append(cv2.contourArea(cv2.convexHull(corners.reshape(-1, 1, 2))))
    return np.array(areas)
