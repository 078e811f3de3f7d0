"""The reader of a folder of images and a folder of masks of numbered objects."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfseg.checks import BACKGROUND, is_background
from tfseg.data.readers.base import Reader, check_class_names, mask_dtype_for
from tfseg.data.readers.file_names import is_hidden, same_form
from tfseg.data.readers.image_files import read_image, read_mask
from tfseg.data.readers.image_listing import printable
from tfseg.data.readers.mask_layouts import pair_files
from tfseg.data.readers.objects import (
    OBJECT_FIELDS,
    boxes_around,
    instance_areas,
    object_arrays,
    relabel,
)
from tfseg.data.readers.pairing import read_headers
from tfseg.data.readers.problems import first_few, format_problems
from tfseg.data.readers.text_files import read_lines


class InstanceMasks(Reader):
    """A folder of images and a folder of PNG or TIFF masks in which every value is an object.

    0 is background; the pixels of an object have a value of their own, up to 255 in 8-bit files and
    65535 in 16-bit files. Images and masks have the same names, but for their suffixes. Objects are
    numbered 1..N in the order of their values.

    Args:
        images: folder of images.
        masks: folder of masks.
        class_names: names of the object categories in the order of their ids, with or without the
            background at the front.
        categories: folder of text files with the names of the masks, which have a line "value name"
            per object, such as "7 leaf". None if there is one class.

    Raises:
        FileNotFoundError: a folder is missing or empty.
        ValueError: images without a mask or masks without an image, sizes that differ, or
            categories that are missing or unknown; every file is named. When a sample is read: the
            objects of a mask and of its text file are not the same.
        OSError: a file is not an image.

    Example:
        >>> import tfseg
        >>> reader = tfseg.data.InstanceMasks("photos", "labels", ["leaf"])
        >>> reader.object_names, reader[0]["boxes"].shape
        (['leaf'], (1, 4))
    """

    fields = ("image", *OBJECT_FIELDS)

    def __init__(
        self,
        images: str | Path,
        masks: str | Path,
        class_names: Sequence[str] = ("object",),
        categories: str | Path | None = None,
    ):
        names = check_class_names(class_names)
        names = names[1:] if is_background(names[0]) else names
        files, _ = pair_files(images, masks, [BACKGROUND, *names], False, None)
        self._names = [printable(name) for name in files]
        self._files = [(image, *several) for image, several in files.values()]
        super().__init__([BACKGROUND, *names], *read_headers(self._files))
        _check_single(self._files)
        self._categories = None
        if categories is not None:
            self._categories = _read_categories(Path(categories), files, names)
        elif len(names) > 1:
            raise ValueError(
                f"InstanceMasks: got {len(names)} class names ({first_few(names)}), but nothing "
                "says which object has which class. Pass `categories`, or one name."
            )

    def __getitem__(self, index: int) -> dict:
        image, mask = self._files[index]
        values = read_mask(mask)
        if values.min(initial=0) < 0:
            raise ValueError(
                f"{mask} contains the negative value {values.min()}. Number objects from 1; 0 is "
                "background."
            )
        instances, ids = relabel(values)
        classes = self._classes(index, ids.tolist())
        labels = object_arrays(
            boxes_around(instances), classes, areas=instance_areas(instances, len(ids))
        )
        table = np.array([0, *self.object_label_ids[labels["classes"]]])
        return {
            "image": read_image(image, self.channels).astype(self.dtype, copy=False),
            "mask": table.astype(mask_dtype_for(len(self.label_names)))[instances],
            "instances": instances,
            **labels,
        }

    def name(self, index: int) -> str:
        """Return the image's file name without its suffix."""
        return self._names[index]

    def image_path(self, index: int) -> Path:
        """Return the file of the sample's image."""
        return self._files[index][0]

    def version_key(self, index: int) -> list | None:
        """Return sizes and times of the files and their categories; None if a file is gone."""
        try:
            files = [path.stat() for path in self._files[index]]
        except OSError:
            return None
        versions = [(file.st_size, file.st_mtime_ns) for file in files]
        if self._categories is None:
            return [versions]
        return [versions, sorted(self._categories[index][1].items())]

    def _classes(self, index, values):
        """Return the category of each object, by its value in the mask."""
        if self._categories is None:
            return [0] * len(values)
        path, classes = self._categories[index]
        for missing, where, other in (
            (set(values) - classes.keys(), self._files[index][1], path),
            (classes.keys() - set(values), path, self._files[index][1]),
        ):
            if missing:
                raise ValueError(
                    f"{where} has objects that are not in {other}: {first_few(sorted(missing))}. "
                    "Correct one of the two."
                )
        return [classes[value] for value in values]


def _check_single(files):
    """Raise a ValueError if an image has several masks."""
    problems = [
        f"{image} has {len(masks)} masks: {first_few(masks)}."
        for image, *masks in files
        if len(masks) > 1
    ]
    if problems:
        raise ValueError(
            f"{format_problems(problems)}\nUse `Folder` with instances=True for one mask per "
            "object, or merge them."
        )


def _read_categories(folder, stems, names):
    """Return [(text file, {value: category})] of the masks with these names."""
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}'. Check the path.")
    texts = {
        same_form(path.stem): path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() == ".txt" and not is_hidden(path)
    }
    found, problems = [], []
    for stem in stems:
        path = texts.get(same_form(stem))
        if path is None:
            problems.append(f"There is no file '{folder / stem}.txt'. Every mask needs one.")
            continue
        try:
            found.append((path, _read_values(path, names)))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError(format_problems(problems))
    return found


def _read_values(path, names):
    """Return {value: category} of the lines "value name" of a text file."""
    classes = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        value, _, name = line.strip().partition(" ")
        if not value.isdigit() or int(value) == 0 or not name.strip():
            raise ValueError(f"{path}:{number}: {line.strip()[:40]!r} is not a line 'value name'.")
        if name.strip() not in names:
            raise ValueError(
                f"{path}:{number}: the object {value} has the class {name.strip()!r}, but the "
                f"classes are {', '.join(names)}. Add it to `class_names`."
            )
        if int(value) in classes:
            raise ValueError(f"{path}:{number}: the object {value} is listed twice. Keep one line.")
        classes[int(value)] = names.index(name.strip())
    return classes
