"""Images of colored squares with boxes and masks, for tests of detectors."""

import json

import numpy as np
from PIL import Image

from tfseg.data import Reader

NAMES = ["red", "green"]
COLORS = np.array([(220, 40, 40), (40, 200, 60)])
SIDE = 64


def draw_scene(index, side=SIDE):
    """Return a gray image (side, side, 3) with one to three squares, and its objects.

    Returns:
        dict of "image", "mask", "instances", "boxes", "classes", "crowd" and "areas", as readers
        return them.
    """
    rng = np.random.default_rng(index)
    image = rng.normal(120, 8, (side, side, 3))
    instances = np.zeros((side, side), np.int32)
    boxes, classes = [], []
    for column in rng.permutation(3)[: 1 + index % 3]:
        length = int(rng.integers(12, 20))
        x = int(column * side / 3 + rng.integers(0, max(1, side // 3 - length)))
        y = int(rng.integers(0, side - length))
        category = int(rng.integers(2))
        square = np.s_[y : y + length, x : x + length]
        image[square] = COLORS[category] + rng.normal(0, 8, image[square].shape)
        classes.append(category)
        boxes.append((x, y, min(x + length, side), y + length))
        instances[square] = len(boxes)
    boxes = np.array(boxes, np.float32)
    visible = [np.count_nonzero(instances == k) for k in range(1, len(boxes) + 1)]
    return {
        "image": image.clip(0, 255).astype(np.uint8),
        "mask": np.array([0, *(category + 1 for category in classes)], np.uint8)[instances],
        "instances": instances,
        "boxes": boxes,
        "classes": np.array(classes, np.int32),
        "crowd": np.zeros(len(boxes), bool),
        "areas": np.array(visible, np.float32),
    }


class Scenes(Reader):
    """Scenes in memory.

    Args:
        indices: numbers of the scenes.
        masks: whether samples have masks and instances.
    """

    def __init__(self, indices, masks=True):
        self._scenes = [draw_scene(index) for index in indices]
        self._hidden = () if masks else ("mask", "instances")
        self.fields = tuple(name for name in self._scenes[0] if name not in self._hidden)
        names = ["background", *NAMES] if masks else NAMES
        super().__init__(names, [(SIDE, SIDE)] * len(self._scenes), 3, np.uint8)

    def __getitem__(self, index):
        scene = self._scenes[index]
        return {name: scene[name] for name in self.fields}


def write_coco(folder, indices):
    """Write scenes as PNG files into `folder`/images, and `folder`/instances.json."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number, index in enumerate(indices, 1):
        scene = draw_scene(index)
        name = f"s{index}.png"
        Image.fromarray(scene["image"]).save(folder / "images" / name)
        images.append({"id": number, "file_name": name, "height": SIDE, "width": SIDE})
        for box, category in zip(scene["boxes"].tolist(), scene["classes"].tolist(), strict=True):
            left, top, right, bottom = box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category + 1,
                    "bbox": [left, top, right - left, bottom - top],
                    "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES, 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))
