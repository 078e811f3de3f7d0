import copy
import json

import numpy as np
import pycocotools.mask as coco_mask
import pytest
from PIL import Image
from pycocotools.coco import COCO

from tfseg.data.readers.formats.coco import Coco

# Ids with gaps, not in ascending order.
CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 90, "name": "brush"}]
SIZES = {"a": (12, 16), "b": (9, 10), "c": (5, 7)}  # height, width
SQUARE = [[2, 1, 8, 1, 8, 7, 2, 7]]  # columns 2 to 7, rows 1 to 6
STRIP = [[4, 2, 14, 2, 14, 4, 4, 4]]  # columns 4 to 13, rows 2 and 3


def annotation(number, image, category, segmentation, bbox, crowd=0):
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "bbox": bbox,
        "iscrowd": crowd,
    }


def packed(pixels):
    runs = coco_mask.encode(np.asfortranarray(pixels.astype(np.uint8)))
    return {"size": runs["size"], "counts": runs["counts"].decode()}


ELL = np.zeros((9, 10), bool)
ELL[1:8, 2] = ELL[7, 2:9] = True
CROWD = {"size": [9, 10], "counts": [0, 18, 72]}  # the first two columns


@pytest.fixture
def written(tmp_path):
    """Write images a, b, c and annotations; return a function that changes and reads them."""
    for name, size in SIZES.items():
        Image.fromarray(np.full((*size, 3), ord(name), np.uint8)).save(tmp_path / f"{name}.png")
    images = [
        {
            "id": 10 * (i + 1),
            "file_name": f"{name}.png",
            "height": SIZES[name][0],
            "width": SIZES[name][1],
        }
        for i, name in enumerate(SIZES)
    ]
    content = {
        "images": images,
        "categories": CATEGORIES,
        "annotations": [
            annotation(1, 10, 7, SQUARE, [2, 1, 6, 6]),
            annotation(2, 10, 3, STRIP, [4, 2, 10, 2]),
            annotation(3, 20, 90, packed(ELL), [2, 1, 7, 7]),
            annotation(4, 20, 3, CROWD, [0, 0, 2, 9], crowd=1),
        ],
    }
    content = copy.deepcopy(content)

    def read(change=lambda content: None, **options):
        change(content)
        (tmp_path / "instances.json").write_text(json.dumps(content))
        return Coco(tmp_path, tmp_path / "instances.json", **options)

    return read


def test_polygons_become_objects_with_smaller_ones_on_top(written):
    reader = written()
    assert reader.class_names == ["background", "cat", "dog", "brush"]
    assert (len(reader), reader.channels, reader.dtype, reader.name(1)) == (3, 3, np.uint8, "b")
    assert reader.sizes.tolist() == [list(size) for size in SIZES.values()]
    assert reader.fields == ("image", "mask", "instances", "boxes", "classes")
    sample = reader[0]
    instances = np.zeros((12, 16), np.int32)
    instances[1:7, 2:8] = 1  # 36 pixels
    instances[2:4, 4:14] = 2  # 20
    assert np.array_equal(sample["instances"], instances)
    assert np.array_equal(sample["mask"], np.array([0, 2, 1])[instances])
    assert sample["boxes"].tolist() == [[2, 1, 8, 7], [4, 2, 14, 4]]
    assert sample["classes"].tolist() == [2, 1]
    kinds = {key: value.dtype for key, value in sample.items()}
    assert kinds == {"image": "u1", "mask": "u1", "instances": "i4", "boxes": "f4", "classes": "i4"}
    assert np.array_equal(np.unique(sample["image"]), [ord("a")])


def test_rle_is_read_and_crowds_are_ignored(written):
    sample = written()[1]
    assert np.array_equal(sample["instances"], ELL)
    mask = np.where(ELL, 3, 0)
    mask[:, :2] = 255
    assert np.array_equal(sample["mask"], mask)
    assert (sample["boxes"].tolist(), sample["classes"].tolist()) == ([[2, 1, 9, 8]], [3])


def test_objects_inside_a_crowd_are_not_ignored(written):
    def widen(content):
        content["annotations"][3]["segmentation"]["counts"] = [0, 45, 45]  # five columns

    mask = written(widen)[1]["mask"]
    assert np.array_equal(mask[:, :5], np.where(ELL, 3, 255)[:, :5])


def test_crowds_can_be_objects(written):
    sample = written(crowd="object")[1]
    assert np.array_equal(sample["mask"][:, :2], np.ones((9, 2)))
    assert sample["boxes"].tolist() == [[2, 1, 9, 8], [0, 0, 2, 9]]
    with pytest.raises(ValueError, match="crowd='ignored' is unknown.*Did you mean 'ignore'"):
        written(crowd="ignored")


def test_an_image_without_annotations_has_no_objects(written):
    sample = written()[2]
    assert not sample["mask"].any()
    assert not sample["instances"].any()
    assert (sample["boxes"].shape, sample["classes"].shape) == ((0, 4), (0,))


def test_masks_equal_those_of_pycocotools(written, tmp_path):
    rng = np.random.default_rng(3)
    shapes = [rng.uniform(-2, 17, (1 + i % 3, 14)).round(2).tolist() for i in range(40)]

    def replace(content):
        content["annotations"] = [
            annotation(i + 1, 10, 3, shape, [0, 0, 16, 12]) for i, shape in enumerate(shapes)
        ]

    sample = written(replace)[0]
    coco = COCO(tmp_path / "instances.json")
    masks = [coco.annToMask(coco.anns[i + 1]) for i in range(40)]
    expected = np.zeros((12, 16))
    for i in sorted(range(40), key=lambda i: -int(masks[i].sum())):
        expected[masks[i] > 0] = i + 1
    assert np.array_equal(sample["instances"], expected)


def test_objects_without_area_are_dropped_with_a_reason(written):
    def add(content):
        content["annotations"] += [
            annotation(5, 10, 3, [[1, 1, 5, 5]], [1, 1, 4, 4]),
            annotation(6, 20, 3, [[1, 1, 3, 3, 5, 5]], [1, 1, 4, 4]),
            annotation(7, 10, 3, SQUARE, [3, 4, 0, 2]),
            annotation(8, 10, 3, SQUARE, [16, 4, 5, 2]),
            annotation(9, 10, 3, [], [3, 4, 2, 2]),
            annotation(10, 10, 3, [[1, 1, 5, 5], *STRIP], [4, 2, 10, 2]),
            annotation(11, 20, 3, [[1, 1]], [1, 1, 4, 4], crowd=1),
        ]

    reader = written(add)
    assert reader.dropped == [
        ("a", "annotation 5: its polygon has fewer than 3 points (2)"),
        ("b", "annotation 6: its polygon has no area"),
        ("a", "annotation 7: its box from 3, 4 to 3, 6 has no area in the image"),
        ("a", "annotation 8: its box from 16, 4 to 21, 6 has no area in the image"),
        ("a", "annotation 9: it has no segmentation"),
        ("b", "annotation 11: its polygon has fewer than 3 points (1)"),
    ]
    assert len(reader[0]["boxes"]) == 3  # with annotation 10
    assert len(reader[1]["boxes"]) == 1


def test_boxes_are_clipped_and_missing_ones_computed(written):
    def change(content):
        content["annotations"][0]["bbox"] = [-3, 2.5, 30, 100]
        del content["annotations"][1]["bbox"], content["annotations"][2]["bbox"]

    reader = written(change)
    assert reader[0]["boxes"].tolist() == [[0, 2.5, 16, 12], [4, 2, 14, 4]]
    assert reader[1]["boxes"].tolist() == [[2, 1, 9, 8]]


def test_a_file_with_boxes_only_has_no_background(written):
    def strip(content):
        for entry in content["annotations"]:
            del entry["segmentation"]

    reader = written(strip)
    assert (reader.fields, reader.class_names) == (
        ("image", "boxes", "classes"),
        ["cat", "dog", "brush"],
    )
    assert list(reader[1]) == ["image", "boxes", "classes"]
    assert reader[0]["classes"].tolist() == [1, 0]
    assert reader[1]["classes"].tolist() == [2]  # not the crowd


def test_a_single_class_of_boxes_has_id_1(written):
    def strip(content):
        content["categories"] = [{"id": 4, "name": "cell"}]
        content["annotations"] = [{"id": 1, "image_id": 10, "category_id": 4, "bbox": [1, 2, 3, 4]}]

    assert written(strip)[0]["classes"].tolist() == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["annotations"][1].update(image_id=11),
            "annotation 2: image_id 11 is in no list",
        ),
        (
            lambda c: c["annotations"][0].update(category_id=8),
            "annotation 1: category_id 8 is in no list",
        ),
        (
            lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, 4, 5]]),
            "a polygon of 5 numbers",
        ),
        (
            lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, 4, 5, float("nan")]]),
            "is not a list of finite",
        ),
        (
            lambda c: c["annotations"][0].update(bbox=[1, 2, 3]),
            r"its bbox \[1, 2, 3\] is not x, y, width, height",
        ),
        (
            lambda c: c["annotations"][0].update(bbox=[1, 2, 3, float("nan")]),
            "contains NaN or infinity",
        ),
        (
            lambda c: c["images"][2].update(width=8),
            r"c\.png is 7 x 5 pixels, but .*instances\.json says 8 x 5",
        ),
        (
            lambda c: c["images"].append({**c["images"][0], "id": 4}),
            "have the same name",
        ),
        (lambda c: c.pop("categories"), r"instances\.json has no categories"),
        (lambda c: c.update(images=[]), r"instances\.json has no images"),
    ],
)
def test_a_file_that_contradicts_itself_is_rejected(written, change, message):
    with pytest.raises(ValueError, match=message):
        written(change)


def test_annotations_without_box_and_region_are_rejected(written):
    def strip(content):
        for entry in content["annotations"]:
            del entry["segmentation"]
        del content["annotations"][2]["bbox"]

    with pytest.raises(ValueError, match="annotation 3: it has neither a bbox nor a segmentation"):
        written(strip)


def test_missing_files_are_named(written, tmp_path):
    (tmp_path / "b.png").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"instances\.json lists 1 files that do not exist: .*b\.png\. Check",
    ):
        written()
    with pytest.raises(FileNotFoundError, match=r"no file '.*gone\.json'"):
        Coco(tmp_path, tmp_path / "gone.json")
    (tmp_path / "cut.json").write_text('{"images": [')
    with pytest.raises(ValueError, match=r"cut\.json is not a JSON file"):
        Coco(tmp_path, tmp_path / "cut.json")


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (
            {"size": [10, 9], "counts": packed(ELL)["counts"]},
            r"RLE of size \[10, 9\] fills 90 pixels",
        ),
        ({"size": [9, 10], "counts": packed(ELL)["counts"][:-1]}, "RLE of size"),
        ({"size": [9, 10], "counts": [0, 18, 71]}, "fills 89 pixels"),
        ({"size": [9, 10], "counts": [0, -18, 108]}, "fills 90 pixels"),
        ({"size": [9, 10], "counts": "~~~"}, "packed RLE '~~~' is damaged"),
        ({"size": [9, 10], "counts": ""}, "packed RLE '' is damaged"),
        ({"size": [9, 10], "counts": "o" * 40}, "is damaged"),
        ({"size": [9, 10], "counts": "o" * 13 + "0"}, "is damaged"),
        ({"size": [9, 10]}, "counts"),
    ],
)
def test_damaged_rle_is_named_when_read(written, segmentation, message):
    reader = written(lambda content: content["annotations"][2].update(segmentation=segmentation))
    with pytest.raises(ValueError, match=f"instances.json: annotation 3: .*{message}"):
        reader[1]
