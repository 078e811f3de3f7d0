"""The aggregated Jaccard index of instance label maps."""

import math
from collections.abc import Iterable

import numpy as np

from tfseg.metrics.overlaps import image_overlaps


def aggregated_jaccard(
    targets: Iterable,
    predictions: Iterable,
    by_image: bool = False,
    void: Iterable | None = None,
) -> float:
    """Compute the aggregated Jaccard index (AJI, doi:10.1109/TMI.2017.2677499) of a dataset.

    Each target is compared with the prediction of the highest IoU, whose pixels may also belong to
    other targets. The index is the sum of their intersections, divided by the sum of their unions
    and of the pixels of all objects that have no partner. It punishes wrong outlines, merged and
    split objects in one number.

    Args:
        targets, predictions: integer label maps (H, W) or (D, H, W), one per image; 0 is
            background, any other number in [1, 2**31) an object.
        by_image: average the index over images, as publications do, without images that have no
            objects. By default, all pixels have the same weight.
        void: bool masks of pixels without a label, of the shape of the targets, one per image, or
            None for an image without any. They are removed from the predictions.

    Returns:
        A float in [0, 1]; NaN if there are no objects.

    Raises:
        ValueError: label maps are not non-negative integers or differ in shape or length, or `void`
            is not as above.

    Example:
        >>> import numpy as np, tfseg
        >>> target, prediction = np.array([[1, 1, 0, 2]]), np.array([[5, 5, 5, 0]])
        >>> tfseg.metrics.aggregated_jaccard([target], [prediction])  # 2 / (3 + 1)
        0.5
    """
    tables = image_overlaps("aggregated_jaccard", targets, predictions, void, None, np.add)
    return jaccard_of([jaccard_counts(table) for table in tables], by_image)


def jaccard_counts(overlaps):
    """Return the sums of intersections and of unions of an image."""
    # by target, then by descending IoU, then by the number of the prediction
    order = np.lexsort((overlaps.prediction, -overlaps.iou, overlaps.target))
    best = order[np.unique(overlaps.target[order], return_index=True)[1]]
    is_alone = ~np.isin(overlaps.targets, overlaps.target[best])
    is_unused = ~np.isin(overlaps.predictions, overlaps.prediction[best])
    union = overlaps.union[best].sum() + overlaps.target_areas[is_alone].sum()
    union += overlaps.prediction_areas[is_unused].sum()
    return int(overlaps.intersection[best].sum()), int(union)


def jaccard_of(counts, by_image: bool) -> float:
    """Return the index of (intersection, union) sums of images."""
    if not by_image:
        counts = [tuple(map(sum, zip(*counts, strict=True)))] if counts else []
    scores = [intersection / union for intersection, union in counts if union]
    return math.fsum(scores) / len(scores) if scores else math.nan
