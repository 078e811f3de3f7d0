"""Metrics of the surfaces of two masks of one object: how far apart they lie, and how much of them agrees.

All take bool masks (H, W) or (D, H, W) as NumPy arrays, one pair a call, and give a float. The surface of a mask is the
set of its pixels that have a neighbor across a side (a face, in a volume) outside of the mask; beyond the edge of the
image is outside. A distance is that of the pixels' middles, in the units of `spacing`, the pixel's size along each axis
(1 by default), and exact. MedPy counts like this, and MONAI without its subvoxels; `surface-distance` lays the surface
between the voxels and weighs each piece by its area, and so gives other figures.

Where both masks are empty there is no score (NaN). Where one is, a distance is infinite and a score is 0.
"""

import math

import numpy as np

from tfseg import checks


def hausdorff_distance(truth, prediction, spacing=None, percentile=100):
    """Hausdorff distance, or a percentile of it, such as 95 for the HD95.

    The percentile is that of the distances from the surface of the one mask to the surface of the other, linearly
    interpolated, and the result the larger of the two directions. (MedPy's `hd95` pools them first.)

    Args:
        truth, prediction: bool (H, W) or (D, H, W).
        spacing: the pixel's size along each axis; 1 by default.
        percentile: in [0, 100]; 100 is the distance of the farthest point.

    Returns:
        float in units of `spacing`; NaN if both masks are empty, infinite if one is.

    Raises:
        ValueError: masks that are not bool or differ in shape, or an argument out of range.
    """
    truth, prediction, sizes = _checked("hausdorff_distance", truth, prediction, spacing)
    if not 0 <= percentile <= 100:
        raise ValueError(
            f"hausdorff_distance: percentile={percentile!r} must be in [0, 100], such as 95."
        )
    if not (truth.any() and prediction.any()):
        return _of_empty(truth, prediction, math.inf)
    directions = _surface_distances(truth, prediction, sizes)
    return float(max(np.percentile(distances, percentile) for distances in directions))


def average_surface_distance(truth, prediction, spacing=None, symmetric=True):
    """Mean distance between two surfaces.

    Args:
        truth, prediction: bool (H, W) or (D, H, W).
        spacing: the pixel's size along each axis; 1 by default.
        symmetric: the mean over the pixels of both surfaces together, so that the larger one counts more; if
            False, only over those of the prediction.

    Returns:
        float in units of `spacing`; NaN if both masks are empty, infinite if one is.

    Raises:
        ValueError: masks that are not bool or differ in shape, or a spacing that does not fit.
    """
    truth, prediction, sizes = _checked("average_surface_distance", truth, prediction, spacing)
    if not (truth.any() and prediction.any()):
        return _of_empty(truth, prediction, math.inf)
    directions = _surface_distances(truth, prediction, sizes)
    return float(np.mean(np.concatenate(directions) if symmetric else directions[1]))


def surface_dice(truth, prediction, tolerance, spacing=None):
    """Normalized surface Dice (arXiv:1809.04430): the share of both surfaces at most `tolerance` from the other.

    Pixels of the surface are counted, as MONAI does; the paper sums areas of a surface drawn through the voxels.

    Args:
        truth, prediction: bool (H, W) or (D, H, W).
        tolerance: the distance that is acceptable, such as that between two experts, in units of `spacing`.
        spacing: the pixel's size along each axis; 1 by default.

    Returns:
        float in [0, 1]; NaN if both masks are empty.

    Raises:
        ValueError: masks that are not bool or differ in shape, or an argument out of range.
    """
    truth, prediction, sizes = _checked("surface_dice", truth, prediction, spacing)
    checks.at_least("surface_dice", "tolerance", tolerance, 0)
    if not (truth.any() and prediction.any()):
        return _of_empty(truth, prediction, 0.0)
    return float(
        np.mean(_within(np.concatenate(_surface_distances(truth, prediction, sizes)), tolerance))
    )


def boundary_f1(truth, prediction, tolerance=None, spacing=None):
    """Boundary F1 score, BF (Csurka, Larlus and Perronnin, BMVC 2013).

    The harmonic mean of precision, the share of the prediction's surface at most `tolerance` from that of the
    truth, and recall, the share of the truth's surface at most that far from the prediction's.

    Args:
        truth, prediction: bool (H, W) or (D, H, W).
        tolerance: in units of `spacing`; 0.75 % of the image's diagonal by default, as in the paper.
        spacing: the pixel's size along each axis; 1 by default.

    Returns:
        float in [0, 1]; NaN if both masks are empty.

    Raises:
        ValueError: masks that are not bool or differ in shape, or an argument out of range.
    """
    truth, prediction, sizes = _checked("boundary_f1", truth, prediction, spacing)
    if tolerance is None:
        tolerance = 0.0075 * math.hypot(*np.multiply(truth.shape, sizes))
    checks.at_least("boundary_f1", "tolerance", tolerance, 0)
    if not (truth.any() and prediction.any()):
        return _of_empty(truth, prediction, 0.0)
    directions = _surface_distances(truth, prediction, sizes)
    recall, precision = (np.mean(_within(distances, tolerance)) for distances in directions)
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def boundary_iou(truth, prediction, distance=None):
    """Boundary IoU (arXiv:2103.16562): the IoU of the two masks' rims.

    The rim is what of a mask lies at most `distance` pixels from the outside, counted like the moves of a king on a
    chessboard, as the authors' code does. In a volume it is a shell.

    Args:
        truth, prediction: bool (H, W) or (D, H, W).
        distance: whole number of pixels; by default 2 % of the image's diagonal, rounded, and at least 1.

    Returns:
        float in [0, 1]; NaN if both masks are empty.

    Raises:
        ValueError: masks that are not bool or differ in shape, or a distance that is no whole number above 0.
    """
    truth, prediction, _ = _checked("boundary_iou", truth, prediction, None)
    if distance is None:
        distance = max(1, round(0.02 * math.hypot(*truth.shape)))
    distance = checks.positive_int("boundary_iou", "distance", distance)
    if not (truth.any() and prediction.any()):
        return _of_empty(truth, prediction, 0.0)
    first, second = (mask & ~_shrunk(mask, distance) for mask in _cropped(truth, prediction))
    return float(np.sum(first & second) / np.sum(first | second))


def _checked(owner, truth, prediction, spacing):
    """The masks as arrays and the pixel's sizes, or a ValueError."""
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    for name, mask in (("truth", truth), ("prediction", prediction)):
        if mask.dtype != bool:
            raise ValueError(
                f"{owner}: {name} is {mask.dtype}, expected bool. Pass one class, such as mask == 1."
            )
    if truth.shape != prediction.shape or truth.ndim not in (2, 3):
        raise ValueError(
            f"{owner}: truth of shape {truth.shape} and prediction of shape {prediction.shape}, expected "
            "two masks of one shape, (H, W) or (D, H, W)."
        )
    sizes = np.ones(truth.ndim) if spacing is None else np.asarray(spacing, "float64")
    if sizes.shape != (truth.ndim,) or not np.all((sizes > 0) & (sizes < np.inf)):
        raise ValueError(
            f"{owner}: spacing={spacing!r}, expected {truth.ndim} sizes above 0, one for each axis."
        )
    return truth, prediction, sizes


def _of_empty(truth, prediction, worst):
    """What a pair scores that has an empty mask."""
    return worst if truth.any() or prediction.any() else math.nan


def _within(distances, tolerance):
    """Whether distances are at most `tolerance`, where 3 pixels of 0.1 are at most 0.3 in spite of rounding."""
    return distances <= tolerance * (1 + 1e-9)


def _surface(mask):
    """The pixels of a mask that have a neighbor outside, across a side."""
    padded = np.pad(mask, 1)
    inner = mask
    for axis in range(mask.ndim):
        for shift in (-1, 1):
            inner = inner & np.roll(padded, shift, axis)[(slice(1, -1),) * mask.ndim]
    return mask & ~inner


def _shrunk(mask, distance):
    """The pixels of a mask that are more than `distance` king's moves from the outside."""
    width = 2 * distance + 1
    for axis in range(mask.ndim):
        padding = [(distance + 1, distance)] + [(0, 0)] * (mask.ndim - 1)
        counts = np.cumsum(np.pad(np.moveaxis(mask, axis, 0), padding), axis=0, dtype="int32")
        mask = np.moveaxis(counts[width:] - counts[:-width] == width, 0, axis)
    return mask


def _cropped(truth, prediction):
    """Both masks in the smallest box that holds them: of what lies beyond, nothing matters."""
    box = tuple(slice(index.min(), index.max() + 1) for index in np.nonzero(truth | prediction))
    return truth[box], prediction[box]


def _surface_distances(truth, prediction, sizes):
    """Distances (N,) of the truth's surface pixels to the prediction's surface, and (M,) the other way round."""
    first, second = (_surface(mask) for mask in _cropped(truth, prediction))
    return _distances(first, second, sizes), _distances(second, first, sizes)


def _distances(points, sites, sizes):
    """Distance (N,) float64 of each True pixel of `points` to the nearest of `sites`, by one pass an axis.

    Not `ops.squared_distance`, which is made for graphs: run step by step it takes 20 times as long, in float32.
    """
    squared = (_along_lines(sites) * sizes[-1]) ** 2
    if squared.ndim == 3:
        squared = np.stack([_along_columns(plane, sizes[1]) for plane in squared])
    return np.sqrt(_along_first(squared, np.nonzero(points), sizes[0]))


def _along_lines(sites):
    """Distance in pixels along the last axis to the nearest True; infinite in a line without."""
    place = np.arange(sites.shape[-1], dtype="float64")
    before = np.maximum.accumulate(np.where(sites, place, -np.inf), axis=-1)
    after = np.minimum.accumulate(np.where(sites, place, np.inf)[..., ::-1], axis=-1)[..., ::-1]
    return np.minimum(place - before, after - place)


def _along_columns(squared, size):
    """Lower envelope of squared + (offset * size)**2 along the first axis of a plane."""
    best = squared.copy()
    farthest = len(squared) if np.isfinite(squared).any() else 0
    for offset in range(1, farthest):
        rise = (offset * size) ** 2
        if rise >= best.max():
            break
        np.minimum(best[offset:], squared[:-offset] + rise, out=best[offset:])
        np.minimum(best[:-offset], squared[offset:] + rise, out=best[:-offset])
    return best


def _along_first(squared, place, size):
    """The same, of only the pixels at `place`: each looks out as far as it has to."""
    best = squared[place]
    looking = np.arange(len(best))
    for offset in range(1, len(squared)):
        rise = (offset * size) ** 2
        looking = looking[best[looking] > rise]
        first, *others = (index[looking] for index in place)
        for row in (first - offset, first + offset):
            # Beyond the edge it meets the edge's pixel again, at more than its distance: no harm.
            value = squared[(row.clip(0, len(squared) - 1), *others)] + rise
            best[looking] = np.minimum(best[looking], value)
        if not len(looking):
            break
    return best
