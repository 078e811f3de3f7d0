"""`tfseg predict` and `tfseg export`."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from conftest import draw_sample
from tfseg import viz
from tfseg.data import read_image
from tfseg.export import litert_runner
from tfseg.export.metadata import read_metadata
from tfseg.inference import predict_logits
from tfseg.inference.prediction_files import write_prediction
from tfseg.training import Run

from .conftest import NAMES
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
    parts = {f"holiday_{part}.png" for part in ("labels", "color", "overlay")}
    assert names == parts | {"legend.png"}
    labels = np.asarray(Image.open(tmp_path / "predictions" / "holiday_labels.png"))
    overlay = np.asarray(Image.open(tmp_path / "predictions" / "holiday_overlay.png"))
    assert (labels.shape, overlay.shape) == ((61, 83), (61, 83, 3))
    color = np.asarray(Image.open(tmp_path / "predictions" / "holiday_color.png"))
    assert np.array_equal(color, viz.color_labels(labels, 3))

    code, printed = tfseg("export", "--run", trained / "run")
    assert code == 0, printed
    assert "saved_models/run/1" in printed
    program = "import tensorflow as tf model = tf.saved_model.load('saved_models/run/1')"
    assert f"SavedModel in Python: {program}" in printed
    served = tf.saved_model.load("saved_models/run/1").signatures["serving_default"]
    answer = served(image=tf.constant(read_image(file)[None], tf.float32))["class_ids"][0]
    assert np.array_equal(answer, labels)

    assert "agreement" in printed  # the table of formats, on the validation images
    code, printed = tfseg("export", "--inspect", "saved_models/run/1")
    assert code == 0, printed
    assert "network: tiny_unet images: any size, 3 channels, values 0 to 255" in printed
    assert "id class dice iou precision recall specificity pixels 0 ground" in printed
    evaluation = json.loads((trained / "run" / "evaluation.json").read_text())
    iou = [row["iou"] for row in evaluation["classes"]]
    for class_id, (name, score) in enumerate(zip(NAMES.split(","), iou, strict=True)):
        assert re.search(rf" {class_id} {name} \S+ {score:.4f} ", printed)
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
    images = ("--images", trained / "images", "--format", "litert", "--size", "16,24")
    limit = ("--max-pixels", 500)
    code, printed = tfseg("export", "--run", run.folder, "--out", "x/y", *outputs, *images, *limit)
    assert code == 0, printed
    assert "litert" in printed
    assert "image = np.zeros((1, 16, 24, 3), np.float32)" in printed
    run_file = litert_runner("x/y/1/assets.extra/model.tflite")
    assert run_file(np.zeros((1, 16, 24, 3)))["class_ids"].shape == (1, 16, 24)
    signatures = tf.saved_model.load("x/y/1").signatures
    assert set(signatures["serving_default"].structured_outputs) == {"class_ids", "probabilities"}
    assert "rle" in signatures["encoded"].structured_outputs
    metadata = read_metadata("x/y/1")
    assert metadata["window"] == 32
    assert metadata["max_pixels"] == 500
    assert metadata["value_range"] == [0, 255]
    assert metadata["tuning"] == {"score": "mean_iou", "score_cv": 0.5}


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
    edit(run, lambda record: record["data"].update(window=32))
    code, printed = tfseg("export", "--run", run.folder, "--format", "litert")
    assert code == 1
    assert "no folder '/nowhere/photos'" in printed
    assert "Or pass other images to compare the formats on: --images" in printed
    code, printed = tfseg("export", "--run", run.folder)
    assert code == 0, printed
    assert "Not compared with the model on images" in printed
    assert "Exported and verified saved_models/run/1, with noise as its only input" in printed
    assert read_metadata("saved_models/run/1")["window"] == 32


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


@pytest.fixture
def two_images(trained, tmp_path):
    """Return a folder with two images and the words of a prediction into the same folder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("p0.jpg", "p1.jpg"):
        shutil.copy(trained / "images" / name, folder)
    return folder, ("predict", folder, "--run", trained / "run", "--out", folder)


def test_files_that_tfseg_did_not_write_are_not_replaced(two_images, tfseg):
    folder, words = two_images
    Image.new("L", (32, 32)).save(folder / "p1_color.png")
    code, printed = tfseg(*words)
    assert code == 1
    assert re.search(r"p1_color\.png: tfseg did not write what is there", printed)
    (folder / "p1_color.png").rename(folder / "legend.png")
    code, printed = tfseg(*words)
    assert code == 1
    assert "legend.png: tfseg did not write" in printed
    assert {path.name for path in folder.iterdir()} == {"p0.jpg", "p1.jpg", "legend.png"}


def test_results_are_replaced_and_never_predicted(two_images, tfseg):
    folder, words = two_images
    for options in ((), ("--probabilities", "npy"), ("--probabilities", "npy")):
        code, printed = tfseg(*words, *options)
        assert code == 0, printed
        assert "2 images ->" in printed
    assert "Leaving out 7 results of tfseg among the images." in printed
    labels = sorted(path.name for path in folder.glob("*_labels.png"))
    assert labels == ["p0_labels.png", "p1_labels.png"]
    code, printed = tfseg("predict", *folder.glob("*.png"), *words[2:])
    assert code == 1
    assert "The only files are 7 results of tfseg. Pass images." in printed


def test_the_other_images_are_predicted_if_some_cannot_be_read(two_images, tfseg):
    folder, words = two_images
    complete = (folder / "p0.jpg").read_bytes()
    (folder / "p0.jpg").write_bytes(complete[: len(complete) // 2])
    (folder / "p2.png").write_text("junk")
    code, printed = tfseg(*words)
    assert code == 1
    assert "2 of 3 images failed; the results of the others are complete" in printed
    assert re.search(r"p0\.jpg is damaged.*p2\.png cannot be read", printed)
    names = {path.name for path in folder.glob("*_*.png")}
    assert names == {f"p1_{part}.png" for part in ("labels", "color", "overlay")}

    done = (folder / "p1_labels.png").stat().st_mtime_ns
    (folder / "p0.jpg").write_bytes(complete)
    (folder / "p2.png").unlink()
    code, printed = tfseg(*words, "--skip-existing")
    assert code == 0, printed
    assert "Skipping 1 image with results. 1 image ->" in printed
    assert (folder / "p0_labels.png").is_file()
    assert (folder / "p1_labels.png").stat().st_mtime_ns == done


def test_a_prediction_goes_on_where_it_was_interrupted(two_images, tfseg):
    folder, words = two_images
    words = (*words, "--probabilities", "npy")
    assert tfseg(*words)[0] == 0
    for name in ("p1_labels.png", "legend.png"):  # labels are written last
        (folder / name).unlink()
    for done in (1, 2):
        code, printed = tfseg(*words, "--skip-existing")
        assert code == 0, printed
        assert f"Skipping {done} image" in printed
        assert (folder / "legend.png").is_file()
        (folder / "legend.png").unlink()


def test_probabilities_are_written_as_png_or_npy(two_images, trained, tfseg):
    folder, words = two_images
    for kind in ("png", "npy"):
        code, printed = tfseg(*words, "--probabilities", kind)
        assert code == 0, printed
    logits = predict_logits(Run(trained / "run").model(), read_image(folder / "p0.jpg"))
    expected = tf.nn.softmax(logits).numpy()
    found = np.load(folder / "p0_probabilities.npy")
    assert found.dtype == np.float32
    assert found == pytest.approx(expected, abs=1e-6)
    for class_id in range(3):
        image = Image.open(folder / f"p0_probability_{class_id}.png")
        assert image.mode == "I;16"
        scaled = np.asarray(image) / 65535
        assert scaled == pytest.approx(expected[..., class_id], abs=1e-5)


def test_the_labels_of_a_geotiff_keep_its_georeference(two_images, tfseg):
    folder, words = two_images
    scale, tie, keys = (0.5, 0.5, 0.0), (0.0, 0.0, 0.0, 4e5, 5e6, 0.0), (1, 1, 0, 1, 1024, 0, 1, 1)
    tags = ImageFileDirectory_v2()
    for tag, kind, value in ((33550, 12, scale), (33922, 12, tie), (34735, 3, keys)):
        tags.tagtype[tag], tags[tag] = kind, value
    tags[34737] = "WGS 84 / UTM zone 33N|"
    image = Image.open(folder / "p0.jpg")
    image.save(folder / "scene.tif", tiffinfo=tags)
    image.save(folder / "plain.tif")
    code, printed = tfseg(*words)
    assert code == 0, printed
    with Image.open(folder / "scene_labels.tif") as labels:
        found = {tag: labels.tag_v2[tag] for tag in (33550, 33922, 34735, 34737)}
        assert found == {33550: scale, 33922: tie, 34735: keys, 34737: tags[34737]}
        assert np.array_equal(labels, Image.open(folder / "scene_labels.png"))
    assert not (folder / "plain_labels.tif").exists()
    code, printed = tfseg(*words)  # the GeoTIFF is recognized as a result
    assert code == 0, printed
    assert not (folder / "scene_labels_labels.png").exists()


def test_an_image_that_is_too_large_does_not_stop_the_others(
    two_images, tfseg, tmp_path, monkeypatch
):
    folder, words = two_images
    Image.new("L", (90, 90)).save(folder / "scene.tif")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)  # Pillow opens at most twice as many
    code, printed = tfseg(*words)
    assert code == 1
    assert re.search(r"1 of 3 images failed.*scene\.tif is too large", printed)
    assert (folder / "p1_labels.png").is_file()


def test_a_prediction_of_256_classes_is_written(tmp_path):
    logits = np.zeros((1, 2, 256), np.float32)
    logits[0, 1, 255] = 1
    names = ["background", *map(str, range(255))]
    write_prediction(tmp_path / "a", "a.png", np.zeros((1, 2, 3), np.uint8), logits, names)
    assert np.asarray(Image.open(tmp_path / "a_labels.png")).tolist() == [[0, 255]]


def test_a_run_of_16_bit_images_refuses_8_bit_images(run, trained, tfseg, tmp_path):
    words = ("predict", trained / "images/p0.jpg", "--run", run.folder, "--out", tmp_path / "out")
    edit(run, lambda record: record["data"].update(dtype="uint16"))
    code, printed = tfseg(*words)
    assert code == 1
    assert "p0.jpg has 8 bits per channel, but the run was trained on more than 8 bits" in printed
    edit(run, lambda record: record["config"].update(normalization="image"))
    assert tfseg(*words)[0] == 0


def test_commands_do_not_use_the_backend_of_a_notebook(tfseg, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "module://a_notebook.backend")
    assert tfseg("segment", "--methods")[0] == 0
    assert os.environ["MPLBACKEND"] == "agg"
