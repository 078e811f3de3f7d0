"""Label maps: 0 outside, objects 1 to N in scan order, that of their first pixels line by line."""

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import mask_of

CONNECTIVITIES = (4, 8)


def in_scan_order(labels, background=0):
    """Number the values of a label map anew, in the order in which they first appear line by line.

    Args:
        labels: (H, W) integers.
        background: the value that stays 0, and the others begin at 1; None if there is none: then they begin at 0.

    Returns:
        (H, W) int32.
    """
    labels = np.asarray(labels)
    if not labels.size:
        return labels.astype(np.int32)
    least, most = int(labels.min()), int(labels.max())
    count = most - least + 1
    if count > 4 * labels.size or most >= 2**63:  # too far apart for a table
        values, flat = np.unique(labels, return_inverse=True)
        flat, count = flat.ravel(), len(values)
    else:
        flat = labels.ravel().astype(np.intp) - least
        values = np.arange(least, most + 1)
    first = np.full(count, flat.size)
    first[flat[::-1]] = np.arange(
        flat.size - 1, -1, -1
    )  # of several the last is kept: the first pixel
    if background is not None:
        first[values == background] = -1
    order = np.argsort(first, kind="stable")
    numbers = np.empty(count, np.int32)
    numbers[order] = np.arange(count)
    if background is not None and background not in values:
        numbers += 1
    return numbers[flat].reshape(labels.shape)


def connected_components(labels, connectivity=4):
    """Number the pieces of a mask, or of the classes of a label map.

    Args:
        labels: (H, W) bool or integers; 0 is outside, and pixels of different values never hang together.
        connectivity: 4 or 8 neighbors.

    Returns:
        (H, W) int32: 0 outside, the pieces 1 to N in scan order.

    Raises:
        ValueError: no such array, or another connectivity.
    """
    checks.one_of("connected_components", "connectivity", connectivity, CONNECTIVITIES)
    inside = mask_of("connected_components", "labels", labels)
    labels = np.asarray(labels)
    if not labels.size:
        return labels.astype(np.int32)  # cv2 crashes the process on these
    one = labels.dtype == bool
    values = inside if one else in_scan_order(labels)
    pieces, count = np.zeros(labels.shape, np.int32), 0
    for value, box in enumerate([np.s_[:, :]] if one else boxes(values), 1):
        part = (values[box] == value).astype(np.uint8)
        found, numbers = cv2.connectedComponents(part, connectivity=connectivity, ltype=cv2.CV_32S)
        pieces[box] += np.where(numbers > 0, numbers + count, 0)
        count += found - 1
    return in_scan_order(pieces)


def boxes(labels):
    """Return the slices (rows, columns) of the smallest box around each of the objects 1 to N of a label map.

    Args:
        labels: (H, W) integers, none below 0.

    Returns:
        list of N pairs of slices, N the greatest number; those of a number that is absent are empty.
    """
    count = int(labels.max(initial=0)) + 1
    rows, columns = _spans(labels, count), _spans(labels.T, count)
    return list(zip(rows, columns, strict=True))[1:]


def _spans(labels, count):
    """The lines from the first to the last of each number."""
    numbers, lines = labels.ravel(), np.repeat(np.arange(labels.shape[0]), labels.shape[1])
    first, last = np.zeros(count, int), np.full(count, -1)
    last[numbers] = lines  # of several the last is kept
    first[numbers[::-1]] = lines[::-1]
    return [slice(start, end + 1) for start, end in zip(first.tolist(), last.tolist(), strict=True)]
