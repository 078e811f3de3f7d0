import csv
import io
import json
import re

import numpy as np
import pytest
from conftest import draw_sample
from rich.console import Console

from tfseg.data import Arrays, Reader, Resize
from tfseg.inference import Evaluation, evaluate, predict
from tfseg.models import unet

NAMES = ["ground", "disc", "band"]
# true classes down. ground: 6 right, 2 taken for disc; disc: 1 taken for ground, 3 right; band never occurs.
MATRIX = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
COLUMNS = ("class", "dice", "iou", "precision", "recall", "specificity", "pixels")


def row(*values):
    return dict(zip(COLUMNS, values, strict=True))


def test_a_table_by_hand():
    scores = Evaluation(NAMES, MATRIX)
    ground, disc, band = scores.rows()
    assert ground == pytest.approx(row("ground", 12 / 15, 6 / 9, 6 / 7, 6 / 8, 3 / 4, 8))
    assert disc == pytest.approx(row("disc", 6 / 9, 3 / 6, 3 / 5, 3 / 4, 6 / 8, 4))
    assert band == pytest.approx(row("band", np.nan, np.nan, np.nan, np.nan, 1, 0), nan_ok=True)
    means = scores.means()
    assert means["mean_dice"] == pytest.approx((12 / 15 + 6 / 9) / 2)
    assert means["mean_accuracy"] == pytest.approx(3 / 4)
    assert means["micro_iou"] == pytest.approx(9 / 15)
    assert means["weighted_iou"] == pytest.approx((8 * 6 / 9 + 4 * 3 / 6) / 12)
    assert means["pixel_accuracy"] == pytest.approx(9 / 12)
    # (9 * 12 - (8 * 7 + 4 * 5)) / (12**2 - (8 * 7 + 4 * 5))
    assert means["cohen_kappa"] == pytest.approx(32 / 68)
    assert means["matthews"] == pytest.approx(32 / ((144 - 64 - 16) * (144 - 49 - 25)) ** 0.5)
    scores = {
        f"{average}_{column}"
        for average in ("mean", "micro", "weighted")
        for column in COLUMNS[1:-1]
    }
    assert set(means) == scores | {"pixel_accuracy", "mean_accuracy", "matthews", "cohen_kappa"}


def test_the_printed_table_fits_80_columns():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(Evaluation(["a class of twenty letters", "disc", "band"], MATRIX).table())
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    cells = [re.split(r"\s*[│┃]\s*", line)[1:-1] for line in lines if "│" in line or "┃" in line]
    assert cells == [
        ["class", "Dice", "IoU", "precision", "recall", "pixels"],
        ["a class of twenty letters", "0.8000", "0.6667", "0.8571", "0.7500", "66.7%"],
        ["disc", "0.6667", "0.5000", "0.6000", "0.7500", "33.3%"],
        ["band", "-", "-", "-", "-", "0.0%"],
        ["mean", "0.7333", "0.5833", "0.7286", "0.7500", ""],
    ]


def test_files_hold_the_table_and_the_matrix(tmp_path):
    Evaluation(NAMES, MATRIX).save(tmp_path / "new")
    report = json.loads((tmp_path / "new" / "evaluation.json").read_text())
    assert report["confusion_matrix"] == MATRIX.tolist()
    assert report["classes"][2] == row("band", None, None, None, None, 1, 0)
    assert report["pixel_accuracy"] == 0.75
    assert {"mean_recall", "micro_dice", "weighted_iou", "matthews", "cohen_kappa"} < set(report)
    rows = list(csv.DictReader((tmp_path / "new" / "evaluation.csv").open()))
    assert list(rows[0]) == list(COLUMNS)
    assert [row["class"] for row in rows] == NAMES
    assert float(rows[0]["specificity"]) == 0.75
    assert float(rows[1]["iou"]) == 0.5
    assert rows[2]["iou"] == ""


def test_evaluation_counts_what_prediction_says_at_any_size():
    sizes = [(48, 56), (41, 37), (48, 56)]
    samples = [draw_sample(i, *size) for i, size in enumerate(sizes)]
    samples[0][1][:5] = 255
    model = unet(3, filters=(4, 8))
    expected = np.zeros((3, 3), int)
    for image, mask in samples:
        labels = predict(model, image)
        np.add.at(expected, (mask[mask < 255], labels[mask < 255]), 1)
    scores = evaluate(model, Arrays(*zip(*samples, strict=True), NAMES), batch_size=2)
    assert scores.matrix.tolist() == expected.tolist()


def test_one_class_is_told_from_the_background():
    images, masks = zip(*(draw_sample(i) for i in range(2)), strict=True)
    reader = Arrays(images, [mask == 1 for mask in masks], ["disc"])
    scores = evaluate(unet(1, filters=(4, 8)), reader)
    assert scores.class_names == ["background", "disc"]
    assert scores.matrix.sum(1).tolist() == [
        np.sum(np.stack(masks) != 1),
        np.sum(np.stack(masks) == 1),
    ]


def test_prediction_takes_gray_and_names_what_does_not_fit():
    model = unet(2, (None, None, 1), filters=(4, 8))
    assert predict(model, np.zeros((9, 11), np.uint8)).shape == (9, 11)
    with pytest.raises(
        ValueError, match=r"shape \(9, 11, 3\) came; this model takes one \(H, W, 1\)"
    ):
        predict(model, np.zeros((9, 11, 3)))


@pytest.mark.parametrize(
    "options",
    [
        {"window": 16},
        {"window": (200, 20)},
        {"resize": Resize(32)},
        {"resize": Resize((20, 70), "stretch")},
        {"resize": Resize(40, "shorter"), "window": 24},
    ],
)
def test_every_labeled_pixel_of_the_original_counts_once(options):
    sizes = [(48, 56), (41, 37), (64, 30)]
    samples = [draw_sample(i, *size) for i, size in enumerate(sizes)]
    samples[0][1][:5] = 255
    samples[2][1][3, 4] = 255
    reader = Arrays(*zip(*samples, strict=True), NAMES)
    model = unet(3, filters=(4, 8))
    matrix = evaluate(model, reader, **options).matrix
    counts = np.sum([np.bincount(mask[mask < 255], minlength=3) for _, mask in samples], axis=0)
    assert matrix.sum(1).tolist() == counts.tolist()
    expected = np.zeros((3, 3), int)
    for image, mask in samples:
        labels = predict(model, image, **options)
        np.add.at(expected, (mask[mask < 255], labels[mask < 255]), 1)
    assert matrix.tolist() == expected.tolist()


def test_a_window_over_everything_and_a_size_that_fits_change_nothing():
    reader = Arrays(*zip(*(draw_sample(i) for i in range(3)), strict=True), NAMES)
    model = unet(3, filters=(4, 8))
    expected = evaluate(model, reader).matrix.tolist()
    assert np.count_nonzero(expected) > 3
    tracked = []
    track = lambda batches, total: tracked.append(total) or batches  # noqa: E731
    assert evaluate(model, reader, window=99, track=track).matrix.tolist() == expected
    assert evaluate(model, reader, resize=Resize((48, 56)), track=track).matrix.tolist() == expected
    assert tracked == [3, 3]


class Detection(Reader):
    """Samples with objects; with or without masks."""

    def __init__(self, fields):
        super().__init__(NAMES, [(48, 56)] * 3, 3, np.uint8)
        self.fields = fields

    def __getitem__(self, index):
        image, mask = draw_sample(index)
        boxes = np.array([[1, 2, 9, 8]] * index, np.float32).reshape(-1, 4)
        sample = {"image": image, "mask": mask, "boxes": boxes, "classes": np.ones(index, np.int32)}
        return {name: sample[name] for name in self.fields}


def test_masks_are_counted_where_there_are_objects_as_well():
    model = unet(3, filters=(4, 8))
    both, only = (
        evaluate(model, Detection(f), 2).matrix
        for f in (("image", "mask", "boxes", "classes"), ("image", "mask"))
    )
    assert both.tolist() == only.tolist()
    assert both.sum() == 3 * 48 * 56
    with pytest.raises(
        ValueError,
        match="evaluate: the reader gives image, boxes, classes, but no mask to count pixels by",
    ):
        evaluate(model, Detection(("image", "boxes", "classes")))
