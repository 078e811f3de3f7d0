import os
import unicodedata

import numpy as np
import pycocotools.mask as coco_mask
import pytest
import yaml
from PIL import Image

from tfseg.data.readers.formats.yolo import Yolo
from tfseg.data.readers.objects import BOX_FIELDS, OBJECT_FIELDS

NAMES = ["cat", "dog", "brush"]


@pytest.fixture
def folders(tmp_path):
    """Images a and b, 20 wide and 10 high, and a folder for text files."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for i, name in enumerate("ab"):
        Image.fromarray(np.full((10, 20, 3), i, np.uint8)).save(tmp_path / "images" / f"{name}.png")
    return tmp_path


def read(folders, a="", names=NAMES, task="boxes"):
    (folders / "labels" / "a.txt").write_text(a)
    return Yolo(folders / "images", folders / "labels", names, task)


def test_boxes_are_fractions_of_the_image(folders):
    # 0.25 * 20 = 5 wide around 0.5 * 20 = 10; 0.4 * 10 = 4 high around 3
    reader = read(folders, "2 0.5 0.3 0.25 0.4\n\n0 0.1 0.9 0.2 0.2\n")
    assert (reader.fields, reader.class_names) == (("image", *BOX_FIELDS), NAMES)
    assert reader.sizes.tolist() == [[10, 20], [10, 20]]
    assert (reader.channels, reader.dtype, reader.name(1)) == (3, np.uint8, "b")
    sample = reader[0]
    np.testing.assert_allclose(sample["boxes"], [[7.5, 1, 12.5, 5], [0, 8, 4, 10]], atol=1e-6)
    assert sample["classes"].tolist() == [2, 0]
    assert {key: value.dtype for key, value in sample.items()} == {
        "image": "u1",
        "boxes": "f4",
        "classes": "i4",
        "crowd": "?",
        "areas": "f4",
    }
    assert list(sample) == ["image", *BOX_FIELDS]


def test_a_missing_or_empty_text_file_means_no_objects(folders):
    reader = read(folders)
    for i in range(2):
        assert (reader[i]["boxes"].shape, reader[i]["classes"].shape) == ((0, 4), (0,))
        assert reader[i]["image"].max() == i
    drawn = read(folders, task="polygons")[1]
    assert not drawn["mask"].any()
    assert not drawn["instances"].any()


def test_upper_case_hidden_and_utf_16_text_files(folders):
    labels = folders / "labels"
    (labels / "b.TXT").write_bytes("1 0.5 0.5 0.5 0.5\n".encode("utf-16"))
    (labels / "._a.txt").write_bytes(b"\0\5\x16\7")
    reader = read(folders, "0 0.5 0.5 0.5 0.5")
    assert [reader[i]["classes"].tolist() for i in range(2)] == [[0], [1]]
    (labels / "b.txt").touch()
    with pytest.raises(ValueError, match=r"b\.TXT and .*b\.txt belong to the same image"):
        read(folders)


def test_text_files_that_are_not_text_are_named(folders):
    (folders / "labels" / "b.txt").write_bytes("\u72d7".encode("gbk"))
    with pytest.raises(ValueError, match=r"b\.txt cannot be read as text"):
        read(folders)


def test_accents_may_be_decomposed(folders):
    for folder, suffix, form in (("images", "png", "NFD"), ("labels", "txt", "NFC")):
        (folders / folder / unicodedata.normalize(form, f"\xfc.{suffix}")).write_bytes(
            (folders / "images" / "a.png").read_bytes() if form == "NFD" else b"1 0.5 0.5 1 1"
        )
    reader = read(folders)
    index = [reader.name(i) for i in range(3)].index("\xfc")
    assert reader[index]["classes"].tolist() == [1]


def test_names_that_are_not_utf8_can_be_printed(folders):
    name = os.fsdecode(b"m\xfcller")
    (folders / "images" / "b.png").rename(folders / "images" / f"{name}.png")
    (folders / "labels" / f"{name}.txt").write_text("1 0.5 0.5 1 1")
    reader = read(folders)
    assert reader.name(1) == "m\\xfcller"
    assert reader[1]["classes"].tolist() == [1]


@pytest.mark.parametrize("task", ["boxes", "polygons"])
def test_a_name_background_is_not_a_class(folders, task):
    lines = "0 0 0 1 0 1 1\n1 0 0 1 0 1 1\n" if task == "polygons" else "0 .5 .5 1 1\n1 .5 .5 1 1"
    reader = read(folders, lines, ["background", "cat", "dog"], task)
    assert reader.class_names == ["background"] * (task == "polygons") + ["cat", "dog"]
    assert reader[0]["classes"].tolist() == [reader.object_names.index("cat")]
    assert reader.dropped == [("a", "line 1: its class is the background")]


def test_class_names_must_be_ordered(folders):
    with pytest.raises(ValueError, match="is not a list"):
        read(folders, names={"cat", "dog"})


def test_labels_of_another_tool_are_named(folders):
    (folders / "labels" / "a.json").write_text('{"shapes": [], "imagePath": "a.png"}')
    with pytest.raises(FileNotFoundError, match="It is a LabelMe file"):
        Yolo(folders / "images", folders / "labels", NAMES)


def test_outlines_are_drawn_with_smaller_ones_on_top(folders):
    small = "1 0.3 0.2 0.4 0.2 0.4 0.8 0.3 0.8"  # columns 6 and 7, rows 2 to 7
    large = "0 0.2 0.4 0.9 0.4 0.9 0.6 0.2 0.6"  # columns 4 to 17, rows 4 and 5
    reader = read(folders, f"{small}\n{large}\n", task="polygons")
    assert reader.fields == ("image", *OBJECT_FIELDS)
    assert reader.class_names == ["background", *NAMES]
    instances = np.zeros((10, 20), int)
    instances[4:6, 4:18] = 2
    instances[2:8, 6:8] = 1
    sample = reader[0]
    assert np.array_equal(sample["instances"], instances)
    assert np.array_equal(sample["mask"], np.array([0, 2, 1])[instances])
    np.testing.assert_allclose(sample["boxes"], [[6, 2, 8, 8], [4, 4, 18, 6]], atol=1e-5)
    assert (sample["classes"].tolist(), reader.object_names) == ([1, 0], NAMES)
    assert sample["areas"].tolist() == [12, 28]
    assert [int(coco_mask.area(rle)) for rle in reader.object_rle(0)] == [12, 28]


def test_a_single_class_of_boxes_has_id_0(folders):
    reader = read(folders, "0 0.5 0.5 0.5 0.5", ["cat"])
    assert reader[0]["classes"].tolist() == [0]
    assert reader[0]["areas"].tolist() == [50]
    assert reader.object_names == ["cat"]
    with pytest.raises(ValueError, match="Yolo: object_rle needs masks"):
        reader.object_rle(0)


def test_numbers_may_have_gaps(folders):
    reader = read(folders, "90 0.5 0.5 0.5 0.5\n1.0 0.5 0.5 0.5 0.5", {90: "brush", 1: "cat"})
    assert reader.class_names == ["cat", "brush"]
    assert reader[0]["classes"].tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"a\.txt:1: class 2 has no name; .* are 1, 90\."):
        read(folders, "2 0.5 0.5 0.5 0.5", {90: "brush", 1: "cat"})


@pytest.mark.parametrize("names", [NAMES, {0: "cat", 2: "brush", 1: "dog"}])
def test_names_are_read_from_yaml(folders, names):
    path = folders / "data.yaml"
    path.write_text(yaml.safe_dump({"path": ".", "names": names}))
    assert read(folders, names=path).class_names == NAMES
    assert read(folders, names=str(path)).class_names == NAMES
    path.write_text("train: images")
    with pytest.raises(ValueError, match=r"data\.yaml has no `names`"):
        read(folders, names=path)
    with pytest.raises(FileNotFoundError, match=r"no file '.*other\.yaml'"):
        read(folders, names=folders / "other.yaml")


def test_objects_without_area_are_dropped_with_a_reason(folders):
    reader = read(folders, "0 0.5 0.5 0 0.5\n0 0.5 0.5 0.5 0.5\n1 1.02 0.5 0.04 0.5\n")
    assert reader.dropped == [
        ("a", "line 1: its box from 10, 2.5 to 10, 7.5 has no area in the image"),
        ("a", "line 3: its box from 20, 2.5 to 20.8, 7.5 has no area in the image"),
    ]
    assert len(reader[0]["boxes"]) == 1
    reader = read(folders, "0 0.1 0.1 0.2 0.2 0.4 0.4\n", task="polygons")
    assert reader.dropped == [("a", "line 1: its polygon has no area")]
    assert not reader[0]["mask"].any()
    with pytest.raises(ValueError, match=r"a\.txt:1: its polygon has fewer than 3 points \(1\)"):
        read(folders, "0 0.1 0.1\n", task="polygons")


def test_coordinates_up_to_a_pixel_outside_are_clipped(folders):
    sample = read(folders, "0 0.5 0.5 1.1 1.2")[0]  # one pixel on every side
    assert sample["boxes"].tolist() == [[0, 0, 20, 10]]
    sample = read(folders, "0 -0.05 -0.1 1.05 0 1.05 1.1 -0.05 1.1", task="polygons")[0]
    assert sample["mask"].all()
    assert sample["boxes"].tolist() == [[0, 0, 20, 10]]


BOX, OUTLINE = "boxes", "polygons"


@pytest.mark.parametrize(
    ("task", "line", "message"),
    [
        (BOX, "0 0.5 0.5 0.5", "got 3 numbers after the class, expected 4"),
        (BOX, "0 0.5 0.5 0.5 0.5 0.93", "got 5 numbers after the class: a box and a confidence"),
        (BOX, "0 0.1 0.1 0.2 0.1 0.2 0.2", "got 6 numbers after the class, .*task='polygons'"),
        (
            BOX,
            "3 0.5 0.5 0.5 0.5",
            "class 3 has no name; the numbers of the named classes are 0 to 2",
        ),
        (BOX, "0.5 0.5 0.5 0.5 0.5", "class 0.5 has no name"),
        (BOX, "cat 0.5 0.5 0.5 0.5", "'cat 0.5 0.5 0.5 0.5' is not a line of numbers"),
        (BOX, "0 0.5 0.5 1.11 0.5", "x = -0.055 is outside the image"),
        (BOX, "0 0.5 0.5 0.5 1.21", "y = -0.105 is outside the image"),
        (BOX, "0 100 50 30 30", "x = 85 is outside"),
        (BOX, "0 nan 0.5 0.5 0.5", "x = nan is outside"),
        (BOX, "0 0.5 0.5 -0.2 0.5", "the box has a negative width or height"),
        (
            OUTLINE,
            "0 0.1 0.1 0.2 0.1 0.2",
            "got 5 numbers after the class, expected an even number",
        ),
        (OUTLINE, "0 0.5 0.5 0.5 0.5", "got 4 numbers after .* task='boxes'"),
        (OUTLINE, "0 0.1 0.1 0.2 0.1 0.2 1.2", "y = 1.2 is outside"),
    ],
)
def test_invalid_lines_are_named(folders, task, line, message):
    good = "1 0.1 0.1 0.2 0.1 0.2 0.2" if task == OUTLINE else "1 0.5 0.5 0.1 0.1"
    with pytest.raises(ValueError, match=rf"a\.txt:3: {message}"):
        read(folders, f"{good}\n\n{line}\n", task=task)


def test_text_files_must_have_an_image(folders):
    (folders / "labels" / "classes.txt").write_text("cat\ndog\n")
    read(folders)
    (folders / "labels" / "extra.txt").touch()
    with pytest.raises(ValueError, match=r"extra\.txt has no image 'extra'"):
        read(folders)
    with pytest.raises(FileNotFoundError, match="contains no text file"):
        Yolo(folders / "images", folders / "images", NAMES)
    with pytest.raises(FileNotFoundError, match="no folder '.*texts'"):
        Yolo(folders / "images", folders / "texts", NAMES)
    (folders / "images" / "a.jpg").write_bytes((folders / "images" / "a.png").read_bytes())
    (folders / "labels" / "extra.txt").unlink()
    with pytest.raises(ValueError, match=r"a\.jpg and .*a\.png have the same name"):
        read(folders)


def test_task_is_checked(folders):
    with pytest.raises(ValueError, match="task='box' is unknown"):
        read(folders, task="box")
