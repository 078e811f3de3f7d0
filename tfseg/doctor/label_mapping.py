"""How mask values map to class ids, and counts of pixels, images and objects per class."""

from dataclasses import dataclass

import numpy as np

from tfseg.checks import IGNORE_INDEX, label_names
from tfseg.data.readers.base import check_class_names
from tfseg.data.readers.mask_values import identity_table, ignored_value

# A value with at most this fraction of its pixels inside uniform 3 x 3 patches forms thin lines.
MAX_INTERIOR = 0.05
# A thin class whose pixels lie between smaller and greater values this often is interpolated.
MIN_BETWEEN = 0.9


@dataclass
class LabelMapping:
    """How the values in the masks map to class ids.

    Attributes:
        names: class names, in the order of their ids.
        names_given: whether the caller passed the names; otherwise they are the values found.
        mask_values: {value on disk: class id}.
        ignore_value: value on disk of unlabeled pixels.
        totals: {value: (pixels, interior, between)} over all masks, see `LabelStatistics`.
        interpolated: values that occur only between other values, where a mask was resized or
            smoothed.
        black_and_white: whether the masks contain only 0 and 255.
        colored: whether the masks are RGB colors instead of class ids.
    """

    names: list
    names_given: bool
    mask_values: dict
    ignore_value: int
    totals: dict
    interpolated: list
    black_and_white: bool
    colored: bool

    @property
    def drawn_values(self):
        """The values that were drawn as labels: neither ignored nor interpolated."""
        return [
            value
            for value in self.totals
            if value not in self.interpolated and not self.ignores(value)
        ]

    @property
    def unknown(self):
        """The drawn values that map to no class."""
        return [value for value in self.drawn_values if value not in self.mask_values]

    def ignores(self, value) -> bool:
        """Return whether pixels with this value are unlabeled."""
        return value == self.ignore_value and value not in self.mask_values


def infer_mapping(
    samples, class_names=None, ignore_value: int = IGNORE_INDEX, mask_values: dict | None = None
) -> LabelMapping:
    """Infer how mask values map to class ids, by the rules of `Folder`.

    Without class names every value counts as a class.
    """
    colored = any(len(set(color)) > 1 for sample in samples for color in sample.colors or ())
    if colored:
        for sample in samples:
            if sample.colors:  # also an all-black mask among colored ones
                sample.labels = None
    totals = _value_totals(samples)
    names = None if class_names is None else label_names(check_class_names(class_names))
    if names is not None:
        ignore_value = ignored_value(names, ignore_value)
    mask_values = mask_values or None
    known = _known_values(totals, names, mask_values) | {ignore_value}
    interpolated = _interpolated_values(samples, totals, known)
    drawn = [value for value in totals if value not in interpolated]
    two_classes = names is None or len(names) == 2
    black_and_white = mask_values is None and (
        drawn == [0, 255] or (two_classes and drawn == [255])
    )
    if black_and_white and two_classes:
        mask_values = {0: 0, 255: 1}
    elif mask_values is None:
        mask_values = _default_mask_values(names, drawn, ignore_value)
    return LabelMapping(
        names=names or [str(value) for value in sorted(mask_values, key=mask_values.get)],
        names_given=names is not None,
        mask_values=mask_values,
        ignore_value=ignore_value,
        totals=totals,
        interpolated=interpolated,
        black_and_white=black_and_white,
        colored=colored,
    )


def reader_mapping(samples, reader) -> LabelMapping:
    """Return the mapping of a `Reader`, whose masks contain class ids and ignored pixels."""
    values = identity_table(reader.label_names)
    return infer_mapping(samples, reader.class_names, reader.ignore_index, values)


def _value_totals(samples):
    totals = {}
    for sample in samples:
        if sample.labels is None:
            continue
        labels = sample.labels
        rows = np.stack([labels.pixels, labels.interior, labels.between], axis=1)
        for value, row in zip(labels.values.tolist(), rows, strict=True):
            totals[value] = totals.get(value, 0) + row
    return dict(sorted(totals.items()))


def _known_values(totals, names, mask_values):
    """Return the values that map to a class; without names and table all values do."""
    if mask_values is not None:
        return set(mask_values)
    return set(totals if names is None else identity_table(names))


def _default_mask_values(names, drawn, ignore_value):
    if names:
        values = identity_table(names)
    else:
        labels = [value for value in drawn if value != ignore_value]
        # class ids end at 254; more values than that number objects
        values = {value: class_id for class_id, value in enumerate(labels[:IGNORE_INDEX])}
    return {value: class_id for value, class_id in values.items() if value != ignore_value}


def _interpolated_values(samples, totals, known):
    """Return the values that occur only in narrow strips between other values.

    Example: a mask of 0 and 200, resized with linear interpolation, gets values such as 50 and 150
    along its edges. They form thin lines and lie between a smaller and a greater value.

    Values without a class are suspicious if most of them lie between others. A class is suspicious
    only if nearly all of its pixels do.
    """
    thin = [
        value
        for value, (pixels, interior, _) in totals.items()
        if interior <= MAX_INTERIOR * pixels
    ]
    unknown = [value for value in thin if value not in known]
    unknown_pixels = sum(totals[value][0] for value in unknown)
    unknown_between = sum(totals[value][2] for value in unknown)
    if unknown_between <= 0.5 * unknown_pixels:
        unknown = []  # isolated specks
    elif _pixel_fraction(samples, unknown) > 0.5:
        unknown = []  # a photograph instead of a mask
    classes = [
        value
        for value in thin
        if value in known and totals[value][2] >= MIN_BETWEEN * totals[value][0]
    ]
    return sorted(unknown + classes)


def _pixel_fraction(samples, values):
    """Return the fraction of pixels with these values, over the masks that contain any of them."""
    found = total = 0
    for sample in samples:
        if sample.labels is None:
            continue
        pixels = sample.labels.pixels[np.isin(sample.labels.values, values)]
        if len(pixels):
            found += int(pixels.sum())
            total += int(sample.labels.pixels.sum())
    return found / max(total, 1)


def present_classes(sample, mapping):
    """Return the class ids that occur in a sample's mask or objects."""
    ids = []
    if sample.labels is not None:
        ids += [
            mapping.mask_values[value]
            for value in sample.labels.values.tolist()
            if value in mapping.mask_values and value not in mapping.interpolated
        ]
    if sample.classes is not None:
        ids += np.asarray(sample.classes).tolist()
    return ids


@dataclass
class ClassCounts:
    """Counts per class: (C,) int arrays, except `ignored`.

    Attributes:
        pixels: pixels of the class.
        images: images that contain the class.
        shown_pixels: pixels of all classes in these images.
        objects: objects of the class.
        ignored: number of pixels without a class.
    """

    pixels: np.ndarray
    images: np.ndarray
    shown_pixels: np.ndarray
    objects: np.ndarray
    ignored: int


def count_classes(samples, mapping) -> ClassCounts:
    """Count pixels, images and objects per class."""
    num_classes = len(mapping.names)
    total = ClassCounts(*np.zeros((4, num_classes), np.int64), ignored=0)
    for sample in samples:
        pixels, labeled, ignored = _class_pixels(sample.labels, mapping, num_classes)
        objects = _class_objects(sample.classes, num_classes)
        present = (pixels > 0) | (objects > 0)
        total.pixels += pixels
        total.images += present
        total.shown_pixels += present * labeled
        total.objects += objects
        total.ignored += ignored
    return total


def _class_pixels(labels, mapping, num_classes):
    """Return (C,) pixels per class, all pixels of the mask, and those without a class."""
    pixels, ignored = np.zeros(num_classes, np.int64), 0
    if labels is None:
        return pixels, 0, 0
    for value, count in zip(labels.values.tolist(), labels.pixels.tolist(), strict=True):
        class_id = mapping.mask_values.get(value)
        if class_id is not None and class_id < num_classes:
            pixels[class_id] += count
        else:
            ignored += count
    return pixels, int(labels.pixels.sum()), ignored


def _class_objects(classes, num_classes):
    if classes is None:
        return np.zeros(num_classes, np.int64)
    classes = np.asarray(classes, int)
    known = classes[(classes >= 0) & (classes < num_classes)]
    return np.bincount(known, minlength=num_classes)


def class_weights(pixels, shown_pixels):
    """Return class weights by median frequency balancing.

    Eigen and Fergus 2015 (arXiv:1411.4734): frequency = pixels / shown pixels, weight = median of
    all frequencies / frequency. Example: frequencies 1/2, 1/4, 1/16 give the weights 1/2, 1, 4.

    Args:
        pixels: (C,) pixels per class.
        shown_pixels: (C,) pixels of the images that contain the class.

    Returns:
        (C,) float weights; 1 for a class that never occurs.
    """
    pixels = np.asarray(pixels, float)
    shown_pixels = np.asarray(shown_pixels, float)
    present = pixels > 0
    if not present.any():
        return np.ones(len(pixels))
    frequency = np.where(present, pixels / np.maximum(shown_pixels, 1), 1)
    return np.where(present, np.median(frequency[present]) / frequency, 1.0)
