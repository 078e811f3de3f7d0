"""Findings about the values in masks: colors, 0 and 255, interpolation, unknown values, gaps."""

import shlex

import numpy as np

from tfseg.checks import IGNORE_INDEX
from tfseg.data.readers.problems import IMAGE_REMEDY, MOST, first_few
from tfseg.doctor.findings import Finding, mask_names, plural
from tfseg.doctor.numbered_objects import number_objects, numbered_statistics

MAX_COLORS = 255  # a mask with more colors is a photograph, or was smoothed
COLORS_SHOWN = 40
VALUES_SHOWN = 40
MAX_STRAY = 0.25  # stray pixels, as a fraction of the white pixels, in nearly black-and-white masks


def mask_value_findings(samples, mapping):
    """Return the findings about the values in masks.

    Args:
        samples: list of `Sample`.
        mapping: `LabelMapping` of their masks.
    """
    checks = (color_masks, black_and_white, interpolated, unknown_values)
    return [finding for check in checks for finding in check(samples, mapping)]


def color_masks(samples, mapping):
    """Find masks of RGB colors."""
    if not mapping.colored:
        return
    found = [sample for sample in samples if sample.colors]
    totals = {}
    for sample in found:
        for color, pixels in sample.colors.items():
            totals[color] = totals.get(color, 0) + pixels
    ranked = sorted(totals, key=lambda color: -totals[color])
    message = (
        f"{plural(len(found), 'mask')} with RGB colors instead of class ids; {len(ranked)} colors "
        "in total."
    )
    yield Finding("color_masks", "error", mask_names(found), message, _color_fix(ranked, mapping))


def _color_fix(ranked, mapping):
    """Return the fix for masks with these colors, the most frequent color first."""
    if len(ranked) > MAX_COLORS:
        return (
            "Photographs have this many colors, and masks that were smoothed or saved as JPEG. "
            "Check that the folders are not swapped."
        )
    colors = ranked[:COLORS_SHOWN]
    names = [f"class{i}" for i in range(len(colors))]
    if mapping.names_given and len(mapping.names) == len(colors):
        names = mapping.names
    pairs = [f"{name!r}: {color}" for name, color in zip(names, colors, strict=True)]
    fix = f"Assign the right name to each color and pass to Folder: colors={{{', '.join(pairs)}}}"
    if len(ranked) > len(colors):
        rest = len(ranked) - len(colors)
        fix += f"  # and {rest} less frequent colors, possibly from smoothed edges"
    return fix


def black_and_white(samples, mapping):
    """Find masks that contain only 0 and 255."""
    if not mapping.black_and_white:
        return
    count = len(mapping.names)
    if count == 2 and mapping.interpolated:
        return  # reported by `interpolated`
    found = [
        sample for sample in samples if sample.labels is not None and 255 in sample.labels.values
    ]
    masks = mask_names(found)
    if count == 2:
        message = (
            f"{plural(len(found), 'mask')} with 0 and 255: read as {mapping.names[0]} and "
            f"{mapping.names[1]}."
        )
        yield Finding("black_and_white", "note", masks, message, "No action needed.")
        return
    meaning = "is ignored" if mapping.ignore_value == 255 else "maps to no class"
    message = (
        f"The masks contain only 0 and 255, but there are {count} class names: 255 {meaning}, so "
        f"the only class left is {mapping.names[0]}."
    )
    fix = (
        "Pass two class names, `--class-names background,object`, or draw the masks with the class "
        "ids 0, 1, 2."
    )
    yield Finding("black_and_white", "error", masks, message, fix)


def interpolated(samples, mapping):
    """Find values that occur only along edges: the mask was resized or smoothed."""
    values = mapping.interpolated
    if not values:
        return
    found = _containing(samples, values)
    classes = [value for value in values if mapping.names_given and value in mapping.mask_values]
    only_classes = len(classes) == len(values)
    message = (
        f"{plural(len(found), 'mask')} with the values {first_few(values)} on "
        f"{_pixels_of(mapping, values)} pixels, only in narrow strips between smaller and greater "
        "values. This happens when a mask is resized with interpolation or smoothed."
    )
    fix = "Resize the original masks again with PIL.Image.Resampling.NEAREST (cv2.INTER_NEAREST)."
    if mapping.black_and_white:
        fix = "m = PIL.Image.open(f); m.point(lambda v: 255 * (v > 127)).save(f)"
    if only_classes:
        names = [mapping.names[mapping.mask_values[value]] for value in values]
        fix += f" If {first_few(names)} was drawn as a thin line, no action is needed."
    severity = "warning" if only_classes or not mapping.names_given else "error"
    yield Finding("interpolated_labels", severity, mask_names(found), message, fix)


def unknown_values(samples, mapping):
    """Find values that map to no class: stray values, numbered objects, gaps, unknown values."""
    if mapping.black_and_white:
        return
    severity = "error" if mapping.names_given else "warning"
    strays = _stray_values(mapping)
    if strays:
        yield _nearly_black_and_white(samples, mapping, strays, severity)
    elif (mapping.unknown or not mapping.names_given) and _number_objects(samples, mapping):
        yield _numbered_objects(samples, mapping, severity)
    elif _have_gaps(mapping):
        yield _gaps(samples, mapping, severity)
    elif mapping.unknown:
        yield _unknown(samples, mapping)


def _containing(samples, values):
    return [
        sample
        for sample in samples
        if sample.labels is not None and np.isin(sample.labels.values, values).any()
    ]


def _pixels_of(mapping, values):
    return sum(int(mapping.totals[value][0]) for value in values)


def _stray_values(mapping):
    """Return the values other than 0 and 255 in masks that are otherwise black and white."""
    values = [value for value in mapping.totals if value not in (0, 255)]
    has_both = 0 in mapping.totals and 255 in mapping.totals
    if not has_both or not mapping.ignores(255):
        return []
    if mapping.names_given and len(mapping.names) != 2:
        return []
    if mapping.names_given and set(values) & set(mapping.mask_values):
        return []
    few = _pixels_of(mapping, values) < MAX_STRAY * _pixels_of(mapping, [255])
    return values if few else []


def _nearly_black_and_white(samples, mapping, strays, severity):
    found = _containing(samples, strays)
    message = (
        f"The masks contain 0 and 255, except for {_pixels_of(mapping, strays)} pixels with "
        f"{first_few(strays)} in {plural(len(found), 'mask')}. Therefore 255 is not read as a "
        f"class, and {_pixels_of(mapping, [255])} pixels count as unlabeled."
    )
    table = {0: 0, 255: 1} | dict.fromkeys(strays, IGNORE_INDEX)
    option = ",".join(f"{value}={class_id}" for value, class_id in table.items())
    fix = (
        f"Correct these masks. Or pass Folder(..., mask_values={table}), `tfseg train "
        f"--mask-values {option}`: 255 is then the class, and the other values are ignored."
    )
    return Finding("stray_labels", severity, mask_names(found), message, fix)


def _number_objects(samples, mapping):
    masks = [sample.labels.values.tolist() for sample in samples if sample.labels is not None]
    return number_objects(
        [[value for value in values if value and not mapping.ignores(value)] for values in masks]
    )


def _numbered_objects(samples, mapping, severity):
    found = _containing(samples, mapping.unknown)
    if not found:
        found = [sample for sample in samples if sample.labels is not None]
    message = (
        f"The masks contain the values 1, 2, ... up to {max(mapping.drawn_values)}, a different "
        "number of them in each mask: they number objects."
    )
    objects = numbered_statistics(samples, mapping)
    fix = (
        f"To separate the objects: {shlex.join(objects.command)} (--head star suits many small "
        "objects that are nearly round, center objects of any shape, mask_rcnn few large ones); "
        "tfseg.data.InstanceMasks(images, masks) reads them. np.asarray(PIL.Image.open(f)) > 0 is "
        "a mask of one class."
    )
    return Finding("numbered_objects", severity, mask_names(found), message, fix)


def _have_gaps(mapping):
    """Return whether the values could be the class ids in order, if renumbered without gaps."""
    drawn = mapping.drawn_values
    if not drawn or len(drawn) > len(mapping.names):
        return False
    if mapping.names_given:
        return bool(mapping.unknown)
    return drawn != list(range(len(drawn))) and not mapping.interpolated


def _gaps(samples, mapping, severity):
    drawn = mapping.drawn_values
    message = (
        f"The class ids have gaps: the masks contain {first_few(drawn, VALUES_SHOWN)}, expected "
        f"0 to {len(drawn) - 1}."
    )
    table = ", ".join(f"{value}: {class_id}" for class_id, value in enumerate(drawn))
    option = ",".join(f"{value}={class_id}" for class_id, value in enumerate(drawn))
    fix = (
        f"If these are the classes in order: Folder(..., mask_values={{{table}}}), or `tfseg train "
        f"--mask-values {option}`."
    )
    found = _containing(samples, mapping.unknown)
    return Finding("gaps", severity, mask_names(found), message, fix)


def _unknown(samples, mapping):
    found = _containing(samples, mapping.unknown)
    values = mapping.unknown
    noun, verb = ("value", "maps") if len(values) == 1 else ("values", "map")
    message = (
        f"{plural(len(found), 'mask')} with the {noun} {first_few(values)} on "
        f"{_pixels_of(mapping, values)} pixels, which {verb} to no class (classes: "
        f"{first_few(sorted(mapping.mask_values), VALUES_SHOWN)})."
    )
    return Finding("unknown_labels", "error", mask_names(found), message, _unknown_fix(values))


def _unknown_fix(values):
    if len(values) > MOST:
        return IMAGE_REMEDY
    if len(values) == 1:
        return (
            f"If {values[0]} marks unlabeled pixels, pass `--ignore-value {values[0]}`. Otherwise "
            "name one more class, or correct the mask."
        )
    return (
        f"Name more classes, or map the values: Folder(..., mask_values={{..., {values[0]}: "
        f"CLASS_ID}}), or `tfseg train --mask-values ...,{values[0]}=CLASS_ID`."
    )
