import csv
import json

import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_array_equal
from pixel_model import PixelModel

from conftest import draw_sample
from tfseg import viz
from tfseg.data import Arrays
from tfseg.inference import predict, report_folds

VAL_NAMES = [["3", "0"], ["4"], ["1", "2"]]
FILES = ["confusion.png", "evaluation.csv", "evaluation.json", "fold_scores.csv"]


class ShiftedModel(PixelModel):
    """Predicts each class in place of the one before."""

    def __init__(self, shift):
        super().__init__()
        self._shift = shift

    def __call__(self, images, training=False):
        return tf.roll(super().__call__(images), self._shift, axis=-1)


@pytest.fixture
def reader():
    samples = [draw_sample(index, 32, 36) for index in range(5)]
    return Arrays(*zip(*samples, strict=True), ["ground", "disc", "band"])


@pytest.fixture
def models():
    return [ShiftedModel(shift) for shift in range(3)]


def test_each_image_is_predicted_by_the_model_of_its_fold(reader, models, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(viz, "samples", lambda *arguments: drawn.extend(arguments) or figure())
    monkeypatch.setattr(viz, "save_figure", lambda figure, file, dpi: file.write_bytes(b""))
    scores, folds = report_folds(models, reader, VAL_NAMES, tmp_path)
    expected, of_images = np.zeros((3, 3), int), []
    for index, fold in enumerate([0, 2, 2, 0, 1]):
        matrix = np.zeros((3, 3), int)
        predicted = predict(models[fold], reader[index]["image"])
        np.add.at(matrix, (reader[index]["mask"], predicted), 1)
        expected += matrix
        of_images.append(np.trace(matrix) / matrix.sum())
    assert_array_equal(scores.matrix, expected)
    assert_array_equal(scores.images.pixel_accuracy, of_images)
    assert scores.images.names == ["0", "1", "2", "3", "4"]
    assert [fold.images.names for fold in folds] == VAL_NAMES
    assert_array_equal(sum(fold.matrix for fold in folds), expected)
    assert json.loads((tmp_path / "evaluation.json").read_text())["confusion_matrix"] == (
        expected.tolist()
    )
    assert set(FILES) < {path.name for path in tmp_path.iterdir()}
    images, _, predictions, *_ = drawn
    shown = [[np.array_equal(image, reader[i]["image"]) for i in range(5)] for image in images]
    folds_shown = np.array([0, 2, 2, 0, 1])[np.argmax(shown, axis=1)]
    assert len(set(folds_shown.tolist())) > 1
    for image, fold, predicted in zip(images, folds_shown, predictions, strict=True):
        assert_array_equal(predicted, predict(models[fold], image))


def figure():
    return viz.legend(["a"])


def test_the_scores_of_folds_are_a_table(reader, models, tmp_path):
    _, folds = report_folds(models, reader, VAL_NAMES, tmp_path)
    with (tmp_path / "fold_scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["fold"], row["images"], row["pixels"]) for row in rows] == [
        ("1", "2", "2304"),
        ("2", "1", "1152"),
        ("3", "2", "2304"),
    ]
    for row, fold in zip(rows, folds, strict=True):
        assert float(row["mean_iou"]) == pytest.approx(fold.means()["mean_iou"], abs=1e-6)


@pytest.mark.parametrize(
    ("val_names", "message"),
    [
        ([["0", "1"], ["2"], ["3"]], "has 4 names, 4 of the reader's 5"),
        ([["0", "1"], ["2", "4"], ["3", "0"]], "has 6 names, 5 of the reader's 5"),
        ([["0", "1"], ["2", "4"], ["5"]], "has 5 names, 4 of the reader's 5"),
    ],
)
def test_an_image_is_in_exactly_one_fold(reader, models, tmp_path, val_names, message):
    with pytest.raises(ValueError, match=message):
        report_folds(models, reader, val_names, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_figures_of_others_are_not_replaced(reader, models, tmp_path):
    (tmp_path / "samples.png").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="tfseg did not write"):
        report_folds(models, reader, VAL_NAMES, tmp_path)
    (tmp_path / "folds.json").write_text("{}")  # the folder of a training in folds
    report_folds(models, reader, VAL_NAMES, tmp_path)
