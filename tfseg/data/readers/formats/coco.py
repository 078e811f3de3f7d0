"""The reader of COCO files with objects (https://cocodataset.org/#format-data)."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfseg import checks
from tfseg.checks import BACKGROUND
from tfseg.data.readers.base import Reader
from tfseg.data.readers.formats.coco_boxes import check_box_layout, disagreement
from tfseg.data.readers.formats.coco_categories import class_positions
from tfseg.data.readers.formats.coco_file import image_name, open_images, read_json
from tfseg.data.readers.formats.drawing import (
    annotated_area,
    clip_box,
    draw_objects,
    polygons_to_rle,
    region_areas,
    valid_polygons,
    validated_rle,
)
from tfseg.data.readers.image_files import read_image
from tfseg.data.readers.objects import BOX_FIELDS, OBJECT_FIELDS, object_arrays
from tfseg.data.readers.problems import format_problems

CROWD = "it is a crowd (iscrowd=1), not an object"
REMEDY = "Correct it, or export the file again."


class _Object(NamedTuple):
    annotation: dict
    class_id: int
    box: tuple  # x_min, y_min, x_max, y_max
    is_crowd: bool


class Coco(Reader):
    """Objects of a COCO "instances" file: polygons, or RLE as a list or as a packed string.

    Object categories follow `class_names`, or the order of the category ids, without gaps. In masks
    "background" is before them. If no annotation in the file has a segmentation, samples have no
    mask and no instances, and there is no "background". Not classes are a category "background",
    and categories without annotations that only group others (the root in exports of Roboflow). An
    object that is completely covered by smaller ones keeps its box and class. Segmentations need
    pycocotools (extra `coco`).

    Ids depend on the file: pass `class_names=train.class_names` to the reader of another file.

    Args:
        images: folder that the file names in the JSON file are relative to.
        annotations: JSON file.
        crowd: "ignore": crowds have "crowd" True, are not in "instances", and become 255 in the
            mask where there is no object. "object": crowds are objects like any other.
        class_names: names of categories in the order of their ids, with or without "background" at
            the front. None: all categories. Objects of other categories are left out; categories
            of the same name are one class.

    Attributes:
        dropped: list of (name of the sample, reason) of annotations that are not objects: without
            area, crowds, of a category that is left out.

    Raises:
        FileNotFoundError: the JSON file is missing, or images are; they are named.
        ValueError: the JSON file contradicts itself or the images; its boxes are not stored as x,
            y, width and height in pixels; a polygon has fewer than 3 points; or the box of an
            object does not enclose its segmentation.
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
            self.fields = ("image", *OBJECT_FIELDS)
        else:
            super().__init__(names, sizes, channels, dtype)
            self.fields = ("image", *BOX_FIELDS)
        self._class_ids = positions
        self._names = [image_name(image) for image in data["images"]]
        self.dropped = []
        self._objects = self._sort_by_image(data)

    def __getitem__(self, index: int) -> dict:
        objects = self._objects[index]
        image = read_image(self._files[index][0], self.channels)
        sample = {"image": image.astype(self.dtype, copy=False)}
        areas = np.array([annotated_area(found.annotation.get("area")) for found in objects])
        regions = None
        if self._has_masks:
            regions = self.object_rle(index)
            areas = np.where(np.isnan(areas), region_areas(regions), areas)
        labels = object_arrays(
            [found.box for found in objects],
            [found.class_id for found in objects],
            [found.is_crowd for found in objects],
            areas,
        )
        if self._has_masks:
            sample["mask"], sample["instances"] = draw_objects(
                regions,
                self.object_label_ids[labels["classes"]],
                labels["crowd"],
                self.sizes[index].tolist(),
                len(self.label_names),
            )
        return {**sample, **labels}

    def object_rle(self, index: int) -> list[dict]:
        """Return the regions in the file; see `Reader.object_rle`."""
        if not self._has_masks:
            return super().object_rle(index)  # raises
        size = self.sizes[index].tolist()
        regions = []
        for found in self._objects[index]:
            region = self._region(found.annotation, size)
            if isinstance(found.annotation["segmentation"], dict):
                self._check_box(found, region)
            regions.append(region)
        return regions

    def _check_box(self, found, region):
        """Raise a ValueError if the box of an object does not enclose its RLE."""
        if "score" in found.annotation:  # detections: box and mask were predicted separately
            return
        coco = checks.require_package("pycocotools.mask", "coco")
        x, y, width, height = coco.toBbox(region).tolist()
        problem = disagreement(found.box, (x, y, x + width, y + height))
        if problem and found.annotation.get("bbox"):
            number = found.annotation.get("id")
            raise ValueError(f"{self._path}: annotation {number}: {problem}. {REMEDY}")

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
                problems.append(f"{self._path}: {where}: {error}. {REMEDY}")
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
        """Return (object or None, why it is not used as an object, or None)."""
        reason = self._why_no_region(annotation)
        if reason:
            return None, reason
        box, reason = clip_box(self._box(annotation, size), size)
        if reason:
            return None, reason
        _check_polygons(annotation, box, size)
        class_id = self._class_ids[annotation["category_id"]]
        is_crowd = self._ignore_crowds and _is_crowd(annotation)
        if is_crowd:
            reason = f"{CROWD}, so its pixels are ignored" if self._has_masks else CROWD
        return _Object(annotation, class_id, box, is_crowd), reason

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


def _check_polygons(annotation, box, size):
    """Raise a ValueError if the polygons of an object are elsewhere than its box."""
    segmentation = annotation.get("segmentation")
    if not segmentation or not isinstance(segmentation, list) or not annotation.get("bbox"):
        return
    polygons = valid_polygons(segmentation)[0]
    points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in polygons])
    corners = np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(float)
    around = clip_box(corners, size)[0]
    problem = disagreement(box, (0, 0, 0, 0) if around is None else around)
    if problem:
        raise ValueError(problem)


def _is_crowd(annotation):
    return annotation.get("iscrowd") in (1, "1")  # True equals 1


def _lookup(annotation, key, table):
    """Return the entry of `table` that an annotation refers to, or raise a ValueError."""
    if annotation.get(key) not in table:
        raise ValueError(f"{key} {annotation.get(key)!r} is in no list of the file")
    return table[annotation[key]]
