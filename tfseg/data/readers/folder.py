"""The reader of a folder of images and a folder of masks."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfseg.checks import BACKGROUND, IGNORE_INDEX
from tfseg.data.readers.base import Reader, class_ids, format_problems, identity
from tfseg.data.readers.color_masks import ColorTable
from tfseg.data.readers.extract import reduced_labels
from tfseg.data.readers.image_files import (
    by_stem,
    image_files,
    read_colors,
    read_header,
    read_image,
    read_mask,
    read_palette,
)
from tfseg.data.readers.objects import objects_of

WHOLE = (int, np.integer)
LOOKED_AT = 32  # masks between two looks whether they are black and white


class Folder(Reader):
    """A folder of images and a folder of masks, paired by file name without suffix.

    Opens the header of every file, so that files that cannot belong together are found at once. Masks hold class
    ids, as gray levels or palette indices; with `colors` they hold colors, with `instances` numbered objects.

    Args:
        images: folder of images (PNG, JPEG, BMP, TIFF, WebP; gray or RGB of 8 or 16 bit, palette; alpha is dropped).
        masks: folder of masks (PNG, BMP, TIFF).
        class_names: names in the order of their ids.
        ignore: the value on disk of pixels without a label, translated to 255; -1 for none. With `colors`, a color.
        mask_values: {value on disk: class id}, which go before `ignore`; or None: values are ids, except that
            masks of two classes that hold nothing but 0 and 255 are read as 0 and 1.
        channels: 1 or 3 to read all images as gray or RGB; None for RGB if any is in color.
        colors: {class name: (red, green, blue)}, or a list of such triples in the order of the class names, if
            masks are RGB(A) or palette files whose colors stand for classes. A single class name has "background"
            before it, which needs a color too.
        instances: whether masks are numbered objects of one class: 0 is background, any other value an object.
            Samples then also hold "instances", "boxes" and "classes"; `class_names` is one name, which may have
            "background" before it. Objects are numbered 1..N in the order of their values; `ignore` has no part.

    Attributes:
        palette: that of `colors`, or of the mask files if all of them are PNGs with one and the same palette.

    Raises:
        FileNotFoundError: a folder is missing or empty.
        ValueError: images without a mask or the reverse, or sizes that differ; every such file is named.
            Or arguments that do not go together.
        OSError: a file is no image.
    """

    def __init__(
        self,
        images,
        masks,
        class_names,
        ignore=IGNORE_INDEX,
        mask_values=None,
        channels=None,
        colors=None,
        instances=False,
    ):
        self._files = _pairs(Path(images), Path(masks))
        sizes, found, dtype = read_headers(self._files)
        super().__init__(class_names, sizes, channels or found, dtype)
        _check_kind(self.label_names, ignore, mask_values, colors, instances)
        self._colors, self._table = None, {}
        if instances:
            self.fields = ("image", "mask", "instances", "boxes", "classes")
        elif colors is not None:
            self._colors = ColorTable(
                colors, self.label_names, None if isinstance(ignore, WHOLE) else ignore
            )
            self.palette = self._colors.palette
        else:
            self._read_ids(ignore, mask_values)

    def _read_ids(self, ignore, mask_values):
        if mask_values is None and len(self.label_names) == 2 and self._holds_0_and_255():
            mask_values = {0: 0, 255: 1}
        ids = {
            value: class_id
            for value, class_id in identity(self.label_names).items()
            if value != ignore
        }
        self.mask_values = mask_values or ids
        self._table = {ignore: IGNORE_INDEX, **self.mask_values}
        self.palette = _shared_palette(
            [mask for _, mask in self._files], self.mask_values, len(self.label_names)
        )

    def __getitem__(self, index):
        return self.read(index)

    def read(self, index, shrink=1):
        """Return a sample, smaller where asked (see `Reader.read`): a JPEG is decoded at that size."""
        image, mask = self._files[index]
        labels = reduced_labels(self._labels(mask), shrink)
        return {
            "image": read_image(image, self.channels, shrink).astype(self.dtype, copy=False),
            **labels,
        }

    def _labels(self, path):
        if "instances" in self.fields:
            return _objects(path)
        if self._colors is not None:
            return {"mask": self._colors.class_ids(read_colors(path), path)}
        return {"mask": class_ids(read_mask(path), self._table, path)}

    def name(self, index):
        """Return the image's file name without its suffix."""
        return self._files[index][0].stem

    def version_key(self, index):
        """Return sizes and times of the sample's files, and what the masks' values mean; None if a file is gone."""
        try:
            files = [path.stat() for path in self._files[index]]
        except OSError:
            return None
        return [
            [(file.st_size, file.st_mtime_ns) for file in files],
            sorted((int(v), int(i)) for v, i in self._table.items()),
        ]

    def _holds_0_and_255(self):
        # Two classes of which only the first is ever drawn make no dataset: 255 must be the other one.
        # All masks are looked at, for the first of them may be empty; ids 0 and 1 end the search early.
        seen = set()
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(self._files), LOOKED_AT):
                for values in pool.map(
                    _values, [mask for _, mask in self._files[start : start + LOOKED_AT]]
                ):
                    seen |= values
                if not seen <= {0, 255}:
                    return False
        return 255 in seen


def _values(path):
    """The values of a mask; none if it cannot be read: `check` tells of it, and of all others."""
    try:
        mask = read_mask(path)
    except (OSError, ValueError):
        return set()
    if mask.dtype == np.uint8:  # several times as fast as to sort
        return set(np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist())
    return set(np.unique(mask).tolist())


# What the two folders of a dataset are called, the images' and the masks'.
PAIRS = (
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


def find_folders(root):
    """Return the folders of images and of masks in a dataset's folder, by their usual names.

    Raises:
        FileNotFoundError: there are none such; the message tells the names.
    """
    root = Path(root)
    there = {path.name: path for path in root.iterdir() if path.is_dir()} if root.is_dir() else {}
    for images, masks in PAIRS:
        if images in there and masks in there:
            return there[images], there[masks]
    expected = ", ".join(" and ".join(pair) for pair in PAIRS)
    raise FileNotFoundError(
        f"'{root}' holds no folders of images and of masks by their usual names ({expected}). Name both folders."
    )


def read_headers(files):
    """Open the headers of images and of the masks that belong to them.

    Args:
        files: list of (image, mask, ...): any number of masks, each of its image's size.

    Returns:
        sizes: list of (height, width).
        channels: 3 if any image is in color, else 1.
        dtype: uint8 if all images have 8 bit, else float32.

    Raises:
        ValueError: files that are no images, or masks of another size; every one is named.
    """
    with ThreadPoolExecutor() as pool:
        headers = list(pool.map(_header, files))
    problems = [header for header in headers if isinstance(header, str)]
    if problems:
        raise ValueError(format_problems(problems))
    eight_bit = all(header[3] for header in headers)
    channels = max(header[2] for header in headers)
    return [header[:2] for header in headers], channels, np.uint8 if eight_bit else np.float32


def _header(files):
    """Return the image's header, or what is wrong with it and its masks."""
    try:
        image, *masks = (read_header(path) for path in files)
    except (OSError, ValueError) as error:
        return str(error)
    for path, mask in zip(files[1:], masks, strict=True):
        if image[:2] != mask[:2]:
            (height, width), (mask_height, mask_width) = image[:2], mask[:2]
            return (
                f"{files[0]} is {width} x {height}, but its mask {path} is {mask_width} x {mask_height} pixels. "
                "Resize the mask with nearest neighbor, or label again."
            )
    return image


def _check_kind(names, ignore, mask_values, colors, instances):
    """Raise a ValueError of arguments that do not go together."""
    kinds = {
        "mask_values": mask_values is not None,
        "colors": colors is not None,
        "instances": bool(instances),
    }
    given = [name for name, there in kinds.items() if there]
    if len(given) > 1:
        raise ValueError(
            f"Folder: {' and '.join(given)} came. Masks are of one kind: leave out all but one."
        )
    wrong = set((mask_values or {}).values()) - {*range(len(names)), IGNORE_INDEX}
    if wrong:
        raise ValueError(
            f"Folder: mask_values={mask_values} gives the ids {', '.join(map(str, sorted(wrong)))}; of {len(names)} "
            f"classes they are 0 to {len(names) - 1}, and {IGNORE_INDEX} for pixels without a label."
        )
    if instances and (len(names) != 2 or names[0] != BACKGROUND):
        raise ValueError(
            f"Folder: instances=True takes one class of objects, but class_names are {', '.join(names)}. "
            'Give one name, or ["background", name].'
        )
    if colors is None and not isinstance(ignore, WHOLE):
        raise ValueError(
            f"Folder: ignore={ignore!r} is no value of a mask. Give a whole number, or `colors` as well."
        )
    no_part = (IGNORE_INDEX, -1)
    if instances and ignore not in no_part:
        raise ValueError(
            f"Folder: ignore={ignore!r} came with instances=True, where every value but 0 is an object."
        )
    if colors is not None and isinstance(ignore, WHOLE) and ignore not in no_part:
        raise ValueError(
            f"Folder: ignore={ignore!r} came with `colors`. Give the ignored color, such as (0, 0, 0)."
        )


def _objects(path):
    """Return the labels of a mask of numbered objects."""
    values = read_mask(path)
    if values.min(initial=0) < 0:
        raise ValueError(
            f"{path} holds the negative value {values.min()}. Number objects from 1; 0 is background."
        )
    return objects_of(values)


def _shared_palette(masks, mask_values, count):
    """Return the (count, 3) colors of class ids that all mask files agree on, or None."""
    values, ids = zip(*sorted(mask_values.items(), key=lambda item: item[1]), strict=True)
    if ids != tuple(range(count)):
        return None  # several values for a class, or none
    values = list(values)
    shared = None
    for path in masks:
        palette = read_palette(path)
        if (
            palette is None
            or len(palette) <= max(values)
            or (shared is not None and (palette[values] != shared).any())
        ):
            return None
        shared = palette[values]
    gray_levels = np.repeat(np.array(values)[:, None], 3, axis=1)
    return (
        None if np.array_equal(shared, gray_levels) else shared
    )  # a ramp of grays is no choice of colors


def _pairs(images, masks):
    """List (image, mask) by file stem."""
    pictures, labels = (by_stem(image_files(folder)) for folder in (images, masks))
    problems = [
        f"{path} has no mask '{stem}.png' in {masks}" for stem, path in _only(pictures, labels)
    ]
    problems += [
        f"{path} has no image '{stem}' in {images}" for stem, path in _only(labels, pictures)
    ]
    if problems:
        remedy = "\nA mask has the name of its image: rename or add the missing files, or remove the spare ones."
        raise ValueError(format_problems(problems) + remedy)
    return [(path, labels[stem]) for stem, path in pictures.items()]


def _only(first, second):
    return [(stem, path) for stem, path in first.items() if stem not in second]
