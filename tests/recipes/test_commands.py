"""The recipes as commands; `make test-slow` trains each for minutes."""

import functools
import json
import sys
from importlib import import_module

import keras
import numpy as np
import pytest

from tfseg.data import Arrays
from tfseg.inference import Tuning
from tfseg.models import tiny_unet
from tfseg.recipes import camvid, command
from tfseg.training import Run, TrainConfig

FOLDERS = {"camvid": "camvid", "isbi2012": "isbi2012_em"}


EXPECTED = {
    # batch size, crop, learning rate
    "camvid": (6, (288, 384), 2e-3),
    "isbi2012": (8, (256, 256), 1e-3),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_what_a_recipe_trains(name, monkeypatch, shared_data, tmp_path):
    module, found = import_module(f"tfseg.recipes.{name}"), []

    class Stop(Exception):
        pass

    def stop(*arguments, **options):
        found.append((*arguments, options))
        raise Stop

    model = tiny_unet(3, filters=4)
    for builder in ("unet", "network"):
        if hasattr(module, builder):
            monkeypatch.setattr(module, builder, lambda *_, **__: model)
    monkeypatch.setattr(module, "run_recipe", stop)
    with pytest.raises(Stop):
        module.run(shared_data / FOLDERS[name], 7, tmp_path / "run")
    config, train, _, given, options = found[0]
    assert given is model
    assert options == ({"tune": "mean_iou"} if name == "camvid" else {})
    values = config.batch_size, config.augment["size"], config.learning_rate
    assert values == EXPECTED[name]
    assert (config.minutes, config.dataset, config.optimizer) == (7.0, name, "adamw")
    assert config.out == str(tmp_path / "run")
    if name == "camvid":
        weights = dict(zip(train.class_names, config.class_weights, strict=True))
        # poles are 1.0 % of the pixels, roads 31.7 %, the median is 4.5 %
        assert weights["pole"] == pytest.approx((4.5 / 1.0) ** 0.25, abs=0.03)
        assert weights["road"] == pytest.approx((4.5 / 31.7) ** 0.25, abs=0.01)


def reader():
    """Return four 16 x 16 images whose class is their brightness."""
    images = np.zeros((4, 16, 16, 1), np.uint8)
    images[:, 4:12, 4:12] = 200
    return Arrays(images, (images[..., 0] > 0).astype(np.uint8), ["dark", "bright"])


def recipe_config(out):
    return TrainConfig(
        out=out, model=None, minutes=3, batch_size=2, augment={"size": 16}, dataset="squares"
    )


@pytest.mark.slow
def test_run_recipe_trains_tunes_reports_and_exports(tmp_path, monkeypatch, capsys, fixed_length):
    tuned, exported = [], []

    def tune(run, val, score):
        tuned.append(score)
        run.keep_tuned(run.model(), {"score": score})
        return Tuning(score, 0.25, 0.5, (0.0, 0.0))

    def export(model, folder, metadata, images):
        exported.append((model, folder, metadata, len(images)))
        return folder / "1"

    monkeypatch.chdir(tmp_path)
    fixed_length(2, 2)
    monkeypatch.setattr(command, "tune_run", tune)
    monkeypatch.setattr(command, "saved_model", export)
    keras.utils.set_random_seed(0)
    model = tiny_unet(2, (None, None, 1), filters=4)
    arguments = recipe_config(tmp_path / "run"), reader(), reader(), model
    best, scores = command.run_recipe(*arguments, tune="mean_dice")
    printed = " ".join(capsys.readouterr().out.split())
    assert "0.2500 before tuning, 0.5000 after (cross-validated). The run keeps the off" in printed
    assert "Timing some steps, to plan 3 minutes." in printed
    assert "Scores and images are in run, a SavedModel in run/saved_model/1." in printed
    assert "The best of 4 steps, on 4 validation images" in printed
    assert tuned == ["mean_dice"]
    ((served, folder, metadata, count),) = exported
    assert served is best
    assert (folder, count) == (tmp_path / "run" / "saved_model", 4)
    assert metadata["class_names"] == ["dark", "bright"]
    assert metadata["metrics"]["mean_iou"] == scores.means()["mean_iou"]
    assert metadata["tuning"] == {"score": "mean_dice"}
    assert (tmp_path / "run" / "curves.png").is_file()
    assert Run(tmp_path / "run").history()["epoch"] == [1, 2]
    # the same command after its end trains no further, and without `tune` exports as it is
    Run(tmp_path / "run").forget_tuning()
    command.run_recipe(*arguments[:3], tiny_unet(2, (None, None, 1), filters=4))
    assert "tuning" not in exported[1][2]
    assert "Timing" not in capsys.readouterr().out
    assert Run(tmp_path / "run").history()["epoch"] == [1, 2]
    assert tuned == ["mean_dice"]


@functools.cache
def network_of_five():
    return camvid.network(5, weights=None)


@pytest.mark.parametrize("size", [(65, 97), (33, 32)])
def test_the_camvid_network_takes_any_size(size):
    logits = network_of_five()(np.zeros((1, *size, 3), "float32"))
    assert logits.shape == (1, *size, 5)


def test_the_camvid_network_survives_saving(tmp_path):
    model = network_of_five()
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).uniform(0, 255, (2, 33, 32, 3)).astype("float32")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(images), model(images))


def test_weights_by_frequency():
    # median 4: (4 / 64)^(1/4) = 1/2, 1, (4 / 0.25)^(1/4) = 2; absent classes count as one pixel
    assert camvid.class_weights(np.array([64, 4, 0.25])) == pytest.approx([0.5, 1, 4**0.25])
    assert camvid.class_weights(np.array([64, 4, 1])) == pytest.approx([0.5, 1, 4**0.25])


def call(monkeypatch, capsys, recipe, *words):
    """Call `command(recipe)`; return (exit code, what it printed)."""
    monkeypatch.setattr(sys, "argv", ["recipe", *map(str, words)])
    try:
        command.command(recipe)
        code = 0
    except SystemExit as end:
        code = end.code
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_the_command_line_passes_its_arguments(monkeypatch, capsys):
    calls = []

    def recipe(data=None, minutes=88, out="runs/camvid"):
        calls.append((data, minutes, out))

    assert call(monkeypatch, capsys, recipe) == (0, "")
    words = ("--data", "here", "--minutes", "2.5", "--out", "there")
    assert call(monkeypatch, capsys, recipe, *words)[0] == 0
    assert calls == [(None, 88, "runs/camvid"), ("here", 2.5, "there")]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ValueError("wrong"), 1, "error: wrong\n"),
        (ImportError("missing"), 1, "error: missing\n"),
        (KeyboardInterrupt(), 130, "The same command continues after the last complete round"),
    ],
)
def test_errors_end_in_one_message(error, code, message, monkeypatch, capsys):
    def recipe(data=None, minutes=88, out="runs/camvid"):
        raise error

    found, printed = call(monkeypatch, capsys, recipe)
    assert found == code
    assert message in printed


@pytest.mark.parametrize("name", [*FOLDERS, "bccd", "coco64", "dsb2018", "dsb2018_mask_rcnn"])
def test_the_help_is_the_docstring_and_a_missing_dataset_is_named(
    name, monkeypatch, capsys, tmp_path
):
    module = import_module(f"tfseg.recipes.{name}")
    code, printed = call(monkeypatch, capsys, module.run, "--help")
    assert code == 0
    assert f"python -m tfseg.recipes.{name}" in printed
    assert f"runs/{name}" in printed.split("--out OUT", 1)[1]
    code, printed = call(monkeypatch, capsys, module.run, "--data", tmp_path / "no")
    assert code == 1
    assert str(tmp_path / "no") in printed
    assert "Traceback" not in printed


# Steps in place of minutes, because other tests run at the same time. Predicting the most frequent
# class everywhere scores 0.03 and 0.4.
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("name", "steps", "minimum"), [("camvid", 60, 0.15), ("isbi2012", 40, 0.55)]
)
def test_few_steps_suffice_for_a_useful_model(
    name, steps, minimum, fixed_length, shared_data, tmp_path, capsys
):
    out = tmp_path / "run"
    fixed_length(2, steps // 2)
    import_module(f"tfseg.recipes.{name}").run(shared_data / FOLDERS[name], 1.0, out)
    assert json.loads((out / "evaluation.json").read_text())["mean_iou"] > minimum
    assert Run(out).config.dataset == name
    assert ("cross-validated" in capsys.readouterr().out) == (name == "camvid")
    assert (out / "samples.png").is_file()
    assert (out / "saved_model" / "1" / "saved_model.pb").is_file()
