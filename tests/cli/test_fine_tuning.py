"""`tfseg train --from`."""

import json
import re
import shutil

import pytest

from tfseg.training import Run

from .conftest import NAMES, fill, repaint

pytestmark = pytest.mark.usefixtures("eager")

FEW = ("--epochs", 1)


def test_a_training_goes_on_with_the_data_and_options_of_a_run(trained, tfseg, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "old")
    words = ("train", "--from", tmp_path / "old", *FEW, "--out", tmp_path / "new")
    code, printed = tfseg(*words)
    assert code == 0, printed
    old, new = Run(trained / "run"), Run(tmp_path / "new")
    best = old.best_epoch()
    assert f"Going on from epoch {best} of '{tmp_path / 'old'}', its best of 2." in printed
    assert "Learning rate 0.0002: a tenth, for fine-tuning." in printed
    assert "interrupted" not in printed
    assert "Output weights" not in printed  # the classes are the same
    assert new.data == old.data
    differences = set(new.config.differences(old.config))
    assert differences == {"init_from", "weights", "epochs", "learning_rate"}
    assert new.record.origin["kept"] == NAMES.split(",")
    assert new.history()["loss"][0] < old.history()["loss"][0]
    shutil.rmtree(tmp_path / "old")
    code, printed = tfseg("train", "--resume", "--out", tmp_path / "new")
    assert code == 0, printed
    assert "nothing left to train" in printed
    code, printed = tfseg("train", "--resume", "--from", trained / "run", "--out", tmp_path / "new")
    assert code == 1
    assert f"was started with --from {tmp_path / 'old'}. Remove the option" in printed


def test_other_images_and_classes(trained, tfseg, tmp_path):
    fill(tmp_path / "more", 4)
    repaint(tmp_path / "more", lambda mask: 2 - mask)
    data = ("--images", tmp_path / "more/images", "--masks", tmp_path / "more/masks")
    words = (*data, "--class-names", "band,ring,ground", "--size", 24, "--learning-rate", 0.004)
    command = ("train", "--from", trained / "run", *words, *FEW)
    code, printed = tfseg(*command, "--out", tmp_path / "new")
    assert code == 0, printed
    assert "Output weights kept: band, ground. Random for new classes: ring." in printed
    assert "that are not predicted any longer: disc." in printed
    assert "a tenth" not in printed
    run = Run(tmp_path / "new")
    assert (run.config.learning_rate, run.config.augment["size"]) == (0.004, (24, 24))
    assert (len(run.data.train_names), len(run.data.val_names)) == (3, 1)


def test_an_interrupted_run_gives_its_best_epoch(run, tfseg, tmp_path):
    record = json.loads((run.folder / "run.json").read_text())
    record["length"]["epochs"] = 9
    (run.folder / "run.json").write_text(json.dumps(record))
    code, printed = tfseg("train", "--from", run.folder, *FEW, "--out", tmp_path / "new")
    assert code == 0, printed
    assert "That run was interrupted after 2 epochs of 9." in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--encoder", "mobilenet_v2"), "--encoder contradicts --from: the network is that of"),
        (("--filters", "4,8"), "--filters contradicts --from"),
        (("--folds", 3), "--folds contradicts --from: the network has seen"),
        (("--task", "detect"), "--task contradicts --from: .* for the task semantic"),
        (("--images", "."), "Pass --images and --masks, or neither to train on the same"),
        (("--val-fraction", 0.5), "--val-fraction contradicts --from: the images to validate"),
        (("--labels", "labels"), "--labels contradicts --from: .* was trained on --masks"),
    ],
)
def test_contradictions_are_refused_with_the_reason(trained, tfseg, tmp_path, words, message):
    words = ("train", "--from", trained / "run", *words, "--out", tmp_path / "new")
    code, printed = tfseg(*words)
    assert code == 2
    assert re.search(message, printed.replace("│ ", "")), printed


def test_a_run_is_not_overwritten_and_must_have_a_model(run, tfseg, tmp_path):
    code, printed = tfseg("train", "--from", run.folder, "--out", run.folder)
    assert code == 1
    assert "already contains a run" in printed
    code, printed = tfseg("train", "--from", tmp_path / "none", "--out", tmp_path / "new")
    assert code == 1
    assert "has no run" in printed
    (run.folder / "best.keras").unlink()
    (run.folder / "history.csv").unlink()
    code, printed = tfseg("train", "--from", run.folder, "--out", tmp_path / "new")
    assert code == 1
    assert "contains no model yet" in printed


def test_gray_images_do_not_fit_a_run_on_color(trained, gray_trained, tfseg, tmp_path):
    data = ("--images", gray_trained / "images", "--masks", gray_trained / "masks")
    words = ("train", "--from", trained / "run", *data, "--class-names", "ground,disc")
    code, printed = tfseg(*words, "--out", tmp_path / "new")
    assert code == 1
    assert "was trained on images with 3 channels, but these images have 1" in printed


@pytest.mark.slow
def test_a_star_run_goes_on(star_run, tfseg, tmp_path):
    words = ("train", "--from", star_run / "run", *FEW, "--out", tmp_path / "new")
    code, printed = tfseg(*words)
    assert code == 0, printed
    new, old = Run(tmp_path / "new"), Run(star_run / "run")
    assert new.data == old.data
    assert new.config.head == "star"


def test_a_network_of_a_script_is_refused(detector, tfseg, tmp_path):
    code, printed = tfseg("train", "--from", detector / "run", "--out", tmp_path / "new")
    assert code == 2
    assert "was trained with a network that a script built" in printed.replace("│ ", "")
