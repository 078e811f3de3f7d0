import csv
import io
import json
import re

import numpy as np
import pytest
import tensorflow as tf
from pixel_model import PixelModel
from rich.console import Console

from conftest import draw_sample
from tfseg.data import Arrays, Reader, Resize
from tfseg.inference import Evaluation, evaluate, predict
from tfseg.models import unet

NAMES = ["ground", "disc", "band"]
# rows are true classes. ground: 6 right, 2 predicted as disc; disc: 1 predicted as ground, 3 right;
# band: absent.
MATRIX = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
COLUMNS = ("class", "dice", "iou", "precision", "recall", "specificity", "pixels")


def row(*values):
    return dict(zip(COLUMNS, values, strict=True))


def expected_matrix(model, samples, **options):
    """Count pairs of true and predicted ids, image by image."""
    matrix = np.zeros((3, 3), int)
    for image, mask in samples:
        ids = predict(model, image, **options)
        np.add.at(matrix, (mask[mask < 255], ids[mask < 255]), 1)
    return matrix.tolist()


def assert_image_counts(images, reader, matrices):
    """Compare the counts of each image with those of its confusion matrix."""
    assert images.names == [reader.name(index) for index in range(len(reader))]
    matrices = np.array(matrices)
    tp = np.diagonal(matrices, axis1=1, axis2=2)
    assert images.tp.tolist() == tp.tolist()
    assert images.fp.tolist() == (matrices.sum(1) - tp).tolist()
    assert images.fn.tolist() == (matrices.sum(2) - tp).tolist()


def test_scores_of_a_small_matrix():
    evaluation = Evaluation(NAMES, MATRIX)
    ground, disc, band = evaluation.rows()
    assert ground == pytest.approx(row("ground", 12 / 15, 6 / 9, 6 / 7, 6 / 8, 3 / 4, 8))
    assert disc == pytest.approx(row("disc", 6 / 9, 3 / 6, 3 / 5, 3 / 4, 6 / 8, 4))
    assert band == pytest.approx(row("band", np.nan, np.nan, np.nan, np.nan, 1, 0), nan_ok=True)
    means = evaluation.means()
    assert means["mean_dice"] == pytest.approx((12 / 15 + 6 / 9) / 2)
    assert means["mean_accuracy"] == pytest.approx(3 / 4)
    assert means["micro_iou"] == pytest.approx(9 / 15)
    assert means["weighted_iou"] == pytest.approx((8 * 6 / 9 + 4 * 3 / 6) / 12)
    assert means["pixel_accuracy"] == pytest.approx(9 / 12)
    # (9 * 12 - (8 * 7 + 4 * 5)) / (12**2 - (8 * 7 + 4 * 5))
    assert means["cohen_kappa"] == pytest.approx(32 / 68)
    assert means["matthews"] == pytest.approx(32 / ((144 - 64 - 16) * (144 - 49 - 25)) ** 0.5)
    names = {
        f"{average}_{column}"
        for average in ("mean", "micro", "weighted")
        for column in COLUMNS[1:-1]
    }
    assert set(means) == names | {"pixel_accuracy", "mean_accuracy", "matthews", "cohen_kappa"}


def test_the_printed_table_fits_80_columns():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(Evaluation(["a class of twenty letters", "disc", "band"], MATRIX).table())
    text = console.export_text()
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    cells = [re.split(r"\s*[│┃]\s*", line)[1:-1] for line in lines if "│" in line or "┃" in line]
    assert cells == [
        ["class", "Dice", "IoU", "precision", "recall", "pixels"],
        ["a class of twenty letters", "0.8000", "0.6667", "0.8571", "0.7500", "66.7%"],
        ["disc", "0.6667", "0.5000", "0.6000", "0.7500", "33.3%"],
        ["band", "-", "-", "-", "-", "0.0%"],
        ["mean", "0.7333", "0.5833", "0.7286", "0.7500", ""],
    ]
    assert "pixel accuracy 0.7500" in text


def test_files_contain_the_scores_and_the_matrix(tmp_path):
    Evaluation(NAMES, MATRIX).save(tmp_path / "new")
    saved = json.loads((tmp_path / "new" / "evaluation.json").read_text())
    assert saved["confusion_matrix"] == MATRIX.tolist()
    assert saved["classes"][2] == row("band", None, None, None, None, 1, 0)
    assert saved["pixel_accuracy"] == 0.75
    assert {"mean_recall", "micro_dice", "weighted_iou", "matthews", "cohen_kappa"} < set(saved)
    with (tmp_path / "new" / "evaluation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert [row["class"] for row in rows] == NAMES
    assert float(rows[0]["specificity"]) == 0.75
    assert float(rows[1]["iou"]) == 0.5
    assert rows[2]["iou"] == ""


def test_an_empty_evaluation_is_saved_without_nan(tmp_path):
    Evaluation(NAMES, np.zeros((3, 3), np.int64)).save(tmp_path)
    text = (tmp_path / "evaluation.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["mean_iou"] is None


def test_evaluation_counts_predictions_of_images_of_any_size(small_unet):
    samples = [draw_sample(i, *size) for i, size in enumerate([(48, 56), (41, 37), (48, 56)])]
    samples[0][1][:5] = 255
    reader = Arrays(*zip(*samples, strict=True), NAMES)
    totals = []
    evaluation = evaluate(
        small_unet, reader, batch_size=2, track=lambda batches, n: totals.append(n) or batches
    )
    assert evaluation.matrix.tolist() == expected_matrix(small_unet, samples)
    assert totals == [2]
    # images of one size are batched together: 0 and 2, then 1
    each = [expected_matrix(small_unet, [sample]) for sample in samples]
    assert_image_counts(evaluation.images, reader, each)


def test_a_single_class_is_compared_with_background():
    images, masks = zip(*(draw_sample(i, 32, 36) for i in range(2)), strict=True)
    reader = Arrays(images, [mask == 1 for mask in masks], ["disc"])
    evaluation = evaluate(unet(1, filters=(4, 8)), reader)
    assert evaluation.class_names == ["background", "disc"]
    is_disc = np.stack(masks) == 1
    assert evaluation.matrix.sum(1).tolist() == [np.sum(~is_disc), np.sum(is_disc)]


def test_a_model_with_other_classes_is_refused():
    image, mask = draw_sample(0)
    with pytest.raises(ValueError, match="model has 2 output channels, but the masks have 3 class"):
        evaluate(PixelModel(2), Arrays([image], [mask], NAMES), window=16)


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
def test_every_labeled_pixel_of_the_original_image_counts_once(options):
    samples = [draw_sample(i, *size) for i, size in enumerate([(48, 56), (41, 37), (64, 30)])]
    samples[0][1][:5] = 255
    samples[2][1][3, 4] = 255
    model = PixelModel()
    reader = Arrays(*zip(*samples, strict=True), NAMES)
    evaluation = evaluate(model, reader, **options)
    matrix = evaluation.matrix
    counts = np.sum([np.bincount(mask[mask < 255], minlength=3) for _, mask in samples], axis=0)
    assert matrix.sum(1).tolist() == counts.tolist()
    assert matrix.tolist() == expected_matrix(model, samples, **options)
    each = [expected_matrix(model, [sample], **options) for sample in samples]
    assert_image_counts(evaluation.images, reader, each)


def test_labels_that_are_not_classes_are_an_error():
    class Shifted(Arrays):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return sample | {"mask": np.where(sample["mask"] == 2, 3, sample["mask"])}

    image, mask = draw_sample(0)
    expected = f"{np.sum(mask == 2)} pixels with labels that are not classes. Expected 0 to 2, or"
    reader = Shifted([image, image], [mask, np.zeros_like(mask)], NAMES)  # one mask is correct
    with pytest.raises(ValueError, match=f"^evaluate: the masks have {expected} 255"):
        evaluate(PixelModel(), reader, window=16)


def test_a_window_and_a_size_that_fit_the_image_change_nothing():
    reader = Arrays(*zip(*(draw_sample(i) for i in range(3)), strict=True), NAMES)
    model = PixelModel()
    expected = evaluate(model, reader).matrix.tolist()
    assert np.count_nonzero(expected) > 3
    totals = []

    def track(items, total):
        totals.append(total)
        return items

    assert evaluate(model, reader, window=99, track=track).matrix.tolist() == expected
    assert evaluate(model, reader, resize=Resize((48, 56)), track=track).matrix.tolist() == expected
    assert totals == [3, 3]


class Detection(Reader):
    """Samples with objects, with or without masks."""

    def __init__(self, fields):
        super().__init__(NAMES, [(48, 56)] * 3, 3, np.uint8)
        self.fields = fields

    def __getitem__(self, index):
        image, mask = draw_sample(index)
        boxes = np.array([[1, 2, 9, 8]] * index, np.float32).reshape(-1, 4)
        sample = {"image": image, "mask": mask, "boxes": boxes, "classes": np.ones(index, np.int32)}
        return {name: sample[name] for name in self.fields}


def test_masks_are_counted_with_and_without_objects():
    model = PixelModel()
    with_objects = evaluate(model, Detection(("image", "mask", "boxes", "classes")), 2).matrix
    masks_only = evaluate(model, Detection(("image", "mask")), 2).matrix
    assert with_objects.tolist() == masks_only.tolist()
    assert with_objects.sum() == 3 * 48 * 56
    message = "evaluate: the reader provides image, boxes, classes, but no mask to compare with"
    with pytest.raises(ValueError, match=message):
        evaluate(model, Detection(("image", "boxes", "classes")))


class Mislabeled(Reader):
    """Images whose masks contain labels that are not classes."""

    fields = ("image", "mask")

    def __init__(self, label):
        super().__init__(NAMES, [(8, 9)], 3, np.uint8)
        self._label = label

    def __getitem__(self, index):
        mask = np.zeros((8, 9), np.uint8)
        mask[4:] = 1
        mask[1, 2:5] = self._label
        return {"image": np.zeros((8, 9, 3), np.uint8), "mask": mask}


@pytest.mark.parametrize("options", [{}, {"window": 4}])
def test_labels_that_are_neither_classes_nor_ignored_are_refused(options):
    assert evaluate(PixelModel(), Mislabeled(255), **options).matrix.sum() == 8 * 9 - 3
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="not classes|no class"):
        evaluate(PixelModel(), Mislabeled(3), **options)
