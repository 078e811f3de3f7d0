import keras
import numpy as np
import pytest
from PIL import Image

from tfseg.data import Arrays, Folder
from tfseg.datasets import dsb2018
from tfseg.inference import baseline, scores_table
from tfseg.models import unet


def discs(index, dark=False):
    """Touching discs on uneven ground, and their numbers."""
    rng = np.random.default_rng(index)
    y, x = np.mgrid[:64, :72]
    numbers = np.zeros((64, 72), np.uint8)
    for number, (cy, cx) in enumerate([(16, 16), (16, 33), (45, 30), (44, 58)], 1):
        numbers[np.hypot(y - cy + rng.integers(-2, 3), x - cx) < 9] = number
    image = np.where(numbers > 0, 170, 60) + rng.normal(0, 8, numbers.shape)
    return np.clip(255 - image if dark else image, 0, 255).astype(np.uint8), numbers


@pytest.mark.parametrize("dark", [False, True])
def test_objects_are_split_and_their_side_is_found(tmp_path, dark):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for index in range(4):
        for name, array in zip(("images", "masks"), discs(index, dark), strict=True):
            Image.fromarray(array).save(tmp_path / name / f"d{index}.png")
    reader = Folder(tmp_path / "images", tmp_path / "masks", ["disc"], instances=True)
    rows = baseline(
        reader.subset([0, 1]),
        reader.subset([2, 3]),
        network=lambda image: np.zeros(image.shape[:2], int),
    )
    by_name = {row["method"]: row for row in rows}
    assert by_name["Otsu + watershed"]["ap50"] == 1
    assert f"dark={dark}" in by_name["Otsu + watershed"]["options"]
    assert by_name["Otsu, connected"]["ap50"] < 1  # the two that touch are one
    assert by_name["network"]["ap50"] == 0
    assert [row["ap50"] for row in rows] == sorted((row["ap50"] for row in rows), reverse=True)


def pixels(count, flipped=False, classes=2):
    images, numbers = zip(*(discs(index) for index in range(count)), strict=True)
    masks = [np.minimum(n, classes - 1) ^ int(flipped) for n in numbers]
    return Arrays(images, masks, [f"class {i}" for i in range(classes)])


@pytest.mark.parametrize("flipped", [False, True])
def test_two_classes_and_which_of_them_is_bright(flipped):
    reader, seen = pixels(4, flipped), []
    keras.utils.set_random_seed(0)
    network = unet(2, (None, None, 1), filters=(4, 8))
    rows = baseline(
        reader.subset([0, 1]),
        reader.subset([2, 3]),
        network,
        lambda tried, n: seen.append(n) or tried,
    )
    by_name = {row["method"]: row for row in rows}
    assert by_name["Otsu"]["mean_iou"] > 0.98
    assert by_name["Otsu"]["options"] == f"flipped={flipped}"
    assert by_name["pixel classifier"]["mean_iou"] > 0.95
    assert by_name["most frequent class"]["options"] == f"class=class {int(flipped)}"
    # the ground is 1 - share of the discs: IoU that share for one class and 0 for the other
    mask = np.stack([reader[index]["mask"] for index in (2, 3)])
    assert by_name["most frequent class"]["mean_iou"] == pytest.approx(
        max((mask == c).mean() for c in (0, 1)) / 2
    )
    assert 0 <= by_name["network"]["mean_iou"] < 1
    assert len(seen) == 1
    assert scores_table(rows).row_count == len(rows)


def test_more_classes_leave_what_learns():
    reader = pixels(3, classes=3)
    rows = baseline(reader.subset([0, 1]), reader.subset([2]))
    assert sorted(row["method"] for row in rows) == ["most frequent class", "pixel classifier"]


def test_readers_without_labels_are_refused(tmp_path):
    reader = pixels(2)
    reader.fields = ("image",)
    with pytest.raises(ValueError, match="baseline: the reader gives image, but no mask"):
        baseline(reader, reader)


def test_nuclei_need_no_network_to_reach_0_7(shared_data):
    train, val = dsb2018(shared_data / "dsb2018_fluo")
    rows = baseline(train, val)
    assert {row["method"]: row["ap50"] for row in rows}["Otsu + watershed"] > 0.75  # 0.762 measured
