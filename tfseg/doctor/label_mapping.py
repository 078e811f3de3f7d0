"""How the values in masks become class ids, and the figures of the classes."""

from dataclasses import dataclass

import numpy as np

from tfseg.checks import IGNORE_INDEX
from tfseg.data.readers.base import checked_names, identity, label_names


@dataclass
class Reading:
    """How the values in the masks become class ids.

    Attributes:
        names: of the ids 0, 1, ...
        named: these names were given; else they are the values found.
        table: {value on disk: class id}.
        ignore: the value on disk without a label.
        totals: {value: (pixels, inner, between)} over all masks, see `Labels`.
        blurred: values that only occur between others, where a mask was resized or smoothed.
        black_and_white: nothing but 0 and 255 was drawn.
        colored: the masks are RGB colors.
    """

    names: list
    named: bool
    table: dict
    ignore: int
    totals: dict
    blurred: list
    black_and_white: bool
    colored: bool

    @property
    def drawn(self):
        """The values that somebody drew: not ignored, not blurred."""
        return [
            value for value in self.totals if value not in self.blurred and not self.ignores(value)
        ]

    @property
    def unknown(self):
        """The values drawn that are no class."""
        return [value for value in self.drawn if value not in self.table]

    def ignores(self, value):
        """Return whether a value stands for no label."""
        return value == self.ignore and value not in self.table


def reading(samples, class_names=None, ignore=255, mask_values=None):
    """Return how the masks of samples are to be read, as `Folder` does; without class names, every value is a class."""
    colored = any(len(set(color)) > 1 for s in samples for color in s.colors or ())
    if colored:  # a black one among them is no gray one
        for sample in samples:
            sample.labels = None if sample.colors else sample.labels
    totals = _totals(samples)
    names = None if class_names is None else label_names(checked_names(class_names))
    table = mask_values if names is None else mask_values or identity(names)
    known = set(totals if table is None else table) | {ignore}
    blurred = _blurred(samples, totals, known)
    drawn = [value for value in totals if value not in blurred]
    two_kinds = names is None or len(names) == 2
    black_and_white = mask_values is None and (drawn == [0, 255] or (two_kinds and drawn == [255]))
    if black_and_white and two_kinds:
        table = {0: 0, 255: 1}
    elif mask_values is None:
        labels = [value for value in drawn if value != ignore][
            :IGNORE_INDEX
        ]  # more are numbers of objects
        ids = (
            identity(names) if names else {value: class_id for class_id, value in enumerate(labels)}
        )
        table = {value: class_id for value, class_id in ids.items() if value != ignore}
    shown = names or [str(value) for value in sorted(table, key=table.get)]
    return Reading(
        shown, names is not None, table, ignore, totals, blurred, black_and_white, colored
    )


def own_reading(samples, reader):
    """Return how the masks of a `Reader` are to be read: they hold class ids and 255."""
    return reading(samples, reader.class_names, mask_values=identity(reader.label_names))


def _totals(samples):
    totals = {}
    for sample in samples:
        if sample.labels is not None:
            rows = np.stack(
                [sample.labels.pixels, sample.labels.inner, sample.labels.between], axis=1
            )
            for value, row in zip(sample.labels.values.tolist(), rows, strict=True):
                totals[value] = totals.get(value, 0) + row
    return dict(sorted(totals.items()))


def _blurred(samples, totals, known):
    """Return the values that only occur in narrow strips between others.

    A value that is no class is under suspicion at once; a class only if it hardly lies anywhere else.
    """
    thin = [value for value, (pixels, inner, _) in totals.items() if inner <= 0.05 * pixels]
    strays = [value for value in thin if value not in known]
    between = sum(totals[value][2] for value in strays)
    if between <= 0.5 * sum(totals[value][0] for value in strays) or _share(samples, strays) > 0.5:
        strays = []  # specks, or no mask at all but an image
    return sorted(strays + [v for v in thin if v in known and totals[v][2] >= 0.9 * totals[v][0]])


def _share(samples, values):
    """Return the share of pixels with these values in the masks that have them."""
    counts = [
        (s.labels.pixels, np.isin(s.labels.values, values)) for s in samples if s.labels is not None
    ]
    counts = [(pixels, among) for pixels, among in counts if among.any()]
    return sum(int(pixels[among].sum()) for pixels, among in counts) / max(
        sum(int(p.sum()) for p, _ in counts), 1
    )


def seen(sample, read):
    """Return the class ids in a sample."""
    values = [] if sample.labels is None else sample.labels.values.tolist()
    classes = [] if sample.classes is None else np.asarray(sample.classes).tolist()
    return [
        read.table[value] for value in values if value in read.table and value not in read.blurred
    ] + classes


def class_figures(samples, read):
    """Count the classes in samples.

    Returns:
        pixels: (C,) of each class.
        images: (C,) those with the class.
        shown: (C,) pixels of these images.
        objects: (C,) of each class.
        ignored: pixels without a label.
    """
    count = len(read.names)
    pixels, pictures, shown, of_objects = (np.zeros(count, np.int64) for _ in range(4))
    ignored = 0
    for sample in samples:
        here = np.zeros(count, np.int64)
        if sample.labels is not None:
            for value, number in zip(
                sample.labels.values.tolist(), sample.labels.pixels.tolist(), strict=True
            ):
                if value in read.table and read.table[value] < count:
                    here[read.table[value]] += number
                else:
                    ignored += number
        classes = np.asarray([] if sample.classes is None else sample.classes, int)
        objects_here = np.bincount(classes[(classes >= 0) & (classes < count)], minlength=count)
        there = (here > 0) | (objects_here > 0)
        pixels, pictures, of_objects = pixels + here, pictures + there, of_objects + objects_here
        shown += there * (0 if sample.labels is None else int(sample.labels.pixels.sum()))
    return pixels, pictures, shown, of_objects, ignored


def class_weights(pixels, shown):
    """Return the (C,) weights of median frequency balancing (Eigen and Fergus 2015, arXiv:1411.4734).

    Args:
        pixels: (C,) pixels of each class.
        shown: (C,) pixels of the images in which the class occurs.

    Returns:
        median of all frequencies / frequency, a frequency being pixels / shown; 1 for a class that never occurs.
    """
    pixels, shown = np.asarray(pixels, float), np.asarray(shown, float)
    there = pixels > 0
    if not there.any():
        return np.ones(len(pixels))
    frequency = pixels / np.maximum(shown, 1)
    return np.where(there, np.median(frequency[there]) / np.where(there, frequency, 1), 1.0)
