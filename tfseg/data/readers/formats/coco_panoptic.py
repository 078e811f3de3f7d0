"""The reader of COCO's panoptic segments (https://cocodataset.org/#format-data, part 4)."""

from pathlib import Path

import numpy as np

from tfseg.checks import IGNORE_INDEX
from tfseg.data.readers.base import Reader, format_problems
from tfseg.data.readers.formats.coco_file import category_names, pictures, read_json, stem
from tfseg.data.readers.image_files import read_image
from tfseg.data.readers.objects import boxes_of


class CocoPanoptic(Reader):
    """Panoptic segments of COCO: a PNG an image, whose colors number the segments, and a JSON file on them.

    A segment's number is red + 256 green + 65536 blue. The mask holds the categories, things and stuff, in the order
    of their ids; 255 where there is no segment. Objects are the segments of things that are no crowds.

    Args:
        images: folder of the images.
        panoptic: folder of the PNG files.
        annotations: the JSON file.

    Raises:
        FileNotFoundError: files are missing; they are named.
        ValueError: the JSON file contradicts itself or the images. On reading: it contradicts the segments of a PNG.
        OSError: a file is no image.
    """

    fields = ("image", "mask", "instances", "boxes", "classes")

    def __init__(self, images, panoptic, annotations):
        self._path = Path(annotations)
        data = read_json(self._path)
        pngs, self._segments = self._match(data, Path(panoptic))
        self._files, sizes, channels, dtype = pictures(data, Path(images), self._path, pngs)
        super().__init__(category_names(data), sizes, channels, dtype)
        self._names = [stem(image) for image in data["images"]]
        first = len(self.label_names) - len(self.class_names)
        categories = sorted(data["categories"], key=lambda c: c["id"])
        self._ids = {category["id"]: first + i for i, category in enumerate(categories)}
        self._things = {category["id"] for category in categories if category.get("isthing", 1)}

    def __getitem__(self, index):
        picture, png = self._files[index]
        segments = sorted(self._segments[index], key=lambda segment: segment["id"])
        is_object = [s["category_id"] in self._things and not s.get("iscrowd") for s in segments]
        class_ids = [self._ids[s["category_id"]] for s in segments]
        place, lengths = self._places(png, [s["id"] for s in segments])
        numbers = np.cumsum([0, *is_object]) * [False, *is_object]
        tables = np.array([IGNORE_INDEX, *class_ids], np.uint8), numbers.astype(np.int32)
        mask, instances = (
            np.repeat(table[place], lengths).reshape(self.sizes[index]) for table in tables
        )
        return {
            "image": read_image(picture, self.channels).astype(self.dtype, copy=False),
            "mask": mask,
            "instances": instances,
            "boxes": boxes_of(instances),
            "classes": np.array(class_ids, np.int32)[np.array(is_object, bool)],
        }

    def name(self, index):
        """Return the image's file name, as the JSON file has it, without its suffix."""
        return self._names[index]

    def _match(self, data, folder):
        """Return the PNG of each image, and its segments."""
        by_image = {entry["image_id"]: entry for entry in data["annotations"]}
        categories = {category["id"] for category in data["categories"]}
        problems = [
            f"{self._path}: the image {image['file_name']} has no annotation"
            for image in data["images"]
            if image["id"] not in by_image
        ]
        for entry in by_image.values():
            unknown = sorted({s["category_id"] for s in entry["segments_info"]} - categories)
            problems += [
                f"{self._path}: {entry['file_name']}: there is no category {c}" for c in unknown
            ]
        if problems:
            raise ValueError(format_problems(problems))
        entries = [by_image[image["id"]] for image in data["images"]]
        return [folder / entry["file_name"] for entry in entries], [
            entry["segments_info"] for entry in entries
        ]

    def _places(self, png, ids):
        """Return the runs of a PNG's pixels, row after row: k for the k-th of the `ids`, 0 for none; and their lengths.

        Each run is looked up once: there are far fewer runs than pixels.
        """
        colors = read_image(png, 3)
        if colors.dtype != np.uint8:
            raise ValueError(
                f"{png} holds {colors.dtype}. Expected colors of 8 bit that number the segments."
            )
        flat = (colors.astype(np.int32) @ np.array([1, 256, 65536], np.int32)).ravel()
        starts = np.flatnonzero(np.append(True, flat[1:] != flat[:-1]))
        values = flat[starts]
        found = np.setdiff1d(values, 0)
        for where, wrong in (
            ("in the PNG", np.setdiff1d(found, ids)),
            ("in the JSON file", np.setdiff1d(ids, found)),
        ):
            if wrong.size:
                raise ValueError(
                    f"{png} and {self._path} do not agree: segments that are {where} alone: "
                    f"{', '.join(map(str, wrong[:8].tolist()))}. Take both from one release."
                )
        return np.searchsorted([0, *ids], values), np.diff(np.append(starts, flat.size))
