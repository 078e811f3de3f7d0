"""What can be wrong with the labels of a dataset: each examination takes samples and how they are read."""

import numpy as np

from tfseg.checks import IGNORE_INDEX
from tfseg.data.readers.base import IMAGE_REMEDY
from tfseg.doctor.file_findings import Finding, counted, masks_of, names_of, some
from tfseg.doctor.label_mapping import class_figures, class_weights, seen

IMBALANCE = 10  # times that the most frequent class may be as frequent as the rarest
TINY = 4  # pixels; an object with a side below this is smaller than half a cell of stride 8
COLOURS_SHOWN = 40
STRAY = 0.25  # share of the white pixels below which others are strays in masks that are black and white
BACKGROUND = ("background", "bg", "_background_", "nothing")


def label_findings(samples, read):
    """Return the findings about the labels of samples.

    Args:
        samples: list of Sample.
        read: Reading.
    """
    examinations = (
        color_masks,
        black_and_white,
        blurred,
        unknown,
        unlabeled,
        only_background,
        objects,
    )
    found = [finding for examine in examinations for finding in examine(samples, read)]
    first = (
        "numbered_objects",
        "interpolated_labels",
    )  # what follows would be consequences of these, and of errors
    if not any(finding.severity == "error" or finding.kind in first for finding in found):
        found += [
            finding
            for examine in (few_classes, absent, imbalance)
            for finding in examine(samples, read)
        ]
    return found


def color_masks(samples, read):
    """Masks of RGB colors."""
    if not read.colored:
        return
    found = [s for s in samples if s.colors]
    totals = {}
    for sample in found:
        for color, pixels in sample.colors.items():
            totals[color] = totals.get(color, 0) + pixels
    ranked = sorted(totals, key=lambda color: -totals[color])
    if len(ranked) > 255:
        fix = "So many colors are those of a photograph, or of masks smoothed or saved as JPEG. Are the folders swapped?"
    else:
        shown = ranked[:COLOURS_SHOWN]
        names = (
            read.names
            if read.named and len(read.names) == len(shown)
            else [f"class{i}" for i in range(len(shown))]
        )
        fix = f"Put the names in their right order and pass to Folder: {colors_argument(names, shown)}"
        if len(ranked) > len(shown):
            fix += f"  # and {len(ranked) - len(shown)} rarer ones, perhaps of smoothed edges"
    message = f"{counted(found, 'mask')} of RGB colors, not class ids; {len(ranked)} colors, the most frequent first."
    yield Finding("color_masks", "error", masks_of(found), message, fix)


def colors_argument(names, colors):
    """Return the text of Folder's argument for the colors of the names."""
    return (
        "colors={"
        + ", ".join(f"{name!r}: {color}" for name, color in zip(names, colors, strict=True))
        + "}"
    )


def black_and_white(samples, read):
    """Masks of 0 and 255."""
    if not read.black_and_white:
        return
    count = len(read.names)
    found = [s for s in samples if s.labels is not None and 255 in s.labels.values]
    if count == 2:
        if not read.blurred:
            message = f"{counted(found, 'mask')} of 0 and 255: read as {' and '.join(read.names)}."
            yield Finding("black_and_white", "note", masks_of(found), message, "Nothing to do.")
        return
    message = (
        f"The masks hold 0 and 255 only, but {count} classes are named: 255 is "
        f"{'ignored' if read.ignore == 255 else 'no class'}, and all that is left is {read.names[0]}."
    )
    fix = "Name two classes, `--class-names background,object`, or draw the masks with ids 0, 1, 2."
    yield Finding("black_and_white", "error", masks_of(found), message, fix)


def blurred(samples, read):
    """Values between labels that only lie along edges: the mask was resized or smoothed."""
    if not read.blurred:
        return
    found = [
        s for s in samples if s.labels is not None and np.isin(s.labels.values, read.blurred).any()
    ]
    strays = [value for value in read.blurred if value not in read.table or not read.named]
    pixels = sum(int(read.totals[value][0]) for value in read.blurred)
    message = (
        f"{counted(found, 'mask')} with the values {some(read.blurred)} on {pixels} pixels, but only in narrow strips "
        f"between smaller and greater values: so do masks look that were resized with interpolation or smoothed."
    )
    if read.black_and_white:
        fix = "m = PIL.Image.open(f); m.point(lambda v: 255 * (v > 127)).save(f)"
    else:
        fix = (
            "Resize the original masks again with PIL.Image.Resampling.NEAREST (cv2.INTER_NEAREST)."
        )
    if not strays:
        fix += f" If {some([read.names[read.table[v]] for v in read.blurred])} is drawn as a thin line, all is well."
    yield Finding(
        "interpolated_labels",
        "error" if strays and read.named else "warning",
        masks_of(found),
        message,
        fix,
    )


def unknown(samples, read):
    """Values that are no class: numbered objects, ids with gaps, or simply unknown ones."""
    if read.black_and_white:
        return
    found = [
        s for s in samples if s.labels is not None and np.isin(s.labels.values, read.unknown).any()
    ]
    severity = "error" if read.named else "warning"
    drawn = read.drawn
    if strays := _strays(read):
        yield _nearly_black_and_white(samples, read, strays, severity)
        return
    holes = read.named or (drawn != list(range(len(drawn))) and not read.blurred)
    if (read.unknown or not read.named) and _numbered(samples, read):
        message = f"The masks hold the values 1, 2, ... up to {max(drawn)}, each its own number: they number objects."
        fix = "np.asarray(PIL.Image.open(f)) > 0 is a mask of one class; Folder(..., instances=True) reads the objects."
        everything = [s for s in samples if s.labels is not None]
        yield Finding("numbered_objects", severity, masks_of(found or everything), message, fix)
    elif drawn and holes and len(drawn) <= len(read.names) and (read.unknown or not read.named):
        message = f"The ids have gaps: the masks hold {some(drawn, 40)}, where 0 to {len(drawn) - 1} were expected."
        table = ", ".join(f"{value}: {class_id}" for class_id, value in enumerate(drawn))
        words = ",".join(f"{value}={class_id}" for class_id, value in enumerate(drawn))
        fix = (
            f"If these are the classes in their order: Folder(..., mask_values={{{table}}}), or `tfseg train "
            f"--mask-values {words}`."
        )
        yield Finding("gaps", severity, masks_of(found), message, fix)
    elif read.unknown:
        pixels = sum(int(read.totals[value][0]) for value in read.unknown)
        message = (
            f"{counted(found, 'mask')} with the value{'s' * (len(read.unknown) > 1)} {some(read.unknown)} on {pixels} "
            f"pixels, which stand for no class (classes: {some(sorted(read.table), 40)})."
        )
        yield Finding("unknown_labels", "error", masks_of(found), message, _remedy(read.unknown))


def _strays(read):
    """The few values other than 0 and 255, where all else says that the masks are black and white; else nothing."""
    values = [value for value in read.totals if value not in (0, 255)]
    pixels = sum(int(read.totals[value][0]) for value in values)
    white = int(read.totals[255][0]) if 255 in read.totals else 0
    known = read.named and set(values) & set(read.table)
    two = not read.named or len(read.names) == 2
    return (
        values
        if two and read.ignores(255) and 0 in read.totals and not known and pixels < STRAY * white
        else []
    )


def _nearly_black_and_white(samples, read, strays, severity):
    holding = [
        s for s in samples if s.labels is not None and np.isin(s.labels.values, strays).any()
    ]
    pixels = sum(int(read.totals[value][0]) for value in strays)
    message = (
        f"The masks hold 0 and 255, but for {pixels} pixels of {some(strays)} in {counted(holding, 'mask')}: so 255 is "
        f"not read as a class, and {int(read.totals[255][0])} pixels count as without a label."
    )
    table = {0: 0, 255: 1} | dict.fromkeys(strays, IGNORE_INDEX)
    words = ",".join(f"{value}={class_id}" for value, class_id in table.items())
    fix = (
        f"Correct these masks; or Folder(..., mask_values={table}), `tfseg train --mask-values {words}`: 255 is then "
        "the class, and the others have no label."
    )
    return Finding("stray_labels", severity, masks_of(holding), message, fix)


def _remedy(values):
    if len(values) > 8:
        return IMAGE_REMEDY
    if len(values) == 1:
        return f"If {values[0]} means no label, pass `--ignore {values[0]}`; else name one class more, or correct it."
    return (
        f"Name more classes, or map the values: Folder(..., mask_values={{..., {values[0]}: CLASS_ID}}), or `tfseg "
        f"train --mask-values ...,{values[0]}=CLASS_ID`."
    )


def _numbered(samples, read):
    """Return whether every mask holds 1, 2, ... N, with another N in each."""
    highest = set()
    for sample in samples:
        if sample.labels is not None:
            ids = [
                value
                for value in sample.labels.values.tolist()
                if value and not read.ignores(value)
            ]
            if ids != list(range(1, len(ids) + 1)):
                return False
            highest.add(len(ids))
    return len(highest) > 1 and max(highest) > 8


def unlabeled(samples, read):
    """Masks of ignored pixels only."""
    masks = [s for s in samples if s.labels is not None]
    found = [s for s in masks if all(read.ignores(value) for value in s.labels.values.tolist())]
    if found:
        severity = "error" if len(found) == len(masks) else "warning"
        message = f"{counted(found, 'mask')} without a labeled pixel: all are {read.ignore}, which is ignored."
        yield Finding(
            "unlabeled", severity, masks_of(found), message, "Label the images, or remove them."
        )


def only_background(samples, read):
    """Masks in which nothing but the background was drawn."""
    background = [value for value, class_id in read.table.items() if class_id == 0]
    called_so = read.names and read.names[0].lower() in BACKGROUND
    if not (called_so or (not read.named and background == [0])):
        return
    masks = [s for s in samples if s.labels is not None]
    found = [s for s in masks if set(seen(s, read)) == {0} and len(s.labels.values) == 1]
    if found and len(found) < len(masks):
        message = f"{counted(found, 'mask')} of {len(masks)} with nothing but {read.names[0]}."
        fix = "Fine if there is nothing to see. If they were never labeled, label them or remove them."
        yield Finding("only_background", "warning", masks_of(found), message, fix)


def few_classes(samples, read):
    """Labels of a single class: nothing to learn."""
    present = sorted({class_id for s in samples for class_id in seen(s, read)})
    if len(present) == 1:
        message = f"All labeled pixels are of the class {read.names[present[0]]!r}."
        fix = "Training needs two classes. Check how the masks were exported, and which value is ignored."
        yield Finding("one_class", "error", [], message, fix)


def absent(samples, read):
    """Classes that are never drawn."""
    labeled = [s for s in samples if s.labels is not None or s.classes is not None]
    for part, where in ((False, ""), (True, " to validate on")):
        chosen = [s for s in labeled if s.val == part]
        present = {class_id for s in chosen for class_id in seen(s, read)}
        missing = [name for class_id, name in enumerate(read.names) if class_id not in present]
        if part and missing:  # what is nowhere has been said
            everywhere = {class_id for s in labeled for class_id in seen(s, read)}
            missing = [name for name in missing if read.names.index(name) in everywhere]
        if chosen and missing and len(missing) < len(read.names) - (not part):
            message = (
                f"No image{where} shows the class{'es' * (len(missing) > 1)} {some(missing, 40)}."
            )
            fix = "Label some, or leave the name out; a class that is never seen is never learned, nor measured."
            yield Finding("absent_classes", "warning", [], message, fix)


def imbalance(samples, read):
    """Classes of which some are many times rarer than others."""
    pixels, _, shown, *_ = class_figures([s for s in samples if not s.val], read)
    there = np.flatnonzero(pixels)
    if len(there) > 1 and pixels.max() > IMBALANCE * pixels[there].min():
        rare, common = min(there, key=lambda i: pixels[i]), int(pixels.argmax())
        message = (
            f"{read.names[common]} has {pixels[common] / pixels[rare]:.0f} times the pixels of {read.names[rare]} "
            f"({pixels[common] / pixels.sum():.1%} and {pixels[rare] / pixels.sum():.2%})."
        )
        weights = (
            class_weights(pixels, shown).round(4).tolist()
            if len(pixels) <= 20
            else "report.class_weights"
        )
        fix = f"CrossEntropy(class_weights={weights}) + Dice(); to `tfseg train`: --class-weights median"
        yield Finding("class_imbalance", "warning", [], message, fix)


def objects(samples, read):
    """Boxes that are empty, outside of their image or tiny, and classes of objects that have no name."""
    cases = {"degenerate_boxes": [], "boxes_outside": [], "tiny_objects": [], "unknown_classes": []}
    for sample in samples:
        if sample.boxes is not None and len(sample.boxes):
            boxes, size = np.asarray(sample.boxes, float), np.array(sample.size[::-1], float)
            sides = boxes[:, 2:] - boxes[:, :2]
            empty = ~(sides > 0).all(axis=1)
            cases["degenerate_boxes"] += [sample] * int(empty.sum())
            cases["boxes_outside"] += [sample] * int(
                ((boxes < -0.5).any(1) | (boxes[:, 2:] > size + 0.5).any(1)).sum()
            )
            cases["tiny_objects"] += [sample] * int((~empty & (sides < TINY).any(axis=1)).sum())
        if sample.classes is not None:
            wrong = (np.asarray(sample.classes) < 0) | (
                np.asarray(sample.classes) >= len(read.names)
            )
            cases["unknown_classes"] += [sample] * int(wrong.sum())
    texts = {
        "degenerate_boxes": (
            "error",
            "without an area",
            "Remove these objects from the annotations.",
        ),
        "boxes_outside": (
            "warning",
            "that reach out of their images",
            "Cut them at the border: np.clip(boxes, 0, size).",
        ),
        "tiny_objects": (
            "warning",
            f"with a side below {TINY} pixels",
            "Larger images or smaller tiles show them better.",
        ),
        "unknown_classes": (
            "error",
            "of a class without a name",
            "Name more classes, or correct the ids.",
        ),
    }
    for kind, found in cases.items():
        if found:
            severity, what, fix = texts[kind]
            files = list(dict.fromkeys(names_of(found)))
            message = f"{counted(found, 'object')} {what}, in {counted(files, 'picture')}."
            yield Finding(kind, severity, files, message, fix)
