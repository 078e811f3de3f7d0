"""Statistics of the objects of a dataset, and findings about their boxes, masks and anchors."""

from dataclasses import dataclass

import numpy as np

from tfseg.data.readers.problems import first_few
from tfseg.doctor.anchor_proposal import Anchors, default_anchors, propose_anchors
from tfseg.doctor.findings import Finding, plural
from tfseg.doctor.measure import has_fractional_boxes

MIN_COVERAGE = 0.5  # fraction of the objects; with less, a detector learns little


@dataclass
class ObjectStatistics:
    """Objects of the training images; crowds and boxes without area are not counted.

    Attributes:
        count, crowds: numbers of objects and of crowds.
        images_without: number of images without an object.
        per_image: [smallest, median, largest] number of objects of an image.
        box_sizes: the same of the square roots of the boxes' areas in pixels.
        box_ratios: the same of height / width.
        default_anchors: `Anchors` that detectors have by default.
        proposed_anchors: `Anchors` from the boxes of this dataset.
    """

    count: int
    crowds: int
    images_without: int
    per_image: list
    box_sizes: list
    box_ratios: list
    default_anchors: Anchors
    proposed_anchors: Anchors

    def facts(self) -> dict:
        """Return {label: text} for the report."""
        low, middle, high = self.per_image
        crowds = f", and {plural(self.crowds, 'crowd')}" if self.crowds else ""
        without = f"; {self.images_without} without any" if self.images_without else ""
        sizes, ratios = (
            f"{values[0]:.3g} to {values[2]:.3g}, median {values[1]:.3g}"
            for values in (self.box_sizes, self.box_ratios)
        )
        return {
            "objects": f"{self.count}{crowds}",
            "per image": f"{low} to {high}, median {middle:g}{without}",
            "box sizes": f"{sizes} pixels (square root of the area)",
            "box ratios": f"{ratios} (height / width)",
            "anchors": f"the defaults cover {self.default_anchors.coverage:.1%} of the objects, "
            f"those proposed {self.proposed_anchors.coverage:.1%}",
            "detector arguments": anchor_arguments(self.proposed_anchors),
        }


def anchor_arguments(anchors) -> str:
    """Return anchors as arguments of `tfseg.models.faster_rcnn`."""
    return f"anchor_sizes={anchors.sizes}, anchor_ratios={anchors.ratios}"


def object_statistics(samples) -> ObjectStatistics | None:
    """Return the statistics of the training samples; None without any object."""
    train = [sample for sample in samples if not sample.val and sample.categories is not None]
    boxes = [_objects(sample) for sample in train]
    counts = np.array([len(some) for some in boxes], int)
    if not counts.sum():
        return None
    sizes = np.repeat([sample.size for sample in train], counts, axis=0)
    boxes = np.concatenate(boxes)
    sides = boxes[:, 2:] - boxes[:, :2]
    return ObjectStatistics(
        count=int(counts.sum()),
        crowds=sum(int(sample.crowd.sum()) for sample in train),
        images_without=int((counts == 0).sum()),
        per_image=[int(counts.min()), float(np.median(counts)), int(counts.max())],
        box_sizes=_range(np.sqrt(sides.prod(axis=1))),
        box_ratios=_range(sides[:, 1] / sides[:, 0]),
        default_anchors=default_anchors(boxes, sizes),
        proposed_anchors=propose_anchors(boxes, sizes),
    )


def _objects(sample):
    """Return the (N, 4) boxes with an area that are not crowds."""
    boxes = np.asarray(sample.boxes, float).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes[(sides > 0).all(axis=1) & ~sample.crowd]


def _range(values):
    return [float(values.min()), float(np.median(values)), float(values.max())]


def object_findings(samples, statistics):
    """Return the findings about boxes that contradict their image or masks, and about anchors.

    Args:
        samples: list of `Sample`.
        statistics: `ObjectStatistics`, or None.
    """
    return [*fractional_boxes(samples), *misplaced_masks(samples), *anchors(statistics)]


def fractional_boxes(samples):
    """Find boxes in fractions of the image's size instead of pixels."""
    found = [sample.name for sample in samples if has_fractional_boxes(sample)]
    if found:
        message = f"{plural(len(found), 'image')} with boxes in fractions of the image's size."
        fix = "Multiply x by the width and y by the height of the image: boxes are in pixels."
        yield Finding("boxes_in_fractions", "error", found, message, fix)


def misplaced_masks(samples):
    """Find objects with pixels outside their box."""
    found = [sample for sample in samples if sample.misplaced]
    if found:
        objects = [f"{sample.name}: {first_few(sample.misplaced)}" for sample in found]
        message = (
            f"{plural(sum(len(sample.misplaced) for sample in found), 'object')} with pixels "
            f"outside their box, counted from 1: {first_few(objects, 3)}."
        )
        fix = "In instances, number k is the k-th box. Correct the numbers or the boxes."
        yield Finding(
            "masks_outside_boxes", "error", [sample.name for sample in found], message, fix
        )


def anchors(statistics):
    """Find datasets whose objects the default anchors do not fit."""
    if statistics is None or statistics.default_anchors.coverage >= MIN_COVERAGE:
        return
    proposed = statistics.proposed_anchors
    message = (
        f"The default anchors of detectors overlap only {statistics.default_anchors.coverage:.1%} "
        "of the objects with an IoU of 0.5 or more. The others can hardly be learned."
    )
    sizes, ratios = (",".join(map(str, values)) for values in (proposed.sizes, proposed.ratios))
    fix = (
        f"{anchor_arguments(proposed)} cover {proposed.coverage:.1%}; with `tfseg train`: "
        f"--anchor-sizes {sizes} --anchor-ratios {ratios}. Or enlarge the images."
    )
    yield Finding("anchors", "warning", [], message, fix)
