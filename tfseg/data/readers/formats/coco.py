"""The reader of COCO's files of objects (https://cocodataset.org/#format-data)."""

from pathlib import Path

import numpy as np

from tfseg import checks
from tfseg.checks import BACKGROUND
from tfseg.data.readers.base import Reader, format_problems
from tfseg.data.readers.formats.coco_file import category_names, pictures, read_json, stem
from tfseg.data.readers.formats.drawing import (
    clipped,
    draw,
    polygon_region,
    polygons_with_area,
    runs_region,
)
from tfseg.data.readers.image_files import read_image


class Coco(Reader):
    """Objects of a COCO "instances" file: polygons, or runs (RLE) packed into a string or not.

    Class ids follow the order of the category ids, whose gaps close; 0 is "background". A file none of whose
    annotations has a segmentation gives boxes and classes alone, without "background". An object that smaller ones
    cover wholly keeps its box and class. Needs pycocotools (extra `coco`) where there are segmentations.

    Args:
        images: the folder that the file's `file_name` start from.
        annotations: the JSON file.
        crowd: "ignore": where nothing else lies, pixels of crowds become 255 in the mask; they are no objects.
            "object": crowds are objects like any other.

    Attributes:
        dropped: list of (name of the sample, why) of objects without area.

    Raises:
        FileNotFoundError: images, or the JSON file, are missing; they are named.
        ValueError: the JSON file contradicts itself or the images.
        OSError: a file is no image.
    """

    def __init__(self, images, annotations, crowd="ignore"):
        checks.one_of("Coco", "crowd", crowd, ("ignore", "object"))
        self._path = Path(annotations)
        data = read_json(self._path)
        self._files, sizes, channels, dtype = pictures(data, Path(images), self._path)
        self._drawn = any(entry.get("segmentation") for entry in data["annotations"])
        names = category_names(data)
        super().__init__([*[BACKGROUND] * self._drawn, *names], sizes, channels, dtype)
        boxes = ("boxes", "classes")
        self.fields = ("image", "mask", "instances", *boxes) if self._drawn else ("image", *boxes)
        self.dropped = []
        self._names = [stem(image) for image in data["images"]]
        first = len(self.label_names) - len(names)
        ids = {
            category: first + i
            for i, category in enumerate(sorted(c["id"] for c in data["categories"]))
        }
        self._objects = self._sort(data, ids, crowd)

    def __getitem__(self, index):
        objects = self._objects[index]
        kept = [(box, class_id) for _, box, class_id in objects if box is not None]
        sample = {
            "image": read_image(self._files[index][0], self.channels).astype(
                self.dtype, copy=False
            ),
            "boxes": np.array([box for box, _ in kept], np.float32).reshape(-1, 4),
            "classes": np.array([class_id for _, class_id in kept], np.int32),
        }
        if self._drawn:
            size = self.sizes[index].tolist()
            regions = [
                [self._region(e, size) for e, box, _ in objects if (box is None) == void]
                for void in (0, 1)
            ]
            sample["mask"], sample["instances"] = draw(
                regions[0], sample["classes"], regions[1], size
            )
        return sample

    def name(self, index):
        """Return the image's file name, as the JSON file has it, without its suffix."""
        return self._names[index]

    def _sort(self, data, ids, crowd):
        """Return for each image a list of (annotation, box, class id); the box of what is ignored is None."""
        index = {image["id"]: i for i, image in enumerate(data["images"])}
        objects, problems = [[] for _ in index], []
        for entry in data["annotations"]:
            where = f"annotation {entry.get('id')}"
            try:
                picture, class_id = (
                    _known(entry, "image_id", index),
                    _known(entry, "category_id", ids),
                )
                why, box = self._why_no_region(entry), None
                ignored = entry.get("iscrowd") and crowd == "ignore"
                if not why and not ignored:
                    box, why = self._box(entry, self.sizes[picture].tolist())
            except (TypeError, ValueError) as error:
                problems.append(
                    f"{self._path}: {where}: {error}. Correct it, or export the file again."
                )
                continue
            if why:
                self.dropped.append((self.name(picture), f"{where}: {why}"))
            elif self._drawn or not ignored:
                objects[picture].append((entry, box, class_id))
        if problems:
            raise ValueError(format_problems(problems))
        return objects

    def _why_no_region(self, entry):
        segmentation = entry.get("segmentation")
        if not self._drawn:
            return None
        if not segmentation:
            return "it has no segmentation"
        return polygons_with_area(segmentation)[1] if isinstance(segmentation, list) else None

    def _box(self, entry, size):
        """Return (the object's box, None), or (None, why the object is none)."""
        if "bbox" in entry:
            box = [float(value) for value in entry["bbox"]]
            if len(box) != 4:
                raise ValueError(f"its bbox {entry['bbox']} is not x, y, width, height")
        elif self._drawn:
            box = (
                checks.require_package("pycocotools.mask", "coco")
                .toBbox(self._region(entry, size))
                .tolist()
            )
        else:
            raise ValueError("it has neither a bbox nor a segmentation")
        x, y, width, height = box
        return clipped((x, y, x + width, y + height), size)

    def _region(self, entry, size):
        segmentation = entry["segmentation"]
        if isinstance(segmentation, list):
            return polygon_region(polygons_with_area(segmentation)[0], size)
        try:
            return runs_region(segmentation, size)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self._path}: annotation {entry.get('id')}: {error}. Export the file again."
            ) from error


def _known(entry, key, table):
    """Return what `table` holds for an annotation's reference, or raise a ValueError."""
    if entry.get(key) not in table:
        raise ValueError(f"{key} {entry.get(key)!r} is in no list of the file")
    return table[entry[key]]
