import json
import sys

import numpy as np
import pytest
from pixel_model import PixelModel

from conftest import draw_sample
from tfseg import viz
from tfseg.data import Arrays
from tfseg.inference import evaluate, predict, report
from tfseg.metrics import ConfusionMetrics

NAMES = ["ground", "disc", "band"]
FILES = [
    *("confusion.png", "evaluation.csv", "evaluation.json", "image_scores.csv", "samples.png"),
]


@pytest.fixture(scope="module")
def reader():
    samples = [draw_sample(index, 32, 36) for index in range(7)]
    return Arrays(*zip(*samples, strict=True), NAMES)


@pytest.fixture
def drawn(monkeypatch):
    """The arguments of the figures that a report draws; the files have a low resolution."""
    calls = {}

    def record(name):
        draw = getattr(viz, name)

        def recorded(*arguments):
            calls[name] = arguments
            return draw(*arguments)

        monkeypatch.setattr(viz, name, recorded)

    for name in ("confusion_matrix", "samples", "curves"):
        record(name)
    # the function `report` hides its module
    monkeypatch.setattr(sys.modules["tfseg.inference.report"], "DPI", 20)
    return calls


def test_a_report_shows_the_best_the_median_and_the_worst_images(reader, drawn, tmp_path):
    model = PixelModel()
    evaluation = report(model, reader, tmp_path / "new")
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == FILES
    images, masks, predictions, names, titles = drawn["samples"]
    assert names == NAMES
    metric = ConfusionMetrics(3, ["per_image_iou"])
    scores = []
    for sample in (reader[index] for index in range(7)):
        metric.reset_state()
        metric.update_state(sample["mask"][None], model(sample["image"][None]))
        scores.append(float(metric.result()["per_image_iou"]))
    order = np.argsort(scores)[::-1]
    kinds = ("best", "median", "worst", "worst")
    for row, (index, kind) in enumerate(zip(order[[0, 3, 5, 6]], kinds, strict=True)):
        assert titles[row] == f"{reader.name(index)}\n{kind}: mean IoU {scores[index]:.4f}"
        assert np.array_equal(images[row], reader[index]["image"])
        assert np.array_equal(masks[row], reader[index]["mask"])
        assert np.array_equal(predictions[row], predict(model, images[row]))
    assert len(titles) == 4
    assert evaluation.matrix.tolist() == evaluate(model, reader).matrix.tolist()
    matrix, names = drawn["confusion_matrix"]
    assert (matrix.tolist(), names) == (evaluation.matrix.tolist(), NAMES)
    saved = json.loads((tmp_path / "new" / "evaluation.json").read_text())
    assert saved["confusion_matrix"] == evaluation.matrix.tolist()


@pytest.mark.parametrize(
    ("ranking", "expected"),
    [
        ([3], {3: "best"}),
        ([3, 1], {3: "best", 1: "worst"}),
        ([3, 1, 2], {3: "best", 1: "median", 2: "worst"}),
        ([3, 1, 2, 0], {3: "best", 1: "median", 2: "worst", 0: "worst"}),
        ([4, 3, 1, 2, 0], {4: "best", 1: "median", 2: "worst", 0: "worst"}),
        ([], {0: "unlabeled"}),
    ],
)
def test_no_image_is_shown_twice(ranking, expected):
    images_to_show = sys.modules["tfseg.inference.report"]._images_to_show
    found = images_to_show(np.array(ranking, int))
    assert list(found.items()) == list(expected.items())


@pytest.mark.filterwarnings("ignore:.* nothing to learn")
def test_images_without_a_labeled_pixel_are_drawn_without_a_score(reader, drawn, tmp_path):
    image = reader[0]["image"]
    unlabeled = Arrays([image], [np.full(image.shape[:2], 255, np.uint8)], NAMES)
    report(PixelModel(), unlabeled, tmp_path, window=20)
    assert drawn["samples"][4] == [f"{unlabeled.name(0)}\nunlabeled: mean IoU -"]


def test_a_history_is_drawn_as_curves(reader, drawn, tmp_path):
    history = {"loss": [2.0, 1.0]}
    report(PixelModel(), reader.subset([3]), tmp_path, history, monitor="val_loss")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([*FILES, "curves.png"])
    assert drawn["curves"] == (history, "val_loss")
    assert len(drawn["samples"][0]) == 1  # a reader of one sample


def test_the_window_is_used_for_scores_and_samples(reader, drawn, tmp_path):
    model = PixelModel()
    report(model, reader.subset([0]), tmp_path, window=20)
    assert set(model.batch_shapes) == {(1, 20, 20, 3)}


def test_figures_that_tfseg_did_not_write_are_not_replaced(reader, drawn, tmp_path):
    report(PixelModel(), reader.subset([0]), tmp_path)
    report(PixelModel(), reader.subset([0]), tmp_path)  # its own results are replaced
    (tmp_path / "samples.png").write_bytes(b"drawn by hand")
    with pytest.raises(FileExistsError, match=r"samples\.png: tfseg did not write what is there"):
        report(PixelModel(), reader.subset([0]), tmp_path)
    assert (tmp_path / "samples.png").read_bytes() == b"drawn by hand"
