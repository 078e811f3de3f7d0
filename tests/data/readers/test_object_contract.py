"""The contract of objects (see `Reader`), for every reader that has them."""

import json
from pathlib import Path

import numpy as np
import pycocotools.mask as coco_mask
import pytest
from object_files import (
    INSTANCES,
    categories,
    coco,
    coco_boxes,
    labelme,
    numbered,
    panoptic,
    part,
    records,
    tile,
    voc,
    voc_boxes,
    voc_xml,
    yolo,
    yolo_boxes,
)

from tfseg.data import Coco, LabelMe, Reader, TFRecords, Yolo
from tfseg.data.readers.objects import (
    BOX_FIELDS,
    OBJECT_FIELDS,
    instances_to_rle,
    object_arrays,
    object_labels,
)

READERS = (
    coco,
    coco_boxes,
    yolo,
    yolo_boxes,
    voc,
    voc_boxes,
    panoptic,
    numbered,
    categories,
    labelme,
    voc_xml,
    records,
    tile,
    part,
)


@pytest.mark.parametrize("write", READERS, ids=lambda write: write.__name__)
def test_contract(tmp_path, write):
    reader = write(tmp_path)
    names = ["plum"] if write is numbered else ["apple", "plum"]
    assert reader.object_names == names
    sample = reader[0]
    fields = OBJECT_FIELDS if "mask" in reader.fields else BOX_FIELDS
    assert tuple(sample) == reader.fields == ("image", *fields)
    dtypes = [sample[name].dtype for name in BOX_FIELDS]
    assert dtypes == [np.float32, np.int32, bool, np.float32]
    crowd = sample["crowd"]
    found = [names[category] for category in sample["classes"][~crowd]]
    assert found == (["plum", "plum"] if write is numbered else ["plum", "apple"])
    assert sample["boxes"][:2].tolist() == [[10, 6, 28, 10], [2, 4, 22, 14]]
    assert crowd.tolist()[:2] == [False, False]
    for box in sample["boxes"][crowd]:
        assert box.tolist() == [0, 16, 30, 20]
    if "mask" in reader.fields:
        check_masks(reader, sample)
    else:
        assert sample["areas"].tolist()[:2] == [72, 200]
        with pytest.raises(ValueError, match="object_rle needs masks"):
            reader.object_rle(0)


def check_masks(reader, sample):
    assert np.array_equal(sample["instances"], INSTANCES)  # the crowd is not in it
    rows = sample["instances"][INSTANCES > 0] - 1
    label_ids = reader.object_label_ids[sample["classes"]]
    assert np.array_equal(sample["mask"][INSTANCES > 0], label_ids[rows])
    regions = [coco_mask.decode(rle).astype(bool) for rle in reader.object_rle(0)]
    if not reader.has_exact_rle:  # so that metrics read "instances" alone
        visible = [sample["instances"] == number for number in range(1, len(regions) + 1)]
        assert np.array_equal(regions, visible)
    assert len(regions) == len(sample["boxes"])
    assert np.array_equal(regions[0], INSTANCES == 1)
    if isinstance(reader, (Coco, LabelMe, Yolo)):  # whole, also below the other object
        assert reader.has_exact_rle
        assert regions[1].sum() == 200
    assert not (INSTANCES == 2)[~regions[1]].any()
    if isinstance(reader, TFRecords):  # which store no regions besides "instances"
        assert sample["areas"].tolist() == [72, 200, 120]
        return
    assert all(region[16:].all() for region in regions[2:])
    assert sample["areas"].tolist() == [region.sum() for region in regions]


def test_regions_equal_those_of_pycocotools():
    rng = np.random.default_rng(0)
    instances = rng.integers(0, 4, (7, 5)).astype(np.int32)
    regions = instances_to_rle(instances, 5)
    for number, region in enumerate(regions, start=1):
        expected = coco_mask.encode(np.asfortranarray(instances == number))
        assert region == expected
    assert instances_to_rle(np.zeros((2, 3), np.int32), 0) == []


def test_long_runs_are_compressed_as_by_pycocotools():
    coco_mask = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    instances = np.zeros((700, 900), np.int32)
    for number in range(1, 30):  # runs of 1 to more than 2**19 pixels
        y, x = rng.integers(0, (700, 900))
        instances[y : y + rng.integers(1, 400), x : x + rng.integers(1, 3)] = number
    instances[1, 1], instances[-1, -1] = 30, 31
    for number, region in enumerate(instances_to_rle(instances, 32), 1):
        expected = coco_mask.encode(np.asfortranarray(instances == number).astype(np.uint8))
        assert region == expected, number


def test_areas_default_to_those_of_the_boxes():
    labels = object_arrays([[0, 0, 2, 3], [1, 1, 2, 5]], [0, 1], areas=[np.nan, 2.5])
    assert labels["areas"].tolist() == [6, 2.5]
    assert labels["crowd"].tolist() == [False, False]
    assert {name: array.shape for name, array in object_arrays([], []).items()} == {
        "boxes": (0, 4),
        "classes": (0,),
        "crowd": (0,),
        "areas": (0,),
    }


def test_rle_of_tiles_are_cropped(tmp_path):
    tiles = coco(tmp_path).tiles((20, 15))
    shown = tiles[0], tiles[1]
    assert [sample["classes"].tolist() for sample in shown] == [[1, 0, 1], [1, 0, 1]]
    for index, columns in ((0, np.s_[:15]), (1, np.s_[15:])):
        regions = [coco_mask.decode(rle) for rle in tiles.object_rle(index)]
        assert np.array_equal(regions[0], (INSTANCES == 1)[:, columns])
        assert shown[index]["areas"][0] == pytest.approx(regions[0].sum())


def test_an_object_that_a_tile_does_not_show_has_no_rle(tmp_path):
    tiles = coco(tmp_path).tiles((10, 9))
    first = tiles[0]
    assert first["classes"].tolist() == [0]
    assert len(tiles.object_rle(0)) == 1


class Custom(Reader):
    fields = ("image", *OBJECT_FIELDS)

    def __init__(self, names):
        super().__init__(names, [(20, 30)], 1, np.uint8)

    def __getitem__(self, index):
        return {"image": np.zeros((20, 30, 1), np.uint8), **object_labels(INSTANCES)}


def test_object_names_leave_out_the_background():
    reader = Custom(["a", "_background_", "b"])
    assert reader.object_names == ["a", "b"]
    assert reader.object_label_ids.tolist() == [0, 2]
    assert Custom(["leaf"]).object_names == ["leaf"]
    assert Custom(["leaf"]).object_label_ids.tolist() == [1]
    reader.fields = ("image", "mask")
    assert reader.object_names == []


def test_records_of_version_1_with_objects_are_refused(tmp_path):
    index = Path(tmp_path, "records", "index.json")
    records(tmp_path)
    content = json.loads(index.read_text())
    content["about"]["version"] = 1  # it counted the background as a class
    index.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"has version 1, but this tfseg reads version 2 of such"):
        TFRecords(index.parent)
