import csv

import numpy as np
import pytest
from pixel_model import PixelModel

from conftest import draw_sample
from tfseg.data import Arrays
from tfseg.inference import ImageScores, evaluate
from tfseg.metrics import ConfusionMetrics

NAMES = ["ground", "disc", "band"]
# Rows are images. The last has no labeled pixel.
TP = np.array([[4, 0, 0], [3, 2, 0], [0, 0, 0]])
FP = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0]])
FN = np.array([[0, 1, 0], [0, 1, 0], [0, 0, 0]])
NONE = [np.nan] * 3


@pytest.fixture
def images():
    return ImageScores(["b", "a", "empty"], NAMES, TP, FP, FN)


def test_scores_of_each_image(images):
    # b: 4 / (4 + 1) and 0 / (0 + 1), 4 of 5 pixels; a: 3 / 4 and 2 / 3, 5 of 6 pixels
    expected = [[4 / 5, 0, np.nan], [3 / 4, 2 / 3, np.nan], NONE]
    np.testing.assert_allclose(images.iou, expected)
    np.testing.assert_allclose(images.mean_iou, [0.4, 17 / 24, np.nan])
    np.testing.assert_allclose(images.pixel_accuracy, [4 / 5, 5 / 6, np.nan])
    assert images.pixels.tolist() == [5, 6, 0]


def test_images_are_ranked_by_their_mean_iou(images):
    assert images.ranking().tolist() == [1, 0]
    same = ImageScores(["c", "b", "a"], NAMES, TP[[0, 1, 0]], FP[[0, 1, 0]], FN[[0, 1, 0]])
    assert same.ranking().tolist() == [1, 0, 2]


def test_the_file_has_a_row_per_image_in_the_order_of_the_reader(images, tmp_path):
    images.names[1] = b"m\xfcll".decode("utf-8", "surrogateescape")  # a file name in Latin 1
    images.save(tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["image", "mean_iou", "pixel_accuracy", "pixels", "iou/ground", "iou/disc", "iou/band"],
        ["b", "0.400000", "0.800000", "5", "0.800000", "0.000000", ""],
        ["m\\xfcll", "0.708333", "0.833333", "6", "0.750000", "0.666667", ""],
        ["empty", "", "", "0", "", "", ""],
    ]


def test_their_mean_is_the_metric_per_image():
    samples = [draw_sample(index, 32, 36) for index in range(3)]
    samples[1][1][5:] = 255
    images, masks = (np.stack(part) for part in zip(*samples, strict=True))
    model, metric = PixelModel(), ConfusionMetrics(3, ["per_image_iou"])
    metric.update_state(masks, model(images))
    found = evaluate(model, Arrays(images, masks, NAMES)).images
    assert found.mean_iou.mean() == pytest.approx(float(metric.result()["per_image_iou"]), abs=1e-6)
    assert found.pixels.tolist() == (masks < 255).sum((1, 2)).tolist()
