"""`tfseg train --folds` and what the other commands do with its folder."""

import json
import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from conftest import untraced
from tfseg import training
from tfseg.inference import predict
from tfseg.training import FoldRuns, Run

from .conftest import SMALL, fill, run_command, train_words

GROUP_OF = {"p0": "a", "p1": "a", "p2": "b", "p3": "b", "p4": "c", "p5": "d"}


def fold_words(folder):
    """Return the words of a training in three folds of whole groups."""
    groups = ("--groups", f"{folder / 'groups.csv'}:patient", "--folds", 3)
    return (*train_words(folder), *SMALL, *groups)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with images, masks, groups and a training in folds; do not change it."""
    folder = tmp_path_factory.mktemp("folds")
    fill(folder)
    rows = [f"{name}.jpg;{group}\n" for name, group in GROUP_OF.items()]
    (folder / "groups.csv").write_text("image;patient\n" + "".join(rows))
    with untraced():
        assert run_command((*fold_words(folder), "--out", folder / "cv")) == 0
    return folder


@pytest.fixture
def folds(folder, tmp_path):
    """Return a copy of that training."""
    return FoldRuns(shutil.copytree(folder / "cv", tmp_path / "cv"))


def read(folder, name):
    image = np.asarray(Image.open(folder / "images" / f"{name}.jpg"))
    return image, np.asarray(Image.open(folder / "masks" / f"{name}.png"))


def test_the_matrix_counts_each_image_by_the_model_that_has_not_seen_it(folder):
    expected, names = np.zeros((3, 3), int), []
    for number in (1, 2, 3):
        run = Run(folder / "cv" / f"fold_{number}")
        trained = {GROUP_OF[name] for name in run.data.train_names}
        for name in run.data.val_names:
            assert GROUP_OF[name] not in trained
            image, mask = read(folder, name)
            np.add.at(expected, (mask, predict(run.model(), image)), 1)
            names.append(name)
    assert sorted(names) == sorted(GROUP_OF)
    report = json.loads((folder / "cv" / "evaluation.json").read_text())
    assert report["confusion_matrix"] == expected.tolist()
    rows = (folder / "cv" / "image_scores.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["image", *GROUP_OF]


def test_a_training_in_folds_leaves_complete_runs(folder):
    files = {"confusion.png", "evaluation.csv", "evaluation.json", "image_scores.csv"}
    files |= {"samples.png", "fold_scores.csv", "folds.json", "fold_1", "fold_2", "fold_3"}
    assert {path.name for path in (folder / "cv").iterdir()} == files
    fold = {"best.keras", "history.csv", "plan.json", "run.json", "state"}
    assert {path.name for path in (folder / "cv/fold_2").iterdir()} == fold


@pytest.mark.slow  # tests/training/test_folds.py has the same without the command
@pytest.mark.usefixtures("eager")
def test_a_resume_after_an_interruption_ends_with_the_same_weights(
    folder, tfseg, tmp_path, monkeypatch
):
    progress = training.Progress.on_epoch_begin

    def interrupt(callback, epoch, logs=None):
        if epoch == 1 and (tmp_path / "cv/fold_2").exists():
            raise KeyboardInterrupt
        progress(callback, epoch, logs)

    table = shutil.copy(folder / "groups.csv", tmp_path)
    words = (*fold_words(folder), "--groups", f"{table}:patient", "--out", tmp_path / "cv")
    with monkeypatch.context() as patch:
        patch.setattr(training.Progress, "on_epoch_begin", interrupt)
        code, printed = tfseg(*words)
    assert code == 130
    assert "4 groups of 1 to 2 images. Fold 1 of 3:" in printed
    assert "Training on 4 images, validating on 2." in printed
    assert f"Interrupted. Next: tfseg train --resume --out {tmp_path / 'cv'}" in printed
    code, printed = tfseg("predict", folder / "images", "--run", tmp_path / "cv")
    assert code == 1
    assert "is not trained to the end: no model yet in fold_3 of 3 folds" in printed
    code, printed = tfseg(*words)
    assert code == 1
    assert "already contains a training in folds. Continue it with --resume" in printed
    (tmp_path / "groups.csv").unlink()  # the fold of each image is known
    code, printed = tfseg("train", "--resume", "--folds", 3, "--out", tmp_path / "cv")
    assert code == 0, printed
    assert "Fold 1" not in printed.split("Fold 2 of 3:")[0]
    models = [FoldRuns(path / "cv").models() for path in (folder, tmp_path)]
    for undisturbed, resumed in zip(*models, strict=True):
        for weight, other in zip(undisturbed.weights, resumed.weights, strict=True):
            np.testing.assert_array_equal(weight, other)


@pytest.mark.usefixtures("eager")
def test_the_scores_of_the_folds_are_printed(folds, tfseg):
    code, printed = tfseg("evaluate", "--run", folds.folder)
    assert code == 0, printed
    assert "cv on 6 images, each by the model that has not seen it" in printed
    scores = [float(score) for score in re.findall(r"Fold \d: mean IoU ([\d.]+) on", printed)]
    assert len(scores) == 3
    mean, std = np.mean(scores), np.std(scores, ddof=1)
    found = re.search(r"over the folds: ([\d.]+) \+- ([\d.]+) \(standard deviation\)", printed)
    assert [float(value) for value in found.groups()] == pytest.approx([mean, std], abs=2e-4)


def mean_softmax(folder, image):
    """Return the mean of the folds' softmax in NumPy, float64."""
    mean = 0
    for number in (1, 2, 3):
        model = keras.saving.load_model(folder / f"cv/fold_{number}/best.keras")
        powers = np.exp(model.predict_on_batch(image[None])[0].astype(np.float64))
        mean = mean + powers / powers.sum(-1, keepdims=True) / 3
    return mean


def test_the_mean_of_the_folds_is_exported_as_one_model(folder, tfseg, tmp_path):
    words = ("--output", "probabilities", "--format", "litert", "--out", tmp_path / "exported")
    code, printed = tfseg("export", "--run", folder / "cv", *words)
    assert code == 0, printed
    version = tmp_path / "exported" / "1"
    served = tf.saved_model.load(version).signatures["serving_default"]
    image, _ = read(folder, "p4")
    answer = served(image=tf.constant(image[None], tf.float32))
    expected = mean_softmax(folder, image)
    np.testing.assert_allclose(answer["probabilities"][0], expected, atol=1e-5)
    np.testing.assert_array_equal(answer["class_ids"][0], expected.argmax(-1))
    code, printed = tfseg("export", "--inspect", version)
    assert code == 0, printed
    assert "network: tiny_unet, mean of 3 folds images: any size" in printed
    assert "normalization" not in printed  # each model has its own
    parity = json.loads((version / "assets.extra/parity.json").read_text())
    assert [row["format"] for row in parity] == ["Keras", "SavedModel", "litert"]
    score = json.loads((folder / "cv/evaluation.json").read_text())["mean_iou"]
    assert f"mean_iou: {score}" in printed


@pytest.mark.usefixtures("eager")
def test_the_mean_of_the_folds_predicts_and_is_evaluated(folder, folds, tfseg, tmp_path):
    out = tmp_path / "predicted"
    code, printed = tfseg("predict", folder / "images", "--run", folds.folder, "--out", out)
    assert code == 0, printed
    matrix = np.zeros((3, 3), int)
    for name in GROUP_OF:
        image, mask = read(folder, name)
        expected = mean_softmax(folder, image).argmax(-1)
        np.testing.assert_array_equal(Image.open(out / f"{name}_labels.png"), expected)
        np.add.at(matrix, (mask, expected), 1)
    data = ("--images", folder / "images", "--masks", folder / "masks")
    code, printed = tfseg("evaluate", "--run", folds.folder, *data)
    assert code == 0, printed
    assert "6 of these 6 images were used for training" in printed
    report = json.loads((folds.folder / "evaluation/evaluation.json").read_text())
    assert report["confusion_matrix"] == matrix.tolist()


def test_a_resume_refuses_other_folds(folds, tfseg):
    code, printed = tfseg("train", "--resume", "--folds", 4, "--seed", 1, "--out", folds.folder)
    assert code == 1
    assert f"'{folds.folder}' was started with --folds 3, --seed 0. Remove the option" in printed


def test_the_mean_of_the_folds_is_not_tuned(folds, tfseg):
    code, printed = tfseg("tune", "--run", folds.folder)
    assert code == 1
    assert f"one of its folds to tune it alone: --run {folds.folder / 'fold_1'}" in printed


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--folds", "1"), "Invalid value for '--folds'"),
        (("--folds", "2", "--val-fraction", "0.3"), "--val-fraction contradicts --folds"),
        (("--folds", "2", "--val-images", "v", "--val-masks", "v"), "folds=2 contradicts val_imag"),
    ],
)
def test_wrong_options_are_refused(tfseg, tmp_path, more, message):
    code, printed = tfseg(*train_words(tmp_path / "nowhere"), "--out", tmp_path / "cv", *more)
    assert code == 2
    assert message in re.sub("[│ ]+", " ", printed)


def test_objects_are_not_trained_in_folds(tfseg, tmp_path):
    data = ("--images", tmp_path, "--labels", tmp_path / "boxes.json", "--out", tmp_path / "cv")
    code, printed = tfseg("train", "--task", "detect", *data, "--folds", 2)
    assert code == 2
    expected = "folds=2 contradicts task='detect': only masks are trained in folds"
    assert expected in re.sub("[│ ]+", " ", printed)


def test_more_folds_than_groups_are_refused_and_nothing_is_written(folder, tfseg, tmp_path):
    groups = ("--groups", folder / "groups.csv", "--folds", 5)
    code, printed = tfseg(*train_words(folder), *groups, "--out", tmp_path / "cv")
    assert code == 1
    assert "k_fold: got 4 groups (a, b, c, d), expected at least 5" in printed
    assert not (tmp_path / "cv").exists()
