import keras
import numpy as np
import pytest
from conftest import draw_sample
from rich.console import Console

from tfseg.data import Arrays, Folder
from tfseg.inference import compare, evaluate, predict_logits, refine, scores_table
from tfseg.inference.comparison import ObjectScores, PixelScores
from tfseg.models import unet


@pytest.fixture(scope="module")
def reader():
    images, masks = zip(*(draw_sample(index) for index in range(4)), strict=True)
    masks = [mask.copy() for mask in masks]
    masks[0][:5] = 255
    return Arrays(images, masks, ["ground", "disc", "band"])


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return unet(3, filters=(4, 8))


def scored(kind, reader, truths, found):
    scores = kind(reader)
    for truth, result in zip(truths, found, strict=True):
        scores.add(truth, result)
    return scores.result()


def test_the_network_scores_as_evaluate_says_and_the_truth_scores_one(reader, model):
    truths = iter([reader[index]["mask"] for index in range(4)])
    steps = {
        "nothing": lambda logits, image: logits,
        "ids": lambda logits, image: logits.argmax(-1),
        "truth": lambda logits, image: np.minimum(next(truths), 2),
        "CRF": refine.crf,
    }
    rows = compare(model, reader, steps)
    assert [row["method"] for row in rows] == ["network", "nothing", "ids", "truth", "CRF"]
    expected = evaluate(model, reader).means()
    for row in rows[:3]:
        for name in ("mean_iou", "mean_dice", "pixel_accuracy"):
            assert row[name] == pytest.approx(expected[name], nan_ok=True)
    assert [rows[3][name] for name in ("mean_iou", "mean_dice", "pixel_accuracy")] == [1, 1, 1]
    refined = [
        refine.crf(predict_logits(model, reader[index]["image"]), reader[index]["image"]).argmax(-1)
        for index in range(4)
    ]
    expected = scored(PixelScores, reader, [reader[index]["mask"] for index in range(4)], refined)
    assert {name: rows[4][name] for name in expected} == pytest.approx(expected, nan_ok=True)
    assert rows[0]["seconds"] > rows[1]["seconds"] > 0  # the network's own, and nothing on top
    console = Console(width=200, record=True, quiet=True)
    console.print(scores_table(rows, "Refinement [x]"))


def test_pixels_by_hand():
    # truth 0 0 1 1 and one ignored, found 0 1 1 1: IoU 1/2 and 2/3
    reader = Arrays([np.zeros((1, 5), np.uint8)], [np.zeros((1, 5), np.uint8)], ["a", "b"])
    scores = scored(
        PixelScores, reader, [np.array([[0, 0, 1, 1, 255]])], [np.array([[0, 1, 1, 1, 0]])]
    )
    assert scores["mean_iou"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert scores["pixel_accuracy"] == pytest.approx(3 / 4)
    with pytest.raises(ValueError, match="class ids from 7 to 7 came, expected 0 to 1"):
        scored(PixelScores, reader, [np.array([[0]])], [np.array([[7]])])


def test_objects_are_scored_as_objects(folder):
    import shutil

    from PIL import Image

    shutil.rmtree(folder / "masks")
    (folder / "masks").mkdir()
    for index in range(6):
        numbers = np.zeros((48, 56), np.uint8)
        numbers[2:12, 3:20], numbers[20:40, 30:50] = 1, 2
        Image.fromarray(numbers).save(folder / "masks" / f"p{index}.png")
    reader = Folder(folder / "images", folder / "masks", ["cell"], instances=True)
    model = unet(1, filters=(4, 8))
    truths = iter([reader[index]["instances"] for index in range(6)])
    rows = compare(
        model,
        reader,
        {"truth": lambda *_: next(truths)},
        objects=lambda logits, image: np.ones((48, 56), np.int32),
    )
    assert [row["method"] for row in rows] == ["network", "truth"]
    assert rows[0]["ap50"] == 0
    assert (rows[1]["ap50"], rows[1]["mean_ap"], rows[1]["pq"]) == (1, 1, 1)
    assert (
        scored(ObjectScores, reader, [reader[0]["instances"]], [np.zeros((48, 56), int)])["ap50"]
        == 0
    )


def test_a_reader_without_what_is_scored_is_refused(reader, model):
    with pytest.raises(ValueError, match="compare: the reader gives image, mask, but no instances"):
        compare(model, reader, {}, objects=lambda logits, image: logits)
