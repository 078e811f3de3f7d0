"""The reader of panoptic COCO files (https://cocodataset.org/#format-data, part 4)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfseg.data.readers.base import Reader
from tfseg.data.readers.file_names import FileFinder
from tfseg.data.readers.formats.coco_categories import class_positions
from tfseg.data.readers.formats.coco_file import (
    EXPORT_AGAIN,
    image_name,
    open_images,
    read_json,
)
from tfseg.data.readers.image_files import read_image
from tfseg.data.readers.objects import boxes_around
from tfseg.data.readers.problems import first_few, format_problems


class CocoPanoptic(Reader):
    """Panoptic segments of COCO: a PNG per image whose colors number the segments, and a JSON file.

    A segment's number is red + 256 green + 65536 blue. The mask contains the categories, things
    and stuff, in the order of `class_names` or of their ids, and 255 where there is no segment.
    Objects are the segments of things that are not crowds.

    Ids depend on the file: pass `class_names=train.class_names` to the reader of another file.

    Args:
        images: folder of the images.
        panoptic: folder of the PNG files.
        annotations: JSON file.
        class_names: names of categories in the order of their ids. None: all categories. Segments
            of other categories become 255.

    Attributes:
        dropped: list of (name of the sample, reason) of segments of other categories.

    Raises:
        FileNotFoundError: files are missing; they are named.
        ValueError: the JSON file contradicts itself or the images. When a sample is read: it
            contradicts the segments in the PNG.
        OSError: a file is not an image.

    Example:
        >>> import json, pathlib, tfseg
        >>> from PIL import Image
        >>> Image.new("RGB", (64, 48), (9, 0, 0)).save("segments.png")
        >>> content = {"images": [{"id": 1, "file_name": "leaf0.jpg"}],
        ...            "annotations": [{"image_id": 1, "file_name": "segments.png",
        ...                             "segments_info": [{"id": 9, "category_id": 4}]}],
        ...            "categories": [{"id": 4, "name": "leaf", "isthing": 1}]}
        >>> _ = pathlib.Path("panoptic.json").write_text(json.dumps(content))
        >>> tfseg.data.CocoPanoptic("photos", ".", "panoptic.json")[0]["boxes"].tolist()
        [[0.0, 0.0, 64.0, 48.0]]
    """

    fields = ("image", "mask", "instances", "boxes", "classes")

    def __init__(
        self,
        images: str | Path,
        panoptic: str | Path,
        annotations: str | Path,
        class_names: Sequence[str] | None = None,
    ):
        self._path = Path(annotations)
        data = read_json(self._path)
        entries = self._match(data)
        self._segments = [entry["segments_info"] for entry in entries]
        segments = {"annotations": [one for some in self._segments for one in some]}
        names, positions = class_positions(data | segments, self._path, class_names, True)
        finder = FileFinder()
        pngs = [finder.find(panoptic, entry["file_name"]) for entry in entries]
        self._files, sizes, channels, dtype = open_images(data, Path(images), self._path, pngs)
        super().__init__(names, sizes, channels, dtype)
        first = len(self.label_names) - len(names)
        self._class_ids = {number: first + position for number, position in positions.items()}
        self._names = [image_name(image) for image in data["images"]]
        self._things = {
            category["id"] for category in data["categories"] if category.get("isthing", 1)
        }
        self.dropped = self._left_out()

    def __getitem__(self, index: int) -> dict:
        file, png = self._files[index]
        segments = sorted(self._segments[index], key=lambda segment: segment["id"])
        class_ids = [
            self._class_ids.get(segment["category_id"], self.ignore_index) for segment in segments
        ]
        is_object = np.array([self._is_object(segment) for segment in segments], bool)
        # Tables of the k-th segment, k = 1, 2, ...; 0 means none.
        mask_table = np.array([self.ignore_index, *class_ids], self.mask_dtype)
        numbers = np.where(is_object, np.cumsum(is_object), 0)
        instance_table = np.array([0, *numbers], np.int32)
        positions, lengths = self._runs(png, [segment["id"] for segment in segments])
        size = self.sizes[index]
        instances = np.repeat(instance_table[positions], lengths).reshape(size)
        return {
            "image": read_image(file, self.channels).astype(self.dtype, copy=False),
            "mask": np.repeat(mask_table[positions], lengths).reshape(size),
            "instances": instances,
            "boxes": boxes_around(instances),
            "classes": np.array(class_ids, np.int32)[is_object],
        }

    def name(self, index: int) -> str:
        """Return the image's file name in the JSON file without its suffix."""
        return self._names[index]

    def image_path(self, index: int) -> Path:
        """Return the file of the sample's image."""
        return self._files[index][0]

    def _is_object(self, segment):
        number = segment["category_id"]
        return number in self._things & self._class_ids.keys() and not segment.get("iscrowd")

    def _left_out(self):
        """Return (name of the sample, reason) of the segments that belong to no class."""
        return [
            (self.name(index), f"segment {segment['id']}: its category is not in class_names")
            for index, segments in enumerate(self._segments)
            for segment in segments
            if segment["category_id"] not in self._class_ids
        ]

    def _match(self, data):
        """Return the annotation of each image."""
        by_image = {}
        problems = []
        categories = {category["id"] for category in data["categories"]}
        for index, entry in enumerate(data["annotations"]):
            faults = _faults(entry, categories)
            problems += [f"{self._path}: annotations[{index}] {fault}" for fault in faults]
            if faults:
                continue
            number = entry["image_id"]
            if number in by_image:
                problems.append(
                    f"{self._path}: the image with the id {number!r} has two annotations. Keep one."
                )
            by_image[number] = entry
        problems += [
            f"{self._path}: the image {image['file_name']} has no annotation"
            for image in data["images"]
            if image["id"] not in by_image and not problems
        ]
        if problems:
            raise ValueError(format_problems(problems))
        return [by_image[image["id"]] for image in data["images"]]

    def _runs(self, png, ids):
        """Return the runs of equal pixels of a PNG, row by row.

        Runs are looked up instead of pixels, since there are far fewer of them.

        Returns:
            positions: of each run, k for the k-th of the ascending `ids`, k = 1, 2, ..., or 0.
            lengths: of each run, in pixels.
        """
        colors = read_image(png, 3)
        if colors.dtype != np.uint8:
            raise ValueError(
                f"{png} has dtype {colors.dtype}. Expected 8-bit colors that number the segments."
            )
        flat = (colors.astype(np.int32) @ np.array([1, 256, 65536], np.int32)).ravel()
        starts = np.flatnonzero(np.append(True, flat[1:] != flat[:-1]))
        values = flat[starts]
        found = np.setdiff1d(values, 0)
        self._check_agreement(png, np.setdiff1d(found, ids), "in the PNG")
        self._check_agreement(png, np.setdiff1d(ids, found), "in the JSON file")
        return np.searchsorted([0, *ids], values), np.diff(np.append(starts, flat.size))

    def _check_agreement(self, png, extra, where):
        """Raise a ValueError if there are segments in only one of the two files."""
        if extra.size:
            raise ValueError(
                f"{png} and {self._path} disagree: segments that are only {where}: "
                f"{first_few(extra.tolist())}. Take both from the same release."
            )


def _faults(entry, categories):
    """Return what is wrong with an annotation of a panoptic file."""
    if "segments_info" not in entry and "bbox" in entry:
        return ["is an object, not a list of segments. Read the file with `Coco`."]
    missing = [
        key
        for key, kind in (("image_id", (int, str)), ("file_name", str), ("segments_info", list))
        if not isinstance(entry.get(key), kind)
    ]
    if missing:
        return [f"has no {' and no '.join(missing)}. {EXPORT_AGAIN}"]
    segments = entry["segments_info"]
    where = entry["file_name"]
    if not all(_is_segment(segment) for segment in segments):
        return [f"{where} has a segment without id or category_id. {EXPORT_AGAIN}"]
    unknown = {segment["category_id"] for segment in segments} - categories
    return [f"{where}: there is no category {number}. {EXPORT_AGAIN}" for number in unknown]


def _is_segment(segment):
    return (
        isinstance(segment, dict)
        and isinstance(segment.get("id"), int)
        and isinstance(segment.get("category_id"), (int, float, str))
    )
