"""Files of one image with two objects, in every format that has objects, and their readers."""

import json

import numpy as np
from PIL import Image

from tfseg.data import (
    Coco,
    CocoPanoptic,
    Folder,
    InstanceMasks,
    LabelMe,
    Voc,
    VocXml,
    Yolo,
    write_tfrecords,
)

# Objects 1 and 2 of the second and the first category; 1 is on top of 2.
INSTANCES = np.zeros((20, 30), np.int32)
INSTANCES[4:14, 2:22] = 2
INSTANCES[6:10, 10:28] = 1
OUTLINES = ([10, 6, 28, 6, 28, 10, 10, 10], [2, 4, 22, 4, 22, 14, 2, 14])
CROWD = [0, 16, 30, 16, 30, 20, 0, 20]


def write_image(folder, name="a.png"):
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(folder / name)
    return folder


def coco(folder, segmentation=True):
    entries = []
    for number, (category, outline) in enumerate(zip((8, 3, 8), (*OUTLINES, CROWD), strict=True)):
        x, y = outline[::2], outline[1::2]
        box = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
        entry = {"id": number + 1, "image_id": 1, "category_id": category, "bbox": box}
        entries.append({**entry, "segmentation": [outline], "iscrowd": int(number == 2)})
    if not segmentation:
        entries = [{key: e[key] for key in e.keys() - {"segmentation"}} for e in entries]
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": entries,
        "categories": [{"id": 3, "name": "apple"}, {"id": 8, "name": "plum"}],
    }
    (folder / "objects.json").write_text(json.dumps(content))
    return Coco(write_image(folder / "images"), folder / "objects.json")


def coco_boxes(folder):
    return coco(folder, segmentation=False)


def yolo(folder, task="polygons"):
    (folder / "labels").mkdir()
    lines = []
    for number, outline in ((1, OUTLINES[0]), (0, OUTLINES[1])):
        x, y = np.array(outline[::2]) / 30, np.array(outline[1::2]) / 20
        values = np.stack([x, y], 1).ravel()
        if task == "boxes":
            values = [(x.min() + x.max()) / 2, (y.min() + y.max()) / 2, np.ptp(x), np.ptp(y)]
        lines.append(" ".join(map(str, [number, *values])))
    (folder / "labels" / "a.txt").write_text("\n".join(lines))
    return Yolo(write_image(folder / "images"), folder / "labels", ["apple", "plum"], task)


def yolo_boxes(folder):
    return yolo(folder, "boxes")


def voc(folder):
    write_image(folder / "JPEGImages")
    numbers = INSTANCES.astype(np.uint8)
    for name, values in (("Class", np.array([0, 2, 1], np.uint8)[numbers]), ("Object", numbers)):
        (folder / f"Segmentation{name}").mkdir()
        Image.fromarray(values).save(folder / f"Segmentation{name}" / "a.png")
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("a")
    return Voc(folder, class_names=["apple", "plum"])


def voc_boxes(folder):
    write_image(folder / "JPEGImages")
    (folder / "Annotations").mkdir()
    objects = ""
    for name, outline in (("plum", OUTLINES[0]), ("apple", OUTLINES[1])):
        x, y = outline[::2], outline[1::2]
        box = f"<xmin>{min(x) + 1}</xmin><ymin>{min(y) + 1}</ymin>"
        box += f"<xmax>{max(x)}</xmax><ymax>{max(y)}</ymax>"
        objects += f"<object><name>{name}</name><bndbox>{box}</bndbox></object>"
    (folder / "Annotations" / "a.xml").write_text(f"<annotation>{objects}</annotation>")
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    (folder / "ImageSets" / "Main" / "train.txt").write_text("a")
    return Voc(folder, task="detection")


def panoptic(folder):
    numbers = np.where(INSTANCES == 0, 9, INSTANCES)
    numbers[16:] = 7
    Image.fromarray(np.stack([numbers, 0 * numbers, 0 * numbers], -1).astype(np.uint8)).save(
        folder / "a_segments.png"
    )
    segments = [
        {"id": number, "category_id": category, "iscrowd": int(number == 7)}
        for number, category in ((1, 8), (2, 3), (7, 8), (9, 1))
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"image_id": 1, "file_name": "a_segments.png", "segments_info": segments}],
        "categories": [
            {"id": 1, "name": "soil", "isthing": 0},
            {"id": 3, "name": "apple", "isthing": 1},
            {"id": 8, "name": "plum", "isthing": 1},
        ],
    }
    (folder / "panoptic.json").write_text(json.dumps(content))
    return CocoPanoptic(write_image(folder / "images"), folder, folder / "panoptic.json")


def numbered(folder):
    (folder / "masks").mkdir()
    Image.fromarray(INSTANCES.astype(np.uint8)).save(folder / "masks" / "a.png")
    return Folder(write_image(folder / "images"), folder / "masks", ["plum"], instances=True)


def categories(folder):
    """Write text files with the class of each value of the masks of `numbered`."""
    numbered(folder)
    (folder / "names").mkdir()
    (folder / "names" / "a.txt").write_text("2 apple\n\n1 plum\n")
    return InstanceMasks(
        folder / "images", folder / "masks", ["background", "apple", "plum"], folder / "names"
    )


def labelme(folder):
    shapes = [
        {"label": "plum", "points": [[28, 10], [10, 6]], "shape_type": "rectangle"},
        {"label": "apple", "points": np.reshape(OUTLINES[1], (-1, 2)).tolist()},
    ]
    (folder / "json").mkdir()
    content = {"imagePath": "..\\images\\a.png", "shapes": shapes, "imageHeight": 20}
    (folder / "json" / "other name.json").write_text(json.dumps(content))
    return LabelMe(write_image(folder / "images"), folder / "json")


def voc_xml(folder):
    voc_boxes(folder)
    return VocXml(folder / "JPEGImages", folder / "Annotations")


def records(folder):
    return write_tfrecords(coco(folder), folder / "records")


def tile(folder):
    return coco(folder).tiles((20, 30))


def part(folder):
    return panoptic(folder).subset([0])
