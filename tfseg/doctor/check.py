"""The check before training: read every sample once and raise if the data cannot be used."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tfseg.data.readers.base import Reader
from tfseg.data.readers.problems import dropped_sentence, first_few, format_problems
from tfseg.doctor.label_mapping import class_weights, count_classes, reader_mapping
from tfseg.doctor.measure import (
    channel_statistics,
    common_range,
    has_fractional_boxes,
    measure_all,
    measure_sample,
)


@dataclass
class Summary:
    """Statistics of a dataset.

    Attributes:
        count: number of samples.
        class_pixels: (C,) labeled pixels per class, in the order of the reader's `label_names`.
        ignored_pixels: number of unlabeled pixels.
        mean, std: lists with one number per channel, over all pixels of all images.
        class_weights: list with one weight per class, by median frequency balancing, for a loss's
            `class_weights=`.
        value_range: [lowest, highest] value of all images; None without images.
        boxes: list of (N, 4) arrays, x_min, y_min, x_max, y_max in pixels, one per sample; empty
            for readers without objects.
        classes: list of (N,) arrays of object categories.
        crowd: list of (N,) bool arrays: whether the entry is a crowd.
        samples: list of `tfseg.doctor.measure.Sample`, the statistics of each sample.
    """

    count: int
    class_pixels: np.ndarray
    ignored_pixels: int
    mean: list
    std: list
    class_weights: list
    value_range: list | None
    boxes: list = field(default_factory=list)
    classes: list = field(default_factory=list)
    crowd: list = field(default_factory=list)
    samples: list = field(default_factory=list)


def check(
    reader: Reader,
    track: Callable = lambda samples, total: samples,
    min_samples: int = 2,
    min_classes: int | None = None,
) -> Summary:
    """Read every sample once and raise if the dataset cannot be used for training.

    Args:
        reader: a `tfseg.data.Reader`.
        track: wraps the iteration to show progress; called with the samples and their number.
        min_samples: required number of samples with a labeled pixel or an object. Training needs
            two, evaluation one.
        min_classes: required number of classes in the masks; None means `min_samples`.

    Returns:
        Summary.

    Raises:
        ValueError: a sample cannot be read, a mask contains values that map to no class, or there
            are too few labeled samples or classes. The message names every faulty file.

    Example:
        >>> import tfseg
        >>> reader = tfseg.data.Folder("photos", "labels", ["background", "leaf"])
        >>> summary = tfseg.doctor.check(reader)
        >>> summary.count, summary.class_pixels.tolist()
        (4, [9984, 2304])
    """
    indices = range(len(reader))
    samples = measure_all(lambda index: measure_sample(reader, index, False), indices, track)
    problems = [text for sample in samples for _, _, text in sample.faults]
    if problems:
        raise ValueError(format_problems(problems))
    _require_valid_objects(reader, samples)
    if "mask" not in reader.fields:
        _require_objects(reader, samples)
    labeled = sum(_is_labeled(sample, reader.ignore_index) for sample in samples)
    if labeled < min_samples:
        raise ValueError(
            f"Only {labeled} of {len(reader)} samples have a labeled pixel; at least {min_samples} "
            "required. Add labeled images, or check which mask value is ignored."
        )
    mapping = reader_mapping(samples, reader)
    _require_known_ids(reader, samples, mapping)
    counts = count_classes(samples, mapping)
    if "mask" in reader.fields:
        _require_classes(reader, counts, min_samples if min_classes is None else min_classes)
    mean, std = channel_statistics(samples)
    weights = class_weights(counts.pixels, counts.shown_pixels).tolist()
    values = common_range(samples)
    summary = Summary(len(reader), counts.pixels, counts.ignored, mean, std, weights, values)
    summary.samples = samples
    if "classes" in reader.fields:
        summary.boxes = [sample.boxes for sample in samples]
        summary.classes = [sample.categories for sample in samples]
        summary.crowd = [sample.crowd for sample in samples]
    return summary


def _require_known_ids(reader, samples, mapping):
    """Raise a ValueError if a reader gives ids that are neither classes nor ignored."""
    known = {*mapping.mask_values, mapping.ignore_value}
    problems = []
    for sample in samples:
        values = [] if sample.labels is None else sample.labels.values.tolist()
        unknown = [value for value in values if value not in known]
        if unknown:
            problems.append(
                f"{sample.name}: its mask contains the ids {first_few(unknown)}. Expected 0 to "
                f"{len(reader.label_names) - 1}, and {mapping.ignore_value} for ignored pixels."
            )
    if problems:
        raise ValueError(format_problems(problems))


def _require_valid_objects(reader, samples):
    """Raise a ValueError if categories, boxes or masks of objects cannot be right."""
    count = len(reader.object_names)
    problems = []
    for sample in samples:
        categories = np.zeros(0, int) if sample.categories is None else sample.categories
        unknown = np.flatnonzero((categories < 0) | (categories >= count))
        if unknown.size:
            problems.append(
                f"{sample.name}: object {unknown[0] + 1} has the class id "
                f"{categories[unknown[0]]}. Expected 0 to {count - 1}, positions in object_names."
            )
        if has_fractional_boxes(sample):
            problems.append(
                f"{sample.name}: its boxes are fractions of the image's size, such as "
                f"{np.asarray(sample.boxes)[0].tolist()}. Expected pixels."
            )
        if sample.misplaced:
            problems.append(
                f"{sample.name}: the pixels of the objects {first_few(sample.misplaced)} (counted "
                "from 1) are outside their boxes. In instances, number k is the k-th box."
            )
    if problems:
        raise ValueError(format_problems(problems))


def _require_objects(reader, samples):
    if any(sample.classes is not None and len(sample.classes) for sample in samples):
        return
    raise ValueError(
        f"None of {len(reader)} samples has an object.{dropped_sentence(reader.dropped)} Check the "
        "folder or file of the labels."
    )


def _is_labeled(sample, ignore_index):
    if sample.classes is not None:
        return True
    return sample.labels is not None and bool((sample.labels.values != ignore_index).any())


def _require_classes(reader, counts, min_classes):
    names = [repr(name) for name, n in zip(reader.label_names, counts.pixels, strict=True) if n]
    if len(names) >= min_classes:
        return
    raise ValueError(
        f"All labeled pixels have the class {' or '.join(names) or 'none'}; {counts.ignored} "
        "pixels are ignored. Training needs two classes. Check the values in the masks, and "
        f"which value is ignored.{_black_and_white_hint(reader, counts)}"
    )


def _black_and_white_hint(reader, counts):
    if not counts.ignored or not counts.pixels[0]:
        return ""
    ignored = reader.ignore_index
    return f" If {ignored} is a class in the masks, pass mask_values={{0: 0, {ignored}: 1}}."
