"""A short training of the smallest network with a star head on numbered masks, for tests."""

import json

import numpy as np
from object_scenes import NAMES, SIDE, draw_scene
from PIL import Image

from tfseg.models import instances
from tfseg.training import TrainConfig, train


def write_numbered(folder, indices):
    """Write the scenes with these numbers: `images`, and masks of numbered objects in `labels`."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for index in indices:
        scene = draw_scene(index)
        Image.fromarray(scene["image"]).save(folder / "images" / f"s{index}.png")
        mask = scene["instances"].astype(np.uint8)
        Image.fromarray(mask).save(folder / "labels" / f"s{index}.png")


def write_panoptic(folder, indices):
    """Write scenes above a ground: `images`, and panoptic.json beside `panoptic` with its PNGs."""
    for name in ("images", "panoptic"):
        (folder / name).mkdir(parents=True)
    images, annotations = [], []
    for index in indices:
        scene, name = draw_scene(index), f"s{index}.png"
        Image.fromarray(scene["image"]).save(folder / "images" / name)
        ground = np.where(np.arange(SIDE)[:, None] >= SIDE // 2, 201, 200)
        numbers = np.where(scene["instances"] > 0, scene["instances"], ground)
        colors = np.stack([numbers, 0 * numbers, 0 * numbers], -1).astype(np.uint8)
        Image.fromarray(colors).save(folder / "panoptic" / name)
        segments = [
            {"id": number, "category_id": int(category), "iscrowd": 0}
            for number, category in enumerate(scene["classes"], 1)
        ]
        segments += [{"id": 200, "category_id": 8, "iscrowd": 0}]
        segments += [{"id": 201, "category_id": 9, "iscrowd": 0}]
        images.append({"id": index, "file_name": name})
        annotations.append({"image_id": index, "file_name": name, "segments_info": segments})
    categories = [{"id": i, "name": name, "isthing": 1} for i, name in enumerate(NAMES)]
    categories += [{"id": 8, "name": "sky", "isthing": 0}, {"id": 9, "name": "soil", "isthing": 0}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(content))


def small_model(head="star", num_classes=1, **options):
    """Return the smallest model that predicts instances."""
    if head == "star":
        options["rays"] = 8
    return instances(num_classes, head, "tiny_unet", filters=4, **options)


def let_find_objects(model, image):
    """Change the bias of a star head so that about 20 samples of an image are candidates."""
    logits = np.asarray(model(image[None].astype(np.float32))["object_logits"])
    bias = model.get_layer("object").bias
    bias.assign(bias - np.sort(logits.ravel())[-20])


def instance_config(folder, out, **changes):
    """Return the config of two epochs of two steps on the images of a folder."""
    values = {
        "head": "star",
        "model": "tiny_unet",
        "filters": 4,
        "epochs": 2,
        "batch_size": 2,
        "augment": {"size": 32, "flip": "horizontal"},
        **changes,
    }
    folders = {"images": str(folder / "images"), "labels": str(folder / "labels")}
    return TrainConfig(task="instances", **folders, out=str(out), **values)


def train_instances(folder):
    """Write scenes into a folder, train on them, and return the `Run`."""
    write_numbered(folder, range(5))
    return train(instance_config(folder, folder / "run"))
