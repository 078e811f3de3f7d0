"""The data of a folder, and the task of its labels, in every format."""

import object_files
import pytest
from clean_folder import write_clean

from tfseg.doctor.guessed_task import find_data, find_validation, guess_task


@pytest.mark.parametrize(
    ("write", "task"),
    [
        ("coco", "instances"),
        ("coco_boxes", "detect"),
        ("yolo", "instances"),
        ("yolo_boxes", "detect"),
        ("voc", "semantic"),  # the masks of classes
        ("voc_boxes", "detect"),
        ("panoptic", "instances"),
    ],
)
def test_the_task_suits_the_labels(write, task, tmp_path):
    getattr(object_files, write)(tmp_path)
    if write.startswith("yolo"):
        (tmp_path / "labels" / "classes.txt").write_text("apple\nplum")
    images, labels = find_data(tmp_path)
    assert images.name in ("images", "JPEGImages")
    assert guess_task(images, labels) == task


def test_masks_are_semantic_also_one_per_class(tmp_path):
    write_clean(tmp_path)
    assert guess_task(*find_data(tmp_path)) == "semantic"
    (tmp_path / "masks" / "disc").mkdir()
    for mask in list((tmp_path / "masks").glob("*.png")):
        mask.rename(mask.parent / "disc" / mask.name)
    assert guess_task(*find_data(tmp_path)) == "semantic"


def test_folders_without_data_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folders of images and masks with usual names"):
        find_data(tmp_path)
    (tmp_path / "images").mkdir()
    for name in ("a.json", "b.json"):  # which of them?
        (tmp_path / name).write_text("{}")
    with pytest.raises(FileNotFoundError, match="Pass both folders"):
        find_data(tmp_path)


def test_folders_to_validate_on_have_the_same_names(tmp_path):
    for name in ("train", "trainannot", "val"):
        (tmp_path / name).mkdir()
    folders = tmp_path / "train", tmp_path / "trainannot"
    assert find_validation(*folders) is None
    (tmp_path / "valannot").mkdir()
    assert find_validation(*folders) == (tmp_path / "val", tmp_path / "valannot")
    assert find_validation(tmp_path / "val", tmp_path / "valannot") is None
