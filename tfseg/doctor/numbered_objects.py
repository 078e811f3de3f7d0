"""Masks that number objects instead of classes: their statistics, and the training that fits."""

import shlex
from dataclasses import dataclass, replace

import numpy as np

from tfseg.checks import BACKGROUND

MANY_OBJECTS = 5  # in the median image; with fewer, a detector is an alternative
MIN_OBJECTS = 8  # masks that number this many objects or fewer may be class ids
SMALL_FRACTION = 1 / 6  # of the shorter side of the image, up to which objects are small


@dataclass
class NumberedObjects:
    """The objects of training images whose masks number them.

    Attributes:
        count: number of objects.
        per_image: [smallest, median, largest] number of objects of an image.
        diameters: the same of the diameters of circles with the areas of the objects, in pixels.
        command: words of a `tfseg train` command that suits them.
    """

    count: int
    per_image: list
    diameters: list
    command: list

    def facts(self) -> dict:
        """Return {label: text} for the report."""
        low, middle, high = self.per_image
        smallest, median, largest = (f"{value:.3g}" for value in self.diameters)
        return {
            "objects": f"{self.count}, numbered in the masks",
            "per image": f"{low} to {high}, median {middle:g}",
            "diameters": f"{smallest} to {largest}, median {median} pixels (of circles of the same "
            "area)",
            "training": shlex.join(self.command),
        }


def numbered_statistics(samples, mapping) -> NumberedObjects:
    """Return the statistics of training samples whose masks number objects.

    Args:
        samples: list of `Sample`.
        mapping: `LabelMapping` of their masks.
    """
    train = [sample for sample in samples if not sample.val and sample.labels is not None]
    areas = []
    for sample in train:
        values = sample.labels.values.tolist()
        is_object = np.array([value > 0 and not mapping.ignores(value) for value in values], bool)
        areas.append(sample.labels.pixels[is_object])
    counts = np.array([len(some) for some in areas])
    diameters = 2 * np.sqrt(np.concatenate(areas) / np.pi)
    side = float(np.median([min(sample.mask_size) for sample in train]))
    per_image = [int(counts.min()), float(np.median(counts)), int(counts.max())]
    sizes = [float(diameters.min()), float(np.median(diameters)), float(diameters.max())]
    head = fitting_head(per_image[1], sizes[1], side)
    return NumberedObjects(int(counts.sum()), per_image, sizes, _command(train, head))


def number_objects(values: list) -> bool:
    """Return whether every mask contains 1, 2, ... N, with a different N in some masks.

    Args:
        values: for each mask, its values without 0 and the ignored value.
    """
    highest = set()
    for found in values:
        if set(found) != set(range(1, len(found) + 1)):
            return False
        highest.add(len(found))
    return len(highest) > 1 and max(highest) > MIN_OBJECTS


def fitting_head(per_image: float, diameter: float, side: float) -> str:
    """Return the head of `tfseg train --task instances` for objects of a number and size.

    Args:
        per_image: number of objects of the median image.
        diameter: of the median object, in pixels.
        side: the shorter side of the median image, in pixels.
    """
    is_small = diameter <= SMALL_FRACTION * side
    return "star" if per_image >= MANY_OBJECTS and is_small else "mask_rcnn"


def as_one_class(mapping):
    """Return the `LabelMapping` in which all numbers are one class of objects."""
    names = mapping.names if mapping.names_given and len(mapping.names) == 2 else None
    numbers = [value for value in mapping.totals if value and not mapping.ignores(value)]
    return replace(
        mapping,
        names=names or [BACKGROUND, "object"],
        mask_values={0: 0, **dict.fromkeys(numbers, 1)},
        interpolated=[],
    )


def _command(samples, head):
    folders = [
        next((str(path.parent) for path in paths if path is not None), name)
        for paths, name in (
            ((sample.image for sample in samples), "IMAGES"),
            ((sample.mask for sample in samples), "MASKS"),
        )
    ]
    words = ["tfseg", "train", "--task", "instances", "--head", head]
    return [*words, "--images", folders[0], "--labels", folders[1], "--out", "runs/objects"]
