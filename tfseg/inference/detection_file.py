"""Detections of many images in one JSON file, in the layout of COCO's datasets."""

import json
import os
import time
from pathlib import Path

import numpy as np

from tfseg import checks
from tfseg.data.readers.objects import instance_areas, instances_to_rle
from tfseg.files import SOFTWARE, atomic_write
from tfseg.metrics.object_regions import pasted_regions

FILE_NAME = "detections.json"
SECONDS_BETWEEN_SAVES = 30


class DetectionFile:
    """The detections of images in a JSON file, in the layout of COCO's "instances" files.

    https://cocodataset.org/#format-data: `images` have the paths of the files in `file_name`,
    relative to their common folder; ids of images, categories and annotations start at 1. Each
    annotation also has its `score`. Masks are compressed run lengths; those of detectors need
    pycocotools (extra `coco`).

    Use it as a context manager: the file is written now and then, and when the block ends, also by
    an error or an interrupt. It is written whole or not at all.

    Args:
        path: the JSON file; its folder is created.
        object_names: names of the categories 0, 1, 2 ...
        keep: keep the images that the file already has, and add to them.

    Raises:
        FileExistsError: the file exists, and tfseg did not write it.
        ValueError: the file has other categories, and its images must be kept; or it is damaged.

    Example:
        >>> import numpy as np
        >>> from tfseg.inference import DetectionFile
        >>> found = {"boxes": np.array([[10.0, 20.0, 40.0, 35.0]]), "scores": np.array([0.9]),
        ...          "classes": np.array([0])}
        >>> with DetectionFile("scores/detections.json", ["leaf"]) as file:
        ...     file.add("photos/leaf0.jpg", (48, 64), found)
        >>> import tfseg
        >>> tfseg.data.Coco("photos", "scores/detections.json")[0]["boxes"].tolist()
        [[10.0, 20.0, 40.0, 35.0]]
    """

    def __init__(self, path, object_names: list[str], keep: bool = False):
        self.path, self._names = Path(path), list(object_names)
        self._entries = {}  # absolute path: (height, width, annotations without ids)
        if os.path.lexists(self.path):
            content = self._read_own()
            if keep:
                self._take_over(content)
        self._saved_at = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.save()

    def __contains__(self, image_file) -> bool:
        """Whether the file has the detections of an image."""
        return os.path.abspath(image_file) in self._entries

    def add(self, image_file, size: tuple[int, int], detections: dict) -> None:
        """Add the detections of an image.

        Args:
            image_file: path of the image.
            size: (height, width) of the image.
            detections: dict of "boxes" (M, 4), "scores" (M,), "classes" (M,) and, if there are
                any, "masks" (M, 28, 28), probabilities inside the boxes, or "instances" (H, W),
                numbered 1..M.
        """
        annotations = _annotations(detections, size)
        self._entries[os.path.abspath(image_file)] = (*size, annotations)
        if time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES:
            self.save()

    def save(self) -> None:
        """Write the file."""
        with atomic_write(self.path) as path:
            path.write_text(json.dumps(self._content()) + "\n", encoding="utf-8")
        self._saved_at = time.monotonic()

    def _content(self):
        folder = _common_folder(self._entries)
        images, annotations = [], []
        for number, (file, entry) in enumerate(self._entries.items(), 1):
            height, width, found = entry
            name = Path(file).relative_to(folder).as_posix()
            images.append({"id": number, "file_name": name, "height": height, "width": width})
            for annotation in found:
                ids = {"id": len(annotations) + 1, "image_id": number}
                annotations.append({**ids, **annotation})
        return {
            "info": {"description": "Detected objects", "contributor": SOFTWARE, "images": folder},
            "images": images,
            "categories": [{"id": i, "name": name} for i, name in enumerate(self._names, 1)],
            "annotations": annotations,
        }

    def _read_own(self):
        """Return the content of the file if tfseg wrote it."""
        try:
            content = json.loads(self.path.read_text("utf-8"))
            is_own = content["info"]["contributor"] == SOFTWARE
        except (OSError, ValueError, KeyError, TypeError):
            is_own = False
        if is_own:
            return content
        raise FileExistsError(
            f"{self.path}: tfseg did not write what is there, and would replace it. Choose another "
            "folder for the results with --out, or move it away."
        )

    def _take_over(self, content):
        """Keep the images of the file."""
        names = [category["name"] for category in content["categories"]]
        if names != self._names:
            raise ValueError(
                f"{self.path} has the categories {', '.join(names)}, but this model has "
                f"{', '.join(self._names)}. Choose another folder with --out, or detect all images "
                "again, without --skip-existing."
            )
        folder = Path(content["info"]["images"])
        files = {}
        for image in content["images"]:
            files[image["id"]] = str(folder / image["file_name"])
            self._entries[files[image["id"]]] = (image["height"], image["width"], [])
        for annotation in content["annotations"]:
            file = files[annotation.pop("image_id")]
            del annotation["id"]
            self._entries[file][-1].append(annotation)


def _common_folder(files):
    """Return the innermost folder that contains all files."""
    if not files:
        return str(Path.cwd())
    return os.path.commonpath([os.path.dirname(file) for file in files])


def _annotations(detections, size):
    """Return the annotations of an image, without ids."""
    boxes = np.asarray(detections["boxes"], float)
    corners, sides = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    annotations = [
        {
            "category_id": int(category) + 1,
            "bbox": [*corner, *side],
            "score": float(score),
            "area": side[0] * side[1],
            "iscrowd": 0,
        }
        for category, corner, side, score in zip(
            detections["classes"],
            corners.tolist(),
            sides.tolist(),
            detections["scores"],
            strict=True,
        )
    ]
    for annotation, (region, area) in zip(annotations, _regions(detections, size), strict=False):
        annotation["area"] = int(area)
        counts = region["counts"].decode("ascii")
        annotation["segmentation"] = {"size": list(size), "counts": counts}
    return annotations


def _regions(detections, size):
    """Return (RLE of COCO, area) of every object; [] without masks."""
    if "masks" in detections:
        coco = checks.require_package("pycocotools.mask", "coco")
        regions = pasted_regions(detections["masks"], detections["boxes"], size)
        return [(region, coco.area(region)) for region in regions]
    if "instances" not in detections:
        return []
    instances, count = detections["instances"], len(detections["scores"])
    areas = instance_areas(instances, count)
    return list(zip(instances_to_rle(instances, count), areas, strict=True))
