import csv
import json

import numpy as np
import pytest
from conftest import draw_sample

from tfseg.data import Arrays
from tfseg.inference import Evaluation, evaluate, predict
from tfseg.models import unet

NAMES = ["ground", "disc", "band"]
# true classes down. ground: 6 right, 2 taken for disc; disc: 1 taken for ground, 3 right; band never occurs.
MATRIX = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])


def test_a_table_by_hand():
    scores = Evaluation(NAMES, MATRIX)
    ground, disc, band = scores.rows()
    assert ground == pytest.approx({"class": "ground", "dice": 12 / 15, "iou": 6 / 9, "accuracy": 6 / 8, "pixels": 8})
    assert disc == pytest.approx({"class": "disc", "dice": 6 / 9, "iou": 3 / 6, "accuracy": 3 / 4, "pixels": 4})
    assert np.isnan([band["dice"], band["iou"], band["accuracy"]]).all()
    means = {"mean_dice": (12 / 15 + 6 / 9) / 2, "mean_iou": (6 / 9 + 3 / 6) / 2, "mean_accuracy": 3 / 4}
    assert scores.means() == pytest.approx({**means, "pixel_accuracy": 9 / 12})


def test_files_hold_the_table_and_the_matrix(tmp_path):
    Evaluation(NAMES, MATRIX).save(tmp_path / "new")
    report = json.loads((tmp_path / "new" / "evaluation.json").read_text())
    assert report["confusion_matrix"] == MATRIX.tolist()
    assert report["classes"][2] == {"class": "band", "dice": None, "iou": None, "accuracy": None, "pixels": 0}
    assert report["pixel_accuracy"] == 0.75
    rows = list(csv.DictReader((tmp_path / "new" / "evaluation.csv").open()))
    assert [row["class"] for row in rows] == NAMES
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
    assert scores.matrix.sum(1).tolist() == [np.sum(np.stack(masks) != 1), np.sum(np.stack(masks) == 1)]


def test_prediction_takes_grey_and_names_what_does_not_fit():
    model = unet(2, (None, None, 1), filters=(4, 8))
    assert predict(model, np.zeros((9, 11), np.uint8)).shape == (9, 11)
    with pytest.raises(ValueError, match=r"shape \(9, 11, 3\) came; this model takes one \(H, W, 1\)"):
        predict(model, np.zeros((9, 11, 3)))
