import json
import shutil

import numpy as np
import pytest
from object_files import (
    coco,
    coco_boxes,
    labelme,
    numbered,
    panoptic,
    voc,
    voc_boxes,
    write_image,
    yolo,
    yolo_boxes,
)
from PIL import Image

from tfseg.data import Coco, CocoPanoptic, InstanceMasks, LabelMe, Voc, VocXml, Yolo, open_objects

# What is written, where its labels are, the kind of the reader, and whether it has masks.
KINDS = {
    "coco file": (coco, "objects.json", Coco, True),
    "coco boxes": (coco_boxes, "objects.json", Coco, False),
    "coco folder": (coco, ".", Coco, True),
    "voc boxes": (voc_boxes, ".", Voc, False),
    "voc xml": (voc_boxes, "Annotations", VocXml, False),
    "yolo outlines": (yolo, "labels", Yolo, True),
    "yolo boxes": (yolo_boxes, "labels", Yolo, False),
    "labelme": (labelme, "json", LabelMe, True),
    "instance masks": (numbered, "masks", InstanceMasks, True),
}


def images_of(folder):
    return folder / ("JPEGImages" if (folder / "JPEGImages").is_dir() else "images")


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_opened_by_what_they_are(tmp_path, kind):
    write, labels, reader_class, has_masks = KINDS[kind]
    write(tmp_path)
    names = ["plum"] if write is numbered else ["apple", "plum"]
    reader = open_objects(images_of(tmp_path), tmp_path / labels, class_names=names)
    assert type(reader) is reader_class
    assert reader.object_names == names
    assert ("instances" in reader.fields) == has_masks
    assert reader[0]["boxes"][:2].tolist() == pytest.approx(
        np.array([[10, 6, 28, 10], [2, 4, 22, 14]])
    )
    again = open_objects(images_of(tmp_path), tmp_path / labels, class_names=["background", *names])
    assert again.object_names == names
    if has_masks:
        assert open_objects(images_of(tmp_path), tmp_path / labels, "instances", names)
    elif kind == "voc boxes":
        with pytest.raises(ValueError, match="needs '.*SegmentationObject', which does not exist"):
            open_objects(images_of(tmp_path), tmp_path / labels, "instances", names)
    else:
        with pytest.raises(ValueError, match="needs a mask of every object, but .* has only boxes"):
            open_objects(images_of(tmp_path), tmp_path / labels, "instances", names)


def test_voc_masks_and_splits(tmp_path):
    voc(tmp_path)
    reader = open_objects(tmp_path / "JPEGImages", tmp_path, "instances", ["apple", "plum"])
    assert reader.fields[:3] == ("image", "mask", "instances")
    lists = tmp_path / "ImageSets" / "Segmentation"
    (lists / "train.txt").rename(lists / "val.txt")
    names = ["apple", "plum"]
    assert len(open_objects(tmp_path, tmp_path, "instances", names, split="val")) == 1
    with pytest.raises(FileNotFoundError, match=r"no list of names '.*train\.txt'"):
        open_objects(tmp_path, tmp_path, "instances", names)


def test_panoptic_files_keep_the_stuff(tmp_path):
    panoptic(tmp_path)
    reader = open_objects(tmp_path / "images", tmp_path, "instances")  # alone in its folder
    assert (type(reader), reader.label_names) == (CocoPanoptic, ["soil", "apple", "plum"])
    assert reader.object_names == ["apple", "plum"]
    (tmp_path / "panoptic").mkdir()
    (tmp_path / "a_segments.png").rename(tmp_path / "panoptic" / "a_segments.png")
    names = ["background", "plum", "soil"]
    again = open_objects(tmp_path / "images", tmp_path / "panoptic.json", "detect", names)
    assert (again.label_names, again.object_names) == (names, ["plum"])
    assert again[0]["mask"].max() == 255  # apples


@pytest.mark.parametrize("place", ["data.yaml", "labels/classes.txt", "obj.names"])
@pytest.mark.parametrize("nested", [False, True])
def test_names_of_yolo_are_found(tmp_path, place, nested):
    yolo(tmp_path)
    file = tmp_path / place
    text = "names: [apple, plum]\n" if place.endswith("yaml") else "apple\nplum\n"
    images = tmp_path / "images"
    if nested:  # images/train and labels/train
        for name in ("images", "labels"):
            (tmp_path / name / "train").mkdir()
            for path in (tmp_path / name).glob("a.*"):
                path.rename(tmp_path / name / "train" / path.name)
        images = images / "train"
    file.write_text(text)
    labels = tmp_path if nested else tmp_path / "labels"
    assert open_objects(images, labels).object_names == ["apple", "plum"]
    if file.suffix == ".yaml":
        assert open_objects(images, file)[0]["classes"].tolist() == [1, 0]
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"no class names: there is no data\.yaml, .*names"):
        open_objects(images, labels)


def test_what_was_looked_for_is_listed(tmp_path):
    write_image(tmp_path / "images")
    (tmp_path / "labels").mkdir()
    with pytest.raises(
        FileNotFoundError,
        match=r"(?s)labels' contains no labels .* Looked for:\n  a COCO file.*LabelMe.*numbered",
    ):
        open_objects(tmp_path / "images", tmp_path / "labels")
    (tmp_path / "labels" / "a.mat").write_text("x")
    with pytest.raises(FileNotFoundError, match="contains no labels of objects"):
        open_objects(tmp_path / "images", tmp_path / "labels" / "a.mat")
    with pytest.raises(FileNotFoundError, match="There is no '.*gone'"):
        open_objects(tmp_path / "images", tmp_path / "gone")
    with pytest.raises(ValueError, match="task='segment' is unknown"):
        open_objects(tmp_path / "images", tmp_path / "labels", "segment")


def test_several_json_files_are_named(tmp_path):
    coco(tmp_path)
    shutil.copy(tmp_path / "objects.json", tmp_path / "more.json")
    with pytest.raises(ValueError, match=r"contains 2 JSON files .*more\.json.*a COCO file"):
        open_objects(tmp_path / "images", tmp_path)
    (tmp_path / "more.json").write_text(json.dumps({"shapes": []}))
    with pytest.raises(ValueError, match=r"objects\.json is a COCO file"):
        open_objects(tmp_path / "images", tmp_path)


def test_images_beside_their_own_json_files(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    shape = {"label": "leaf", "points": [[1, 1], [5, 1], [5, 5]]}
    (tmp_path / "a.json").write_text(json.dumps({"shapes": [shape], "imagePath": "a.png"}))
    assert open_objects(tmp_path, tmp_path, "instances").object_names == ["leaf"]
