"""Label maps: 0 is background, objects are numbered from 1 in scan order.

Scan order is the order of the objects' first pixels, row by row from the top left.
"""

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import to_mask

CONNECTIVITIES = (4, 8)


def relabel(labels, background: int | None = 0):
    """Renumber a label map in scan order.

    Args:
        labels: (H, W) integers.
        background: the value that becomes 0; the other values are then numbered from 1. None for a
            map without background: all values are then numbered from 0.

    Returns:
        (H, W) int32.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> tfseg.classical.relabel(np.array([[0, 7, 7], [2, 0, 7]])).tolist()
        [[0, 1, 1], [2, 0, 1]]
    """
    labels = np.asarray(labels)
    if not labels.size:
        return labels.astype(np.int32)
    indices, values = _value_indices(labels)
    count = len(values)
    first = np.full(count, indices.size)
    # If an index occurs several times, NumPy keeps the last assignment. Assigning in reverse
    # order keeps the first pixel of each value.
    first[indices[::-1]] = np.arange(indices.size - 1, -1, -1)
    if background is not None:
        first[values == background] = -1
    order = np.argsort(first, kind="stable")
    numbers = np.empty(count, np.int32)
    numbers[order] = np.arange(count)
    if background is not None and background not in values:
        numbers += 1
    return numbers[indices].reshape(labels.shape)


def _value_indices(labels):
    """Return (H * W,) indices into the candidate values, and these values.

    A table over the whole value range is much faster than `np.unique`, which is used only if the
    table would be far larger than the label map.
    """
    lowest, highest = int(labels.min()), int(labels.max())
    if highest - lowest + 1 > 4 * labels.size or highest >= 2**63:
        values, indices = np.unique(labels, return_inverse=True)
        return indices.ravel(), values
    return labels.ravel().astype(np.intp) - lowest, np.arange(lowest, highest + 1)


def connected_components(labels, connectivity: int = 4):
    """Label the connected components of a mask, or of each class of a label map.

    Args:
        labels: (H, W) bool or integers; 0 is background. Pixels of different values are never
            connected.
        connectivity: 4 or 8 neighbors.

    Returns:
        (H, W) int32: 0 for background, components numbered from 1 in scan order.

    Raises:
        ValueError: the array has another shape or dtype, or the connectivity is unknown.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> mask = np.array([[1, 0, 1], [0, 1, 1]], bool)
        >>> tfseg.classical.connected_components(mask).tolist()
        [[1, 0, 2], [0, 2, 2]]
    """
    checks.one_of("connected_components", "connectivity", connectivity, CONNECTIVITIES)
    mask = to_mask("connected_components", "labels", labels)
    labels = np.asarray(labels)
    if not labels.size:
        return labels.astype(np.int32)  # cv2.connectedComponents crashes on empty arrays
    if labels.dtype == bool:
        values, regions = mask, [np.s_[:, :]]
    else:
        values = relabel(labels)
        regions = boxes(values)
    components, count = np.zeros(labels.shape, np.int32), 0
    for value, region in enumerate(regions, 1):
        part = (values[region] == value).astype(np.uint8)
        found, numbers = cv2.connectedComponents(part, connectivity=connectivity, ltype=cv2.CV_32S)
        components[region] += np.where(numbers > 0, numbers + count, 0)
        count += found - 1  # OpenCV counts the background too
    return relabel(components)


def boxes(labels):
    """Return the bounding box of each object of a label map, as slices.

    Args:
        labels: (H, W) nonnegative integers.

    Returns:
        list of (rows, columns) slices for the numbers 1 to N, the largest in the map. The slices of
        a number that does not occur are empty.
    """
    count = int(labels.max(initial=0)) + 1
    rows = _extents(labels, count)
    columns = _extents(labels.T, count)
    return list(zip(rows, columns, strict=True))[1:]


def _extents(labels, count):
    """Return for each number the slice from its first to its last row."""
    numbers = labels.ravel()
    rows = np.repeat(np.arange(labels.shape[0]), labels.shape[1])
    first, last = np.zeros(count, int), np.full(count, -1)
    # For repeated indices NumPy keeps the last assignment.
    last[numbers] = rows
    first[numbers[::-1]] = rows[::-1]
    return [slice(start, end + 1) for start, end in zip(first.tolist(), last.tolist(), strict=True)]
