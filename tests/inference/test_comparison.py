import io

import numpy as np
import pytest
from pixel_model import PixelModel
from rich.console import Console

from conftest import draw_sample
from tfseg.data import Arrays, Reader
from tfseg.inference import compare, evaluate, predict_logits, refine, scores_table
from tfseg.inference.comparison import ObjectScores, PixelScores

SCORES = ("mean_iou", "mean_dice", "pixel_accuracy")


@pytest.fixture(scope="module")
def reader():
    images, masks = zip(*(draw_sample(index, 32, 36) for index in range(3)), strict=True)
    masks = [mask.copy() for mask in masks]
    masks[0][:5] = 255
    return Arrays(images, masks, ["ground", "disc", "band"])


def scores_of(score_class, reader, targets, predictions):
    scores = score_class(reader)
    for target, prediction in zip(targets, predictions, strict=True):
        scores.add(target, prediction)
    return scores.result()


def test_each_step_is_scored_and_unchanged_logits_score_like_evaluate(reader):
    model = PixelModel()
    masks = [reader[index]["mask"] for index in range(3)]
    remaining = iter(masks)
    steps = {
        "unchanged": lambda logits, image: logits,
        "class ids": lambda logits, image: logits.argmax(-1),
        "ground truth": lambda logits, image: np.minimum(next(remaining), 2),
        "CRF": refine.crf,
    }
    indices = []

    def track(items, total):
        for item in items:
            indices.append((item, total))
            yield item

    rows = compare(model, reader, steps, track=track)
    assert [row["method"] for row in rows] == ["network", *steps]
    assert indices == [(0, 3), (1, 3), (2, 3)]
    expected = evaluate(model, reader).means()
    for row in rows[:3]:
        assert [row[name] for name in SCORES] == pytest.approx([expected[name] for name in SCORES])
    assert [rows[3][name] for name in SCORES] == [1, 1, 1]
    refined = []
    for index in range(3):
        image = reader[index]["image"]
        refined.append(refine.crf(predict_logits(model, image), image).argmax(-1))
    expected = scores_of(PixelScores, reader, masks, refined)
    assert {name: rows[4][name] for name in SCORES} == pytest.approx(expected)
    assert rows[4]["mean_iou"] != rows[0]["mean_iou"]
    # the time of a step does not include that of the network
    assert rows[0]["seconds"] > rows[1]["seconds"] > 0


def test_resize_and_window_are_those_of_prediction(reader):
    model = PixelModel()
    compare(model, reader, {}, window=20)
    assert set(model.batch_shapes) == {(1, 20, 20, 3)}


def test_scores_of_five_pixels():
    # true 0 0 1 1 and one ignored, predicted 0 1 1 1: IoU 1/2 and 2/3, Dice 2/3 and 4/5
    reader = Arrays([np.zeros((1, 5), np.uint8)], [np.zeros((1, 5), np.uint8)], ["a", "b"])
    mask, ids = np.array([[0, 0, 1, 1, 255]]), np.array([[0, 1, 1, 1, 0]])
    scores = scores_of(PixelScores, reader, [mask], [ids])
    assert scores["mean_iou"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert scores["mean_dice"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert scores["pixel_accuracy"] == pytest.approx(3 / 4)
    with pytest.raises(ValueError, match="got class ids from 7 to 7, expected 0 to 1"):
        scores_of(PixelScores, reader, [np.array([[0]])], [np.array([[7]])])


class Cells(Reader):
    """Images with two numbered objects."""

    fields = ("image", "instances")

    def __init__(self, count):
        super().__init__(["cell"], [(32, 36)] * count, 3, np.uint8)

    def __getitem__(self, index):
        instances = np.zeros((32, 36), np.int32)
        instances[2:12, 3:20], instances[20:30, 10 + index : 30] = 1, 2
        return {"image": draw_sample(index, 32, 36)[0], "instances": instances}


def test_objects_are_scored_as_objects():
    reader = Cells(3)
    remaining = iter([reader[index]["instances"] for index in range(3)])
    rows = compare(
        PixelModel(num_classes=1),
        reader,
        {"ground truth": lambda logits, image: next(remaining)},
        objects=lambda logits, image: np.ones((32, 36), np.int32),
    )
    assert [row["method"] for row in rows] == ["network", "ground truth"]
    assert rows[0]["ap50"] == 0
    assert (rows[1]["ap50"], rows[1]["mean_ap"], rows[1]["pq"]) == (1, 1, 1)


def test_object_scores_of_two_images():
    # two objects are found exactly and two are missed: no false positive, so AP@0.5 = TP / (TP +
    # FP + FN) = 2/4, and PQ = 2 / (2 + 2/2)
    reader = Cells(2)
    instances = [reader[index]["instances"] for index in range(2)]
    found = [np.where(array == 1, 1, 0) for array in instances]
    scores = scores_of(ObjectScores, reader, instances, found)
    assert scores["ap50"] == pytest.approx(2 / 4)
    assert scores["mean_ap"] == pytest.approx(2 / 4)
    assert scores["pq"] == pytest.approx(2 / 3)


def test_a_reader_without_the_labels_is_refused(reader):
    message = "compare: the reader provides image, mask, but no instances to compare with"
    with pytest.raises(ValueError, match=message):
        compare(PixelModel(), reader, {}, objects=lambda logits, image: logits)
    with pytest.raises(ValueError, match="provides image, instances, but no mask"):
        compare(PixelModel(), Cells(1), {})


def test_a_table_of_scores():
    console = Console(width=200, record=True, file=io.StringIO())
    rows = [
        {"method": "[red]network", "mean_iou": 0.5, "seconds": 1.25},
        {"method": "CRF", "mean_iou": 0.62504, "seconds": 0.5},
    ]
    table = scores_table(rows, "Refinement [x]")
    assert [column.header for column in table.columns] == ["method", "mean iou", "seconds"]
    assert [column.justify for column in table.columns] == ["left", "right", "right"]
    console.print(table)
    text = console.export_text()
    for expected in ("Refinement [x]", "[red]network", "0.5000", "0.6250", "1.2500"):
        assert expected in text


@pytest.mark.parametrize("label", [3, 254, -1])
def test_labels_that_are_neither_classes_nor_ignored_are_refused(reader, label):
    message = f"compare: the mask contains labels that are not classes: {label}. Expected 0 to 2"
    with pytest.raises(ValueError, match=message):
        scores_of(PixelScores, reader, [np.array([[label]])], [np.array([[0]])])
