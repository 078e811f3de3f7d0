"""`tfseg plan`, and `tfseg train` with its file."""

import json
import shutil

import numpy as np
import pytest
from instance_runs import write_numbered, write_panoptic
from PIL import Image

from tfseg import training
from tfseg.training import Run

from .conftest import NAMES, fill


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a dataset of images and masks; the working directory is beside it."""
    fill(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def values_of(file):
    return json.loads(file.read_text())["values"]


def test_a_plan_is_shown_written_and_the_same_each_time(folder, tfseg, tmp_path):
    code, printed = tfseg("plan", folder)
    assert code == 0, printed
    assert "Class names: class_0, class_1, class_2 (the masks contain 0 to 2)." in printed
    assert "choice value why task semantic 5 images with masks of 3 classes" in printed
    assert "memory 1." in printed
    assert (
        "The plan is in plan.json. Next: tfseg train --plan plan.json --out runs/first" in printed
    )
    first = (tmp_path / "plan.json").read_bytes()
    code, _ = tfseg("plan", folder / "images", folder / "masks", "--out", "again.json")
    assert (tmp_path / "again.json").read_bytes() == first
    tfseg("plan", folder, "--minutes", 3, "--class-names", NAMES, "--out", "other.json")
    values = values_of(tmp_path / "other.json")
    assert (values["minutes"], values["class_names"]) == (3, NAMES.split(","))
    code, printed = tfseg("plan", folder, "--memory-gb", 0.2)
    assert (code, "memory_gb=0.2 is not enough" in printed) == (1, True)


def test_train_plans_alike(folder, tfseg, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "train", lambda config, **others: pytest.fail(config.to_json()))
    tfseg("plan", folder, "--minutes", 3)
    planned = training.TrainingPlan.load("plan.json").config("run").to_json()
    data = ("--images", folder / "images", "--masks", folder / "masks", "--minutes", 3)
    for words in (("--plan", "plan.json"), data):
        with pytest.raises(pytest.fail.Exception) as failed:
            tfseg("train", *words, "--out", "run")
        assert failed.value.msg == planned


def test_a_plan_is_trained_with_changes(folder, tfseg, tmp_path):
    tfseg("plan", folder)
    words = ("--plan", "plan.json", "--out", "run", "--epochs", 1, "--size", 16, "--batch-size", 2)
    code, printed = tfseg("train", *words, "--model", "lraspp")
    assert code == 2
    assert "option='filters' is unknown" in printed  # those of the plan are for a unet
    code, printed = tfseg("train", *words, "--filters", "4,8")
    assert code == 0, printed
    assert "as given" in printed
    config = Run("run").config
    assert (config.filters, config.epochs, config.minutes) == ((4, 8), 1, None)
    assert (tmp_path / "run" / "plan.json").is_file()


def test_a_missing_or_wrong_plan_is_named(tfseg, tmp_path):
    code, printed = tfseg("train", "--plan", tmp_path / "no.json", "--out", tmp_path / "run")
    assert code == 1
    assert "There is no plan" in printed
    (tmp_path / "plan.json").write_text("{}")
    code, printed = tfseg("train", "--plan", tmp_path / "plan.json", "--out", tmp_path / "run")
    assert code == 1
    assert "is not a plan of `tfseg plan`" in printed


def test_folders_to_validate_on_are_found(tmp_path, tfseg, monkeypatch):
    fill(tmp_path / "all")
    for part in ("train", "val"):
        shutil.copytree(tmp_path / "all/images", tmp_path / "data" / part)
        shutil.copytree(tmp_path / "all/masks", tmp_path / "data" / f"{part}annot")
    monkeypatch.chdir(tmp_path)
    code, printed = tfseg("plan", "data")
    assert code == 0, printed
    assert values_of(tmp_path / "plan.json")["val_masks"] == str(tmp_path / "data/valannot")


def write_squares(folder, counts):
    """Write masks that number as many squares, and images in which they are bright."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for index, count in enumerate(counts):
        mask = np.zeros((64, 64), np.uint8)
        for number in range(count):
            row, column = divmod(number, 4)
            mask[16 * row + 3 : 16 * row + 11, 16 * column + 3 : 16 * column + 11] = number + 1
        Image.fromarray(mask).save(folder / "masks" / f"{index}.png")
        Image.fromarray(np.where(mask, 200, 20).astype(np.uint8)).save(
            folder / "images" / f"{index}.png"
        )


def test_numbered_masks_are_planned_as_instances(tmp_path, tfseg, monkeypatch):
    write_squares(tmp_path / "data", range(9, 16))
    monkeypatch.chdir(tmp_path)
    code, printed = tfseg("plan", "data")
    assert code == 0, printed
    assert "The masks number objects, so the objects are separated." in printed
    values = values_of(tmp_path / "plan.json")
    assert (values["task"], values["head"]) == ("instances", "star")
    assert values["labels"] == str(tmp_path / "data/masks")
    assert "masks" not in values


def test_labels_of_objects_decide_the_head(tmp_path, tfseg, monkeypatch):
    write_panoptic(tmp_path / "streets", range(4))
    write_numbered(tmp_path / "cells", range(4))
    monkeypatch.chdir(tmp_path)
    code, printed = tfseg("plan", "streets")  # images and panoptic.json
    assert code == 0, printed
    assert values_of(tmp_path / "plan.json")["head"] == "center"
    code, printed = tfseg("plan", "cells", "--task", "detect")
    assert code == 0, printed
    assert values_of(tmp_path / "plan.json")["head"] == "faster_rcnn"
    code, printed = tfseg("plan", tmp_path / "nowhere")
    assert code == 1
    assert "no folders of images and masks with usual names" in printed
