"""COCO, its first 64 training images that have masks, in the layout of the YOLO tutorials (arXiv:1405.0312)."""

import json

from tfseg import checks
from tfseg.data import Folder
from tfseg.data.readers.formats import CocoPanoptic, Yolo
from tfseg.datasets.location import located

SOURCE = (
    "github.com/lightly-ai/coco128_yolo (annotations CC BY 4.0; the images keep their licenses)"
)
PANOPTIC = "panoptic_segmentation/annotations/panoptic_train2017"


def coco64(task="instance", folder=None):
    """64 photographs: too few to train on, enough to try readers, metrics and overfitting.

    Args:
        task: "instance": polygons of 80 classes, with "mask", "instances", "boxes" and "classes";
            "detection": "boxes" and "classes" of the same 80;
            "semantic": "mask" of 133 classes, things and stuff, 255 where nothing is labeled;
            "panoptic": that mask, and "instances", "boxes" and "classes" of the things that are no crowds.
        folder: the set's folder, with `images`, `object_detection` and so on; None for `coco64` in TFSEG_DATA.

    Returns:
        A reader of RGB images, whose longest side is 640 pixels.

    Raises:
        FileNotFoundError: the folder is not there.
    """
    checks.one_of("coco64", "task", task, ("instance", "detection", "semantic", "panoptic"))
    folder = located(folder, "coco64", SOURCE)
    images, panoptic = folder / "images/train2017", folder / PANOPTIC
    if task in ("instance", "detection"):
        labels, kind = (
            ("instance_segmentation", "polygons")
            if task == "instance"
            else ("object_detection", "boxes")
        )
        return Yolo(
            images, folder / labels / "labels/train2017", folder / labels / "config.yaml", kind
        )
    if task == "panoptic":
        return CocoPanoptic(images, panoptic, panoptic.with_suffix(".json"))
    categories = sorted(
        json.loads(panoptic.with_suffix(".json").read_bytes())["categories"], key=lambda c: c["id"]
    )
    values = {category["id"]: class_id for class_id, category in enumerate(categories)}
    masks = folder / "semantic_segmentation/masks/train2017"
    return Folder(
        images, masks, [category["name"] for category in categories], ignore=0, mask_values=values
    )
