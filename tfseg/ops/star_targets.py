"""Training targets of star-convex objects, from numbered pixels; for NumPy arrays.

The definitions are those of StarDist (arXiv:1806.03535), as of its version 0.9.2.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from tfseg.ops.polygons import ray_directions

# Removing the rays that have left their object takes as long as a few steps.
STEPS_AT_ONCE = 4


def star_distances(instances, rays: int = 32, grid: int = 1):
    """Return the distances from pixels to the border of their object, along rays.

    A ray takes steps of one pixel until the nearest pixel belongs to another object, to the
    background, or is outside of the image. The distance is the length of these steps, less what the
    last one exceeds the border by.

    Args:
        instances: (B, H, W) integers: 0 for no object, k for the k-th object.
        rays: number of rays, see `tfseg.ops.ray_directions`.
        grid: distances are computed of pixels (i grid, j grid).

    Returns:
        (B, ceil(H / grid), ceil(W / grid), rays) float32, 0 outside of objects.

    Example:
        >>> import numpy as np, tfseg
        >>> instances = np.array([[[0, 1, 1, 2]]])
        >>> tfseg.ops.star_distances(instances, rays=4)[0, 0, 1].tolist()  # right, down, left, up
        [1.5, 0.5, 0.5, 0.5]
    """
    # Background around the image ends the rays that leave it: a step is at most one pixel per axis.
    padded = np.pad(instances, ((0, 0), (1, 1), (1, 1)))
    width = padded.shape[2]
    sampled = np.zeros(padded.shape, bool)
    sampled[:, 1:-1:grid, 1:-1:grid] = True
    flat = padded.ravel()
    starts = np.flatnonzero(sampled.ravel() & (flat > 0))
    found = np.empty((rays, len(starts)), np.float32)
    directions = ray_directions(rays)[:, ::-1].astype(np.float32)  # steps along y and x
    for distances, direction in zip(found, directions, strict=True):
        excess = 1 - np.float32(0.5) / np.abs(direction).max()
        _count_steps(flat, starts, _pixel_offsets(direction, width), distances)
        distances -= excess
    inside = instances[:, ::grid, ::grid] > 0
    result = np.zeros((*inside.shape, rays), np.float32)
    result[inside] = found.T
    return result


def _pixel_offsets(direction, width) -> Iterator[int]:
    """Yield the offset, in flat pixels of `width` columns, to the pixel nearest to each step."""
    position = np.zeros(2, np.float32)
    while True:
        position = position + direction
        row, column = np.rint(position).astype(int).tolist()
        yield row * width + column


def _count_steps(flat, starts, offsets, steps):
    """Write the number of the first step of each ray that leaves the object it starts in.

    Args:
        flat: object numbers of flat pixels.
        starts: (N,) flat pixels where the rays start.
        offsets: iterator of the offset after 1, 2, ... steps.
        steps: (N,) output.
    """
    numbers, active, here = flat[starts], np.arange(len(starts)), starts
    done = 0
    while len(active):
        stays = np.ones(len(active), bool)
        passed = np.zeros(len(active), np.int8)
        for offset in islice(offsets, STEPS_AT_ONCE):
            # Rays that have left their object can leave the image: clipped, they read any pixel.
            stays &= flat.take(here + offset, mode="clip") == numbers
            passed += stays
        steps[active] = np.float32(done + 1) + passed  # more than an int8 holds
        done += STEPS_AT_ONCE
        kept = np.flatnonzero(stays)
        active, here, numbers = active[kept], here[kept], numbers[kept]


def object_probabilities(instances):
    """Return the distance of each pixel to other pixels than its object's, relative to the largest.

    The distance is Euclidean, to the nearest pixel center outside of the object. The border of the
    image does not count, since objects go on behind it, unless one object fills the image. The
    largest distance is that in the object, so each object has a pixel of 1.

    Args:
        instances: (B, H, W) integers: 0 for no object, k for the k-th object.

    Returns:
        (B, H, W) float32 in [0, 1], 0 outside of objects.

    Example:
        >>> import numpy as np, tfseg
        >>> instances = np.array([[[0, 1, 1, 1, 1, 1, 1, 2, 2]]])
        >>> print(tfseg.ops.object_probabilities(instances)[0, 0].round(2))
        [0.   0.33 0.67 1.   1.   0.67 0.33 0.5  1.  ]
    """
    image, row, column = np.nonzero(instances)
    distance = np.sqrt(_squared_distances(instances, image, row, column))
    numbers = instances[image, row, column]
    objects = image * (int(instances.max(initial=0)) + 1) + numbers
    largest = np.zeros(int(objects.max(initial=0)) + 1, np.float32)
    np.maximum.at(largest, objects, distance)
    result = np.zeros(instances.shape, np.float32)
    result[image, row, column] = distance / largest[objects]
    return result


def _squared_distances(instances, image, row, column):
    """Return the squared distances (N,) of pixels of objects to the nearest pixel of another one.

    First along the rows, then, as the lower envelope over rows above and below, in the plane (Saito
    and Toriwaki 1994). Only pixels that a farther row can still improve are looked at.
    """
    height, width = instances.shape[1:]
    flat, along_row = instances.ravel(), _row_distances(instances).ravel() ** 2
    position = (image * height + row) * width + column
    numbers, best = flat[position], along_row[position]
    active = np.arange(len(position))
    step = 0
    while len(active):
        step += 1
        for offset in (-step, step):
            inside = (row[active] + offset >= 0) & (row[active] + offset < height)
            pixels = active[inside]
            there = position[pixels] + offset * width
            other = np.where(flat[there] == numbers[pixels], along_row[there], 0) + step**2
            best[pixels] = np.minimum(best[pixels], other)
        active = active[best[active] > (step + 1) ** 2]
        if step >= height:
            break
    fills_image = np.isinf(best)
    to_border = np.minimum.reduce([row + 1, height - row, column + 1, width - column])
    best[fills_image] = to_border[fills_image] ** 2
    return best


def _row_distances(instances):
    """Return the distance (B, H, W) to the nearest pixel of another number in the same row.

    Example: for the row 1 1 1 2 2 the distances are 3 2 1 1 2; infinite if all are equal.
    """
    width = instances.shape[2]
    changes = instances[:, :, 1:] != instances[:, :, :-1]
    column = np.arange(width, dtype=np.float32)
    last_before = np.full(instances.shape, -np.inf, np.float32)
    last_before[:, :, 1:] = np.where(changes, column[:-1], -np.inf)
    first_after = np.full(instances.shape, np.inf, np.float32)
    first_after[:, :, :-1] = np.where(changes, column[1:], np.inf)
    last_before = np.maximum.accumulate(last_before, axis=2)
    first_after = np.minimum.accumulate(first_after[:, :, ::-1], axis=2)[:, :, ::-1]
    return np.minimum(column - last_before, first_after - column)
