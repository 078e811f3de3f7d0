import copy
import json

import numpy as np
import pycocotools.mask as coco_mask
import pytest
from PIL import Image

from tfseg.data.readers.formats.coco_panoptic import CocoPanoptic

CATEGORIES = [
    {"id": 200, "name": "rug", "isthing": 0},
    {"id": 1, "name": "person", "isthing": 1},
    {"id": 92, "name": "banner", "isthing": 0},
    {"id": 3, "name": "car", "isthing": 1},
]
# 70000 = 112 + 17 * 256 + 1 * 65536, 300 = 44 + 256, 9 and 66051 = 3 + 2 * 256 + 65536
COLORS = {0: (0, 0, 0), 70000: (112, 17, 1), 300: (44, 1, 0), 9: (9, 0, 0), 66051: (3, 2, 1)}
NUMBERS = np.array(
    [
        [0, 9, 9, 9, 9, 9],
        [300, 300, 9, 70000, 70000, 9],
        [300, 300, 9, 70000, 66051, 66051],
        [0, 0, 66051, 66051, 66051, 66051],
    ]
)
SEGMENTS = [
    {"id": 70000, "category_id": 3, "iscrowd": 0},
    {"id": 9, "category_id": 200, "iscrowd": 0},
    {"id": 66051, "category_id": 1, "iscrowd": 1},
    {"id": 300, "category_id": 1, "iscrowd": 0},
]


@pytest.fixture
def written(tmp_path):
    """Write an image and its segments; return a function that changes and reads the JSON file."""
    for folder in ("images", "panoptic"):
        (tmp_path / folder).mkdir()
    Image.fromarray(np.full((4, 6, 3), 7, np.uint8)).save(tmp_path / "images" / "a.png")
    colors = np.array([[COLORS[number] for number in row] for row in NUMBERS.tolist()], np.uint8)
    Image.fromarray(colors).save(tmp_path / "panoptic" / "a_segments.png")
    content = {
        "images": [{"id": 5, "file_name": "a.png", "height": 4, "width": 6}],
        "annotations": [{"image_id": 5, "file_name": "a_segments.png", "segments_info": SEGMENTS}],
        "categories": CATEGORIES,
    }
    content = copy.deepcopy(content)

    def read(change=lambda content: None, **options):
        change(content)
        path = tmp_path / "panoptic.json"
        path.write_text(json.dumps(content))
        return CocoPanoptic(tmp_path / "images", tmp_path / "panoptic", path, **options)

    return read


def test_segments_are_classes_and_objects(written):
    reader = written()
    assert reader.class_names == ["person", "car", "banner", "rug"]
    assert (reader.name(0), reader.sizes.tolist()) == ("a", [[4, 6]])
    sample = reader[0]
    assert tuple(sample) == reader.fields
    mask = [
        [255, 3, 3, 3, 3, 3],
        [0, 0, 3, 1, 1, 3],
        [0, 0, 3, 1, 0, 0],
        [255, 255, 0, 0, 0, 0],
    ]
    assert sample["mask"].tolist() == mask
    # In the order of their numbers: 300, 66051 (a crowd) and 70000. The rug is stuff.
    instances = [
        [0, 0, 0, 0, 0, 0],
        [1, 1, 0, 3, 3, 0],
        [1, 1, 0, 3, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]
    assert sample["instances"].tolist() == instances
    assert sample["boxes"].tolist() == [[0, 1, 2, 3], [2, 2, 6, 4], [3, 1, 5, 3]]
    assert reader.object_names == ["person", "car"]
    assert sample["classes"].tolist() == [0, 0, 1]
    assert sample["crowd"].tolist() == [False, True, False]
    assert sample["areas"].tolist() == [4, 6, 3]
    kinds = {key: value.dtype for key, value in sample.items()}
    labels = {"boxes": "f4", "classes": "i4", "crowd": "?", "areas": "f4"}
    assert kinds == {"image": "u1", "mask": "u1", "instances": "i4"} | labels
    regions = [coco_mask.decode(rle).tolist() for rle in reader.object_rle(0)]
    assert regions == [(number == NUMBERS).tolist() for number in (300, 66051, 70000)]


def test_class_names_fix_the_ids(written):
    reader = written(class_names=["car", "rug", "person", "tree"])
    sample = reader[0]
    assert sample["mask"].tolist() == [
        [255, 1, 1, 1, 1, 1],
        [2, 2, 1, 0, 0, 1],
        [2, 2, 1, 0, 2, 2],
        [255, 255, 2, 2, 2, 2],
    ]
    assert reader.object_names == ["car", "person", "tree"]  # the rug is stuff
    assert sample["classes"].tolist() == [1, 1, 0]
    only = written(class_names=["background", "car"])
    assert np.unique(only[0]["mask"]).tolist() == [1, 255]
    assert only[0]["classes"].tolist() == [0]
    assert only.object_names == ["car"]
    assert len(only.dropped) == 3
    assert only.dropped[0] == ("a", "segment 9: its category is not in class_names")


def test_more_than_255_classes_are_int32(written):
    def add(content):
        content["categories"] += [{"id": 1000 + i, "name": f"class {i}"} for i in range(300)]
        content["annotations"][0]["segments_info"][0]["category_id"] = 1299

    reader = written(add)
    mask = reader[0]["mask"]
    assert (reader.ignore_index, mask.dtype) == (65535, np.int32)
    assert np.unique(mask).tolist() == [0, 3, 303, 65535]


def test_file_names_of_windows_are_found(written, tmp_path):
    def change(content):
        content["images"][0]["file_name"] = "images\\a.png"
        content["annotations"][0]["file_name"] = "Panoptic\\A_segments.png"

    assert written(change).image_path(0) == tmp_path / "images" / "a.png"


def test_an_image_without_segments_is_ignored(written, tmp_path):
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "panoptic" / "a_segments.png")
    sample = written(lambda content: content["annotations"][0].update(segments_info=[]))[0]
    assert (sample["mask"] == 255).all()
    assert (sample["boxes"].shape, sample["classes"].shape) == ((0, 4), (0,))


def test_segments_in_only_one_file_are_named(written):
    def without_the_rug(content):
        content["annotations"][0]["segments_info"] = [SEGMENTS[i] for i in (0, 2, 3)]

    with pytest.raises(
        ValueError, match=r"a_segments\.png and .*panoptic\.json disagree: .*in the PNG: 9\. Take"
    ):
        written(without_the_rug)[0]
    more = [*SEGMENTS, {"id": 12, "category_id": 1}]
    with pytest.raises(ValueError, match=r"only in the JSON file: 12\."):
        written(lambda content: content["annotations"][0].update(segments_info=more))[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"].clear(), r"panoptic\.json: the image a\.png has no annotation"),
        (
            lambda c: c["annotations"][0].pop("segments_info"),
            r"annotations\[0\] has no segments_info",
        ),
        (lambda c: c["annotations"][0].pop("file_name"), r"annotations\[0\] has no file_name"),
        (
            lambda c: c["annotations"][0]["segments_info"].append({"id": 4}),
            "without id or category",
        ),
        (lambda c: c["annotations"].append(c["annotations"][0]), "the id 5 has two annotations"),
        (
            lambda c: c["annotations"].append({**c["annotations"][0], "image_id": 6}),
            r"panoptic\.json: a_segments\.png belongs to the image 6, which is not in the file",
        ),
        (
            lambda c: c["annotations"].append({"image_id": 5, "category_id": 1, "bbox": []}),
            "Read the file with `Coco`",
        ),
        (lambda c: c["categories"][0].update(name="car"), "have the same name 'car'"),
        (lambda c: c["categories"][0].update(id=3), "categories contains the id 3 twice"),
        (lambda c: c["categories"].pop(0), r"a_segments\.png: there is no category 200"),
        (
            lambda c: c["images"][0].update(height=5),
            r"a\.png is 6 x 4 pixels, but .*panoptic\.json says 6 x 5",
        ),
    ],
)
def test_a_file_that_contradicts_itself_is_rejected(written, change, message):
    with pytest.raises(ValueError, match=message):
        written(change)


def test_areas_and_boxes_of_the_segments(written):
    def annotate(content):
        content["annotations"][0]["segments_info"][0].update(area=3.5, bbox=[3, 1, 2, 2])

    assert written(annotate)[0]["areas"].tolist() == [4, 6, 3.5]

    def misplace(content):
        content["annotations"][0]["segments_info"][0].update(bbox=[0, 0, 1, 1])

    with pytest.raises(ValueError, match=r"segment 70000 of .*png: its box .* disagree"):
        written(misplace)[0]


def test_size_and_dtype_of_the_segments_are_checked(written, tmp_path):
    path = tmp_path / "panoptic" / "a_segments.png"
    reader = written()
    Image.fromarray(np.zeros((4, 6), np.uint16)).save(path)
    with pytest.raises(ValueError, match=r"a_segments\.png has dtype uint16"):
        reader[0]
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(path)
    with pytest.raises(
        ValueError, match=r"a\.png is 6 x 4, but its mask .*a_segments\.png is 5 x 4"
    ):
        written()
    path.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"lists 1 files that do not exist: .*a_segments\.png"
    ):
        written()
