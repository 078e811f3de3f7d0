"""The JSON files of LabelMe: the shapes of one image."""

import json
import math
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from tfseg.data.readers.file_names import with_slashes
from tfseg.data.readers.formats.drawing import valid_polygons
from tfseg.data.readers.other_formats import other_format

KINDS = ("polygon", "rectangle", "circle")
EXPORT_AGAIN = "Correct it, or save the file again in LabelMe."


class Shape(NamedTuple):
    """A shape: its label, kind, (P, 2) points x, y in pixels, and group or None."""

    label: str
    kind: str
    points: np.ndarray
    group: int | str | None


class ShapeFile(NamedTuple):
    """The content of a JSON file: name of the image, its (height, width) or None, and shapes."""

    image_name: str
    size: tuple
    shapes: list

    def labels(self) -> list[str]:
        """Return the labels of the shapes with an area, each once."""
        return list(dict.fromkeys(shape.label for shape in self.shapes if shape.kind in KINDS))

    def faults(self, size) -> list[str]:
        """Return what does not match the image of this (height, width)."""
        problems = []
        listed = tuple(
            found if side is None else side for side, found in zip(self.size, size, strict=True)
        )
        if listed != tuple(size):
            problems.append(
                f"the image is {size[1]} x {size[0]} pixels, but the file was made for "
                f"{listed[1]} x {listed[0]}. Restore the image that was labeled."
            )
        points = [shape.points for shape in self.shapes]
        values = np.concatenate([array.ravel() for array in points]) if points else np.zeros(0)
        # A real shape has sides of some pixels; fractions of the image's size are all below 1.
        if values.size and values.min() >= 0 and values.max() <= 1 and (values % 1).any():
            problems.append(
                f"its points are fractions of the image's size, such as {values[:2].tolist()}. "
                "Expected pixels: multiply x by the image's width and y by its height."
            )
        return problems

    def objects(self):
        """Yield (label, polygons, why it is not an object or None) of every object."""
        grouped = {}
        for number, shape in enumerate(self.shapes):
            if shape.kind not in KINDS:
                yield shape.label, [], f"a shape of the kind {shape.kind!r} has no area"
                continue
            single = number if shape.group is None else ("group", shape.group)
            grouped.setdefault((shape.label, single), []).append(outline(shape))
        for (label, _), outlines in grouped.items():
            yield label, *valid_polygons(outlines)


def read_shapes(path: Path) -> ShapeFile:
    """Read a JSON file of LabelMe.

    Raises:
        ValueError: it is not such a file, or its shapes are damaged. The message names the file.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON file ({error}). {EXPORT_AGAIN}") from error
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        other = other_format(path) or "a file without `shapes`."
        raise ValueError(f"{path} is {other} Expected a LabelMe file.")
    name = content.get("imagePath")
    if not isinstance(name, str) or not name:
        name = path.stem
    shapes, problems = [], []
    for number, entry in enumerate(content["shapes"]):
        try:
            shapes.append(_shape(entry))
        except (TypeError, ValueError) as error:
            problems.append(f"shapes[{number}]: {error}")
    if problems:
        raise ValueError(f"{path}: {'; '.join(problems)}. {EXPORT_AGAIN}")
    size = content.get("imageHeight") or None, content.get("imageWidth") or None
    return ShapeFile(PurePosixPath(with_slashes(name)).name, size, shapes)


def _shape(entry):
    """Return the `Shape` of an entry of "shapes"; raise a ValueError that says what is wrong."""
    if not isinstance(entry, dict) or not isinstance(entry.get("label"), str):
        raise ValueError("it has no label")
    label, kind = entry["label"], entry.get("shape_type") or "polygon"
    try:
        points = np.array(entry.get("points"), np.float64).reshape(-1, 2)
    except (TypeError, ValueError):
        raise ValueError(f"the points of {label!r} are not pairs of numbers") from None
    if not np.isfinite(points).all():
        raise ValueError(f"the points of {label!r} contain NaN or infinity")
    if kind == "polygon" and len(points) < 3:
        raise ValueError(f"the polygon of {label!r} has fewer than 3 points ({len(points)})")
    if kind in ("rectangle", "circle") and len(points) < 2:
        raise ValueError(f"the {kind} of {label!r} has fewer than 2 points ({len(points)})")
    return Shape(label, kind, points, entry.get("group_id"))


def outline(shape: Shape) -> list[float]:
    """Return the polygon x1, y1, x2, y2, ... around a shape.

    A rectangle has two opposite corners (or all four). A circle has its center and a point on it.
    """
    points = shape.points
    if shape.kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        points = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    elif shape.kind == "circle":
        radius = math.dist(points[0], points[1])
        # Sides of about a pixel; the corners lie so far out that the area is that of the circle.
        count = int(np.clip(2 * math.pi * radius, 16, 720))
        angle = 2 * math.pi * np.arange(count) / count
        sector = 2 * math.pi / count
        radius *= math.sqrt(sector / math.sin(sector))
        points = points[0] + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return points.ravel().tolist()


def is_labelme(path: Path) -> bool:
    """Return whether a JSON file is one of LabelMe."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)
