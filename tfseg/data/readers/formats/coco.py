"""The reader of COCO files with objects (https://cocodataset.org/#format-data)."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfseg import checks
from tfseg.checks import BACKGROUND
from tfseg.data.readers.base import Reader
from tfseg.data.readers.formats.coco_file import (
    category_names,
    category_table,
    image_name,
    open_images,
    read_json,
)
from tfseg.data.readers.formats.drawing import (
    clip_box,
    draw_objects,
    polygons_to_rle,
    valid_polygons,
    validated_rle,
)
from tfseg.data.readers.image_files import read_image
from tfseg.data.readers.problems import format_problems


class _Object(NamedTuple):
    annotation: dict
    class_id: int
    box: tuple | None  # x_min, y_min, x_max, y_max; None for a crowd that is ignored


class Coco(Reader):
    """Objects of a COCO "instances" file: polygons, or RLE as a list or as a packed string.

    Class ids follow the order of the category ids, without gaps; 0 is "background". If no
    annotation in the file has a segmentation, samples have boxes and classes only, and there is no
    "background". An object that is completely covered by smaller ones keeps its box and class.
    Segmentations need pycocotools (extra `coco`).

    Args:
        images: folder that the file names in the JSON file are relative to.
        annotations: JSON file.
        crowd: "ignore": pixels of crowds become 255 in the mask where there is no object, and
            crowds are not objects. "object": crowds are objects like any other.

    Attributes:
        dropped: list of (name of the sample, reason) of objects without area.

    Raises:
        FileNotFoundError: the JSON file is missing, or images are; they are named.
        ValueError: the JSON file contradicts itself or the images.
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

    def __init__(self, images: str | Path, annotations: str | Path, crowd: str = "ignore"):
        checks.one_of("Coco", "crowd", crowd, ("ignore", "object"))
        self._path = Path(annotations)
        self._ignore_crowds = crowd == "ignore"
        data = read_json(self._path)
        self._files, sizes, channels, dtype = open_images(data, Path(images), self._path)
        class_names = category_names(data)
        self._has_masks = any(entry.get("segmentation") for entry in data["annotations"])
        if self._has_masks:
            class_names = [BACKGROUND, *class_names]
            self.fields = ("image", "mask", "instances", "boxes", "classes")
        else:
            self.fields = ("image", "boxes", "classes")
        super().__init__(class_names, sizes, channels, dtype)
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
            )
        return sample

    def name(self, index: int) -> str:
        """Return the image's file name in the JSON file without its suffix."""
        return self._names[index]

    def _sort_by_image(self, data):
        """Return a list of objects per image; fill `dropped`."""
        positions = {image["id"]: i for i, image in enumerate(data["images"])}
        class_ids = category_table(data, self.label_names)
        objects = [[] for _ in positions]
        problems = []
        for annotation in data["annotations"]:
            where = f"annotation {annotation.get('id')}"
            try:
                position = _lookup(annotation, "image_id", positions)
                class_id = _lookup(annotation, "category_id", class_ids)
                found, reason = self._parse(annotation, class_id, self.sizes[position].tolist())
            except (TypeError, ValueError) as error:
                problems.append(
                    f"{self._path}: {where}: {error}. Correct it, or export the file again."
                )
                continue
            if reason:
                self.dropped.append((self.name(position), f"{where}: {reason}"))
            elif found:
                objects[position].append(found)
        if problems:
            raise ValueError(format_problems(problems))
        return objects

    def _parse(self, annotation, class_id, size):
        """Return (object or None, the reason if it has no area)."""
        reason = self._why_no_region(annotation)
        if reason:
            return None, reason
        if annotation.get("iscrowd") and self._ignore_crowds:
            crowd = _Object(annotation, class_id, None)
            return (crowd if self._has_masks else None), None
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
        if "bbox" in annotation:
            box = [float(value) for value in annotation["bbox"]]
            if len(box) != 4:
                raise ValueError(f"its bbox {annotation['bbox']} is not x, y, width, height")
        elif self._has_masks:
            coco = checks.require_package("pycocotools.mask", "coco")
            box = coco.toBbox(self._region(annotation, size)).tolist()
        else:
            raise ValueError("it has neither a bbox nor a segmentation")
        x, y, width, height = box
        return x, y, x + width, y + height

    def _region(self, annotation, size):
        """Return the RLE of an annotation's region."""
        segmentation = annotation["segmentation"]
        if isinstance(segmentation, list):
            return polygons_to_rle(valid_polygons(segmentation)[0], size)
        try:
            return validated_rle(segmentation, size)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self._path}: annotation {annotation.get('id')}: {error}. Export the file again."
            ) from error


def _lookup(annotation, key, table):
    """Return the entry of `table` that an annotation refers to, or raise a ValueError."""
    if annotation.get(key) not in table:
        raise ValueError(f"{key} {annotation.get(key)!r} is in no list of the file")
    return table[annotation[key]]
