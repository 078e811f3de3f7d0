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
    """Return anchors for a dataset: ratios are quantiles, sizes are chosen by what they cover.

    Starting at quantiles of the square roots of the areas, each level in turn gets the size that
    covers most objects together with the others. The same boxes give the same anchors.

    Args:
        boxes, image_sizes: see `default_anchors`.
    """
    from tfseg.models.detection.assemble import ANCHOR_RATIOS

    step = -(-len(boxes) // MOST_BOXES)  # every k-th box, rounded up
    some, some_sizes = boxes[::step], image_sizes[::step]
    sides = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    candidates = sorted({max(SMALLEST_SIZE, round(side)) for side in np.quantile(sides, STEPS)})
    best = None
    for ratios in (_ratio_quantiles(boxes), ANCHOR_RATIOS):
        start = np.quantile(sides, (0.1, 0.3, 0.5, 0.7, 0.9)).round().tolist()
        sizes = [max(SMALLEST_SIZE, int(size)) for size in start]
        score = _score(some, some_sizes, sizes, ratios)
        for _ in range(PASSES):
            for level in range(len(sizes)):
                for size in candidates:
                    changed = [*sizes[:level], size, *sizes[level + 1 :]]
                    found = _score(some, some_sizes, changed, ratios)
                    if found > score:
                        sizes, score = changed, found
        if best is None or score > best[0]:
            best = score, sizes, ratios
    return _measured(boxes, image_sizes, tuple(best[1]), tuple(best[2]))


def _ratio_quantiles(boxes):
    """Return three ratios height / width that are typical of the boxes."""
    ratios = (boxes[:, 3] - boxes[:, 1]) / (boxes[:, 2] - boxes[:, 0])
    return tuple(float(f"{ratio:.2g}") for ratio in np.quantile(ratios, (1 / 6, 1 / 2, 5 / 6)))


def _score(boxes, image_sizes, sizes, ratios):
    """Return (fraction of the boxes that are covered, mean IoU), to compare anchors by."""
    from tfseg.models.detection.anchors import anchor_coverage
    from tfseg.models.detection.assemble import STRIDES

    best = anchor_coverage(boxes, image_sizes, STRIDES, sizes, ratios)
    return float((best >= COVERED_IOU).mean()), float(best.mean())


def _measured(boxes, image_sizes, sizes, ratios):
    coverage, _ = _score(boxes, image_sizes, sizes, ratios)
    return Anchors(tuple(sizes), tuple(ratios), coverage)
