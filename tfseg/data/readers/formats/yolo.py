"""The reader of YOLO's text files: a line an object (https://docs.ultralytics.com/datasets, "detect" and "segment")."""

from pathlib import Path

import numpy as np

from tfseg import checks
from tfseg.checks import BACKGROUND
from tfseg.data.readers.base import Reader, format_problems
from tfseg.data.readers.folder import read_headers
from tfseg.data.readers.formats.drawing import clipped, draw, polygon_region, polygons_with_area
from tfseg.data.readers.image_files import image_files, read_image


class Yolo(Reader):
    """A folder of images and a folder of text files of the same names; a missing or empty one tells of no object.

    A line is a class number and shares of the image's width (x) and height (y): "c x_center y_center width height",
    or "c x1 y1 x2 y2 ..." around the object. Polygons are drawn as pycocotools draws them (extra `coco`); class ids
    then have "background" before them. An object that smaller ones cover wholly keeps its box and class.

    Args:
        images: folder of images.
        labels: folder of text files; one named classes.txt is left out.
        class_names: names in the order of the numbers from 0, or {number: name} (numbers may have gaps), or the path
            of a YAML file whose `names` is one of both (needs PyYAML, extra `yolo`).
        task: "boxes": samples hold "boxes" and "classes"; "polygons": also "mask" and "instances".

    Attributes:
        dropped: list of (name of the sample, why) of objects without area.

    Raises:
        FileNotFoundError: a folder is missing or empty.
        ValueError: lines of a wrong count of numbers, of an unknown class or more than a pixel outside the image, or
            text files without an image; all are named.
        OSError: a file is no image.
    """

    def __init__(self, images, labels, class_names, task="boxes"):
        checks.one_of("Yolo", "task", task, ("boxes", "polygons"))
        self._files = image_files(images)
        sizes, channels, dtype = read_headers([(path,) for path in self._files])
        names = _names(class_names)
        drawn = task == "polygons"
        super().__init__([*[BACKGROUND] * drawn, *names.values()], sizes, channels, dtype)
        boxes = ("boxes", "classes")
        self.fields = ("image", "mask", "instances", *boxes) if drawn else ("image", *boxes)
        self.dropped = []
        first = len(self.label_names) - len(names)
        ids = {number: first + i for i, number in enumerate(names)}
        self._objects = self._read(
            _texts(self._files, Path(labels)), ids, _polygon if drawn else _rectangle
        )

    def __getitem__(self, index):
        objects = self._objects[index]
        size = self.sizes[index].tolist()
        sample = {
            "image": read_image(self._files[index], self.channels).astype(self.dtype, copy=False),
            "boxes": np.array([box for _, box, _ in objects], np.float32).reshape(-1, 4),
            "classes": np.array([class_id for _, _, class_id in objects], np.int32),
        }
        if "mask" in self.fields:
            regions = [polygon_region([polygon], size) for polygon, _, _ in objects]
            sample["mask"], sample["instances"] = draw(regions, sample["classes"], [], size)
        return sample

    def name(self, index):
        """Return the image's file name without its suffix."""
        return self._files[index].stem

    def _read(self, texts, ids, shape):
        """Return for each image a list of (polygon or None, box, class id)."""
        objects, problems = [], []
        for index, path in enumerate(texts):
            objects.append([])
            for number, line in enumerate(
                path.read_text("utf-8-sig").splitlines() if path else [], 1
            ):
                if not line.strip():
                    continue
                try:
                    class_id, values = _numbers(line, ids)
                    polygon, box, why = shape(values, self.sizes[index].tolist())
                except ValueError as error:
                    problems.append(f"{path}:{number}: {error}")
                    continue
                if why:
                    self.dropped.append((self.name(index), f"line {number}: {why}"))
                else:
                    objects[index].append((polygon, box, class_id))
        if problems:
            raise ValueError(format_problems(problems))
        return objects


def _numbers(line, ids):
    """Return (class id, list of floats) of a line, or raise a ValueError."""
    try:
        number, *values = (float(word) for word in line.split())
    except ValueError:
        raise ValueError(f"{line.strip()[:40]!r} is no line of numbers.") from None
    if number not in ids:
        known = (
            f"{min(ids)} to {max(ids)}"
            if len(ids) == max(ids) - min(ids) + 1
            else ", ".join(map(str, ids))
        )
        raise ValueError(
            f"class {number:g} has no name; the numbers of the class names are {known}."
        )
    return ids[number], values


def _rectangle(values, size):
    if len(values) != 4:
        raise ValueError(
            f"{len(values)} numbers follow the class; a box has 4. For outlines pass task='polygons'."
        )
    height, width = size
    x, y, w, h = np.array(values) * [width, height, width, height]
    _check_inside([x - w / 2, x + w / 2], [y - h / 2, y + h / 2], size)
    if w < 0 or h < 0:
        raise ValueError(f"the box has a negative width or height ({values[2]:g}, {values[3]:g}).")
    return None, *clipped((x - w / 2, y - h / 2, x + w / 2, y + h / 2), size)


def _polygon(values, size):
    if len(values) % 2 or len(values) == 4:
        hint = " For boxes pass task='boxes'." if len(values) == 4 else ""
        raise ValueError(
            f"{len(values)} numbers follow the class; an outline has an even number, from 6 on.{hint}"
        )
    polygon = (np.array(values).reshape(-1, 2) * size[::-1]).ravel()
    x, y = polygon[::2], polygon[1::2]
    _check_inside(x, y, size)
    parts, why = polygons_with_area([polygon])
    if why:
        return None, None, why
    return parts[0], *clipped((x.min(), y.min(), x.max(), y.max()), size)


def _check_inside(x, y, size):
    """Raise a ValueError of places more than a pixel outside the image: they were no shares of its size."""
    for axis, values, length in (("x", x, size[1]), ("y", y, size[0])):
        for value in values:
            if not -1 <= value <= length + 1:
                raise ValueError(
                    f"{axis} = {value / length:g} lies outside the image. Expected shares of its size, from 0 to 1."
                )


def _names(class_names):
    """Return {number: name} in the order of the numbers."""
    if isinstance(class_names, (str, Path)):
        path = Path(class_names)
        if not path.is_file():
            raise FileNotFoundError(
                f"There is no file '{path}'. Give class names, or a YAML file with `names`."
            )
        content = checks.require_package("yaml", "yolo").safe_load(path.read_text("utf-8"))
        class_names = content.get("names") if isinstance(content, dict) else None
        if not isinstance(class_names, (dict, list)):
            raise ValueError(
                f"{path} has no `names`. Expected a list of names, or a number and a name a line."
            )
    if isinstance(class_names, dict):
        return {int(number): class_names[number] for number in sorted(class_names, key=int)}
    return dict(enumerate(class_names))


def _texts(pictures, folder):
    """Return the text file of each image, or None."""
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}'. Check the path.")
    texts = {path.stem: path for path in sorted(folder.glob("*.txt")) if path.name != "classes.txt"}
    if not texts:
        raise FileNotFoundError(
            f"The folder '{folder}' holds no text file. Expected one an image, with its objects."
        )
    stems = {}
    for path in pictures:
        if stems.setdefault(path.stem, path) is not path:
            raise ValueError(f"{stems[path.stem]} and {path} bear the same name. Keep one of them.")
    spare = [f"{path} has no image '{stem}'" for stem, path in texts.items() if stem not in stems]
    if spare:
        raise ValueError(
            format_problems(spare) + "\nAdd the missing images, or remove the spare text files."
        )
    return [texts.get(path.stem) for path in pictures]
