"""The classes of masks that nobody has named: from files beside them, or from their values."""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfseg.checks import BACKGROUND, IGNORE_INDEX, ignore_index_for, is_background
from tfseg.data.readers.class_files import find_class_file, read_class_file
from tfseg.data.readers.image_files import read_colors, read_mask
from tfseg.data.readers.image_listing import by_stem, images_of_dataset
from tfseg.data.readers.mask_layouts import only_subfolders, pair_files
from tfseg.data.readers.mask_values import distinct_values
from tfseg.data.readers.pillow_files import open_image
from tfseg.data.readers.problems import first_few
from tfseg.doctor.numbered_objects import number_objects

FOREGROUND = "foreground"
UNLABELED = ("void", "unlabeled", "ignore", "ignored")  # names of an ignored color
VALUES_SHOWN = 40


class NumberedObjectsError(ValueError):
    """Masks number objects instead of classes."""


@dataclass(frozen=True)
class GuessedClasses:
    """Classes of masks, and where they are from.

    Attributes:
        names: names of the class ids 0, 1, 2 ...
        reason: why these, such as "the masks contain 0 and 255".
        colors: {name: (red, green, blue)} if colors in the masks stand for classes; None for ids.
        ignored_color: color of unlabeled pixels, or None.
    """

    names: list
    reason: str
    colors: dict | None = None
    ignored_color: tuple | None = None

    def __str__(self):
        return f"Class names: {first_few(self.names, VALUES_SHOWN)} ({self.reason})."


def guess_classes(
    images: str | Path,
    masks: str | Path,
    val: tuple | None = None,
    ignore_value: int = IGNORE_INDEX,
    mask_values: dict | None = None,
    colors: dict | None = None,
    recursive: bool = False,
    mask_suffix: str | None = None,
    track: Callable = lambda masks, total: masks,
) -> GuessedClasses:
    """Decide which classes masks contain.

    By the first that applies: the names of `colors`; the names of folders of masks per class; a
    file such as classes.txt in the folder of the masks or of the images, or beside them;
    background and foreground for masks of 0 and 1, or 0 and 255; class_0 to class_k for the ids
    0 to k.

    Args:
        images, masks: folders.
        val: (images, masks) to validate on, or None. Their values count, too.
        ignore_value, mask_values, colors, recursive, mask_suffix: see `tfseg.data.Folder`.
        track: wraps the iteration over the masks to show progress.

    Raises:
        FileNotFoundError: a folder is missing or empty.
        ValueError: the classes cannot be decided; the message names the option to pass. Or images
            and masks do not match.

    Example:
        >>> from tfseg.doctor.guessed_classes import guess_classes
        >>> print(guess_classes("photos", "labels"))
        Class names: background, foreground (the masks contain 0 and 1).
    """
    images, masks = Path(images), Path(masks)
    if colors is not None:
        return GuessedClasses(list(colors), "those of --colors", colors)
    folders = [] if recursive or mask_suffix else _class_folders(images, masks)
    if folders:
        names = [BACKGROUND, *(name for name in folders if name != BACKGROUND)]
        return GuessedClasses(names, f"from the folders in {masks}")
    files = []
    for pair in filter(None, ((images, masks), val)):
        files += _mask_files(*pair, recursive, mask_suffix)
    file = find_class_file(masks, masks.parent, images, images.parent)
    listed = {} if file is None else read_class_file(file)
    mode = _mode(files[0])
    # the colors of a palette stand for classes only if those of all masks are in the file
    examples = files if mode == "P" else files[:1]
    may_be_colors = mode in ("RGB", "RGBA", "P") and mask_values is None
    if may_be_colors and _are_colors_of(examples, listed):
        return _colored(listed, file)
    if mode in ("RGB", "RGBA"):
        _refuse_colors(files, masks)
    values = _values_of_each(files, track)
    if file is not None:
        return _from_file(list(listed), file, masks, values, ignore_value, mask_values)
    return _from_values(masks, values, ignore_value, mask_values)


def _class_folders(images, masks):
    """Return the names of the subfolders of the masks, unless they are those of images."""
    names = [path.name for path in only_subfolders(masks)]
    if not names:
        return []
    with warnings.catch_warnings():  # the reader warns later
        warnings.simplefilter("ignore")
        stems = by_stem(images_of_dataset(images, masks))
    return [] if set(names) <= set(stems) else names


def _mask_files(images, masks, recursive, mask_suffix):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files, _ = pair_files(images, masks, [], recursive, mask_suffix)
    return [mask for _, masks in files.values() for mask in masks]


def _mode(path):
    """Return Pillow's mode of a mask, such as "RGB"; None if Pillow does not open it."""
    try:
        with open_image(path) as image:
            return image.mode
    except (OSError, ValueError):
        return None


def _colors_of(path):
    """Return the set of the colors of a mask; empty if they cannot be read."""
    try:
        colors = read_colors(path)
    except (OSError, ValueError):
        return set()
    # one integer per color is faster to sort than rows
    packed = np.unique(colors.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32))
    return {(value >> 16, value >> 8 & 255, value & 255) for value in packed.tolist()}


def _are_colors_of(files, listed):
    """Return whether all colors of masks are those of a file of classes."""
    if not listed or None in listed.values():
        return False
    with ThreadPoolExecutor() as pool:
        found = set().union(*pool.map(_colors_of, files))
    return bool(found) and found <= set(listed.values())


def _colored(listed, file):
    """Return the classes of a file with colors; the color of "Void" is ignored."""
    spelled = {name: name.casefold().replace("elled", "eled") for name in listed}  # also British
    ignored = next((name for name in listed if spelled[name] in UNLABELED), None)
    colors = {name: color for name, color in listed.items() if name != ignored}
    reason = f"from {file}, with their colors"
    if ignored is not None:
        reason += f"; {ignored} is ignored"
    return GuessedClasses(list(colors), reason, colors, listed.get(ignored))


def _refuse_colors(files, masks):
    """Raise a ValueError if masks are colored: those stored as RGB may be gray, too."""
    with ThreadPoolExecutor() as pool:
        found = sorted(set().union(*pool.map(_colors_of, files)))
    if all(len(set(color)) == 1 for color in found):
        return
    if len(found) > VALUES_SHOWN:
        raise ValueError(
            f"The masks in '{masks}' contain {len(found)} colors, as photographs have and masks "
            "that were smoothed. Check that the folders are not swapped; `tfseg doctor` describes "
            "them."
        )
    pairs = ",".join(
        f"class_{number}={'/'.join(map(str, color))}" for number, color in enumerate(found)
    )
    raise ValueError(
        f"The masks in '{masks}' contain colors instead of class ids. Name them, and pass: "
        f"--colors {pairs} (ignore=... for the color of unlabeled pixels)."
    )


def _values_of_each(files, track):
    """Return the set of the values of each mask."""
    with ThreadPoolExecutor() as pool:
        return list(track(pool.map(_values_of, files), len(files)))


def _values_of(path):
    try:
        return distinct_values(read_mask(path))
    except OSError:  # reported later, by the check of all files
        return set()


def _from_file(names, file, masks, values, ignore_value, mask_values):
    """Return the classes of a file if they suit the masks."""
    ids, _ = _class_ids(values, ignore_value, mask_values)
    count = max(ids, default=0) + 1
    if count == len(names) + 1 and 0 in ids and not is_background(names[0]):
        names = [BACKGROUND, *names]
    if count > len(names):
        raise ValueError(
            f"{file} names {len(names)} classes ({first_few(names)}), but the masks in '{masks}' "
            f"contain the class ids {first_few(sorted(ids), VALUES_SHOWN)}. Correct the file, or "
            "pass --class-names."
        )
    return GuessedClasses(names, f"from {file}")


def _from_values(masks, values, ignore_value, mask_values):
    """Return the classes of the values in masks."""
    ids, reason = _class_ids(values, ignore_value, mask_values)
    if len(ids) < 2:
        raise ValueError(
            f"The masks in '{masks}' contain a single class ({reason}), so there is nothing to "
            "learn. Check how they were exported, and which value is ignored (--ignore-value)."
        )
    if mask_values is None and number_objects([found - {0, ignore_value} for found in values]):
        raise NumberedObjectsError(
            f"The masks in '{masks}' number objects: they contain 1, 2, ... up to {max(ids)}, a "
            "different number in each mask. To separate the objects, train with `--task instances "
            f"--labels {masks}` in place of `--masks`; if they are classes, pass --class-names."
        )
    if ids == {0, 1}:
        return GuessedClasses([BACKGROUND, FOREGROUND], reason)
    count = max(ids) + 1
    if mask_values is None and (len(ids) == 2 or 2 * (count - len(ids)) > len(ids)):
        raise ValueError(_gaps(masks, sorted(ids)))
    return GuessedClasses([f"class_{number}" for number in range(count)], reason)


def _class_ids(values, ignore_value, mask_values):
    """Return the set of the class ids in masks, and a sentence about them.

    Args:
        values: list of the set of values of each mask.
        ignore_value, mask_values: see `guess_classes`.
    """
    found = set().union(*values)
    if mask_values:
        ids = set(mask_values.values())
        ids -= {ignore_index_for(max(ids))}
        return ids, f"the ids of --mask-values {first_few(sorted(ids))}"
    if found == {0, IGNORE_INDEX} or found == {IGNORE_INDEX}:
        return {0, 1}, "the masks contain 0 and 255"
    if ignore_value == IGNORE_INDEX:
        ignore_value = ignore_index_for(max(found - {65535}, default=0))
    ids = found - {ignore_value}
    reason = f"the masks contain {_range_text(sorted(ids))}"
    if ignore_value in found:
        reason += f"; {ignore_value} is ignored"
    return ids, reason


def _range_text(values):
    """Return "0 and 1", "0 to 5" or "0, 1, 3"."""
    if len(values) == 2:
        return f"{values[0]} and {values[1]}"
    if len(values) > 2 and values == list(range(values[0], values[-1] + 1)):
        return f"{values[0]} to {values[-1]}"
    return first_few(values, VALUES_SHOWN) or "no class"


def _gaps(masks, ids):
    """Word the error about values that are not the ids 0 to k."""
    text = f"The values in the masks in '{masks}' do not number classes from 0: "
    if len(ids) > VALUES_SHOWN:
        return (
            f"{text}there are {len(ids)} from {ids[0]} to {ids[-1]}, as images have and masks that "
            "were smoothed or resized. `tfseg doctor` describes them; pass --class-names if they "
            "are class ids."
        )
    option = ",".join(f"{value}={class_id}" for class_id, value in enumerate(ids))
    return (
        f"{text}{first_few(ids, VALUES_SHOWN)}. If these are the classes in order, pass "
        f"--mask-values {option}; if they are class ids, pass --class-names."
    )
