"""The reader of panoptic COCO files (https://cocodataset.org/#format-data, part 4)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfseg.checks import is_background
from tfseg.data.readers.base import Reader
from tfseg.data.readers.file_names import FileFinder
from tfseg.data.readers.formats.coco_boxes import disagreement, is_box
from tfseg.data.readers.formats.coco_categories import class_positions
from tfseg.data.readers.formats.coco_file import (
    EXPORT_AGAIN,
    image_name,
    open_images,
    read_json,
)
from tfseg.data.readers.formats.drawing import annotated_area
from tfseg.data.readers.image_files import read_image
from tfseg.data.readers.objects import (
    OBJECT_FIELDS,
    boxes_around,
    instance_areas,
    instances_to_rle,
    object_arrays,
)
from tfseg.data.readers.problems import first_few, format_problems


class CocoPanoptic(Reader):
    """Panoptic segments of COCO: a PNG per image whose colors number the segments, and a JSON file.

    A segment's number is red + 256 green + 65536 blue. The mask contains the categories, things
    and stuff, in the order of `class_names` or of their ids, and 255 where there is no segment.
    Objects are the segments of things; `object_names` are the names of things only. Crowds have
    "crowd" True, are not in "instances", and keep their class in the mask.

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

    fields = ("image", *OBJECT_FIELDS)

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
        self._set_objects(data["categories"], names, positions)
        self.dropped = self._left_out()

    def _set_objects(self, categories, names, positions):
        """Find out which classes are things; a name that is not in the file counts as one."""
        things = {category["id"] for category in categories if category.get("isthing", 1)}
        stuff = {positions[number] for number in positions.keys() - things}
        stuff -= {positions[number] for number in positions.keys() & things}
        self._object_names = [
            name
            for position, name in enumerate(names)
            if position not in stuff and not is_background(name)
        ]
        objects = {name: category for category, name in enumerate(self._object_names)}
        self._object_ids = {
            number: objects[names[position]]
            for number, position in positions.items()
            if number in things and names[position] in objects
        }

    @property
    def object_names(self) -> list[str]:
        """Names of the things in the order of their ids in "classes"."""
        return list(self._object_names)

    def __getitem__(self, index: int) -> dict:
        file, png = self._files[index]
        mask, numbered, things = self._read_segments(index)
        boxes = boxes_around(numbered)
        self._check_boxes(png, things, boxes)
        labels = object_arrays(
            boxes,
            [self._object_ids[segment["category_id"]] for segment in things],
            [bool(segment.get("iscrowd")) for segment in things],
            [annotated_area(segment.get("area")) for segment in things],
        )
        pixels = instance_areas(numbered, len(boxes))
        is_annotated = [annotated_area(segment.get("area")) > 0 for segment in things]
        labels["areas"] = np.where(is_annotated, labels["areas"], pixels)
        kept = np.array([True, *~labels["crowd"]])
        return {
            "image": read_image(file, self.channels).astype(self.dtype, copy=False),
            "mask": mask,
            "instances": numbered * kept[numbered],
            **labels,
        }

    def _read_segments(self, index):
        """Return the mask, the numbered things with crowds, and the segments of the things."""
        segments = sorted(self._segments[index], key=lambda segment: segment["id"])
        class_ids = [
            self._class_ids.get(segment["category_id"], self.ignore_index) for segment in segments
        ]
        is_thing = np.array([segment["category_id"] in self._object_ids for segment in segments])
        # Tables of the k-th segment, k = 1, 2, ...; 0 means none.
        mask_table = np.array([self.ignore_index, *class_ids], self.mask_dtype)
        numbers = np.where(is_thing, np.cumsum(is_thing), 0)
        thing_table = np.array([0, *numbers], np.int32)
        ids = [segment["id"] for segment in segments]
        positions, lengths = self._runs(self._files[index][1], ids)
        size = self.sizes[index]
        mask = np.repeat(mask_table[positions], lengths).reshape(size)
        numbered = np.repeat(thing_table[positions], lengths).reshape(size)
        things = [segment for segment in segments if segment["category_id"] in self._object_ids]
        return mask, numbered, things

    def _check_boxes(self, png, things, boxes):
        """Raise a ValueError if a segment's "bbox" is elsewhere than its pixels."""
        for segment, box in zip(things, boxes, strict=True):
            if not is_box(segment.get("bbox")):
                continue
            x, y, width, height = segment["bbox"]
            problem = disagreement((x, y, x + width, y + height), box)
            if problem:
                raise ValueError(
                    f"{self._path}: segment {segment['id']} of {png}: {problem}. {EXPORT_AGAIN}"
                )

    def object_rle(self, index: int) -> list[dict]:
        """Return the segments of the things, with crowds; see `Reader.object_rle`."""
        _, numbered, things = self._read_segments(index)
        return instances_to_rle(numbered, len(things))

    def name(self, index: int) -> str:
        """Return the image's file name in the JSON file without its suffix."""
        return self._names[index]

    def image_path(self, index: int) -> Path:
        """Return the file of the sample's image."""
        return self._files[index][0]

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
        images = {image["id"] for image in data["images"]}
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
            if number not in images:
                problems.append(
                    f"{self._path}: {entry['file_name']} belongs to the image {number!r}, which is "
                    "not in the file. Add the image, or remove the annotation."
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
