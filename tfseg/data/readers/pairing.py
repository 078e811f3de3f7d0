"""Pair images with masks by file name, and check that their headers match."""

import itertools
import re

import numpy as np

from tfseg.data.readers.file_scan import scan
from tfseg.data.readers.image_files import read_header
from tfseg.data.readers.problems import format_problems


def pair_by_stem(images, masks, kind: str = "image", image_suffix="", mask_suffix=".png"):
    """Pair images with the masks of the same name.

    Args:
        images: {name without suffix: file}, of one folder.
        masks: the same of another folder.
        kind: what the errors call an image.
        image_suffix, mask_suffix: of the missing files that the errors name.

    Returns:
        list of (image, mask) in the order of the images.

    Raises:
        ValueError: images without a mask, or masks without an image; every one is named.
    """
    problems = [
        f"{file} has no mask '{stem}{mask_suffix}' in {_folder(masks)}"
        for stem, file in images.items()
        if stem not in masks
    ]
    problems += [
        f"{file} has no {kind} '{stem}{image_suffix}' in {_folder(images)}"
        for stem, file in masks.items()
        if stem not in images
    ]
    if problems:
        raise ValueError(
            f"{format_problems(problems)}\nA mask has the name of its {kind}: rename or add the "
            f"missing files, or remove the others.{_naming_hint(images, masks, kind)}"
        )
    return [(file, masks[stem]) for stem, file in images.items()]


def _folder(files):
    """Return the folder at which the names of {name: file} start."""
    name, file = next(iter(files.items()))
    return file.parents[name.count("/")]


def _naming_hint(images, masks, kind):
    """Return a sentence about how the names of masks differ from those of images, or ""."""
    rule = naming_rule(images, masks)
    if rule is None:
        return ""
    before, after, mask_before, mask_after = rule
    return (
        f" Each mask '{mask_before}NAME{mask_after}' seems to belong to the {kind} "
        f"'{before}NAME{after}': rename the masks that way."
    )


def naming_rule(image_stems, mask_stems):
    """Find out how the names of masks differ from those of their images.

    Args:
        image_stems, mask_stems: names without suffix.

    Returns:
        (prefix of the images, suffix of the images, prefix of the masks, suffix of the masks), such
        that the rest of the names is the same; None if there is no such rule, or all are "".

    Example:
        >>> naming_rule(["image_00", "image_01"], ["mask_00", "mask_01"])
        ('image_', '', 'mask_', '')
        >>> naming_rule(["21_training", "22_training"], ["21_manual1", "22_manual1"])
        ('', '_training', '', '_manual1')
    """
    images, masks = list(image_stems), list(mask_stems)
    before, after = _shared_ends(images)
    mask_before, mask_after = _shared_ends(masks)
    names = sorted(_middle(stem, before, after) for stem in images)
    if names != sorted(_middle(stem, mask_before, mask_after) for stem in masks) or "" in names:
        return None
    rule = (before, after, mask_before, mask_after)
    return None if rule[:2] == rule[2:] else rule


def _shared_ends(stems):
    """Return the prefix and the suffix that all names share, without digits next to the rest.

    The digits belong to the numbers that tell the names apart: 21_a and 22_a share only "_a".
    """
    prefix = re.sub(r"\d+$", "", _common_start(stems))
    rest = [stem[len(prefix) :][::-1] for stem in stems]
    suffix = _common_start(rest)[::-1]
    return prefix, re.sub(r"^\d+", "", suffix)


def _common_start(texts):
    """Return the longest text that all start with."""
    first, last = min(texts), max(texts)  # of sorted texts these two differ first
    same = (a == b for a, b in zip(first, last, strict=False))
    return first[: sum(itertools.takewhile(bool, same))]


def _middle(stem, prefix, suffix):
    return stem[len(prefix) : len(stem) - len(suffix)]


def read_headers(files):
    """Open the headers of images and of the masks that belong to them.

    Args:
        files: list of (image, mask, ...), any number of masks of the size of their image.

    Returns:
        sizes: list of (height, width).
        channels: 3 if any image is in color, else 1.
        dtype: uint8 if all images have 8 bit, else float32.

    Raises:
        ValueError: files that are not images, or masks of another size; every one is named.
    """
    headers = scan(_header, files)
    problems = [header for header in headers if isinstance(header, str)]
    if problems:
        raise ValueError(format_problems(problems))
    sizes = [(height, width) for height, width, _, _ in headers]
    channels = max(channels for _, _, channels, _ in headers)
    all_8_bit = all(is_8_bit for _, _, _, is_8_bit in headers)
    return sizes, channels, np.uint8 if all_8_bit else np.float32


def _header(files):
    """Return an image's header, or a sentence about what is wrong with it or with its masks."""
    try:
        headers = [read_header(file) for file in files]
    except (OSError, ValueError) as error:
        return str(error)
    height, width = headers[0][:2]
    for mask, (mask_height, mask_width, _, _) in zip(files[1:], headers[1:], strict=True):
        if (height, width) != (mask_height, mask_width):
            return (
                f"{files[0]} is {width} x {height}, but its mask {mask} is {mask_width} x "
                f"{mask_height} pixels. Resize the mask with nearest neighbor, or label again."
            )
    return headers[0]
