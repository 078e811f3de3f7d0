"""Findings about labels: unlabeled masks, missing and rare classes, faulty boxes."""

import numpy as np

from tfseg.checks import BACKGROUND
from tfseg.data.readers.problems import first_few
from tfseg.doctor.findings import Finding, image_names, mask_names, plural
from tfseg.doctor.label_mapping import class_weights, count_classes, present_classes
from tfseg.doctor.mask_value_findings import mask_value_findings

IMBALANCE = 10  # report if the most frequent class has this many times the pixels of the rarest
SMALL_SIDE = 4  # pixels; a shorter object side is less than half a cell of stride 8
WEIGHTS_SHOWN = 20
ABSENT_SHOWN = 8  # of more classes without examples, only the first are named
BACKGROUND_NAMES = ("background", "bg", "_background_", "nothing")


def label_findings(samples, mapping):
    """Return the findings about the labels of samples.

    Args:
        samples: list of `Sample`.
        mapping: `LabelMapping` of their masks.
    """
    found = mask_value_findings(samples, mapping)
    found += unlabeled(samples, mapping)
    found += only_background(samples, mapping)
    found += objects(samples, mapping)
    found += no_objects(samples, mapping)
    # Errors and misread values distort the class counts: findings from these would mislead.
    misread = ("numbered_objects", "interpolated_labels")
    if any(finding.severity == "error" or finding.kind in misread for finding in found):
        return found
    found += single_class(samples, mapping)
    found += absent_classes(samples, mapping)
    found += class_imbalance(samples, mapping)
    return found


def unlabeled(samples, mapping):
    """Find masks that contain only ignored pixels."""
    masks = [sample for sample in samples if sample.labels is not None]
    found = [
        sample
        for sample in masks
        if all(mapping.ignores(value) for value in sample.labels.values.tolist())
    ]
    if found:
        severity = "error" if len(found) == len(masks) else "warning"
        message = (
            f"{plural(len(found), 'mask')} without a labeled pixel: all pixels have the ignored "
            f"value {mapping.ignore_value}."
        )
        fix = "Label the images, or remove them."
        yield Finding("unlabeled", severity, mask_names(found), message, fix)


def only_background(samples, mapping):
    """Find masks that contain nothing but background."""
    if not _has_background(mapping):
        return
    masks = [sample for sample in samples if sample.labels is not None]
    found = [
        sample
        for sample in masks
        if set(present_classes(sample, mapping)) == {0} and len(sample.labels.values) == 1
    ]
    if found and len(found) < len(masks):
        message = f"{len(found)} of {plural(len(masks), 'mask')} with only {mapping.names[0]}."
        fix = "Fine if the images show no object. Otherwise label or remove them."
        yield Finding("only_background", "warning", mask_names(found), message, fix)


def _has_background(mapping):
    if mapping.names and mapping.names[0].lower() in BACKGROUND_NAMES:
        return True
    values = [value for value, class_id in mapping.mask_values.items() if class_id == 0]
    return not mapping.names_given and values == [0]


def single_class(samples, mapping):
    """Find datasets whose labels all have the same class."""
    # A detector needs only one class: everything else is background.
    masks = [sample for sample in samples if sample.labels is not None]
    present = _class_set(masks, mapping)
    if len(present) == 1:
        message = f"All labeled pixels have the class {mapping.names[present.pop()]!r}."
        fix = (
            "Training needs two classes. Check how the masks were exported, and which value is "
            f"ignored.{_black_and_white_hint(mapping)}"
        )
        yield Finding("one_class", "error", [], message, fix)


def _black_and_white_hint(mapping):
    """Return a sentence if the ignored value, such as white, may have been meant as a class."""
    values = list(mapping.totals)
    if values != [0, mapping.ignore_value]:
        return ""
    return f" If {values[1]} is a class: mask_values={{0: 0, {values[1]}: 1}}."


def absent_classes(samples, mapping):
    """Find classes that no training image, or no validation image, shows."""
    train = [sample for sample in samples if not sample.val]
    val = [sample for sample in samples if sample.val]
    in_train = _class_set(train, mapping)
    in_val = _class_set(val, mapping)
    first = 0 if _has_masks(samples) else _first_object_class(mapping)
    named = list(enumerate(mapping.names))[first:]
    missing = [name for i, name in named if i not in in_train]
    # if all other classes are missing too, `single_class` reports it
    most = len(named) - 1 if _has_masks(samples) else len(named)
    if _any_labels(train) and missing and len(missing) < most:
        yield _absent("No training image" if val else "No image", missing)
    # classes absent from both parts are reported once, above
    anywhere = in_train | in_val
    missing = [name for i, name in enumerate(mapping.names) if i in anywhere and i not in in_val]
    if _any_labels(val) and missing and len(missing) < len(mapping.names):
        yield _absent("No validation image", missing)


def _has_masks(samples):
    return any(sample.labels is not None for sample in samples)


def _first_object_class(mapping):
    """Return the id of the first class that objects can have: a single name follows background."""
    return int(len(mapping.names) == 2 and mapping.names[0] == BACKGROUND)


def _class_set(samples, mapping):
    return {class_id for sample in samples for class_id in present_classes(sample, mapping)}


def _any_labels(samples):
    return any(sample.labels is not None or sample.classes is not None for sample in samples)


def _absent(no_image, missing):
    if len(missing) > ABSENT_SHOWN:
        message = (
            f"{no_image} shows {len(missing)} of the classes: {first_few(missing, ABSENT_SHOWN)}"
        )
    else:
        noun = "class" if len(missing) == 1 else "classes"
        message = f"{no_image} shows the {noun} {', '.join(missing)}."
    fix = (
        "Label some examples, or remove the name. A class without examples is neither learned nor "
        "evaluated."
    )
    return Finding("absent_classes", "warning", [], message, fix)


def class_imbalance(samples, mapping):
    """Find classes that are many times rarer than the most frequent one."""
    counts = count_classes([sample for sample in samples if not sample.val], mapping)
    pixels = counts.pixels
    present = np.flatnonzero(pixels)
    if len(present) < 2 or pixels.max() <= IMBALANCE * pixels[present].min():
        return
    rare = min(present, key=lambda class_id: pixels[class_id])
    common = int(pixels.argmax())
    message = (
        f"{mapping.names[common]} has {pixels[common] / pixels[rare]:.0f} times the pixels of "
        f"{mapping.names[rare]} ({pixels[common] / pixels.sum():.1%} and "
        f"{pixels[rare] / pixels.sum():.2%})."
    )
    weights = "report.class_weights"
    if len(pixels) <= WEIGHTS_SHOWN:
        weights = class_weights(pixels, counts.shown_pixels).round(4).tolist()
    fix = (
        f"CrossEntropy(class_weights={weights}) + Dice(); with `tfseg train`: "
        "--class-weights median"
    )
    yield Finding("class_imbalance", "warning", [], message, fix)


def objects(samples, mapping):
    """Find boxes that are empty, outside their image or tiny, and class ids without a name."""
    num_classes = len(mapping.names)
    yield from _object_finding(
        "degenerate_boxes",
        "error",
        _repeat(samples, _count_empty),
        "without an area",
        "Remove these objects from the annotations.",
    )
    yield from _object_finding(
        "boxes_outside",
        "warning",
        _repeat(samples, _count_outside),
        "partly outside the image",
        "Clip the boxes to the image: np.clip(boxes, 0, size).",
    )
    yield from _object_finding(
        "tiny_objects",
        "warning",
        _repeat(samples, _count_small),
        f"with a side below {SMALL_SIDE} pixels",
        "Use larger images or smaller tiles.",
    )
    yield from _object_finding(
        "unknown_classes",
        "error",
        _repeat(samples, lambda sample: _count_unknown(sample, num_classes)),
        "with a class id that has no name",
        "Name more classes, or correct the ids.",
    )


def no_objects(samples, mapping):
    """Find datasets of objects without any object."""
    train = [sample for sample in samples if not sample.val]
    with_objects = [sample for sample in train if sample.classes is not None]
    masks = [sample for sample in train if sample.labels is not None]
    if not with_objects or any(len(sample.classes) for sample in with_objects):
        return
    if len(_class_set(masks, mapping)) < 2:
        message = f"None of {plural(len(train), 'image')} has an object."
        fix = "Check the folder or file of the labels, and what the reader has left out."
        yield Finding("no_objects", "error", [], message, fix)


def _repeat(samples, count):
    """Return each sample as often as a function of it says."""
    return [sample for sample in samples for _ in range(count(sample))]


def _box_sides(sample):
    """Return the (N, 2) widths and heights of a sample's boxes."""
    if sample.boxes is None:
        return np.zeros((0, 2))
    boxes = np.asarray(sample.boxes, float).reshape(-1, 4)
    return boxes[:, 2:] - boxes[:, :2]


def _count_empty(sample):
    return int((~(_box_sides(sample) > 0).all(axis=1)).sum())


def _count_small(sample):
    sides = _box_sides(sample)
    return int(((sides > 0).all(axis=1) & (sides < SMALL_SIDE).any(axis=1)).sum())


def _count_outside(sample):
    if sample.boxes is None or not len(sample.boxes):
        return 0
    boxes = np.asarray(sample.boxes, float)
    size = np.array(sample.size[::-1], float)
    outside = (boxes < -0.5).any(axis=1) | (boxes[:, 2:] > size + 0.5).any(axis=1)
    return int(outside.sum())


def _count_unknown(sample, num_classes):
    if sample.classes is None:
        return 0
    classes = np.asarray(sample.classes)
    return int(((classes < 0) | (classes >= num_classes)).sum())


def _object_finding(kind, severity, found, description, fix):
    """Yield a finding about objects; `found` contains a sample once per object."""
    if found:
        files = list(dict.fromkeys(image_names(found)))
        message = f"{plural(len(found), 'object')} {description}, in {plural(len(files), 'image')}."
        yield Finding(kind, severity, files, message, fix)
