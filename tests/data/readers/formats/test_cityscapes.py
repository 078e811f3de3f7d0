import numpy as np
import pytest
from PIL import Image

from tfseg.data.readers.formats import Cityscapes
from tfseg.data.readers.objects import OBJECT_FIELDS
from tfseg.doctor import check

FRAMES = ["aachen/aachen_000000_000019", "aachen/aachen_000001_000019", "ulm/ulm_000003_000019"]
# 7 road, 8 sidewalk, 24 person, 26 car, 29 caravan (ignored in training), 33 bicycle
IDS = np.array([[0, 7, 7, 8, 8, 24], [26, 26, 26, 29, 33, 24]], np.uint8)
TRAIN = [[255, 0, 0, 1, 1, 11], [13, 13, 13, 255, 18, 11]]
# two cars, a caravan and the person; the bicycle belongs to a group without separate objects
OBJECTS = np.array([[0, 7, 7, 8, 8, 24000], [26012, 26001, 26001, 29000, 33, 24000]], np.uint16)


def write(root, frames, folder, kind, array, split="train"):
    for frame in frames:
        path = root / folder / split / f"{frame}_{kind}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)


@pytest.fixture
def root(tmp_path):
    write(tmp_path, FRAMES, "leftImg8bit", "leftImg8bit", np.full((2, 6, 3), (5, 6, 7), np.uint8))
    write(tmp_path, FRAMES, "gtFine", "gtFine_labelIds", IDS)
    return tmp_path


def test_masks_are_train_ids(root):
    reader = Cityscapes(root)
    assert (len(reader), reader.num_classes, reader.fields) == (3, 19, ("image", "mask"))
    assert reader[0]["mask"].tolist() == TRAIN
    assert reader[0]["image"][1, 2].tolist() == [5, 6, 7]
    assert [reader.class_names[i] for i in (0, 1, 11, 13, 18)] == [
        "road",
        "sidewalk",
        "person",
        "car",
        "bicycle",
    ]
    assert reader.palette[[0, 13, 18]].tolist() == [[128, 64, 128], [0, 0, 142], [119, 11, 32]]
    assert len(reader.palette) == 19
    assert check(reader).ignored_pixels == 6


def test_hidden_files_are_left_out_and_upper_case_suffixes_read(root):
    for folder, end in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
        path = root / folder / "train" / f"{FRAMES[0]}_{end}.png"
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
        path.rename(path.with_suffix(".PNG"))
    reader = Cityscapes(root)
    assert [reader.name(i) for i in range(len(reader))] == FRAMES
    assert reader[0]["mask"].tolist() == TRAIN


def test_all_ids_are_kept(root):
    reader = Cityscapes(root, ids="all")
    assert (reader.num_classes, reader.class_names[26], len(reader.palette)) == (34, "car", 34)
    assert np.array_equal(reader[1]["mask"], IDS)


def test_cities_are_groups(root):
    reader = Cityscapes(root)
    assert [reader.name(i) for i in range(3)] == FRAMES
    train, val = reader.split(0.3, groups=lambda name: name.split("/")[0])
    assert [train.name(i) for i in range(len(train))] == FRAMES[:2]
    assert val.name(0) == FRAMES[2]


def test_objects_of_evaluated_classes_are_instances(root):
    write(root, FRAMES, "gtFine", "gtFine_instanceIds", OBJECTS)
    reader = Cityscapes(root)
    sample = reader[2]
    assert reader.fields == tuple(sample) == ("image", *OBJECT_FIELDS)
    assert sample["instances"].tolist() == [[0, 0, 0, 0, 0, 1], [3, 2, 2, 0, 0, 1]]
    assert sample["boxes"].tolist() == [[5, 0, 6, 2], [1, 1, 3, 2], [0, 1, 1, 2]]
    assert len(reader.object_names) == 8
    assert [reader.object_names[i] for i in sample["classes"]] == ["person", "car", "car"]
    assert sample["areas"].tolist() == [2, 2, 1]
    kinds = [sample[name].dtype for name in ("mask", "instances", "boxes", "classes")]
    assert kinds == [np.uint8, np.int32, np.float32, np.int32]


def test_with_all_ids_the_caravan_is_an_instance_too(root):
    write(root, FRAMES, "gtFine", "gtFine_instanceIds", OBJECTS)
    reader = Cityscapes(root, ids="all")
    sample = reader[0]
    assert sample["instances"].tolist() == [[0, 0, 0, 0, 0, 1], [3, 2, 2, 4, 0, 1]]
    assert reader.object_label_ids[sample["classes"]].tolist() == [24, 26, 26, 29]
    assert [reader.object_names[i] for i in sample["classes"]][2:] == ["car", "caravan"]


def test_instances_need_a_file_for_every_frame(root):
    write(root, FRAMES[1:], "gtFine", "gtFine_instanceIds", OBJECTS)
    assert Cityscapes(root).fields == ("image", "mask")


def test_coarse_masks(root):
    write(root, FRAMES, "gtCoarse", "gtCoarse_labelIds", IDS[:, ::-1].copy())
    assert Cityscapes(root, mode="coarse")[0]["mask"].tolist() == [row[::-1] for row in TRAIN]


def test_train_ids_on_disk_are_used_if_there_are_no_label_ids(root):
    write(root, FRAMES, "gtFine", "gtFine_labelTrainIds", np.array(TRAIN, np.uint8)[::-1].copy())
    assert Cityscapes(root)[0]["mask"].tolist() == TRAIN
    for path in root.rglob("*_labelIds.png"):
        path.unlink()
    assert Cityscapes(root)[0]["mask"].tolist() == TRAIN[::-1]
    with pytest.raises(
        ValueError, match=r"(?s)3 problems.*aachen_000000_000019_gtFine_labelIds\.png"
    ):
        Cityscapes(root, ids="all")


def test_invalid_arguments_and_files_are_named(root):
    with pytest.raises(ValueError, match=r"mode='fin' is unknown.*Did you mean 'fine'"):
        Cityscapes(root, mode="fin")
    with pytest.raises(ValueError, match=r"ids='eval' is unknown"):
        Cityscapes(root, ids="eval")
    with pytest.raises(
        FileNotFoundError, match=r"leftImg8bit/val' contains no <city>/<frame>_leftImg8bit\.png"
    ):
        Cityscapes(root, "val")
    write(root, FRAMES[:1], "gtFine", "gtFine_labelIds", IDS + np.uint8(30))
    with pytest.raises(
        ValueError, match=r"aachen_000000_000019_gtFine_labelIds\.png contains values .*: 37, 38"
    ):
        Cityscapes(root)[0]
    write(root, FRAMES[:1], "gtFine", "gtFine_labelIds", IDS[:, 1:].copy())
    with pytest.raises(
        ValueError, match=r"000019_leftImg8bit\.png is 6 x 2, but its mask .*labelIds\.png is 5 x 2"
    ):
        Cityscapes(root)


def test_an_object_of_an_unknown_class_is_named(root):
    write(
        root,
        FRAMES,
        "gtFine",
        "gtFine_instanceIds",
        OBJECTS + np.uint16(10000) * (OBJECTS == 26012),
    )
    with pytest.raises(
        ValueError, match=r"gtFine_instanceIds\.png contains values that map to no class: 36012"
    ):
        Cityscapes(root)[0]
