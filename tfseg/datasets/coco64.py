"""COCO: 64 of its training images with their masks, in the YOLO layout (arXiv:1405.0312)."""

import json
from pathlib import Path

from tfseg import checks
from tfseg.data import Folder
from tfseg.data.readers.formats import CocoPanoptic, Yolo
from tfseg.datasets.dataset_dir import dataset_dir

SOURCE = (
    "github.com/lightly-ai/coco128_yolo (annotations CC BY 4.0; the images keep their licenses)"
)
TASKS = ("instance", "detection", "semantic", "panoptic")
PANOPTIC = "panoptic_segmentation/annotations/panoptic_train2017"


def coco64(task: str = "instance", folder: str | Path | None = None):
    """COCO, 64 photographs: too few for training, enough to try readers, metrics and overfitting.

    Args:
        task: "instance": polygons of 80 classes, with "mask", "instances", "boxes" and "classes";
            "detection": "boxes" and "classes" of the same 80;
            "semantic": "mask" of 133 classes, things and stuff, 255 for unlabeled pixels;
            "panoptic": that mask, and "instances", "boxes" and "classes" of the things that are not
            crowds.
        folder: the dataset's folder, with `images`, `object_detection` and so on; None for `coco64`
            in TFSEG_DATA.

    Returns:
        Reader of RGB images, whose longest side is 640 pixels.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: the task is unknown.

    Example:
        >>> import tfseg
        >>> reader = tfseg.datasets.coco64("panoptic", "data/coco64")  # doctest: +SKIP
        >>> len(reader), reader.num_classes  # doctest: +SKIP
        (64, 133)
    """
    checks.one_of("coco64", "task", task, TASKS)
    folder = dataset_dir(folder, "coco64", SOURCE)
    images, panoptic = folder / "images/train2017", folder / PANOPTIC
    if task == "instance":
        labels = folder / "instance_segmentation"
        return Yolo(images, labels / "labels/train2017", labels / "config.yaml", "polygons")
    if task == "detection":
        labels = folder / "object_detection"
        return Yolo(images, labels / "labels/train2017", labels / "config.yaml", "boxes")
    if task == "panoptic":
        return CocoPanoptic(images, panoptic, panoptic.with_suffix(".json"))
    categories = json.loads(panoptic.with_suffix(".json").read_bytes())["categories"]
    categories = sorted(categories, key=lambda category: category["id"])
    values = {category["id"]: class_id for class_id, category in enumerate(categories)}
    names = [category["name"] for category in categories]
    masks = folder / "semantic_segmentation/masks/train2017"
    return Folder(images, masks, names, ignore_value=0, mask_values=values)
