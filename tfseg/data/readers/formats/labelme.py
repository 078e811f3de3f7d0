"""The reader of LabelMe files (https://github.com/wkentaro/labelme): one JSON file per image."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfseg.checks import BACKGROUND, is_background
from tfseg.data.readers.annotated_images import annotation_files, pair_annotations
from tfseg.data.readers.base import Reader, check_class_names
from tfseg.data.readers.file_names import same_form
from tfseg.data.readers.formats.drawing import (
    clip_box,
    draw_objects,
    polygons_to_rle,
    region_areas,
)
from tfseg.data.readers.formats.labelme_file import read_shapes
from tfseg.data.readers.image_files import read_image
from tfseg.data.readers.image_listing import printable
from tfseg.data.readers.objects import OBJECT_FIELDS, object_arrays
from tfseg.data.readers.pairing import read_headers
from tfseg.data.readers.problems import format_problems

IGNORED = "__ignore__"  # a label of LabelMe for regions that are not labeled


class _Object(NamedTuple):
    class_id: int
    box: tuple  # x_min, y_min, x_max, y_max
    polygons: list


class LabelMe(Reader):
    """A folder of images and a folder of LabelMe's JSON files, which may be the same folder.

    Objects are polygons, rectangles and circles. Shapes of the same label and `group_id` are parts
    of one object. Shapes of other kinds, such as lines and points, are not used. They are drawn in
    the same way as pycocotools (extra `coco`). The samples are the images that have a JSON file;
    save a file without shapes for an image without objects.

    Ids depend on the files: pass `class_names=train.class_names` to the reader of another folder.

    Args:
        images: folder of images.
        labels: folder of JSON files, each with the name of its image, or with that in its
            "imagePath".
        class_names: labels of the objects in the order of their ids, with or without the background
            at the front. None: all labels that occur, in alphabetical order.

    Attributes:
        dropped: list of (name of the sample, reason) of shapes that are not objects: of other
            kinds, without area, or of the labels "_background_" and "__ignore__".

    Raises:
        FileNotFoundError: a folder is missing, or contains no image or no JSON file.
        ValueError: files are not from LabelMe, belong to no image or to the same one, or do not
            match it; labels are not in `class_names`; polygons have fewer than 3 points. All are
            named.
        OSError: a file is not an image.

    Example:
        >>> import json, pathlib, tfseg
        >>> shape = {"label": "leaf", "shape_type": "rectangle", "points": [[8, 4], [24, 20]]}
        >>> content = {"imagePath": "leaf0.jpg", "shapes": [shape]}
        >>> pathlib.Path("json").mkdir()
        >>> _ = pathlib.Path("json/leaf0.json").write_text(json.dumps(content))
        >>> import warnings; warnings.simplefilter("ignore")  # three images have no file
        >>> reader = tfseg.data.LabelMe("photos", "json")
        >>> reader.object_names, reader[0]["boxes"].tolist()
        (['leaf'], [[8.0, 4.0, 24.0, 20.0]])
    """

    fields = ("image", *OBJECT_FIELDS)

    def __init__(
        self,
        images: str | Path,
        labels: str | Path,
        class_names: Sequence[str] | None = None,
    ):
        content = _read_files(annotation_files(Path(labels), ".json"))
        image_names = {path: file.image_name for path, file in content.items()}
        pairs = pair_annotations("LabelMe", Path(images), image_names)
        self._files = [image for image, _ in pairs]
        sizes, channels, dtype = read_headers([(image,) for image in self._files])
        if class_names is None:
            found = {label for file in content.values() for label in file.labels()}
            names = sorted(label for label in found if not _is_left_out(label))
            if not names:
                raise ValueError(
                    f"LabelMe: no file in '{labels}' has a shape. Label objects, or pass "
                    "class_names."
                )
        else:
            names = check_class_names(class_names)
            names = names[1:] if is_background(names[0]) else names
        super().__init__([BACKGROUND, *names], sizes, channels, dtype)
        self.dropped = []
        self._objects = self._read_objects([(path, content[path]) for _, path in pairs])

    def __getitem__(self, index: int) -> dict:
        image = read_image(self._files[index], self.channels)
        objects, regions = self._objects[index], self.object_rle(index)
        labels = object_arrays(
            [found.box for found in objects],
            [found.class_id for found in objects],
            areas=region_areas(regions),
        )
        mask, instances = draw_objects(
            regions,
            self.object_label_ids[labels["classes"]],
            labels["crowd"],
            self.sizes[index].tolist(),
            len(self.label_names),
        )
        image = image.astype(self.dtype, copy=False)
        return {"image": image, "mask": mask, "instances": instances, **labels}

    def object_rle(self, index: int) -> list[dict]:
        """Return the masks of the shapes; see `Reader.object_rle`."""
        size = self.sizes[index].tolist()
        return [polygons_to_rle(found.polygons, size) for found in self._objects[index]]

    def name(self, index: int) -> str:
        """Return the image's file name without its suffix."""
        return printable(same_form(self._files[index].stem))

    def image_path(self, index: int) -> Path:
        """Return the file of the sample's image."""
        return self._files[index]

    def _read_objects(self, files):
        """Return a list of objects per image; fill `dropped`."""
        objects, problems = [], []
        for index, (path, file) in enumerate(files):
            size = tuple(self.sizes[index].tolist())
            faults = file.faults(size)
            faults += self._unknown_labels(file)
            problems += [f"{path}: {fault}" for fault in faults]
            if not faults:
                objects.append(self._objects_of(index, file, size))
        if problems:
            raise ValueError(format_problems(problems))
        return objects

    def _unknown_labels(self, file):
        names = self.object_names
        return [
            f"it contains an object {label!r}, but the classes are {', '.join(names)}. Add it to "
            "`class_names`."
            for label in file.labels()
            if label not in names and not _is_left_out(label)
        ]

    def _objects_of(self, index, file, size):
        objects = []
        for label, polygons, reason in file.objects():
            box = None
            if _is_left_out(label):
                reason = f"its label is {label!r}"
            if reason is None:
                points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in polygons])
                corners = np.concatenate([points.min(axis=0), points.max(axis=0)])
                box, reason = clip_box(corners, size)
            if reason:
                self.dropped.append((self.name(index), f"{label}: {reason}"))
            else:
                class_id = self.object_names.index(label)
                objects.append(_Object(class_id, box, polygons))
        return objects


def _is_left_out(label):
    return is_background(label) or label == IGNORED


def _read_files(files):
    """Return {path: ShapeFile}."""
    content, problems = {}, []
    for path in files:
        try:
            content[path] = read_shapes(path)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError(format_problems(problems))
    return content
