"""Objects of a sample: their arrays, consecutive numbers, and the boxes around numbered objects."""

from itertools import pairwise

import numpy as np

BOX_FIELDS = ("boxes", "classes", "crowd", "areas")  # one row per object
OBJECT_FIELDS = ("mask", "instances", *BOX_FIELDS)


def object_arrays(boxes, classes, crowd=None, areas=None) -> dict:
    """Return the arrays of a sample's N objects, as a `Reader` returns them.

    Args:
        boxes: (N, 4) x_min, y_min, x_max, y_max in pixels; any sequence of N rows.
        classes: (N,) object categories, counted from 0.
        crowd: (N,) bool; None for no crowd.
        areas: (N,) in pixels; None, or NaN for single objects, for the areas of the boxes.

    Returns:
        dict of new arrays "boxes", "classes", "crowd" and "areas".
    """
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    box_areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    areas = box_areas if areas is None else np.array(areas, np.float32)
    return {
        "boxes": boxes,
        "classes": np.array(classes, np.int32),
        "crowd": np.zeros(len(boxes), bool) if crowd is None else np.array(crowd, bool),
        "areas": np.where(np.isnan(areas), box_areas, areas).astype(np.float32),
    }


def instance_areas(instances, count: int):
    """Return the (count,) float32 numbers of pixels of the objects 1..count of a mask (H, W)."""
    pixels = np.bincount(instances.ravel(), minlength=count + 1)
    return pixels[1 : count + 1].astype(np.float32)


def object_labels(values) -> dict:
    """Return the labels of a mask of numbered objects of one class.

    Args:
        values: (H, W) non-negative integers: 0 for background, any other value for an object.

    Returns:
        dict of "mask", "instances" and the arrays of the objects, as a `Reader` returns them.
    """
    instances, _ = relabel(values)
    boxes = boxes_around(instances)
    return {
        "mask": (instances > 0).astype(np.uint8),
        "instances": instances,
        **object_arrays(boxes, np.zeros(len(boxes)), areas=instance_areas(instances, len(boxes))),
    }


def relabel(values):
    """Number the objects of a mask 1..N in the order of their ids.

    Args:
        values: (H, W) non-negative integers: 0 for no object, any id on an object's pixels.

    Returns:
        instances: (H, W) int32 in [0, N].
        ids: (N,) the id that each object had, ascending.

    Example:
        >>> import numpy as np
        >>> instances, ids = relabel(np.array([[0, 7], [3, 7]]))
        >>> instances.tolist(), ids.tolist()
        ([[0, 2], [1, 2]], [3, 7])
    """
    if values.size == 0 or values.max() < 2**16:  # a lookup table is much faster than sorting
        present = np.bincount(values.ravel(), minlength=1) > 0
        present[0] = False
        return np.cumsum(present, dtype=np.int32)[values], np.flatnonzero(present)
    ids, instances = np.unique(values, return_inverse=True)
    shift = 0 if ids[0] == 0 else 1
    return (instances.reshape(values.shape) + shift).astype(np.int32), ids[1 - shift :]


def boxes_around(instances):
    """Return the boxes around the objects of a mask.

    Args:
        instances: (H, W) integers: 0 for no object, k in 1..N on the pixels of the k-th object.

    Returns:
        (N, 4) float32: x_min, y_min, x_max, y_max in pixels. The image extends from 0 to its width
        and height, so an object of the single pixel in row 3 and column 5 has the box 5, 3, 6, 4.

    Raises:
        ValueError: a number in 1..N is on no pixel, so that the object has no box.
    """
    boxes = boxes_or_zero(instances, int(instances.max(initial=0)))
    missing = np.flatnonzero(boxes[:, 2] == 0) + 1
    if missing.size:
        raise ValueError(
            f"instances: {missing.size} of {len(boxes)} objects have no pixel: "
            f"{', '.join(map(str, missing[:8].tolist()))}. Number objects from 1 without gaps, as "
            "`relabel` does."
        )
    return boxes


def boxes_or_zero(instances, count: int):
    """Return the boxes around the objects of a mask, some of which may have no pixel.

    Args:
        instances: (H, W) integers: 0 for no object, k in 1..count on the pixels of the k-th object.
        count: number N of objects.

    Returns:
        (N, 4) float32, see `boxes_around`; 0, 0, 0, 0 for objects without a pixel.
    """
    # Look only at the first and last pixel of each run in a row: far fewer than all pixels.
    is_last = np.ones(instances.shape, bool)
    is_last[:, :-1] = instances[:, 1:] != instances[:, :-1]
    is_first = np.ones_like(is_last)
    is_first[:, 1:] = is_last[:, :-1]
    y, left = np.nonzero(is_first & (instances != 0))
    right = np.nonzero(is_last & (instances != 0))[1]
    objects = instances[y, left].astype(int) - 1
    low = np.full((count, 2), max(instances.shape))
    high = np.zeros((count, 2), int)
    np.minimum.at(low[:, 0], objects, left)
    np.minimum.at(low[:, 1], objects, y)
    np.maximum.at(high[:, 0], objects, right + 1)
    np.maximum.at(high[:, 1], objects, y + 1)
    low[high[:, 0] == 0] = 0
    return np.concatenate([low, high], axis=1).astype(np.float32)


def instances_to_rle(instances, count: int) -> list[dict]:
    """Return the regions of numbered objects as run-length encoding of COCO.

    Args:
        instances: (H, W) integers: 0 for no object, k in 1..count on the pixels of the k-th object.
        count: number of objects; those without a pixel have an empty region.

    Returns:
        list of dicts {"size": [H, W], "counts": bytes}.
    """
    # The runs go down the columns. Column 0 0 1 1 0 of object 1 has the edges 2 and 4, and the
    # counts 2, 2, 1: pixels before, in and after the object.
    flat = instances.T.ravel()
    starts = np.flatnonzero(np.append(True, flat[1:] != flat[:-1]))
    ends = np.append(starts[1:], flat.size)
    order = np.argsort(flat[starts], kind="stable")
    firsts = np.searchsorted(flat[starts][order], np.arange(1, count + 2))
    regions = []
    for first, last in pairwise(firsts):
        runs = order[first:last]
        edges = np.stack([starts[runs], ends[runs]], axis=1).ravel()
        counts = np.diff(edges, prepend=0, append=flat.size)
        if counts[-1] == 0 and len(counts) > 1:
            counts = counts[:-1]
        regions.append({"size": list(instances.shape), "counts": _compress(counts)})
    return regions


def _compress(counts):
    """Return the characters that COCO writes for the counts of runs.

    From the fourth on, a count is the difference to the one before the last. A character has 5 bits
    of a number, the lowest first, and a sixth bit if more follow; negative numbers end with a set
    fifth bit.
    """
    values = counts.astype(np.int64)
    values[3:] -= counts[1:-2]
    characters, written, more = [], [], np.ones(len(values), bool)
    while more.any():
        bits = values & 31
        values >>= 5
        written.append(more)
        more = more & np.where(bits & 16, values != -1, values != 0)
        characters.append(bits + 32 * more + 48)
    characters, written = np.stack(characters, axis=1), np.stack(written, axis=1)
    return characters[written].astype(np.uint8).tobytes()
