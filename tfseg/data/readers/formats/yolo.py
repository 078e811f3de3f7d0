"""The reader of YOLO text files (https://docs.ultralytics.com/datasets, "detect" and "segment")."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfseg import checks
from tfseg.checks import BACKGROUND
from tfseg.data.readers.base import Reader, check_class_names
from tfseg.data.readers.file_names import is_hidden, same_form
from tfseg.data.readers.formats.drawing import (
    clip_box,
    draw_objects,
    polygons_to_rle,
    region_areas,
    valid_polygons,
)
from tfseg.data.readers.image_files import read_image
from tfseg.data.readers.image_listing import by_stem, image_files, printable
from tfseg.data.readers.objects import BOX_FIELDS, OBJECT_FIELDS, object_arrays
from tfseg.data.readers.other_formats import layout_hint
from tfseg.data.readers.pairing import read_headers
from tfseg.data.readers.problems import format_problems
from tfseg.data.readers.text_files import read_lines, read_text


class _Object(NamedTuple):
    class_id: int
    box: tuple | None  # x_min, y_min, x_max, y_max; None if the object has no area
    polygon: list | None  # x1, y1, x2, y2, ...; None for task="boxes"


class Yolo(Reader):
    """A folder of images and a folder of text files of the same names, with one object per line.

    A line is a class number followed by coordinates as fractions of the image's width (x) and
    height (y): "c x_center y_center width height", or the outline "c x1 y1 x2 y2 ...". An image
    whose text file is missing or empty has no objects. Outlines are drawn in the same way as
    pycocotools (extra `coco`), and the class names then have "background" before them. An object
    that is completely covered by smaller ones keeps its box and class.

    Args:
        images: folder of images.
        labels: folder of text files; classes.txt is ignored.
        class_names: names in the order of the class numbers from 0, or {number: name} (numbers may
            have gaps), or the path of a YAML file whose `names` is either of them (needs PyYAML,
            extra `yolo`). A name "background" is not a class: objects of its number are left out.
        task: "boxes": samples have "boxes", "classes", "crowd" and "areas"; "polygons": also "mask"
            and "instances".

    Attributes:
        dropped: list of (name of the sample, reason) of objects without area, or of the background.

    Raises:
        FileNotFoundError: a folder is missing or empty.
        ValueError: lines with a wrong number of values, of an unknown class or more than a pixel
            outside the image, or text files without an image; all are named.
        OSError: a file is not an image.

    Example:
        >>> import pathlib, tfseg
        >>> pathlib.Path("texts").mkdir()
        >>> _ = pathlib.Path("texts/leaf0.txt").write_text("0 0.5 0.5 0.25 0.5")
        >>> reader = tfseg.data.Yolo("photos", "texts", ["leaf", "stem"])
        >>> reader[0]["boxes"].tolist()
        [[24.0, 12.0, 40.0, 36.0]]
    """

    def __init__(
        self,
        images: str | Path,
        labels: str | Path,
        class_names: Sequence[str] | dict[int, str] | str | Path,
        task: str = "boxes",
    ):
        checks.one_of("Yolo", "task", task, ("boxes", "polygons"))
        self._files = image_files(images)
        sizes, channels, dtype = read_headers([(file,) for file in self._files])
        names = _numbered_names(class_names)
        background = {number for number, name in names.items() if checks.is_background(name)}
        names = {number: name for number, name in names.items() if number not in background}
        if task == "polygons":
            class_names = [BACKGROUND, *names.values()]
            self.fields = ("image", *OBJECT_FIELDS)
            self._parse = _parse_polygon
        else:
            class_names = list(names.values())
            self.fields = ("image", *BOX_FIELDS)
            self._parse = _parse_box
        super().__init__(class_names, sizes, channels, dtype)
        self._class_ids = {number: i for i, number in enumerate(names)}
        self._class_ids.update(dict.fromkeys(background))
        self.dropped = []
        self._objects = self._read_objects(_text_files(self._files, Path(labels)))

    def __getitem__(self, index: int) -> dict:
        objects = self._objects[index]
        image = read_image(self._files[index], self.channels)
        sample = {"image": image.astype(self.dtype, copy=False)}
        boxes = [found.box for found in objects]
        classes = [found.class_id for found in objects]
        if "mask" not in self.fields:
            return {**sample, **object_arrays(boxes, classes)}
        regions = self.object_rle(index)
        labels = object_arrays(boxes, classes, areas=region_areas(regions))
        sample["mask"], sample["instances"] = draw_objects(
            regions,
            self.object_label_ids[labels["classes"]],
            labels["crowd"],
            self.sizes[index].tolist(),
            len(self.label_names),
        )
        return {**sample, **labels}

    def object_rle(self, index: int) -> list[dict]:
        """Return the masks of the outlines; see `Reader.object_rle`."""
        if "mask" not in self.fields:
            return super().object_rle(index)  # raises
        size = self.sizes[index].tolist()
        return [polygons_to_rle([found.polygon], size) for found in self._objects[index]]

    def name(self, index: int) -> str:
        """Return the image's file name without its suffix."""
        return printable(same_form(self._files[index].stem))

    def image_path(self, index: int) -> Path:
        """Return the file of the sample's image."""
        return self._files[index]

    def _read_objects(self, texts):
        """Return a list of objects per image; fill `dropped`."""
        objects = [[] for _ in texts]
        problems = []
        for index, path in enumerate(texts):
            size = self.sizes[index].tolist()
            try:
                lines = _lines(path)
            except ValueError as error:
                problems.append(str(error))
                continue
            for number, line in lines:
                try:
                    class_id, values = _parse_numbers(line, self._class_ids)
                    polygon, box, reason = self._parse(values, size)
                except ValueError as error:
                    problems.append(f"{path}:{number}: {error}")
                    continue
                if class_id is None:
                    reason = "its class is the background"
                if reason:
                    self.dropped.append((self.name(index), f"line {number}: {reason}"))
                else:
                    objects[index].append(_Object(class_id, box, polygon))
        if problems:
            raise ValueError(format_problems(problems))
        return objects


def _lines(path):
    """Return [(number, line)] of a text file without its empty lines; none if `path` is None."""
    if path is None:
        return []
    return [(number, line) for number, line in enumerate(read_lines(path), 1) if line.strip()]


def _parse_numbers(line, class_ids):
    """Return (class id, list of floats) of a line, or raise a ValueError."""
    try:
        number, *values = [float(word) for word in line.split()]
    except ValueError:
        raise ValueError(f"{line.strip()[:40]!r} is not a line of numbers.") from None
    if number not in class_ids:
        raise ValueError(
            f"class {number:g} has no name; the numbers of the named classes are "
            f"{_format_numbers(class_ids)}."
        )
    return class_ids[number], values


def _format_numbers(numbers):
    """Return "0 to 4", or "1, 90" if numbers are missing in between."""
    if len(numbers) == max(numbers) - min(numbers) + 1:
        return f"{min(numbers)} to {max(numbers)}"
    return ", ".join(map(str, numbers))


def _parse_box(values, size):
    """Return (None, box or None, reason if the box has no area)."""
    if len(values) == 5:
        raise ValueError(
            "got 5 numbers after the class: a box and a confidence, as in saved predictions. "
            "Expected 4. Remove the last column, and check that these are labels."
        )
    if len(values) != 4:
        raise ValueError(
            f"got {len(values)} numbers after the class, expected 4 for a box. For outlines pass "
            "task='polygons'."
        )
    height, width = size
    x, y, w, h = np.array(values) * [width, height, width, height]
    _check_inside([x - w / 2, x + w / 2], [y - h / 2, y + h / 2], size)
    if w < 0 or h < 0:
        raise ValueError(f"the box has a negative width or height ({values[2]:g}, {values[3]:g}).")
    return None, *clip_box((x - w / 2, y - h / 2, x + w / 2, y + h / 2), size)


def _parse_polygon(values, size):
    """Return (polygon or None, box or None, reason if one of them has no area)."""
    if len(values) == 4:
        raise ValueError(
            "got 4 numbers after the class, expected at least 6 for an outline. For boxes pass "
            "task='boxes'."
        )
    if len(values) % 2:
        raise ValueError(
            f"got {len(values)} numbers after the class, expected an even number for an outline."
        )
    height, width = size
    polygon = (np.array(values).reshape(-1, 2) * [width, height]).ravel()
    x, y = polygon[::2], polygon[1::2]
    _check_inside(x, y, size)
    polygons, reason = valid_polygons([polygon])
    if reason:
        return None, None, reason
    return polygons[0], *clip_box((x.min(), y.min(), x.max(), y.max()), size)


def _check_inside(x, y, size):
    """Raise a ValueError for coordinates more than a pixel outside the image.

    Such coordinates are probably not fractions of its size.
    """
    height, width = size
    for axis, values, length in (("x", x, width), ("y", y, height)):
        for value in values:
            if not -1 <= value <= length + 1:
                raise ValueError(
                    f"{axis} = {value / length:g} is outside the image. Expected fractions of its "
                    "size, from 0 to 1."
                )


def _numbered_names(class_names):
    """Return {number: name} in the order of the numbers."""
    if isinstance(class_names, (str, Path)):
        class_names = _names_in_yaml(Path(class_names))
    if isinstance(class_names, dict):
        return {int(number): str(class_names[number]) for number in sorted(class_names, key=int)}
    return dict(enumerate(check_class_names(class_names)))


def _names_in_yaml(path):
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no file '{path}'. Pass class names, or a YAML file with `names`."
        )
    content = checks.require_package("yaml", "yolo").safe_load(read_text(path))
    names = content.get("names") if isinstance(content, dict) else None
    if not isinstance(names, (dict, list)):
        raise ValueError(
            f"{path} has no `names`. Expected a list of names, or one number and name per line."
        )
    return names


def _text_files(images, folder):
    """Return the text file of each image, or None."""
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}'. Check the path.")
    texts = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != ".txt" or path.name.lower() == "classes.txt" or is_hidden(path):
            continue
        first = texts.setdefault(same_form(path.stem), path)
        if first is not path:
            raise ValueError(f"{first} and {path} belong to the same image. Keep one of them.")
    if not texts:
        raise FileNotFoundError(
            f"The folder '{folder}' contains no text file. Expected one per image, with its "
            f"objects.{layout_hint(folder)}"
        )
    known = {same_form(stem) for stem in by_stem(images)}
    extra = [f"{path} has no image '{stem}'" for stem, path in texts.items() if stem not in known]
    if extra:
        raise ValueError(
            f"{format_problems(extra)}\nAdd the missing images, or remove these text files."
        )
    return [texts.get(same_form(path.stem)) for path in images]
