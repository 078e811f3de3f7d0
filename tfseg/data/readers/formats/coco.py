"""The reader of COCO files with objects (https://cocodataset.org/#format-data)."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfseg import checks
from tfseg.checks import BACKGROUND
from tfseg.data.readers.base import Reader
from tfseg.data.readers.formats.coco_boxes import check_box_layout
from tfseg.data.readers.formats.coco_categories import class_positions
from tfseg.data.readers.formats.coco_file import image_name, open_images, read_json
from tfseg.data.readers.formats.drawing import (
    clip_box,
    draw_objects,
    polygons_to_rle,
    valid_polygons,
    validated_rle,
)
from tfseg.data.readers.image_files import read_image
from tfseg.data.readers.problems import format_problems

CROWD = "it is a crowd (iscrowd=1), not an object"


class _Object(NamedTuple):
    annotation: dict
    class_id: int
    box: tuple | None  # x_min, y_min, x_max, y_max; None for a crowd that is ignored


class Coco(Reader):
    """Objects of a COCO "instances" file: polygons, or RLE as a list or as a packed string.

    Class ids follow `class_names`, or the order of the category ids, without gaps; 0 is
    "background". If no annotation in the file has a segmentation, samples have boxes and classes
    only, and there is no "background". Not classes are a category "background", and categories
    without annotations that only group others (the root in exports of Roboflow). An object that is
    completely covered by smaller ones keeps its box and class. Segmentations need pycocotools
    (extra `coco`).

    Ids depend on the file: pass `class_names=train.class_names` to the reader of another file.

    Args:
        images: folder that the file names in the JSON file are relative to.
        annotations: JSON file.
        crowd: "ignore": pixels of crowds become 255 in the mask where there is no object, and
            crowds are not objects. "object": crowds are objects like any other.
        class_names: names of categories in the order of their ids, with or without "background" at
            the front. None: all categories. Objects of other categories are left out; categories
            of the same name are one class.

    Attributes:
        dropped: list of (name of the sample, reason) of annotations that are not objects: without
            area, crowds, of a category that is left out.

    Raises:
        FileNotFoundError: the JSON file is missing, or images are; they are named.
        ValueError: the JSON file contradicts itself or the images, or its boxes are not stored as
            x, y, width and height in pixels.
        OSError: a file is not an image.

    Example:
        >>> import json, pathlib, tfseg
        >>> box = {"id": 1, "image_id": 5, "category_id": 7, "bbox": [10, 20, 30, 15]}
        >>> content = {"images": [{"id": 5, "file_name": "leaf0.jpg"}], "annotations": [box],
        ...            "categories": [{"id": 7, "name": "leaf"}]}
        >>> _ = pathlib.Path("instances.json").write_text(json.dumps(content))
        >>> tfseg.data.Coco("photos", "instances.json")[0]["boxes"].tolist()
        [[10.0, 20.0, 40.0, 35.0]]
    """

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        crowd: str = "ignore",
        class_names: Sequence[str] | None = None,
    ):
        checks.one_of("Coco", "crowd", crowd, ("ignore", "object"))
        self._path = Path(annotations)
        self._ignore_crowds = crowd == "ignore"
        data = read_json(self._path)
        _check_objects(data, self._path)
        names, positions = class_positions(data, self._path, class_names)
        self._files, sizes, channels, dtype = open_images(data, Path(images), self._path)
        self._has_masks = any(entry.get("segmentation") for entry in data["annotations"])
        if self._has_masks:
            super().__init__([BACKGROUND, *names], sizes, channels, dtype)
            self.fields = ("image", "mask", "instances", "boxes", "classes")
        else:
            super().__init__(names, sizes, channels, dtype)
            self.fields = ("image", "boxes", "classes")
        first = len(self.label_names) - len(names)
        self._class_ids = {number: first + position for number, position in positions.items()}
        self._names = [image_name(image) for image in data["images"]]
        self.dropped = []
        self._objects = self._sort_by_image(data)

    def __getitem__(self, index: int) -> dict:
        objects = [found for found in self._objects[index] if found.box is not None]
        image = read_image(self._files[index][0], self.channels)
        sample = {
            "image": image.astype(self.dtype, copy=False),
            "boxes": np.array([found.box for found in objects], np.float32).reshape(-1, 4),
            "classes": np.array([found.class_id for found in objects], np.int32),
        }
        if self._has_masks:
            size = self.sizes[index].tolist()
            crowds = [found for found in self._objects[index] if found.box is None]
            sample["mask"], sample["instances"] = draw_objects(
                [self._region(found.annotation, size) for found in objects],
                sample["classes"],
                [self._region(found.annotation, size) for found in crowds],
                size,
                len(self.label_names),
            )
        return sample

    def name(self, index: int) -> str:
        """Return the image's file name in the JSON file without its suffix."""
        return self._names[index]

    def image_path(self, index: int) -> Path:
        """Return the file of the sample's image."""
        return self._files[index][0]

    def _sort_by_image(self, data):
        """Return a list of objects per image; fill `dropped`."""
        positions = {image["id"]: i for i, image in enumerate(data["images"])}
        sizes = dict(zip(positions, self.sizes.tolist(), strict=True))
        check_box_layout(data["annotations"], sizes, self._path)
        names = {category["id"]: category["name"] for category in data["categories"]}
        objects = [[] for _ in positions]
        left_out = Counter()  # (position, category id)
        problems = []
        for annotation in data["annotations"]:
            where = f"annotation {annotation.get('id')}"
            try:
                position = _lookup(annotation, "image_id", positions)
                _lookup(annotation, "category_id", names)
                if annotation["category_id"] not in self._class_ids:
                    left_out[position, annotation["category_id"]] += 1
                    continue
                found, reason = self._parse(annotation, self.sizes[position].tolist())
            except (TypeError, ValueError) as error:
                problems.append(
                    f"{self._path}: {where}: {error}. Correct it, or export the file again."
                )
                continue
            if reason:
                self.dropped.append((self.name(position), f"{where}: {reason}"))
            if found:
                objects[position].append(found)
        if problems:
            raise ValueError(format_problems(problems))
        for (position, number), count in left_out.items():
            reason = f"{count} annotations of the category {names[number]!r}, which is not a class"
            self.dropped.append((self.name(position), reason))
        return objects

    def _parse(self, annotation, size):
        """Return (object or None, why it is not an object with a box, or None)."""
        reason = self._why_no_region(annotation)
        if reason:
            return None, reason
        class_id = self._class_ids[annotation["category_id"]]
        if self._ignore_crowds and _is_crowd(annotation):
            if self._has_masks:
                return _Object(annotation, class_id, None), f"{CROWD}, so its pixels are ignored"
            return None, CROWD
        box, reason = clip_box(self._box(annotation, size), size)
        return (None if reason else _Object(annotation, class_id, box)), reason

    def _why_no_region(self, annotation):
        """Return why an annotation has no region to draw, or None."""
        if not self._has_masks:
            return None
        segmentation = annotation.get("segmentation")
        if not segmentation:
            return "it has no segmentation"
        if isinstance(segmentation, list):
            return valid_polygons(segmentation)[1]
        return None

    def _box(self, annotation, size):
        """Return the annotation's x_min, y_min, x_max, y_max."""
        if annotation.get("bbox"):
            try:
                x, y, width, height = [float(value) for value in annotation["bbox"]]
            except (TypeError, ValueError):
                raise ValueError(
                    f"its bbox {annotation['bbox']} is not x, y, width, height"
                ) from None
        elif self._has_masks:
            coco = checks.require_package("pycocotools.mask", "coco")
            x, y, width, height = coco.toBbox(self._region(annotation, size)).tolist()
        else:
            raise ValueError("it has neither a bbox nor a segmentation")
        return x, y, x + width, y + height

    def _region(self, annotation, size):
        """Return the RLE of an annotation's region."""
        segmentation = annotation["segmentation"]
        if isinstance(segmentation, list):
            return polygons_to_rle(valid_polygons(segmentation)[0], size)
        try:
            return validated_rle(segmentation, size)
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self._path}: annotation {annotation.get('id')}: {error}. Export the file again."
            ) from error


def _check_objects(data, path):
    """Raise a ValueError if the annotations are panoptic segments."""
    if any("segments_info" in annotation for annotation in data["annotations"]):
        raise ValueError(
            f"{path} is a panoptic COCO file. Read it with `CocoPanoptic`, or pass the file of the "
            "instances."
        )


def _is_crowd(annotation):
    return annotation.get("iscrowd") in (1, "1")  # True equals 1


def _lookup(annotation, key, table):
    """Return the entry of `table` that an annotation refers to, or raise a ValueError."""
    if annotation.get(key) not in table:
        raise ValueError(f"{key} {annotation.get(key)!r} is in no list of the file")
    return table[annotation[key]]
