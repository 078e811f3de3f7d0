"""Anchor sizes and ratios that fit the boxes of a dataset."""

from dataclasses import dataclass

import numpy as np

COVERED_IOU = 0.5  # an object that no anchor overlaps as much can hardly be learned
MOST_BOXES = 400  # examined for the proposal
SMALLEST_SIZE = 4  # pixels
STEPS = np.linspace(0.05, 0.95, 10)  # quantiles of the boxes that sizes are chosen from
PASSES = 2


@dataclass
class Anchors:
    """Anchors of a detector, and the fraction of a dataset's objects that they cover.

    Attributes:
        sizes: one per pyramid level, in pixels.
        ratios: height / width.
        coverage: fraction of the objects that an anchor overlaps with an IoU of at least 0.5.
    """

    sizes: tuple
    ratios: tuple
    coverage: float


def default_anchors(boxes, image_sizes) -> Anchors:
    """Return the default anchors of the detectors, and how many of the boxes they cover.

    Args:
        boxes: (N, 4) x_min, y_min, x_max, y_max in pixels, N at least 1, all with an area.
        image_sizes: (N, 2) height and width of the image of each box.
    """
    from tfseg.models.detection import assemble  # lazy: masks of classes need no models

    return _measured(boxes, image_sizes, assemble.ANCHOR_SIZES, assemble.ANCHOR_RATIOS)


def propose_anchors(boxes, image_sizes) -> Anchors:
    """Return anchors for a dataset that cover at least as much of it as the default ones.

    From the default anchors and from quantiles of the boxes, each level in turn gets the size that
    improves the coverage most, as long as sizes grow from level to level. The best result counts.
    At most 400 boxes are compared. The same boxes give the same anchors.

    Args:
        boxes, image_sizes: see `default_anchors`.
    """
    from tfseg.models.detection.assemble import ANCHOR_RATIOS, ANCHOR_SIZES

    step = -(-len(boxes) // MOST_BOXES)  # every k-th box, rounded up
    some = boxes[::step], image_sizes[::step]
    sides = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    candidates = _sizes_at(sides, STEPS)
    quantiles = _sizes_at(sides, (0.1, 0.3, 0.5, 0.7, 0.9))
    starts = (
        (ANCHOR_SIZES, ANCHOR_RATIOS),
        (quantiles, ANCHOR_RATIOS),
        (quantiles, _ratio_quantiles(boxes)),
    )
    found = [_improve(some, sizes, ratios, candidates) for sizes, ratios in starts]
    _, sizes, ratios = max(found, key=lambda result: result[0])
    proposed = _measured(boxes, image_sizes, sizes, ratios)
    default = default_anchors(boxes, image_sizes)
    return default if default.coverage > proposed.coverage else proposed


def _improve(some, sizes, ratios, candidates):
    """Return (score, sizes, ratios) after choosing the size of each level in turn."""
    sizes = tuple(sizes)
    score = _score(*some, sizes, ratios)
    for _ in range(PASSES):
        for level in range(len(sizes)):
            for size in candidates:
                changed = (*sizes[:level], size, *sizes[level + 1 :])
                if list(changed) != sorted(changed):
                    continue
                found = _score(*some, changed, ratios)
                if found > score:
                    sizes, score = changed, found
    return score, sizes, ratios


def _sizes_at(sides, quantiles):
    """Return whole sizes at quantiles of the square roots of the boxes' areas, ascending."""
    return tuple(max(SMALLEST_SIZE, round(size)) for size in np.quantile(sides, quantiles).tolist())


def _ratio_quantiles(boxes):
    """Return up to three ratios height / width that are typical of the boxes."""
    ratios = (boxes[:, 3] - boxes[:, 1]) / (boxes[:, 2] - boxes[:, 0])
    return tuple(sorted({float(f"{ratio:.2g}") for ratio in np.quantile(ratios, (0.1, 0.5, 0.9))}))


def _score(boxes, image_sizes, sizes, ratios):
    """Return (fraction of the boxes that are covered, mean IoU), to compare anchors by."""
    from tfseg.models.detection.anchors import anchor_coverage
    from tfseg.models.detection.assemble import STRIDES

    best = anchor_coverage(boxes, image_sizes, STRIDES, sizes, ratios)
    return float((best >= COVERED_IOU).mean()), float(best.mean())


def _measured(boxes, image_sizes, sizes, ratios):
    coverage, _ = _score(boxes, image_sizes, sizes, ratios)
    return Anchors(tuple(sizes), tuple(ratios), coverage)
