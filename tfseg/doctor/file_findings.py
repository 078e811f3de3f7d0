"""What can be wrong with the files of a dataset: each examination takes samples and returns findings."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tfseg.doctor.duplicates import NEAR, groups, nearest

SPREAD = 4  # times that the longest side of the largest image may be that of the smallest
TURNED_BACK = {  # what Pillow does to the pixels of each EXIF orientation to turn them upright
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


@dataclass
class Finding:
    """Something about a dataset that its owner should know.

    Attributes:
        kind: a word for it, the same in all reports, such as "no_mask".
        severity: "error" if training refuses the data, "warning" if it goes on and may suffer, "note" if tfseg
            copes by itself.
        files: the names concerned: paths, or a reader's names.
        message: what was found.
        fix: what to do.
    """

    kind: str
    severity: str
    files: list = field(default_factory=list)
    message: str = ""
    fix: str = ""


def file_findings(samples):
    """Return the findings that need no knowledge of the classes, errors first within each examination."""
    examinations = (
        faults,
        pairs,
        same_names,
        sizes,
        orientations,
        lossy_masks,
        palettes,
        channels,
        depths,
        spread,
    )
    return [
        finding for examine in (*examinations, duplicates, leakage) for finding in examine(samples)
    ]


def faults(samples):
    """Files that cannot be read."""
    fixes = {
        "unreadable": "Remove the file, or save it again as PNG or JPEG from its source.",
        "truncated": "Copy the file again from its source, or remove it together with its partner.",
        "refused": "See the message.",
    }
    for kind, fix in fixes.items():
        found = [
            (name, text) for sample in samples for what, name, text in sample.faults if what == kind
        ]
        if found:
            yield Finding(
                kind, "error", [name for name, _ in found], joined([text for _, text in found]), fix
            )


def pairs(samples):
    """Images without a mask and the reverse."""
    if all(sample.image is None for sample in samples):
        return
    without = [sample for sample in samples if sample.mask is None]
    spare = [sample for sample in samples if sample.image is None]
    remedy = (
        _renaming(without, spare)
        or "Add the missing file, or move the one without a partner out of its folder."
    )
    for kind, found, lack in (("no_mask", without, "image"), ("no_image", spare, "mask")):
        if found:
            other = "mask" if lack == "image" else "image"
            message = f"{counted(found, lack)} without a {other}: both must bear one name, but for the suffix."
            yield Finding(kind, "error", names_of(found), message, remedy)


def _renaming(without, spare):
    """Return a line of code if all masks bear the names of images with one and the same addition."""
    stems = sorted((sample.image.stem for sample in without), key=len, reverse=True)
    masks = [sample.mask.stem for sample in spare]
    base = next((stem for stem in stems if masks and stem in masks[0]), None)
    if base is None:
        return None
    before, after = masks[0].split(base, 1)
    if sorted(stems) != sorted(mask.removeprefix(before).removesuffix(after) for mask in masks):
        return None
    folder = spare[0].mask.parent
    strip = f".removeprefix({before!r})" * bool(before) + f".removesuffix({after!r})" * bool(after)
    return f"for f in pathlib.Path({str(folder)!r}).iterdir(): f.rename(f.with_stem(f.stem{strip}))"


def same_names(samples):
    """Files of one folder that differ in their suffix only: which of them belongs to the mask?"""
    found = [
        (name, text)
        for sample in samples
        for kind, name, text in sample.faults
        if kind == "same_name"
    ]
    if found:
        message = joined([text for _, text in found])
        yield Finding(
            "same_name", "error", [name for name, _ in found], message, "Keep one of them."
        )


def sizes(samples):
    """Masks of another size than their images; those that only lie on their side are told apart."""
    differing = [s for s in samples if s.size and s.mask_size and s.size != s.mask_size]
    lying = [s for s in differing if s.size == s.mask_size[::-1] and s.orientation < 5]
    other = [s for s in differing if s not in lying and not _drawn_as_stored(s)]
    for kind, found, fix in (
        (
            "transposed",
            lying,
            "m = PIL.Image.open(f); m.transpose(PIL.Image.Transpose.ROTATE_90).save(f)  # or ROTATE_270",
        ),
        (
            "size_mismatch",
            other,
            "m = PIL.Image.open(f); m.resize((width, height), PIL.Image.Resampling.NEAREST).save(f)",
        ),
    ):
        if found:
            examples = [f"{_pixels(s.size)} with a mask of {_pixels(s.mask_size)}" for s in found]
            what = "on its side" if kind == "transposed" else "of another size than its image"
            yield Finding(
                kind,
                "error",
                masks_of(found),
                f"{counted(found, 'mask')}, each {what}: {joined(examples, 3)}.",
                fix,
            )


def orientations(samples):
    """Images that a camera stored turned: tfseg turns them upright, and their masks must be upright too."""
    turned = [s for s in samples if s.orientation in TURNED_BACK and s.size]
    against = [s for s in turned if _drawn_as_stored(s)]
    surely = [
        s for s in turned if s.orientation >= 5 and s.size == s.mask_size and s.size[0] != s.size[1]
    ]
    unsure = [s for s in turned if s not in against and s not in surely and s.size == s.mask_size]
    for severity, found, what, fix in (
        (
            "error",
            against,
            "but their masks were drawn on the pixels as stored",
            _turning(against, "Turn the masks as well: "),
        ),
        (
            "warning",
            unsure,
            "and their masks have the same size either way: whether they are upright cannot be told",
            _turning(unsure, "Look at an overlay. If the masks are not upright: "),
        ),
        ("note", surely, "and their masks fit the upright images", "Nothing to do."),
    ):
        if found:
            message = f"{counted(found, 'picture')} with an EXIF rotation: tfseg turns images upright, {what}."
            yield Finding("exif_rotation", severity, names_of(found), message, fix)


def _drawn_as_stored(sample):
    return (
        sample.orientation >= 5
        and sample.size != sample.mask_size
        and sample.size == sample.mask_size[::-1]
    )


def _turning(found, words):
    turns = sorted({TURNED_BACK[s.orientation] for s in found})
    return words + "; ".join(
        f"m = PIL.Image.open(f); m.transpose(PIL.Image.Transpose.{t}).save(f)" for t in turns
    )


def lossy_masks(samples):
    """Masks in a format that changes values."""
    found = [
        (name, text)
        for sample in samples
        for kind, name, text in sample.faults
        if kind == "lossy_mask"
    ]
    if found:
        formats = ", ".join(sorted({text for _, text in found}))
        message = f"{len(found)} of the masks are {formats}: lossy compression invents class ids along edges."
        fix = (
            "Export them again as PNG from the labeling tool. If they are black and white only: "
            "PIL.Image.open(f).convert('L').point(lambda v: 255 * (v > 127)).save(f.with_suffix('.png'))"
        )
        yield Finding("lossy_masks", "error", [name for name, _ in found], message, fix)


def palettes(samples):
    """Masks with a palette: their indices are the ids, which must mean the same everywhere."""
    found = [s for s in samples if s.palette is not None]
    if not found:
        return
    colors = defaultdict(set)
    for sample in found:
        for value, color in sample.palette.items():
            colors[value].add(color)
    mixed = sorted(value for value, several in colors.items() if len(several) > 1)
    if mixed:
        message = (
            f"{counted(found, 'mask')} with palettes that differ: the index {some(mixed)} stands for several colors, "
            f"such as {some(sorted(colors[mixed[0]]), 3)}. Indices are read as class ids, so classes change places."
        )
        fix = "Read the colors, not the indices: Folder(..., colors={'NAME': (red, green, blue), ...})."
        yield Finding("palette_masks", "warning", masks_of(found), message, fix)
        return
    table = ", ".join(f"{value} = {min(colors[value])}" for value in sorted(colors)[:12])
    message = (
        f"{counted(found, 'mask')} with a palette: the indices are read as class ids ({table})."
    )
    yield Finding(
        "palette_masks", "note", masks_of(found), message, "Nothing to do if the ids are right."
    )


def channels(samples):
    """Gray images among colored ones."""
    gray = [s for s in samples if s.channels == 1]
    color = [s for s in samples if s.channels and s.channels != 1]
    if gray and color:
        rarer = min(gray, color, key=len)
        message = f"{counted(gray, 'gray picture')} among {counted(color, 'picture')} in color: all are read as RGB."
        fix = "If color means nothing here, read all as gray: Folder(..., channels=1), or `tfseg train --gray`."
        yield Finding("mixed_channels", "warning", names_of(rarer), message, fix)


def depths(samples):
    """Images of more than 8 bits."""
    deep = [s for s in samples if s.dtype is not None and s.dtype != np.uint8]
    shallow = [s for s in samples if s.dtype == np.uint8]
    if deep and shallow:
        message = f"{counted(deep, 'picture')} of 16 bit or more among {len(shallow)} of 8: the scales differ."
        rarer = min(deep, shallow, key=len)
        fix = "Save all with one depth: PIL.Image.fromarray((array / 257).astype('uint8')).save(f) for 16 bit."
        yield Finding("mixed_depth", "warning", names_of(rarer), message, fix)
    elif deep:
        message = f"{counted(deep, 'picture')} of 16 bit or more: a model built by hand has to know their range."
        fix = "Pass the report's `normalization` to the model; `tfseg train` does so."
        yield Finding("deep_images", "note", names_of(deep), message, fix)


def spread(samples):
    """Images of very different sizes."""
    sized = sorted((s for s in samples if s.size), key=lambda s: max(s.size))
    if sized and max(sized[-1].size) > SPREAD * max(sized[0].size):
        small, large = sized[0], sized[-1]
        message = f"The images reach from {_pixels(small.size)} to {_pixels(large.size)}."
        fix = "Objects should appear at like sizes: bring the images to one scale, or leave out the odd ones."
        yield Finding("resolution_spread", "warning", names_of([small, large]), message, fix)


def duplicates(samples):
    """The same image twice, to the byte or nearly, on one side of the split."""
    for part, where in zip(_sides(samples), ("", " to validate on"), strict=True):
        same = defaultdict(list)
        for sample in part:
            same[sample.digest].append(sample)
        again = [twins for twins in same.values() if len(twins) > 1]
        if again:
            differ = [twins for twins in again if len({twin.mask_digest for twin in twins}) > 1]
            message = f"{counted(again, 'picture')}{where} more than once, to the byte: {joined(map(_equals, again), 3)}."
            if differ:
                message += f" The masks of {len(differ)} of them contradict each other."
            yield Finding(
                "duplicates",
                "warning",
                names_of([twin for twins in again for twin in twins]),
                message,
                "Keep one of each.",
            )
        yield from _near([twins[0] for twins in same.values() if twins[0].hash is not None], where)


def _near(part, where):
    earlier, distances = nearest([s.hash for s in part])
    alike = groups((i, earlier[i]) for i in np.flatnonzero(distances <= NEAR).tolist())
    if alike:
        found = [part[i] for group in alike for i in group]
        examples = joined([_equals([part[i] for i in group[:2]]) for group in alike], 3)
        message = (
            f"{len(found)} of {len(part)} images{where} are nearly alike, in {counted(alike, 'group')}: {examples}."
            " Frames of a video and re-saved copies look so."
        )
        fix = (
            "Keep such groups on one side of a split: folders of their own with --val-images and --val-masks, or "
            "reader.split(0.2, groups=lambda name: name[:6])."
        )
        yield Finding("near_duplicates", "warning", names_of(found), message, fix)


def leakage(samples):
    """Images to validate on that training has seen."""
    train, val = _sides(samples)
    at = {sample.digest: sample for sample in train}
    seen = [(at[s.digest], s, "") for s in val if s.digest in at]
    known, asked = ([s for s in part if s.hash is not None] for part in (train, val))
    earlier, distances = nearest([s.hash for s in asked], [s.hash for s in known])
    seen += [
        (known[j], sample, " nearly")
        for sample, j, distance in zip(asked, earlier, distances, strict=True)
        if distance <= NEAR and sample.digest not in at
    ]
    if seen:
        examples = joined([f"{_equals([one, other])}{how}" for one, other, how in seen], 3)
        exactly = sum(how == "" for *_, how in seen)
        message = (
            f"{len(seen)} of {len(val)} images to validate on are among those to train on ({exactly} to the byte, "
            f"{len(seen) - exactly} nearly): {examples}. Scores on them say nothing about new images."
        )
        files = [name for one, other, _ in seen for name in (one.name, other.name)]
        yield Finding(
            "leakage",
            "warning",
            files,
            message,
            "Remove them from one side; split videos by sequence.",
        )


def _sides(samples):
    read = [s for s in samples if s.digest is not None]
    return [s for s in read if not s.val], [s for s in read if s.val]


def _equals(samples):
    return " = ".join(Path(sample.name).name for sample in samples)


def names_of(samples):
    """Return the samples' names."""
    return [sample.name for sample in samples]


def masks_of(samples):
    """Return the names of the samples' masks; those in memory bear their samples' names."""
    return [str(sample.mask or sample.name) for sample in samples]


def counted(found, noun):
    """Return how many there are, such as "2 masks"."""
    return f"{len(found)} {noun}{'s' * (len(found) != 1)}"


def _pixels(size):
    return f"{size[1]} x {size[0]}"


def some(values, most=8):
    """Return at most so many values, with commas between."""
    values = list(values)
    return ", ".join(map(str, values[:most])) + " ..." * (len(values) > most)


def joined(texts, most=8):
    """Return at most so many texts, with semicolons between, and how many more there are."""
    texts = list(texts)
    return "; ".join(texts[:most]) + f" and {len(texts) - most} more" * (len(texts) > most)
