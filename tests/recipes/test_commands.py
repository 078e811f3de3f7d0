"""The recipes as commands, on few images and for seconds; `make test-slow` trains on all of them for minutes."""

import json
import subprocess
import sys
from importlib import import_module

import keras
import numpy as np
import pytest

from tfseg.data import Arrays, Augment
from tfseg.inference import predict, tune_run
from tfseg.recipes import camvid
from tfseg.training import Run, budget

FOLDERS = {"camvid": "camvid", "isbi2012": "isbi2012_em", "dsb2018": "dsb2018_fluo"}


@pytest.fixture(params=FOLDERS)
def recipe(request, monkeypatch):
    """A recipe's module that reads six images and looks at small windows."""
    module = import_module(f"tfseg.recipes.{request.param}")
    whole = getattr(module, request.param)
    monkeypatch.setattr(
        module, request.param, lambda folder: [part.subset(range(3)) for part in whole(folder)]
    )
    monkeypatch.setattr(module, "AUGMENT", Augment(32))
    monkeypatch.setattr(budget, "ROUNDS", 1)
    monkeypatch.setattr(budget, "TIMED", 1)
    return module


# each takes a minute or two; `tfseg demo`, a recipe too, goes the whole way in the default tests
@pytest.mark.slow
def test_a_recipe_ends_with_figures_images_and_a_saved_model(recipe, shared_data, tmp_path, capsys):
    name = recipe.__name__.rsplit(".", 1)[1]
    recipe.run(shared_data / FOLDERS[name], 0.3, tmp_path / "run")
    assert Run(tmp_path / "run").settings()["recipe"] == name
    assert (tmp_path / "run" / "samples.png").is_file()
    assert ("on images it was not fitted to" in capsys.readouterr().out.replace("\n", " ")) == (
        name == "camvid"
    )
    assert (tmp_path / "run" / "saved_model" / "1" / "saved_model.pb").is_file()
    assert 0 <= json.loads((tmp_path / "run" / "evaluation.json").read_text())["mean_iou"] <= 1


@pytest.mark.parametrize("holds", [True, False])
def test_a_decision_is_tuned_if_that_holds_on_other_images(holds, tmp_path):
    image = keras.Input((None, None, 1))
    model = keras.Model(image, keras.layers.Rescaling(1.0)(image))  # its logits are the image
    picture = np.array([[-3, -0.5, 2]], np.float32)[..., None]
    right, wrong = np.array([[[0, 1, 1]], [[0, 0, 0]]], np.uint8)
    masks = [right] * 4 if holds else [right] * 2 + [wrong] * 2
    reader = Arrays([picture] * 4, masks, ["thing"])
    run = Run(tmp_path)
    model.save(run.best)
    said = tune_run(run, reader)
    assert ("The run decides so from now on" if holds else "That is worth nothing") in said
    assert (tmp_path / "tuning.json").is_file() == holds
    assert np.array_equal(predict(run.model(), picture)[0], [0, int(holds), 1])
    assert np.array_equal(predict(run.model(tuned=False), picture)[0], [0, 0, 1])


@pytest.mark.parametrize("size", [(65, 97), (33, 32)])
def test_camvid_s_network_takes_any_size_and_comes_back(size, tmp_path):
    model = camvid.network(5, weights=None)
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).uniform(0, 255, (2, *size, 3)).astype("float32")
    logits = model.predict(images, verbose=0)
    assert logits.shape == (2, *size, 5)
    again = keras.saving.load_model(tmp_path / "model.keras").predict(images, verbose=0)
    np.testing.assert_array_equal(again, logits)


@pytest.mark.parametrize(
    "name",
    ["camvid", *(pytest.param(name, marks=pytest.mark.slow) for name in ("isbi2012", "dsb2018"))],
)
def test_help_and_mistakes(name, tmp_path):
    command = [sys.executable, "-m", f"tfseg.recipes.{name}"]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    assert f"python -m tfseg.recipes.{name}" in shown
    done = subprocess.run(
        [*command, "--data", tmp_path / "no"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "no") in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "floor"), [("camvid", 0.5), ("isbi2012", 0.7), ("dsb2018", 0.6)])
def test_minutes_suffice_for_a_useful_model(name, floor, shared_data, tmp_path):
    recipe = import_module(f"tfseg.recipes.{name}")
    recipe.run(shared_data / FOLDERS[name], 6, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["mean_iou"] > floor
