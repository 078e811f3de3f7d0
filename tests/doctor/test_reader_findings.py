import json

import numpy as np
import pytest
from PIL import Image

from tfseg.data import Coco, Yolo
from tfseg.doctor import check, diagnose

BOX = "0 0.5 0.5 0.4 0.4"
FLAT = "0 0.5 0.5 0 0.4"


def write(folder, lines, names=("cat",)):
    """Write an image and a text file per line; return the reader."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i, line in enumerate(lines):
        pixels = rng.integers(0, 255, (32, 48, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"p{i}.jpg")
        (folder / "labels" / f"p{i}.txt").write_text(line)
    return Yolo(folder / "images", folder / "labels", list(names))


def found(report):
    return {finding.kind: finding for finding in report.findings}


@pytest.mark.parametrize("names", [["cat"], ["cat", "dog"]])
def test_objects_of_one_class_are_enough(tmp_path, names):
    reader = write(tmp_path, [BOX] * 4, names)
    report = diagnose(reader)
    assert report.errors == []
    absent = found(report).get("absent_classes")
    assert (absent is None) if names == ["cat"] else ("the class dog." in absent.message)
    assert check(reader).count == 4


def test_a_dataset_without_any_object_is_an_error(tmp_path):
    reader = write(tmp_path / "empty", [""] * 3)
    assert [finding.kind for finding in diagnose(reader).errors] == ["no_objects"]
    with pytest.raises(ValueError, match="None of 3 samples has an object. Check the folder"):
        check(reader)
    flat = write(tmp_path / "flat", [FLAT] * 3)
    with pytest.raises(ValueError, match="left out 3 annotations, such as p0: line 1: its box"):
        check(flat)
    assert {"no_objects", "dropped_objects"} <= found(diagnose(flat)).keys()


def test_objects_that_the_reader_leaves_out_are_reported(tmp_path):
    reader = write(tmp_path / "train", [BOX, f"{BOX}\n{FLAT}", BOX])
    finding = found(diagnose(reader))["dropped_objects"]
    assert (finding.severity, finding.files) == ("warning", ["p1"])
    assert "1 annotation in 1 image that are not used" in finding.message
    assert "p1: line 2: its box" in finding.message
    val = write(tmp_path / "val", [FLAT, BOX])
    reports = [f for f in diagnose(reader, val=val).findings if f.kind == "dropped_objects"]
    assert [finding.files for finding in reports] == [["p1"], ["val: p0"]]


def test_a_file_of_polygons_without_an_object_is_an_error(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    crowd = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 1}
    crowd["segmentation"] = [[1, 1, 9, 1, 9, 9]]
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [crowd],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    report = diagnose(Coco(tmp_path, tmp_path / "a.json"))
    assert [finding.kind for finding in report.errors] == ["no_objects"]
    assert "it is a crowd" in found(report)["dropped_objects"].message


@pytest.mark.parametrize("turn", [3, 6])
def test_turned_images_under_labels_are_reported(tmp_path, turn):
    reader = write(tmp_path, [BOX] * 3)
    exif = Image.Exif()
    exif[0x0112] = turn
    path = tmp_path / "images" / "p1.jpg"
    Image.open(path).save(path, exif=exif)
    reader = Yolo(tmp_path / "images", tmp_path / "labels", ["cat"])
    finding = found(diagnose(reader))["exif_rotation"]
    assert (finding.severity, finding.files) == ("warning", ["p1"])
    assert "exif_rotation" not in found(diagnose(reader.subset([0, 2])))


def test_readers_with_other_classes_are_an_error(tmp_path):
    train = write(tmp_path / "train", [BOX, "1 0.5 0.5 0.4 0.4"], ["cat", "dog"])
    val = write(tmp_path / "val", [BOX, BOX], ["dog", "cat"])
    report = diagnose(train, val=val)
    assert [finding.kind for finding in report.errors] == ["class_names_differ"]
    assert "cat, dog for training, but dog, cat for validation" in report.errors[0].message
    assert "absent_classes" not in found(report)
    assert diagnose(train, val=train).errors == []
