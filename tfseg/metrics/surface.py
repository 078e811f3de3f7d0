"""Surface metrics: distances between the surfaces of two masks, and how far they agree.

All functions take a pair of bool NumPy masks (H, W) or (D, H, W) of one object and return a float.

The surface of a mask is the set of its pixels that have a neighbor outside of the mask across a
side (in a volume, a face). Everything beyond the image is outside. Distances are exact, between
pixel centers, in the units of `spacing`, the pixel size along each axis (1 by default). MedPy, and
MONAI without subvoxels, use the same definition. `surface-distance` places the surface between
voxels and weights each piece by its area, and so returns other values.

If both masks are empty, there is no score (NaN). If one is empty, distances are infinite and scores
are 0.
"""

import math
from collections.abc import Sequence

import numpy as np

from tfseg import checks


def hausdorff_distance(
    target, prediction, spacing: Sequence[float] | None = None, percentile: float = 100
) -> float:
    """Compute the Hausdorff distance or a percentile of it, such as 95 for HD95.

    The percentile is that of the distances from one surface to the other, linearly interpolated.
    The result is the larger one of the two directions. (MedPy's `hd95` pools the distances first.)

    Args:
        target, prediction: bool (H, W) or (D, H, W).
        spacing: pixel size along each axis; 1 by default.
        percentile: in [0, 100]; 100 is the largest distance.

    Returns:
        Distance in units of `spacing`; NaN if both masks are empty, infinite if one is.

    Raises:
        ValueError: masks are not bool or differ in shape, or an argument is out of range.

    Example:
        >>> import numpy as np, tfseg
        >>> target, prediction = np.array([[1, 1, 0, 0]]) > 0, np.array([[1, 1, 1, 1]]) > 0
        >>> tfseg.metrics.hausdorff_distance(target, prediction, spacing=(1, 0.5))
        1.0
    """
    target, prediction, sizes = _check_masks("hausdorff_distance", target, prediction, spacing)
    if not 0 <= percentile <= 100:
        raise ValueError(
            f"hausdorff_distance: percentile={percentile!r} must be in [0, 100], such as 95."
        )
    if not (target.any() and prediction.any()):
        return _empty_score(target, prediction, math.inf)
    directions = _surface_distances(target, prediction, sizes)
    return float(max(np.percentile(distances, percentile) for distances in directions))


def average_surface_distance(
    target, prediction, spacing: Sequence[float] | None = None, symmetric: bool = True
) -> float:
    """Compute the mean distance between two surfaces.

    Args:
        target, prediction: bool (H, W) or (D, H, W).
        spacing: pixel size along each axis; 1 by default.
        symmetric: average over the pixels of both surfaces together, so that the larger surface has
            more weight; if False, only over those of the prediction.

    Returns:
        Distance in units of `spacing`; NaN if both masks are empty, infinite if one is.

    Raises:
        ValueError: masks are not bool or differ in shape, or `spacing` is invalid.

    Example:
        >>> import numpy as np, tfseg
        >>> target, prediction = np.array([[1, 1, 0, 0]]) > 0, np.array([[1, 1, 1, 1]]) > 0
        >>> tfseg.metrics.average_surface_distance(target, prediction, symmetric=False)
        0.75
    """
    target, prediction, sizes = _check_masks(
        "average_surface_distance", target, prediction, spacing
    )
    if not (target.any() and prediction.any()):
        return _empty_score(target, prediction, math.inf)
    directions = _surface_distances(target, prediction, sizes)
    return float(np.mean(np.concatenate(directions) if symmetric else directions[1]))


def surface_dice(
    target, prediction, tolerance: float, spacing: Sequence[float] | None = None
) -> float:
    """Compute the normalized surface Dice (arXiv:1809.04430).

    The fraction of both surfaces that is at most `tolerance` from the other one. It counts surface
    pixels, like MONAI; the paper adds areas of a surface through the voxels.

    Args:
        target, prediction: bool (H, W) or (D, H, W).
        tolerance: acceptable distance, such as that between two experts, in units of `spacing`.
        spacing: pixel size along each axis; 1 by default.

    Returns:
        Score in [0, 1]; NaN if both masks are empty.

    Raises:
        ValueError: masks are not bool or differ in shape, or an argument is out of range.

    Example:
        >>> import numpy as np, tfseg
        >>> target, prediction = np.array([[1, 1, 0, 0]]) > 0, np.array([[1, 1, 1, 0]]) > 0
        >>> tfseg.metrics.surface_dice(target, prediction, tolerance=0)
        0.8
    """
    target, prediction, sizes = _check_masks("surface_dice", target, prediction, spacing)
    checks.at_least("surface_dice", "tolerance", tolerance, 0)
    if not (target.any() and prediction.any()):
        return _empty_score(target, prediction, 0.0)
    distances = np.concatenate(_surface_distances(target, prediction, sizes))
    return float(np.mean(_within(distances, tolerance)))


def boundary_f1(
    target,
    prediction,
    tolerance: float | None = None,
    spacing: Sequence[float] | None = None,
) -> float:
    """Compute the boundary F1 score, BF (Csurka, Larlus and Perronnin, BMVC 2013).

    The harmonic mean of precision, the fraction of the prediction's surface at most `tolerance`
    from the target's, and recall, the fraction of the target's surface at most that far from the
    prediction's.

    Args:
        target, prediction: bool (H, W) or (D, H, W).
        tolerance: in units of `spacing`; by default 0.75 % of the image diagonal, as in the paper.
        spacing: pixel size along each axis; 1 by default.

    Returns:
        Score in [0, 1]; NaN if both masks are empty.

    Raises:
        ValueError: masks are not bool or differ in shape, or an argument is out of range.

    Example:
        >>> import numpy as np, tfseg
        >>> target, prediction = np.array([[1, 1, 0, 0]]) > 0, np.array([[1, 1, 1, 1]]) > 0
        >>> print(f"{tfseg.metrics.boundary_f1(target, prediction, tolerance=1):.3f}")
        0.857
    """
    target, prediction, sizes = _check_masks("boundary_f1", target, prediction, spacing)
    if tolerance is None:
        tolerance = 0.0075 * math.hypot(*np.multiply(target.shape, sizes))
    checks.at_least("boundary_f1", "tolerance", tolerance, 0)
    if not (target.any() and prediction.any()):
        return _empty_score(target, prediction, 0.0)
    from_target, from_prediction = _surface_distances(target, prediction, sizes)
    recall = np.mean(_within(from_target, tolerance))
    precision = np.mean(_within(from_prediction, tolerance))
    if precision + recall == 0:
        return 0.0
    return float(2 * precision * recall / (precision + recall))


def boundary_iou(target, prediction, distance: int | None = None) -> float:
    """Compute the boundary IoU (arXiv:2103.16562), the IoU of the two masks' rims.

    The rim of a mask is its pixels at most `distance` pixels from the outside, where diagonal steps
    count 1 (chessboard distance), as in the authors' code. In a volume it is a shell.

    Args:
        target, prediction: bool (H, W) or (D, H, W).
        distance: whole number of pixels; by default 2 % of the image diagonal, rounded, and at
            least 1.

    Returns:
        Score in [0, 1]; NaN if both masks are empty.

    Raises:
        ValueError: masks are not bool or differ in shape, or `distance` is not a whole number above
            0.

    Example:
        >>> import numpy as np, tfseg
        >>> target, prediction = np.ones((5, 5), bool), np.ones((5, 5), bool)
        >>> prediction[0] = False
        >>> tfseg.metrics.boundary_iou(target, prediction, distance=1)  # 8 of 19 rim pixels
        0.5789473684210527
    """
    target, prediction, _ = _check_masks("boundary_iou", target, prediction, None)
    if distance is None:
        distance = max(1, round(0.02 * math.hypot(*target.shape)))
    distance = checks.positive_int("boundary_iou", "distance", distance)
    if not (target.any() and prediction.any()):
        return _empty_score(target, prediction, 0.0)
    target, prediction = _crop(target, prediction)
    target_rim = target & ~_erode(target, distance)
    predicted_rim = prediction & ~_erode(prediction, distance)
    return float(np.sum(target_rim & predicted_rim) / np.sum(target_rim | predicted_rim))


def _check_masks(owner, target, prediction, spacing):
    """Return the masks as arrays and the pixel sizes; raise a ValueError if they are invalid."""
    target, prediction = np.asarray(target), np.asarray(prediction)
    for name, mask in (("target", target), ("prediction", prediction)):
        if mask.dtype != bool:
            raise ValueError(
                f"{owner}: {name} is {mask.dtype}, expected bool. Pass a class, such as mask == 1."
            )
    if target.shape != prediction.shape or target.ndim not in (2, 3):
        raise ValueError(
            f"{owner}: target has shape {target.shape} and prediction {prediction.shape}, expected "
            "two masks of the same shape, (H, W) or (D, H, W)."
        )
    sizes = np.ones(target.ndim) if spacing is None else np.asarray(spacing, "float64")
    if sizes.shape != (target.ndim,) or not np.all((sizes > 0) & (sizes < np.inf)):
        raise ValueError(
            f"{owner}: spacing={spacing!r}, expected {target.ndim} sizes above 0, one per axis."
        )
    return target, prediction, sizes


def _empty_score(target, prediction, worst):
    """Return the score of a pair in which at least one mask is empty."""
    return worst if target.any() or prediction.any() else math.nan


def _within(distances, tolerance):
    """Whether distances are at most `tolerance`; 3 * 0.1 is within 0.3 despite rounding."""
    return distances <= tolerance * (1 + 1e-9)


def _surface(mask):
    """Return the pixels of a mask that have a neighbor outside, across a side."""
    padded = np.pad(mask, 1)
    inner = mask
    for axis in range(mask.ndim):
        for shift in (-1, 1):
            inner = inner & np.roll(padded, shift, axis)[(slice(1, -1),) * mask.ndim]
    return mask & ~inner


def _erode(mask, distance):
    """Return the pixels of a mask that are more than `distance` from the outside (chessboard).

    Along each axis, a pixel stays if all 2 * distance + 1 pixels around it are in the mask. Their
    number is a difference of two cumulative sums.
    """
    width = 2 * distance + 1
    for axis in range(mask.ndim):
        padding = [(distance + 1, distance)] + [(0, 0)] * (mask.ndim - 1)
        counts = np.cumsum(np.pad(np.moveaxis(mask, axis, 0), padding), axis=0, dtype="int32")
        mask = np.moveaxis(counts[width:] - counts[:-width] == width, 0, axis)
    return mask


def _crop(target, prediction):
    """Return both masks in the smallest box that contains them; no result depends on the rest."""
    box = tuple(slice(index.min(), index.max() + 1) for index in np.nonzero(target | prediction))
    return target[box], prediction[box]


def _surface_distances(target, prediction, sizes):
    """Return the distances (N,) from target surface to predicted surface, and (M,) vice versa."""
    target, prediction = _crop(target, prediction)
    target, prediction = _surface(target), _surface(prediction)
    return _distances(target, prediction, sizes), _distances(prediction, target, sizes)


def _distances(points, sites, sizes):
    """Return the distance (N,) float64 of each True pixel of `points` to the nearest of `sites`.

    One pass per axis. `ops.squared_distance` is made for compiled functions: run eagerly, it takes
    20 times as long, in float32.
    """
    squared = (_along_lines(sites) * sizes[-1]) ** 2
    if squared.ndim == 3:
        squared = np.stack([_along_columns(plane, sizes[1]) for plane in squared])
    return np.sqrt(_along_first(squared, np.nonzero(points), sizes[0]))


def _along_lines(sites):
    """Return the distance in pixels along the last axis to the nearest True; infinite if none."""
    position = np.arange(sites.shape[-1], dtype="float64")
    before = np.maximum.accumulate(np.where(sites, position, -np.inf), axis=-1)
    after = np.minimum.accumulate(np.where(sites, position, np.inf)[..., ::-1], axis=-1)[..., ::-1]
    return np.minimum(position - before, after - position)


def _along_columns(squared, size):
    """Return the lower envelope of squared + (offset * size)**2 along the first axis of a plane.

    Example, size 1: a column 9, 0, 9 becomes 1, 0, 1.
    """
    best = squared.copy()
    farthest = len(squared) if np.isfinite(squared).any() else 0
    for offset in range(1, farthest):
        added = (offset * size) ** 2
        if added >= best.max():
            break
        np.minimum(best[offset:], squared[:-offset] + added, out=best[offset:])
        np.minimum(best[:-offset], squared[offset:] + added, out=best[:-offset])
    return best


def _along_first(squared, points, size):
    """Like `_along_columns`, only for the pixels at `points`; each searches as far as needed."""
    best = squared[points]
    searching = np.arange(len(best))
    for offset in range(1, len(squared)):
        added = (offset * size) ** 2
        searching = searching[best[searching] > added]
        first, *others = (index[searching] for index in points)
        for row in (first - offset, first + offset):
            # Beyond the edge this reads the edge pixel again, at more than its distance: no harm.
            value = squared[(row.clip(0, len(squared) - 1), *others)] + added
            best[searching] = np.minimum(best[searching], value)
        if not len(searching):
            break
    return best
