import sys

import numpy as np
import pytest
from pixel_model import PixelModel

from tfseg.data import Arrays, Reader
from tfseg.datasets import dsb2018
from tfseg.inference import baseline, scores_table
from tfseg.inference.baseline import (
    Candidate,
    _best_candidates,
    _grid,
    _most_frequent_class,
    _scribble,
    _two_class_candidates,
)

MODULE = sys.modules["tfseg.inference.baseline"]  # hidden by the function of that name


def draw_discs(index, dark=False):
    """Return an image with noise and four discs, two of which touch, and their numbers."""
    rng = np.random.default_rng(index)
    y, x = np.mgrid[:64, :72]
    numbers = np.zeros((64, 72), np.int32)
    for number, (cy, cx) in enumerate([(16, 16), (16, 33), (45, 30), (44, 58)], 1):
        numbers[np.hypot(y - cy + rng.integers(-2, 3), x - cx) < 9] = number
    image = np.where(numbers > 0, 170, 60) + rng.normal(0, 8, numbers.shape)
    return np.clip(255 - image if dark else image, 0, 255).astype(np.uint8), numbers


class Discs(Reader):
    """Images of numbered discs."""

    fields = ("image", "instances")

    def __init__(self, count, dark):
        super().__init__(["disc"], [(64, 72)] * count, 1, np.uint8)
        self.dark = dark

    def __getitem__(self, index):
        image, numbers = draw_discs(index, self.dark)
        return {"image": image[..., None], "instances": numbers}


@pytest.mark.parametrize("dark", [False, True])
def test_touching_objects_are_split_and_dark_ones_are_recognized(dark):
    reader = Discs(4, dark)
    rows = baseline(
        reader.subset([0, 1]),
        reader.subset([2, 3]),
        network=lambda image: np.zeros(image.shape[:2], int),
    )
    by_method = {row["method"]: row for row in rows}
    assert by_method["Otsu + watershed"]["ap50"] == 1
    assert f"dark={dark}" in by_method["Otsu + watershed"]["options"]
    assert by_method["Otsu, connected"]["ap50"] < 1  # it joins the discs that touch
    assert by_method["network"]["ap50"] == 0
    assert [row["ap50"] for row in rows] == sorted((row["ap50"] for row in rows), reverse=True)


def disc_masks(count, flipped=False, num_classes=2):
    images, masks = [], []
    for index in range(count):
        image, numbers = draw_discs(index)
        images.append(image)
        masks.append(np.minimum(numbers, num_classes - 1) ^ int(flipped))
    return Arrays(images, masks, [f"class {i}" for i in range(num_classes)])


def test_two_classes_of_which_the_first_is_bright():
    reader, totals = disc_masks(4, flipped=True), []
    rows = baseline(
        reader.subset([0, 1]),
        reader.subset([2, 3]),
        PixelModel(2, 1),
        lambda candidates, total: totals.append((len(candidates), total)) or candidates,
    )
    by_method = {row["method"]: row for row in rows}
    assert set(by_method) == {
        "most frequent class",
        "pixel classifier",
        "Otsu",
        "triangle",
        "local threshold",
        "Sauvola",
        "ridges + Otsu",
        "network",
    }
    assert by_method["Otsu"]["mean_iou"] > 0.98
    assert by_method["Otsu"]["options"] == "flipped=True"
    assert by_method["pixel classifier"]["mean_iou"] > 0.95
    assert by_method["most frequent class"]["options"] == "class=class 1"
    # its IoU is the fraction of the class, and 0 for the other class
    mask = np.stack([reader[index]["mask"] for index in (2, 3)])
    expected = (mask == 1).mean() / 2
    assert by_method["most frequent class"]["mean_iou"] == pytest.approx(expected)
    # the logits change sign at 100, between the gray levels 60 and 170
    assert by_method["network"]["mean_iou"] == 1
    assert totals == [(2 + 2 + 2 + 30 + 18 + 16, 70)]
    scores = [row["mean_iou"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert scores_table(rows).row_count == len(rows)


@pytest.mark.parametrize("flipped", [False, True])
def test_thresholds_choose_which_class_is_bright(flipped, monkeypatch):
    otsu = [c for c in _two_class_candidates() if c.method == "Otsu"]
    monkeypatch.setattr(MODULE, "_pixel_candidates", lambda *arguments: otsu)
    reader = disc_masks(2, flipped)
    (row,) = baseline(reader.subset([0]), reader.subset([1]))
    assert row["options"] == f"flipped={flipped}"
    assert row["mean_iou"] > 0.98


def test_more_than_two_classes_leave_the_trained_methods():
    reader = disc_masks(3, num_classes=3)
    rows = baseline(reader.subset([0, 1]), reader.subset([2]))
    assert sorted(row["method"] for row in rows) == ["most frequent class", "pixel classifier"]
    assert rows[0]["mean_iou"] > rows[1]["mean_iou"]
    options = {row["method"]: row["options"] for row in rows}
    assert options["pixel classifier"] == "scribbles=1% of 2 images"


def test_at_most_60_evenly_spaced_images_choose_the_options(monkeypatch):
    read = []

    def candidates(samples, names):
        read.extend(int(sample["image"].max()) for sample in samples)
        return [_most_frequent_class(samples, names)]

    monkeypatch.setattr(MODULE, "_pixel_candidates", candidates)
    images = np.arange(120, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    reader = Arrays(images, np.zeros((120, 2, 2), np.uint8), ["a", "b"])
    baseline(reader, reader.subset([0]))
    assert len(read) == 60
    assert (read[0], read[-1]) == (0, 119)
    assert set(np.diff(read)) == {2, 3}


def test_the_best_candidate_of_each_method_is_chosen():
    values = {"a1": 0.2, "a2": 0.4, "a3": 0.4, "b": 0.9}
    scored = []

    def score(samples, function):
        scored.append(function)
        return {"mean_iou": values[function], "seconds": 1.0}

    candidates = [Candidate(name[0], {}, name) for name in values]
    best = _best_candidates(candidates, [], score, lambda items, total: items)
    # on ties the first; a method without options needs no score
    assert [candidate.function for candidate in best] == ["a2", "b"]
    assert scored == ["a1", "a2", "a3"]


def test_a_grid_has_all_combinations():
    candidates = _grid("m", lambda image, a, b: (image, a, b), a=(1, 2), b=(3, 4))
    assert [candidate.options for candidate in candidates] == [
        {"a": 1, "b": 3},
        {"a": 1, "b": 4},
        {"a": 2, "b": 3},
        {"a": 2, "b": 4},
    ]
    assert [candidate.function("x") for candidate in candidates][2] == ("x", 2, 3)


def test_scribbles_label_one_percent_and_every_class():
    mask = np.zeros((100, 100), np.uint8)
    mask[0, 0], mask[50:] = 2, 1
    drawn = _scribble(mask, np.random.default_rng(0))
    labeled = drawn != 255
    assert np.array_equal(drawn[labeled], mask[labeled])
    assert set(np.unique(drawn[labeled])) == {0, 1, 2}
    assert 60 < labeled.sum() < 140


def test_readers_without_labels_are_refused():
    reader = disc_masks(2)
    reader.fields = ("image",)
    with pytest.raises(ValueError, match="baseline: the reader provides image, but no mask"):
        baseline(reader, reader)


@pytest.mark.slow
def test_nuclei_do_not_need_a_network(shared_data):
    train, val = dsb2018(shared_data / "dsb2018_fluo")
    rows = baseline(train.subset(range(0, len(train), 10)), val)
    # 0.721 with options chosen on every tenth training image, 0.762 with all of them
    assert {row["method"]: row["ap50"] for row in rows}["Otsu + watershed"] > 0.71
