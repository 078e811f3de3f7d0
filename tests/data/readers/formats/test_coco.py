import copy
import json

import numpy as np
import pycocotools.mask as coco_mask
import pytest
from PIL import Image
from pycocotools.coco import COCO

from tfseg.data.readers.formats.coco import Coco
from tfseg.data.readers.objects import BOX_FIELDS, OBJECT_FIELDS

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
CROWD_LEFT_OUT = "annotation 4: it is a crowd (iscrowd=1), not an object, so its pixels are ignored"
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
    assert reader.object_names == ["cat", "dog", "brush"]
    assert reader.fields == ("image", *OBJECT_FIELDS)
    sample = reader[0]
    instances = np.zeros((12, 16), np.int32)
    instances[1:7, 2:8] = 1  # 36 pixels
    instances[2:4, 4:14] = 2  # 20
    assert np.array_equal(sample["instances"], instances)
    assert np.array_equal(sample["mask"], np.array([0, 2, 1])[instances])
    assert sample["boxes"].tolist() == [[2, 1, 8, 7], [4, 2, 14, 4]]
    assert sample["classes"].tolist() == [1, 0]
    assert sample["areas"].tolist() == [36, 20]
    kinds = {key: value.dtype for key, value in sample.items()}
    labels = {"boxes": "f4", "classes": "i4", "crowd": "?", "areas": "f4"}
    assert kinds == {"image": "u1", "mask": "u1", "instances": "i4"} | labels
    assert np.array_equal(np.unique(sample["image"]), [ord("a")])


def test_rle_is_read_and_crowds_are_ignored(written):
    sample = written()[1]
    assert np.array_equal(sample["instances"], ELL)
    mask = np.where(ELL, 3, 0)
    mask[:, :2] = 255
    assert np.array_equal(sample["mask"], mask)
    assert sample["boxes"].tolist() == [[2, 1, 9, 8], [0, 0, 2, 9]]
    assert (sample["classes"].tolist(), sample["crowd"].tolist()) == ([2, 0], [False, True])
    assert sample["areas"].tolist() == [ELL.sum(), 18]


def test_objects_inside_a_crowd_are_not_ignored(written):
    def widen(content):
        content["annotations"][3]["segmentation"]["counts"] = [0, 45, 45]  # five columns
        content["annotations"][3]["bbox"] = [0, 0, 5, 9]

    mask = written(widen)[1]["mask"]
    assert np.array_equal(mask[:, :5], np.where(ELL, 3, 255)[:, :5])


def test_crowds_can_be_objects(written):
    sample = written(crowd="object")[1]
    assert np.array_equal(sample["mask"][:, :2], np.ones((9, 2)))
    assert sample["crowd"].tolist() == [False, False]
    assert sample["instances"].max() == 2
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
            annotation(i + 1, 10, 3, shape, None) for i, shape in enumerate(shapes)
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
            annotation(6, 20, 3, [[1, 1, 3, 3, 5, 5]], [1, 1, 4, 4]),
            annotation(7, 10, 3, SQUARE, [3, 4, 0, 2]),
            annotation(8, 10, 3, SQUARE, [16, 4, 5, 2]),
            annotation(9, 10, 3, [], [3, 4, 2, 2]),
            annotation(10, 10, 3, [[1, 1, 5, 5], *STRIP], [4, 2, 10, 2]),
        ]

    reader = written(add)
    assert reader.dropped == [
        ("b", CROWD_LEFT_OUT),
        ("b", "annotation 6: its polygon has no area"),
        ("a", "annotation 7: its box from 3, 4 to 3, 6 has no area in the image"),
        ("a", "annotation 8: its box from 16, 4 to 21, 6 has no area in the image"),
        ("a", "annotation 9: it has no segmentation"),
    ]
    assert len(reader[0]["boxes"]) == 3  # with annotation 10
    assert len(reader[1]["boxes"]) == 2  # with the crowd


@pytest.mark.parametrize("polygon", [[1, 1, 5, 5], [1, 1], []])
def test_a_polygon_with_fewer_than_3_points_is_an_error(written, polygon):
    def change(content):
        content["annotations"][1]["segmentation"] = [polygon]

    count = len(polygon) // 2
    with pytest.raises(
        ValueError, match=rf"instances\.json: annotation 2: .* fewer than 3 points \({count}\)\."
    ):
        written(change)


def test_segmentations_that_are_elsewhere_than_their_boxes_are_named(written):
    def move_box(content):
        content["annotations"][0]["bbox"] = [8, 1, 6, 6]

    with pytest.raises(
        ValueError, match=r"annotation 1: its box from 8, 1 to 14, 7 and its segmentation from 2, 1"
    ):
        written(move_box)

    def move_rle(content):
        move_box(content)
        content["annotations"][0]["bbox"] = [2, 1, 6, 6]
        content["annotations"][2]["bbox"] = [5, 0, 4, 2]

    reader = written(move_rle)
    with pytest.raises(ValueError, match=r"annotation 3: its box from 5, 0 to 9, 2 and .* 2, 1"):
        reader[1]


def test_areas_are_those_of_the_annotations(written):
    def change(content):
        for area, entry in zip((25.5, 0, "7"), content["annotations"], strict=False):
            entry["area"] = area

    reader = written(change)
    assert reader[0]["areas"].tolist() == [25.5, 20]  # 0 and text are no areas
    assert reader[1]["areas"][0] == ELL.sum()


def test_rle_of_every_object_is_whole(written):
    reader = written()
    masks = [coco_mask.decode(rle) for rle in reader.object_rle(0)]
    assert [int(mask.sum()) for mask in masks] == [36, 20]  # they overlap in 8 pixels
    crowd = coco_mask.decode(reader.object_rle(1)[1])
    assert np.array_equal(crowd, np.arange(10) < np.full((9, 1), 2))
    with pytest.raises(ValueError, match="Coco: object_rle needs masks of the objects"):
        written(without_segmentations).object_rle(0)


def test_boxes_are_clipped_and_missing_ones_computed(written):
    def change(content):
        content["annotations"][0]["bbox"] = [-3, 2.5, 12, 9]
        content["annotations"][0]["segmentation"] = [[-3, 2, 8, 2, 8, 20]]
        del content["annotations"][1]["bbox"], content["annotations"][2]["bbox"]

    reader = written(change)
    assert reader[0]["boxes"].tolist() == [[0, 2.5, 9, 11.5], [4, 2, 14, 4]]
    assert reader[1]["boxes"].tolist()[0] == [2, 1, 9, 8]


def test_a_file_with_boxes_only_has_no_background(written):
    def strip(content):
        for entry in content["annotations"]:
            del entry["segmentation"]

    reader = written(strip)
    assert (reader.fields, reader.class_names) == (
        ("image", *BOX_FIELDS),
        ["cat", "dog", "brush"],
    )
    assert list(reader[1]) == ["image", *BOX_FIELDS]
    assert reader[0]["classes"].tolist() == [1, 0]
    assert reader[0]["areas"].tolist() == [36, 20]
    assert reader[1]["crowd"].tolist() == [False, True]


def test_a_single_class_of_boxes_has_id_0(written):
    def strip(content):
        content["categories"] = [{"id": 4, "name": "cell"}]
        content["annotations"] = [{"id": 1, "image_id": 10, "category_id": 4, "bbox": [1, 2, 3, 4]}]

    assert written(strip)[0]["classes"].tolist() == [0]
    assert written().object_names == ["cell"]


def without_segmentations(content):
    for entry in content["annotations"]:
        del entry["segmentation"]


@pytest.mark.parametrize("has_masks", [True, False])
def test_crowds_that_are_left_out_are_counted(written, has_masks):
    reader = written() if has_masks else written(without_segmentations)
    assert [(name, reason.split(",")[0]) for name, reason in reader.dropped] == [
        ("b", "annotation 4: it is a crowd (iscrowd=1)")
    ]
    assert written(crowd="object").dropped == []
    assert reader.subset([1]).dropped == reader.dropped
    assert reader.subset([0]).dropped == []


def test_a_crowd_may_be_marked_by_text(written):
    assert len(written(lambda c: c["annotations"][2].update(iscrowd="1")).dropped) == 2
    assert len(written(lambda c: c["annotations"][2].update(iscrowd="0")).dropped) == 1


def rename(content, first=7, second=3, third=90):
    """Swap the ids of categories; annotations keep theirs."""
    for category, number in zip(content["categories"], (first, second, third), strict=True):
        category["id"] = number


def test_class_names_fix_the_ids_of_several_files(written):
    train = written()
    other = written(lambda c: rename(c, 3, 7), class_names=train.class_names)
    assert other.class_names == train.class_names == ["background", "cat", "dog", "brush"]
    assert train[0]["classes"].tolist() == [1, 0]
    assert other[0]["classes"].tolist() == [0, 1]
    assert written(class_names=["cat", "dog", "brush"]).class_names == train.class_names


def test_objects_of_other_categories_are_left_out_and_counted(written):
    reader = written(class_names=["brush", "tree"])  # no tree in this file
    assert reader.class_names == ["background", "brush", "tree"]
    assert [reader[i]["classes"].tolist() for i in range(3)] == [[], [0], []]
    assert [(name, reason[:40]) for name, reason in reader.dropped] == [
        ("a", "1 annotations of the category 'dog', whi"),
        ("a", "1 annotations of the category 'cat', whi"),
        ("b", "1 annotations of the category 'cat', whi"),
    ]
    with pytest.raises(
        ValueError, match=r"instances\.json has none of tree. .* are cat, dog, brush"
    ):
        written(class_names=["tree"])
    with pytest.raises(ValueError, match="is not a list"):
        written(class_names="cat")
    with pytest.warns(UserWarning, match="no category 'dgo', and its category 'dog' is left out"):
        written(class_names=["cat", "dgo"])


@pytest.mark.parametrize(
    "extra",
    [
        {"id": 0, "name": "Background", "supercategory": "none"},
        {"id": 4, "name": "_background_"},
        {"id": 0, "name": "animals"},  # the root of Roboflow
        {"id": 0, "name": "cat", "supercategory": "none"},  # the same, with the name of a class
        {"id": 99, "name": "dog"},
    ],
)
def test_categories_that_are_not_classes_are_left_out(written, extra):
    def add(content):
        content["categories"].append(extra)
        content["categories"][0]["supercategory"] = "animals"

    reader = written(add)
    assert reader.class_names == ["background", "cat", "dog", "brush"]
    assert reader[0]["classes"].tolist() == [1, 0]
    assert reader[1]["classes"].tolist() == [2, 0]


def test_objects_of_the_background_are_dropped(written):
    reader = written(lambda c: c["categories"][0].update(name="background"))
    assert reader.class_names == ["background", "cat", "brush"]
    assert reader[0]["classes"].tolist() == [0]
    assert (
        "a",
        "1 annotations of the category 'background', which is not a class",
    ) in reader.dropped


def test_an_unused_category_stays_a_class(written):
    def remove(content):
        content["annotations"] = content["annotations"][:1]
        content["categories"][1]["supercategory"] = "cat"  # its own name

    assert written(remove).class_names == ["background", "cat", "dog", "brush"]


def test_categories_of_one_name_can_be_one_class(written):
    def same(content):
        content["categories"][0]["name"] = "cat"

    with pytest.raises(ValueError, match=r"categories 3, 7 have the same name 'cat'.*class_names="):
        written(same)
    reader = written(same, class_names=["cat", "brush"])
    assert reader[0]["classes"].tolist() == [0, 0]


@pytest.mark.parametrize("size", [("12", "16"), (None, None), (12.0, 16.0), (0, 0), ("", "16")])
def test_sizes_may_be_text_or_unknown(written, size):
    reader = written(lambda c: c["images"][0].update(height=size[0], width=size[1]))
    assert reader.sizes[0].tolist() == [12, 16]


@pytest.mark.parametrize("box", [None, [], ["2", "1", "6", "6"]])
def test_a_box_that_is_missing_is_computed(written, box):
    reader = written(lambda c: c["annotations"][0].update(bbox=box))
    assert reader[0]["boxes"][0].tolist() == [2, 1, 8, 7]


def test_file_names_of_windows_and_of_the_folder_above_are_found(written, tmp_path):
    def change(content):
        content["images"][0]["file_name"] = f"{tmp_path.name}\\a.png"
        content["images"][1]["file_name"] = f"C:\\data\\{tmp_path.name}\\B.PNG"

    reader = written(change)
    assert [reader[i]["image"][0, 0, 0] for i in range(3)] == [ord(name) for name in "abc"]
    assert reader.name(0) == f"{tmp_path.name}/a"
    assert reader.image_path(1) == tmp_path / "b.png"
    assert reader.subset([1]).image_path(0) == tmp_path / "b.png"


def as_corners(content):
    for entry in content["annotations"]:
        x, y, width, height = entry["bbox"]
        entry["bbox"] = [x, y, x + width, y + height]


def test_boxes_stored_as_corners_are_refused(written):
    message = r"instances\.json: the boxes are stored as x_min, y_min, x_max, y_max.* annotation "
    with pytest.raises(ValueError, match=f"{message}1: .*Store x, y, x_max - x"):
        written(as_corners)  # unlike the polygons

    def far_out(content):
        without_segmentations(content)
        for entry, box in zip(content["annotations"], ([3, 2, 14, 11], [1, 1, 4, 3]), strict=False):
            entry["bbox"] = box
        content["annotations"] = content["annotations"][:2]

    with pytest.raises(ValueError, match=f"{message}1"):
        written(far_out)


def test_boxes_stored_as_fractions_are_refused(written):
    def shrink(content):
        for entry in content["annotations"]:
            entry["bbox"] = [value / 16 for value in entry["bbox"]]

    with pytest.raises(ValueError, match="the boxes are fractions of the image's size"):
        written(shrink)


def test_an_image_that_was_labeled_unturned_is_named(written, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (16, 12)).save(tmp_path / "a.jpg", exif=exif)
    with pytest.raises(ValueError, match=r"a\.jpg is 12 x 16 .* orientation is 6, which turns it"):
        written(lambda c: c["images"][0].update(file_name="a.jpg"))


def test_a_file_in_utf_16_is_read(written, tmp_path):
    written()
    path = tmp_path / "instances.json"
    path.write_bytes(path.read_text("utf-8").encode("utf-16"))
    assert len(Coco(tmp_path, path)) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["images"][1].update(id=10), r"images contains the id 10 twice: a\.png and b"),
        (lambda c: c["categories"][1].update(id=7), "categories contains the id 7 twice: dog and"),
        (
            lambda c: c["categories"][1].update(id="7", supercategory=[]),
            "category_id 3 is in no list",
        ),
        (lambda c: c["images"][1].pop("id"), r"images\[1\] has no id"),
        (lambda c: c["images"][0].pop("file_name"), r"images\[0\] has no file_name"),
        (lambda c: c["images"][0].update(file_name=""), r"images\[0\] has no file_name"),
        (lambda c: c["categories"][2].pop("name"), r"categories\[2\] has no name"),
        (lambda c: c["categories"][0].clear(), r"categories\[0\] has no id and no name"),
        (lambda c: c["images"].append("a.png"), r"images\[3\] is not a JSON object"),
        (lambda c: c["annotations"].append(None), r"annotations\[4\] is not a JSON object"),
        (lambda c: c.update(annotations=None), "'annotations' is null, expected a list"),
        (lambda c: c.update(images={}), "'images' is of type dict, expected a list"),
        (
            lambda c: c["annotations"][0].pop("image_id"),
            "annotation 1: image_id None is in no list",
        ),
        (lambda c: c["annotations"][0].update(image_id=[1]), "annotation 1: "),
        (lambda c: c["annotations"][0].update(category_id=[3]), "annotation 1: "),
        (lambda c: c["annotations"][0].pop("category_id"), "annotation 1: category_id None is in"),
        (lambda c: c["annotations"][0].update(bbox="x"), "its bbox x is not x, y, width, height"),
        (lambda c: c["annotations"][0].update(segments_info=[]), "Read it with `CocoPanoptic`"),
        (lambda c: c.update(categories=[{"id": 0, "name": "background"}]), "no category besides"),
    ],
)
def test_an_incomplete_file_is_rejected_by_name(written, change, message):
    with pytest.raises(ValueError, match=f"instances.json.*{message}|{message}.*instances.json"):
        written(change)


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
            lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3e9, 4, 5, 6]]),
            r"a polygon reaches to 3e\+09 pixels",
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
        ({"size": [9, 10], "counts": [0, 10**30]}, "too large"),
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
