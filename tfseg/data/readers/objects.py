"""Images of numbered objects: their numbers made dense, and the boxes around them."""

import numpy as np


def objects_of(values):
    """Return the labels of (H, W) numbered objects of one class, 0 being background, as a `Reader` gives them."""
    instances = relabeled(values)[0]
    boxes = boxes_of(instances)
    mask = (instances > 0).astype(np.uint8)
    return {
        "mask": mask,
        "instances": instances,
        "boxes": boxes,
        "classes": np.ones(len(boxes), np.int32),
    }


def relabeled(values):
    """Number the objects of an image 1..N in the order of their ids.

    Args:
        values: (H, W) non-negative integers: 0 where there is no object, any id on an object's pixels.

    Returns:
        instances: (H, W) int32 in [0, N].
        ids: (N,) the id that each object had, ascending.
    """
    if values.size == 0 or values.max() < 2**16:  # a table is many times faster than a sort
        there = np.bincount(values.ravel(), minlength=1) > 0
        there[0] = False
        return np.cumsum(there, dtype=np.int32)[values], np.flatnonzero(there)
    ids, instances = np.unique(values, return_inverse=True)
    shift = 0 if ids[0] == 0 else 1
    return (instances.reshape(values.shape) + shift).astype(np.int32), ids[1 - shift :]


def boxes_of(instances):
    """Return the boxes around the objects of an image.

    Args:
        instances: (H, W) integers: 0 where there is no object, k in 1..N on the k-th object.

    Returns:
        (N, 4) float32: x_min, y_min, x_max, y_max in pixels, the image reaching from 0 to its width and height:
        an object of the one pixel in row 3 and column 5 has the box 5, 3, 6, 4.

    Raises:
        ValueError: a number in 1..N is on no pixel, so that the object has no box.
    """
    last = np.ones(
        instances.shape, bool
    )  # an object's pixels in a row make runs; their ends are far fewer
    last[:, :-1] = instances[:, 1:] != instances[:, :-1]
    first = np.ones_like(last)
    first[:, 1:] = last[:, :-1]
    y, left = np.nonzero(first & (instances != 0))
    right = np.nonzero(last & (instances != 0))[1]
    objects = instances[y, left].astype(int) - 1
    count = int(objects.max(initial=-1)) + 1
    low = np.full((count, 2), max(instances.shape))
    high = np.zeros((count, 2), int)
    for axis, (at, end) in enumerate(((left, right), (y, y))):
        np.minimum.at(low[:, axis], objects, at)
        np.maximum.at(high[:, axis], objects, end + 1)
    missing = np.flatnonzero(high[:, 0] == 0) + 1
    if missing.size:
        raise ValueError(
            f"instances: the objects {', '.join(map(str, missing[:8].tolist()))} of {count} have no pixel. "
            "Number objects from 1 without gaps, as `relabeled` does."
        )
    return np.concatenate([low, high], axis=1).astype(np.float32)
