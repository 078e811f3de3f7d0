"""Findings about the files of a dataset: unreadable, unpaired, rotated, of mixed kinds."""

from collections import defaultdict

import numpy as np

from tfseg.data.readers.pairing import naming_rule
from tfseg.data.readers.problems import first_few
from tfseg.data.value_range import UNIT_MAX, range_warning
from tfseg.doctor.findings import (
    Finding,
    faults_of_kind,
    image_names,
    mask_names,
    plural,
    semicolon_list,
    size_text,
)
from tfseg.doctor.measure import common_range

MAX_SIZE_RATIO = 4  # longest side of the largest image / that of the smallest
UPRIGHT_TURNS = {  # EXIF orientation: the Pillow transpose that turns the image upright
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
EXAMPLES = 3  # quoted in one message
PALETTE_SHOWN = 12


def file_findings(samples):
    """Return the findings that do not depend on the classes.

    Args:
        samples: list of `Sample`.
    """
    checks = (
        unreadable_files,
        unpaired_files,
        same_names,
        size_mismatches,
        exif_rotations,
        png_rotations,
        lossy_masks,
        palettes,
        mixed_channels,
        bit_depths,
        resolution_spread,
    )
    return [finding for check in checks for finding in check(samples)]


def left_out_files(texts):
    """Find files in the folders that are not read.

    Args:
        texts: sentences of `passed_over`.
    """
    if texts:
        fix = "Convert or move the files, or read subfolders with `--recursive`."
        yield Finding("left_out_files", "warning", [], " ".join(texts), fix)


def too_few_images(samples):
    """Find a dataset that cannot be split into training and validation images."""
    images = [sample for sample in samples if sample.size is not None]
    if len(images) == 1 and not images[0].val:
        message = "There is only one image to train on, so none is left to validate on."
        fix = "Add images, or pass validation images; cut a large scene into tiles."
        yield Finding("too_few_images", "error", image_names(images), message, fix)


def unreadable_files(samples):
    """Find files that cannot be read."""
    fixes = {
        "unreadable": "Remove the file, or save it again as PNG or JPEG from its source.",
        "truncated": "Copy the file again from its source, or remove it together with its partner.",
        "refused": "See the message.",
    }
    for kind, fix in fixes.items():
        names, texts = faults_of_kind(samples, kind)
        if names:
            # all slices of a volume have the same text
            message = semicolon_list(dict.fromkeys(texts))
            yield Finding(kind, "error", names, message, fix)


def unpaired_files(samples):
    """Find images without a mask and masks without an image."""
    if all(sample.image is None for sample in samples):
        return
    images = [sample for sample in samples if sample.mask is None]
    masks = [sample for sample in samples if sample.image is None]
    fix = _rename_command(images, masks)
    if fix is None:
        fix = "Add the missing file, or move the unpaired file out of its folder."
    rule = "An image and its mask need the same name except for the suffix."
    if images:
        message = f"{plural(len(images), 'image')} without a mask. {rule}"
        yield Finding("no_mask", "error", image_names(images), message, fix)
    if masks:
        message = f"{plural(len(masks), 'mask')} without an image. {rule}"
        yield Finding("no_image", "error", image_names(masks), message, fix)


def _rename_command(images, masks):
    """Return a line of code that renames the masks, if all differ from the images in one way.

    Example: images image_0.png, image_1.png and masks mask_0.png, mask_1.png.
    """
    if not images or not masks:
        return None
    rule = naming_rule([s.image.stem for s in images], [s.mask.stem for s in masks])
    if rule is None:
        return None
    image_prefix, image_suffix, mask_prefix, mask_suffix = rule
    new_stem = "f.stem"
    if mask_prefix:
        new_stem += f".removeprefix({mask_prefix!r})"
    if mask_suffix:
        new_stem += f".removesuffix({mask_suffix!r})"
    if image_prefix:
        new_stem = f"{image_prefix!r} + {new_stem}"
    if image_suffix:
        new_stem += f" + {image_suffix!r}"
    folder = str(masks[0].mask.parent)
    return f"for f in pathlib.Path({folder!r}).iterdir(): f.rename(f.with_stem({new_stem}))"


def same_names(samples):
    """Find files of one folder that differ only in their suffix."""
    names, texts = faults_of_kind(samples, "same_name")
    if names:
        yield Finding("same_name", "error", names, semicolon_list(texts), "Keep one of them.")


def size_mismatches(samples):
    """Find masks whose size differs from that of their image; transposed ones separately."""
    differing = [s for s in samples if s.size and s.mask_size and s.size != s.mask_size]
    transposed = [s for s in differing if s.size == s.mask_size[::-1] and s.orientation < 5]
    other = [s for s in differing if s not in transposed and not _mask_as_stored(s)]
    if transposed:
        yield _size_finding(
            "transposed",
            transposed,
            "with height and width swapped",
            "m = PIL.Image.open(f); m.transpose(PIL.Image.Transpose.ROTATE_90).save(f)  "
            "# or ROTATE_270",
        )
    if other:
        yield _size_finding(
            "size_mismatch",
            other,
            "with a size that differs from the image",
            "m = PIL.Image.open(f); "
            "m.resize((width, height), PIL.Image.Resampling.NEAREST).save(f)",
        )


def _size_finding(kind, found, description, fix):
    examples = [
        f"image {size_text(sample.size)}, mask {size_text(sample.mask_size)}" for sample in found
    ]
    message = f"{plural(len(found), 'mask')} {description}: {semicolon_list(examples, EXAMPLES)}."
    return Finding(kind, "error", mask_names(found), message, fix)


def exif_rotations(samples):
    """Find images stored rotated: tfseg turns them upright, so their masks must be upright too."""
    rotated = [s for s in samples if s.orientation in UPRIGHT_TURNS and s.size]
    wrong = [s for s in rotated if _mask_as_stored(s)]
    fitting = [
        s
        for s in rotated
        if s.orientation >= 5 and s.size == s.mask_size and s.size[0] != s.size[1]
    ]
    unsure = [s for s in rotated if s not in wrong and s not in fitting and s.size == s.mask_size]
    if wrong:
        yield _rotation_finding(
            "error",
            wrong,
            "but their masks fit the pixels as stored",
            "Rotate the masks too: " + _turn_commands(wrong),
        )
    if unsure:
        yield _rotation_finding(
            "warning",
            unsure,
            "but whether their masks are upright cannot be determined from the size",
            "Look at an overlay. If the masks are not upright: " + _turn_commands(unsure),
        )
    if fitting:
        yield _rotation_finding(
            "note", fitting, "and their masks fit the upright images", "No action needed."
        )


def _rotation_finding(severity, found, masks, fix):
    message = (
        f"{plural(len(found), 'image')} with an EXIF rotation: tfseg turns images upright, {masks}."
    )
    return Finding("exif_rotation", severity, image_names(found), message, fix)


def _mask_as_stored(sample):
    """Return whether a mask fits the stored pixels of an image that is turned by 90 degrees."""
    return (
        sample.orientation >= 5
        and sample.size != sample.mask_size
        and sample.size == sample.mask_size[::-1]
    )


def _turn_commands(found):
    turns = sorted({UPRIGHT_TURNS[sample.orientation] for sample in found})
    return "; ".join(
        f"m = PIL.Image.open(f); m.transpose(PIL.Image.Transpose.{turn}).save(f)" for turn in turns
    )


def png_rotations(samples):
    """Find PNG images with an EXIF orientation: viewers may turn them, tfseg does not."""
    found = [sample for sample in samples if sample.unapplied_orientation != 1]
    if found:
        message = (
            f"{plural(len(found), 'PNG image')} with an EXIF orientation, which is not applied: "
            "tfseg reads PNGs as stored, but a labeling tool may have shown them turned."
        )
        fix = (
            "Look at an overlay. If the masks do not fit: PIL.ImageOps.exif_transpose("
            "PIL.Image.open(f)).save(f)"
        )
        yield Finding("exif_rotation", "note", image_names(found), message, fix)


def lossy_masks(samples):
    """Find masks in a format that changes values."""
    names, texts = faults_of_kind(samples, "lossy_mask")
    if names:
        message = (
            f"{plural(len(names), 'mask')} in {', '.join(sorted(set(texts)))} format: lossy "
            "compression creates wrong class ids along edges."
        )
        fix = (
            "Export the masks again as PNG from the labeling tool. If they are black and white: "
            "PIL.Image.open(f).convert('L').point(lambda v: 255 * (v > 127))"
            ".save(f.with_suffix('.png'))"
        )
        yield Finding("lossy_masks", "error", names, message, fix)


def palettes(samples):
    """Find masks with a palette, whose indices must mean the same class everywhere."""
    found = [sample for sample in samples if sample.palette is not None]
    if not found:
        return
    colors = defaultdict(set)
    for sample in found:
        for value, color in sample.palette.items():
            colors[value].add(color)
    ambiguous = sorted(value for value, several in colors.items() if len(several) > 1)
    if ambiguous:
        examples = first_few(sorted(colors[ambiguous[0]]), EXAMPLES)
        message = (
            f"{plural(len(found), 'mask')} with differing palettes: the index "
            f"{first_few(ambiguous)} has several colors, such as {examples}. Indices are read as "
            "class ids, so classes would be mixed up."
        )
        fix = (
            "Read colors instead of indices: Folder(..., colors={'NAME': (red, green, blue), ...})."
        )
        yield Finding("palette_masks", "warning", mask_names(found), message, fix)
        return
    table = [f"{value} = {min(colors[value])}" for value in sorted(colors)[:PALETTE_SHOWN]]
    message = (
        f"{plural(len(found), 'mask')} with a palette: the indices are read as class ids "
        f"({', '.join(table)})."
    )
    fix = "No action needed if these ids are correct."
    yield Finding("palette_masks", "note", mask_names(found), message, fix)


def mixed_channels(samples):
    """Find datasets with gray and color images."""
    gray = [sample for sample in samples if sample.channels == 1]
    color = [sample for sample in samples if sample.channels and sample.channels != 1]
    if gray and color:
        message = (
            f"{plural(len(gray), 'gray image')} and {plural(len(color), 'color image')}: all are "
            "read as RGB."
        )
        fix = (
            "If color carries no information, read all images as gray: Folder(..., channels=1), or "
            "`tfseg train --gray`."
        )
        rarer = image_names(min(gray, color, key=len))
        yield Finding("mixed_channels", "warning", rarer, message, fix)


def bit_depths(samples):
    """Find images with more than 8 bits per channel, or divided by 255."""
    deep = [s for s in samples if s.dtype is not None and s.dtype != np.uint8]
    shallow = [s for s in samples if s.dtype == np.uint8]
    if deep and shallow:
        message = (
            f"{plural(len(deep), 'image')} with more than 8 bits per channel and "
            f"{plural(len(shallow), 'image')} with 8: their value ranges differ."
        )
        fix = (
            "Save all images with one depth. To convert 16 bits to 8: "
            "PIL.Image.fromarray((array / 257).astype('uint8')).save(f)"
        )
        rarer = image_names(min(deep, shallow, key=len))
        yield Finding("mixed_depth", "warning", rarer, message, fix)
    elif deep:
        low, high = common_range(deep) or (0, 0)
        if high <= UNIT_MAX and range_warning(low, high, None, ""):
            yield _scaled_images(deep, low, high)
            return
        message = (
            f"{plural(len(deep), 'image')} with more than 8 bits per channel and values from "
            f"{low:g} to {high:g}: the model must know their value range."
        )
        fix = "Pass the report's `normalization` to the model; `tfseg train` does so."
        yield Finding("deep_images", "note", image_names(deep), message, fix)


def _scaled_images(found, low, high):
    message = (
        f"{plural(len(found), 'image')} with values from {low:g} to {high:g}, expected 0..255."
    )
    fix = (
        "Do not divide images by 255, or pass the report's `normalization` to the model, as "
        "`tfseg train` does."
    )
    return Finding("scaled_images", "warning", image_names(found), message, fix)


def resolution_spread(samples):
    """Find datasets with very different image sizes."""
    sized = sorted((s for s in samples if s.size), key=lambda s: max(s.size))
    if not sized:
        return
    small, large = sized[0], sized[-1]
    if max(large.size) > MAX_SIZE_RATIO * max(small.size):
        message = f"Image sizes range from {size_text(small.size)} to {size_text(large.size)}."
        fix = (
            "Objects should have similar sizes in all images: resize the images to one scale, or "
            "remove outliers."
        )
        names = image_names([small, large])
        yield Finding("resolution_spread", "warning", names, message, fix)
