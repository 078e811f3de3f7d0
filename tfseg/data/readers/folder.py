"""The reader of a folder of images and a folder of masks."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfseg.checks import BACKGROUND, IGNORE_INDEX, label_names
from tfseg.data.readers.base import Reader, check_class_names, mask_dtype_for
from tfseg.data.readers.color_masks import ColorTable
from tfseg.data.readers.extract import shrink_labels
from tfseg.data.readers.image_files import read_colors, read_image, read_mask, read_palette
from tfseg.data.readers.image_listing import printable
from tfseg.data.readers.mask_layouts import pair_files
from tfseg.data.readers.mask_values import (
    are_black_and_white,
    distinct_values,
    to_class_ids,
    value_tables,
)
from tfseg.data.readers.objects import OBJECT_FIELDS, object_labels
from tfseg.data.readers.other_formats import layout_hint
from tfseg.data.readers.pairing import read_headers
from tfseg.data.readers.problems import first_few

INTEGERS = (int, np.integer)
CHUNK = 32  # masks read at once while testing whether all masks are black and white
NO_VALUE = (IGNORE_INDEX, -1)  # the default of `ignore_value`, and "ignore nothing"


class Folder(Reader):
    """A folder of images and a folder of masks, paired by file name without suffix.

    Opens the header of every file, so that files that do not match are found at once. Masks
    contain class ids as gray levels or palette indices. With `colors` they contain colors, with
    `instances` numbered objects.

    An image may have several masks: in a subfolder of `masks` with its name, or with numbers after
    `mask_suffix`. Class ids other than 0 of later masks replace those of earlier ones; with
    `instances`, every mask has objects of its own. Or `masks` contains a subfolder with the name of
    each class, whose masks are 0 outside the class and any other value inside; in the order of the
    ids, later classes replace earlier ones, and an image may lack masks of some classes.

    Args:
        images: folder of images (PNG, JPEG, BMP, GIF, TIFF, WebP, AVIF, JPEG 2000; gray or RGB of 8
            or 16 bit, palette; alpha is dropped).
        masks: folder of masks (PNG, BMP, GIF, TIFF).
        class_names: names in the order of their ids. A single name is id 1; 0 is background.
        ignore_value: the value on disk of pixels without a label, translated to 255; -1 for none.
            With `colors`, a color. With more than 255 classes 255 is a class, and both values are
            65535.
        mask_values: {value on disk: class id}; takes precedence over `ignore_value`. By default
            values are ids, but masks of two classes that contain only 0 and 255 are read as 0
            and 1.
        channels: 1 or 3 to read all images as gray or RGB; by default RGB if any is in color.
        colors: {class name: (red, green, blue)}, or a list of such triples in the order of the
            class names, for RGB(A) or palette masks whose colors stand for classes. A single class
            name needs a color for "background" too.
        instances: whether masks are numbered objects of one class: 0 is background, any other
            value an object. Samples then also have "instances", "boxes", "classes", "crowd" and
            "areas"; `class_names` is one name, optionally preceded by "background". Objects are
            numbered 1..N in the order of their values; `ignore_value` does not apply.
        recursive: whether to read the images and masks of subfolders, too. A sample is then called
            "summer/leaf0".
        mask_suffix: what the names of masks have after those of images, such as "_mask" for
            leaf0.jpg and leaf0_mask.png, leaf0_mask_1.png. Images and masks may then be in one
            folder.

    Attributes:
        palette: RGB colors from `colors`, or from the mask files if all are PNGs with the same
            palette.

    Raises:
        FileNotFoundError: a folder is missing or empty.
        ValueError: images without a mask or masks without an image, or sizes that differ; every
            such file is named. Or arguments that contradict each other.
        OSError: a file is not an image.

    Example:
        >>> import tfseg
        >>> reader = tfseg.data.Folder("photos", "labels", class_names=["background", "leaf"])
        >>> reader
        <Folder: 4 samples of image, mask; 3 channels of uint8; 2 classes: background, leaf>
        >>> reader.name(0), reader[0]["mask"].shape
        ('leaf0', (48, 64))
    """

    def __init__(
        self,
        images: str | Path,
        masks: str | Path,
        class_names: Sequence[str],
        ignore_value=IGNORE_INDEX,
        mask_values: dict[int, int] | None = None,
        channels: int | None = None,
        colors=None,
        instances: bool = False,
        recursive: bool = False,
        mask_suffix: str | None = None,
    ):
        names = label_names(check_class_names(class_names))
        files, self._has_class_folders = pair_files(images, masks, names, recursive, mask_suffix)
        self._names = [printable(name) for name in files]
        self._files = list(files.values())
        sizes, found, dtype = read_headers([(image, *masks) for image, masks in self._files])
        super().__init__(class_names, sizes, channels or found, dtype)
        _check_arguments(self.label_names, ignore_value, mask_values, colors, instances)
        if self._has_class_folders:
            _check_class_folders(masks, ignore_value, mask_values, colors, instances)
        self._colors = None
        self._table = {}
        if instances:
            self.fields = ("image", *OBJECT_FIELDS)
        elif colors is not None:
            ignored_color = None if isinstance(ignore_value, INTEGERS) else ignore_value
            self._colors = ColorTable(colors, self.label_names, ignored_color)
            self.palette = self._colors.palette
        elif not self._has_class_folders:
            self._set_values(ignore_value, mask_values)

    def _set_values(self, ignore_value, mask_values):
        """Find out what the values in the masks mean."""
        masks = [mask for _, masks in self._files for mask in masks]
        two_classes = mask_values is None and len(self.label_names) == 2
        if two_classes and are_black_and_white(_values_of_each(masks)):
            mask_values = {0: 0, 255: 1}
        self.mask_values, self._table = value_tables(
            "Folder", self.label_names, ignore_value, mask_values
        )
        self.palette = _shared_palette(masks, self.mask_values, len(self.label_names))

    def __getitem__(self, index: int) -> dict:
        return self.read(index)

    def read(self, index: int, shrink: int = 1) -> dict:
        """Return a sample at 1 / `shrink` of its size, see `Reader.read`. Fast for JPEGs."""
        image, masks = self._files[index]
        labels = shrink_labels(self._labels(masks), shrink)
        pixels = read_image(image, self.channels, shrink)
        return {"image": pixels.astype(self.dtype, copy=False), **labels}

    def _labels(self, masks):
        if "instances" in self.fields:
            return _read_objects(masks)
        if self._has_class_folders:
            return {"mask": _read_class_masks(masks, self.label_names)}
        ids = self._class_ids(masks[0])
        for path in masks[1:]:
            other = self._class_ids(path)
            ids = np.where(other != 0, other, ids)
        return {"mask": ids}

    def _class_ids(self, path):
        if self._colors is not None:
            return self._colors.class_ids(read_colors(path), path)
        return to_class_ids(read_mask(path), self._table, path)

    def name(self, index: int) -> str:
        """Return the image's file name without its suffix, after its subfolder if any."""
        return self._names[index]

    def image_path(self, index: int) -> Path:
        """Return the file of an image."""
        return self._files[index][0]

    def plain_files(self) -> tuple[list, dict] | None:
        """Return the files of images and masks; see `Reader.plain_files`."""
        # A subclass may change what is read.
        table = self._table if self._colors is None else self._colors.table()
        if type(self) is not Folder or not table:
            return None
        if any(len(masks) > 1 for _, masks in self._files):
            return None
        return [(image, masks[0]) for image, masks in self._files], table

    def version_key(self, index: int) -> list | None:
        """Return sizes and times of the files and what mask values mean; None if a file is gone."""
        try:
            image, masks = self._files[index]
            files = [path.stat() for path in (image, *masks)]
        except OSError:
            return None
        versions = [(file.st_size, file.st_mtime_ns) for file in files]
        table = sorted((int(value), int(class_id)) for value, class_id in self._table.items())
        return [versions, table or self.label_names]


# Usual names of the two folders of a dataset: of the images, and of the masks.
FOLDER_NAMES = (
    ("images", "masks"),
    ("images", "labels"),
    ("images", "annotations"),
    ("image", "mask"),
    ("image", "label"),
    ("imgs", "masks"),
    ("photos", "labels"),
    ("JPEGImages", "SegmentationClass"),
    ("train", "trainannot"),
)


def find_folders(root: str | Path) -> tuple[Path, Path]:
    """Find the folders of images and of masks in a dataset's folder by their usual names.

    Raises:
        FileNotFoundError: there are no such folders; the message lists the usual names.

    Example:
        >>> import tfseg
        >>> images, masks = tfseg.data.find_folders(".")
        >>> images.name, masks.name
        ('photos', 'labels')
    """
    root = Path(root)
    for images, masks in FOLDER_NAMES:
        if (root / images).is_dir() and (root / masks).is_dir():
            return root / images, root / masks
    expected = ", ".join(" and ".join(names) for names in FOLDER_NAMES)
    raise FileNotFoundError(
        f"'{root}' contains no folders of images and masks with usual names ({expected}). Pass "
        f"both folders.{layout_hint(root)}"
    )


def _check_arguments(names, ignore_value, mask_values, colors, instances):
    """Raise a ValueError if arguments contradict each other."""
    kinds = {
        "mask_values": mask_values is not None,
        "colors": colors is not None,
        "instances": bool(instances),
    }
    given = [name for name, is_given in kinds.items() if is_given]
    if len(given) > 1:
        raise ValueError(
            f"Folder: got {' and '.join(given)}, which describe different kinds of masks. Pass one "
            "of them."
        )
    if instances and (len(names) != 2 or names[0] != BACKGROUND):
        raise ValueError(
            "Folder: instances=True expects one class of objects, but class_names are "
            f'{", ".join(names)}. Pass one name, or ["background", name].'
        )
    _check_ignore_value(ignore_value, colors is not None, instances)


def _check_class_folders(masks, ignore_value, mask_values, colors, instances):
    """Raise a ValueError if arguments describe values, which masks per class do not have."""
    if ignore_value not in NO_VALUE or mask_values is not None or colors is not None or instances:
        raise ValueError(
            f"Folder: '{masks}' contains a folder of masks per class, in which 0 is outside the "
            "class and any other value inside. Remove ignore_value, mask_values, colors and "
            "instances."
        )


def _check_ignore_value(ignore_value, has_colors, instances):
    is_integer = isinstance(ignore_value, INTEGERS)
    if not is_integer and not has_colors:
        raise ValueError(
            f"Folder: ignore_value={ignore_value!r} is not a value of a mask. Pass an integer, or "
            "`colors` as well."
        )
    if instances and ignore_value not in NO_VALUE:
        raise ValueError(
            f"Folder: ignore_value={ignore_value!r} does not go with instances=True, where every "
            "value except 0 is an object. Remove one of the two."
        )
    if is_integer and has_colors and ignore_value not in NO_VALUE:
        raise ValueError(
            f"Folder: ignore_value={ignore_value!r} does not go with `colors`. Pass the color to "
            "ignore, such as (0, 0, 0)."
        )


def _values_of_each(masks):
    """Yield the set of each mask's values; a few masks are read at once."""
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(masks), CHUNK):
            yield from pool.map(_distinct_values, masks[start : start + CHUNK])


def _distinct_values(path):
    """Return the set of a mask's values; empty if it cannot be read: `check` reports that later."""
    try:
        mask = read_mask(path)
    except (OSError, ValueError):
        return set()
    return distinct_values(mask)


def _read_objects(masks):
    """Return the labels of masks of numbered objects; those of later masks are on top."""
    numbered = _read_numbers(masks[0])
    for path in masks[1:]:
        values = _read_numbers(path)
        shifted = values + np.int64(numbered.max(initial=0))
        numbered = np.where(values > 0, shifted, numbered)
    return object_labels(numbered)


def _read_numbers(path):
    values = read_mask(path)
    if values.min(initial=0) < 0:
        raise ValueError(
            f"{path} contains the negative value {values.min()}. Number objects from 1; 0 is "
            "background."
        )
    return values


def _read_class_masks(masks, names):
    """Return the class ids of one mask per class, each in the folder of its class."""
    masks = sorted(masks, key=lambda path: names.index(path.parent.name))
    ids = None
    for path in masks:
        values = read_mask(path)
        inside = np.unique(values[values != 0])
        if len(inside) > 1:
            raise ValueError(
                f"{path} contains the values {first_few(inside.tolist())}. A mask in the folder of "
                "a class has 0 outside the class and one other value inside."
            )
        if ids is None:
            ids = np.zeros(values.shape, mask_dtype_for(len(names)))
        ids[values != 0] = names.index(path.parent.name)
    return ids


def _shared_palette(masks, mask_values, count):
    """Return the (count, 3) colors of the class ids that all mask files agree on, or None."""
    value_of = {class_id: value for value, class_id in mask_values.items()}
    if sorted(mask_values.values()) != list(range(count)):
        return None  # several values for one class, or none
    values = [value_of[class_id] for class_id in range(count)]
    shared = None
    for path in masks:
        palette = read_palette(path)
        if palette is None or len(palette) <= max(values):
            return None
        if shared is not None and (palette[values] != shared).any():
            return None
        shared = palette[values]
    gray_levels = np.repeat(np.array(values)[:, None], 3, axis=1)
    if np.array_equal(shared, gray_levels):
        return None  # a ramp of grays is not a choice of colors
    return shared
