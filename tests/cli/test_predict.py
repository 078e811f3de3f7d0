"""`tfseg predict` and `tfseg export`."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from conftest import draw_sample
from tfseg.cli.export import _window
from tfseg.data import read_image

from .test_evaluate import edit


def test_predictions_and_the_export_agree_at_the_original_size(
    trained, tfseg, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "holiday.png"
    Image.fromarray(draw_sample(9, 61, 83)[0]).save(file)
    code, printed = tfseg("predict", file, "--run", trained / "run")
    assert code == 0, printed
    assert "1 image -> predictions" in printed
    names = {path.name for path in (tmp_path / "predictions").iterdir()}
    assert names == {"holiday_labels.png", "holiday_overlay.png", "legend.png"}
    labels = np.asarray(Image.open(tmp_path / "predictions" / "holiday_labels.png"))
    overlay = np.asarray(Image.open(tmp_path / "predictions" / "holiday_overlay.png"))
    assert (labels.shape, overlay.shape) == ((61, 83), (61, 83, 3))

    code, printed = tfseg("export", "--run", trained / "run")
    assert code == 0, printed
    assert "saved_models/run/1" in printed
    served = tf.saved_model.load("saved_models/run/1").signatures["serving_default"]
    answer = served(image=tf.constant(read_image(file)[None], tf.float32))["class_ids"][0]
    assert np.array_equal(answer, labels)

    assert "agreement" in printed  # the table of formats, on the validation images
    code, printed = tfseg("export", "--inspect", "saved_models/run/1")
    assert code == 0, printed
    assert "0 ground 1 disc 2 band" in printed
    assert re.search(r"metrics:\s+mean_iou: 0\.\d+", printed)
    assert re.search(r"files_sha256:\s.*saved_model.pb: [0-9a-f]{64}", printed)
    assert "SavedModel" in printed
    assert "tuning" not in printed
    with Path("saved_models/run/1/saved_model.pb").open("ab") as saved_model:
        saved_model.write(b"x")
    code, printed = tfseg("export", "--inspect", "saved_models/run/1")
    assert code == 1
    assert "saved_model.pb has changed" in printed


def test_export_options(run, trained, tfseg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run.keep_tuned(run.model(), {"score": "mean_iou", "score_cv": 0.5})
    outputs = ("--output", "probabilities", "--output", "rle", "--window", 32)
    images = ("--images", trained / "images", "--format", "litert")
    code, printed = tfseg("export", "--run", run.folder, "--out", "x/y", *outputs, *images)
    assert code == 0, printed
    assert "litert" in printed
    assert Path("x/y/1/assets.extra/model.tflite").is_file()
    signatures = tf.saved_model.load("x/y/1").signatures
    assert set(signatures["serving_default"].structured_outputs) == {"class_ids", "probabilities"}
    assert "rle" in signatures["encoded"].structured_outputs
    metadata = json.loads(Path("x/y/1/assets.extra/tfseg.json").read_text())
    assert metadata["window"] == 32
    assert metadata["tuning"] == {"score": "mean_iou", "score_cv": 0.5}


def test_the_window_of_an_export(run, capsys):
    assert _window(run, None) is None
    assert _window(run, 64) == 64
    edit(run, lambda record: record["data"].update(window=16))
    assert _window(run, None) == 16
    assert _window(run, 64) == 64
    edit(run, lambda record: record["config"].update(normalization="image"))
    assert _window(run, None) is None
    assert "The export processes images whole" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "Pass either --run to export a run, or --inspect"),
        (("--run", "RUN", "--inspect", "x"), "Pass either --run to export a run, or --inspect"),
        (("--run", "RUN", "--format", "onx"), "formats='onx' is unknown"),
        (("--run", "RUN", "--output", "masks"), "outputs='masks' is unknown"),
        (("--run", "RUN", "--dtype", "int8"), "dtype='int8' is unknown"),
        (("--inspect", "nowhere"), "nowhere"),
        (
            ("--inspect", "x", "--format", "onnx", "--window", "64"),
            "--format, --window has no effect with --inspect",
        ),
    ],
)
def test_impossible_exports_are_refused(options, message, trained, tfseg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [trained / "run" if option == "RUN" else option for option in options]
    code, printed = tfseg("export", *words)
    assert code != 0
    assert message in printed
    assert "Traceback" not in printed


def test_a_run_whose_images_are_gone_is_exported_without_them(run, tfseg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = {"images": "/nowhere/photos", "masks": "/nowhere/labels"}
    edit(run, lambda record: record["config"].update(folders))
    code, printed = tfseg("export", "--run", run.folder, "--format", "litert")
    assert code == 1
    assert "no folder '/nowhere/photos'" in printed
    assert "Or pass other images to compare the formats on: --images" in printed
    code, printed = tfseg("export", "--run", run.folder)
    assert code == 0, printed
    assert "Not compared with the model on images" in printed
    assert "Exported and verified saved_models/run/1, with noise as its only input" in printed


def test_images_and_folders_of_mixed_kinds(trained, tfseg, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(draw_sample(0)[0]).convert("L").save(folder / "a.png")
    Image.fromarray(draw_sample(0)[0]).save(folder / "a.jpg")
    Image.fromarray(draw_sample(1, 41, 37)[0]).convert("RGBA").save(folder / "b.png")
    Image.fromarray(draw_sample(1)[0]).save(tmp_path / "c.png")
    run = "--run", trained / "run", "--out", tmp_path / "out"
    code, printed = tfseg("predict", tmp_path / "c.png", folder, tmp_path / "c.png", *run)
    assert code == 0
    assert "4 images" in printed
    labels = sorted(path.name for path in (tmp_path / "out").glob("*_labels.png"))
    expected = ["a.jpg", "a.png", "b", "c"]
    assert labels == [f"{name}_labels.png" for name in expected]


def test_results_that_would_overwrite_each_other(trained, tfseg, tmp_path):
    Image.fromarray(draw_sample(1)[0]).save(tmp_path / "p0.jpg")
    run = "--run", trained / "run", "--out", tmp_path / "out"
    code, printed = tfseg("predict", tmp_path / "p0.jpg", trained / "images", *run)
    assert code == 1
    assert re.search(r"p0\.jpg and .*images/p0\.jpg would write the same results. Pass", printed)


def test_all_unreadable_images_are_named(trained, tfseg, tmp_path):
    images = shutil.copytree(trained / "images", tmp_path / "images")
    for name in ("p0.jpg", "p3.jpg"):
        (images / name).write_text("junk")
    code, printed = tfseg("predict", images, "--run", trained / "run", "--out", tmp_path / "out")
    assert code == 1
    assert re.search(r"p0\.jpg cannot be read.*p3\.jpg cannot be read", printed)
    assert not (tmp_path / "out").exists()
