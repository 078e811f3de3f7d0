"""The command through its public door, in this process; tests/training/test_run.py kills real ones."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from clean_folder import change_masks, write_clean
from conftest import draw_sample
from PIL import Image

from tfseg import cli
from tfseg.data import Folder, memory_limits, read_image
from tfseg.inference import evaluate, predict, with_offsets
from tfseg.models.blocks import Standardize
from tfseg.models.encoders import efficientnet_lite
from tfseg.training import Run

NAMES = "ground,disc,band"
SMALL = ("--size", "32", "--batch-size", "2", "--filters", "4,8", "--epochs", "2")


def fill(folder, count=6):
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for index in range(count):
        image, mask = draw_sample(index)
        Image.fromarray(image).save(folder / "images" / f"p{index}.jpg", quality=95)
        Image.fromarray(mask).save(folder / "masks" / f"p{index}.png")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with images, masks and a finished run."""
    folder = tmp_path_factory.mktemp("trained")
    fill(folder)
    argv, sys.argv = (
        sys.argv,
        ["tfseg", *map(str, words(folder)), *SMALL, "--out", str(folder / "run")],
    )
    try:
        cli.main()
    except SystemExit as end:
        if end.code:
            raise
    finally:
        sys.argv = argv
    return folder


def words(folder, names=NAMES):
    return (
        "train",
        "--images",
        folder / "images",
        "--masks",
        folder / "masks",
        "--class-names",
        names,
    )


def test_training_leaves_a_whole_run(trained):
    expected = {
        "best.keras",
        "confusion.png",
        "curves.png",
        "evaluation.csv",
        "evaluation.json",
        "history.csv",
    }
    expected |= {"run.json", "samples.png", "state"}
    assert {path.name for path in (trained / "run").iterdir()} == expected
    settings = json.loads((trained / "run" / "run.json").read_text())
    assert settings["class_names"] == NAMES.split(",")
    assert settings["filters"] == [4, 8]


def test_evaluate_repeats_the_figures_of_training(trained, tfseg):
    before = json.loads((trained / "run" / "evaluation.json").read_text())
    code, printed = tfseg("evaluate", "--run", trained / "run")
    assert code == 0
    assert json.loads((trained / "run" / "evaluation.json").read_text()) == before
    assert f"{before['mean_iou']:.4f}" in printed


def test_evaluate_on_other_images(trained, tfseg, tmp_path):
    code, printed = tfseg(
        *(
            "evaluate",
            "--run",
            trained / "run",
            "--images",
            trained / "images",
            "--masks",
            trained / "masks",
        ),
        *("--out", tmp_path / "scores"),
    )
    report = json.loads((tmp_path / "scores" / "evaluation.json").read_text())
    assert code == 0
    assert "Warning: of these 6 images 5 were trained on" in printed
    assert np.sum(report["confusion_matrix"]) == 6 * 48 * 56
    code, printed = tfseg("evaluate", "--run", trained / "run", "--images", trained / "images")
    assert code == 2
    assert "--images and --masks go together" in printed


def test_predict_and_export_agree_at_the_original_size(trained, tfseg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture = tmp_path / "holiday.png"
    Image.fromarray(draw_sample(9, 61, 83)[0]).save(picture)
    code, printed = tfseg("predict", picture, "--run", trained / "run")
    assert code == 0, printed
    assert {path.name for path in (tmp_path / "predictions").iterdir()} == {
        "holiday_labels.png",
        "holiday_overlay.png",
        "legend.png",
    }
    labels = np.asarray(Image.open(tmp_path / "predictions" / "holiday_labels.png"))
    assert labels.shape == (61, 83)
    assert np.asarray(Image.open(tmp_path / "predictions" / "holiday_overlay.png")).shape == (
        61,
        83,
        3,
    )

    code, printed = tfseg("export", "--run", trained / "run")
    assert code == 0, printed
    assert "saved_models/run/1" in printed
    served = tf.saved_model.load("saved_models/run/1").signatures["serving_default"]
    answer = served(image=tf.constant(read_image(picture)[None], tf.float32))["class_ids"][0]
    assert np.array_equal(answer, labels)

    assert "agreement" in printed  # the table of formats, on the images the run validated on
    code, printed = tfseg("export", "--inspect", "saved_models/run/1")
    assert code == 0, printed
    assert "██ 0 ground ██ 1 disc ██ 2 band" in printed
    assert re.search(r"metrics:\s+mean_iou: 0\.\d+", printed)
    assert re.search(r"files_sha256:\s.*saved_model.pb: [0-9a-f]{64}", printed)
    assert "SavedModel" in printed
    assert "tuning" not in printed
    with Path("saved_models/run/1/saved_model.pb").open("ab") as file:
        file.write(b"x")
    code, printed = tfseg("export", "--inspect", "saved_models/run/1")
    assert code == 1
    assert "saved_model.pb has changed" in printed


def test_export_serves_what_is_asked_for_and_compares_on_other_images(
    trained, tfseg, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    options = (
        "--output",
        "probabilities",
        "--output",
        "rle",
        "--window",
        32,
        "--images",
        trained / "images",
    )
    code, printed = tfseg(
        "export", "--run", trained / "run", "--out", "x/y", *options, "--format", "litert"
    )
    assert code == 0, printed
    assert "litert" in printed
    assert Path("x/y/1/assets.extra/model.tflite").is_file()
    signatures = tf.saved_model.load("x/y/1").signatures
    assert set(signatures["serving_default"].structured_outputs) == {"class_ids", "probabilities"}
    assert "rle" in signatures["encoded"].structured_outputs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "Name a --run to export, or a version to --inspect"),
        (("--run", "RUN", "--inspect", "x"), "Name a --run to export, or a version to --inspect"),
        (("--run", "RUN", "--format", "onx"), "formats='onx' is unknown"),
        (("--run", "RUN", "--output", "masks"), "outputs='masks' is unknown"),
        (("--run", "RUN", "--dtype", "int8"), "dtype='int8' is unknown"),
        (("--inspect", "nowhere"), "'nowhere' is not an export of tfseg"),
        (
            ("--inspect", "x", "--format", "onnx", "--window", "64"),
            "--format, --window changes nothing beside --ins",
        ),
    ],
)
def test_exports_that_cannot_be_are_refused(
    options, message, trained, tfseg, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, printed = tfseg(
        "export", *(trained / "run" if option == "RUN" else option for option in options)
    )
    assert code != 0
    assert message in " ".join(printed.split())
    assert "Traceback" not in printed


def test_predict_takes_a_folder_of_mixed_images(trained, tfseg, tmp_path):
    pictures = tmp_path / "images"
    pictures.mkdir()
    Image.fromarray(draw_sample(0)[0]).convert("L").save(pictures / "a.png")
    Image.fromarray(draw_sample(0)[0]).save(pictures / "a.jpg")
    Image.fromarray(draw_sample(1, 41, 37)[0]).convert("RGBA").save(pictures / "b.png")
    code, printed = tfseg("predict", pictures, "--run", trained / "run", "--out", tmp_path / "out")
    assert code == 0
    assert "3 images" in printed
    labels = sorted(path.name for path in (tmp_path / "out").glob("*_labels.png"))
    assert labels == ["a.jpg_labels.png", "a.png_labels.png", "b_labels.png"]


def test_predict_takes_images_and_folders_side_by_side(trained, tfseg, tmp_path):
    Image.fromarray(draw_sample(1)[0]).save(tmp_path / "b.png")
    run = "--run", trained / "run", "--out", tmp_path / "out"
    code, printed = tfseg(
        "predict", tmp_path / "b.png", trained / "images", tmp_path / "b.png", *run
    )
    assert code == 0, printed
    assert "7 images" in printed
    Image.fromarray(draw_sample(1)[0]).save(tmp_path / "p0.jpg")
    code, printed = tfseg("predict", tmp_path / "p0.jpg", trained / "images", *run)
    assert code == 1
    assert re.search(
        r"p0\.jpg and .*images/p0\.jpg would write the same results. Name them one by one", printed
    )


def test_another_try_into_a_folder_without_an_epoch_is_another_run(trained, tfseg, tmp_path):
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    shutil.copy(trained / "run" / "run.json", run.folder)  # killed in its first epoch
    code, printed = tfseg(
        *words(trained, "a,b,c"), *SMALL, "--batch-size", "1", "--out", run.folder
    )
    assert code == 0, printed
    assert run.settings()["class_names"] == ["a", "b", "c"]
    assert run.settings()["batch_size"] == 1


def test_a_single_image_to_train_on_will_do(tfseg, tmp_path):
    fill(tmp_path, 2)
    code, printed = tfseg(*words(tmp_path), *SMALL, "--out", tmp_path / "run")
    assert code == 0, printed
    assert "tfseg tune" not in printed  # with one image to validate on it cannot
    assert "tfseg predict IMAGES" in printed


def test_tune_changes_what_the_run_predicts_and_measures(trained, tfseg, tmp_path):
    run = Run(shutil.copytree(trained / "run", tmp_path / "run"))
    with_offsets(run.model(), [3, 0, 0]).save(run.best)  # sees ground nearly everywhere
    code, _ = tfseg("evaluate", "--run", run.folder)
    before = json.loads((run.folder / "evaluation.json").read_text())["mean_iou"]
    code, printed = tfseg("tune", "--run", run.folder)
    assert code == 1
    assert "folds=1 of 1 images" in printed  # it validated on one
    data = "--images", trained / "images", "--masks", trained / "masks"
    code, printed = tfseg("tune", "--run", run.folder, "--score", "mean_dice", *data)
    assert code == 0, printed
    assert "Saved to the run." in printed
    code, printed = tfseg("evaluate", "--run", run.folder)
    assert json.loads((run.folder / "evaluation.json").read_text())["mean_iou"] > before
    code, printed = tfseg(
        "predict", trained / "images" / "p0.jpg", "--run", run.folder, "--out", tmp_path / "out"
    )
    labels = np.asarray(Image.open(tmp_path / "out" / "p0_labels.png"))
    image = read_image(trained / "images" / "p0.jpg")
    assert np.array_equal(labels, predict(run.model(), image))
    assert not np.array_equal(labels, predict(run.model(tuned=False), image))
    tfseg("export", "--run", run.folder, "--out", tmp_path / "served")
    code, printed = tfseg("export", "--inspect", tmp_path / "served" / "1")
    assert re.search(r"tuning: score: mean_dice score_untuned: 0\.\d+ score_cv: 0\.\d+", printed)


def test_tune_leaves_a_decision_that_is_right(trained, tfseg, tmp_path):
    run = Run(shutil.copytree(trained / "run", tmp_path / "run"))
    run.keep_tuned(with_offsets(run.model(), [3, 0, 0]), {})
    code, printed = tfseg(
        "predict", trained / "images", "--run", trained / "run", "--out", tmp_path
    )
    (tmp_path / "masks").mkdir()
    for file in tmp_path.glob("*_labels.png"):  # what the bare run sees is the truth
        file.rename(tmp_path / "masks" / file.name.replace("_labels", ""))
    code, printed = tfseg(
        "tune", "--run", run.folder, "--images", trained / "images", "--masks", tmp_path / "masks"
    )
    assert code == 0, printed
    assert "1.0000 before" in printed
    assert "No improvement on held-out images" in printed
    assert not run.tuned.exists()


def test_large_images_go_through_the_network_in_windows(tfseg, tmp_path, monkeypatch):
    monkeypatch.setattr(memory_limits, "MAX_IMAGE_PIXELS", 2000)  # the images have 48 x 56 pixels
    monkeypatch.setattr(memory_limits, "WINDOW_SIZE", 32)
    fill(tmp_path)
    code, printed = tfseg(*words(tmp_path), *SMALL, "--out", tmp_path / "run")
    assert code == 0, printed
    assert "in windows of 32 pixels" in printed
    run, picture = Run(tmp_path / "run"), tmp_path / "images" / "p0.jpg"
    assert run.settings()["window"] == 32
    tfseg("predict", picture, "--run", run.folder, "--out", tmp_path / "out")
    labels = np.asarray(Image.open(tmp_path / "out" / "p0_labels.png"))
    image, model = read_image(picture), run.model()
    assert np.array_equal(labels, predict(model, image, window=32))
    assert not np.array_equal(labels, predict(model, image))
    # what was validated are parts that show each pixel once: of 48 x 56, 24 x 28
    val = Folder(tmp_path / "images", tmp_path / "masks", NAMES.split(",")).select(
        run.settings()["val_names"]
    )
    best = max(run.history()["val_mean_iou"])
    assert evaluate(model, val.disjoint_tiles(32)).means()["mean_iou"] == pytest.approx(best, abs=1e-5)
    seen = evaluate(
        model, Folder(tmp_path / "images", tmp_path / "masks", NAMES.split(",")), window=32
    )
    code, _ = tfseg(
        "evaluate",
        "--run",
        run.folder,
        "--images",
        tmp_path / "images",
        "--masks",
        tmp_path / "masks",
    )
    found = json.loads((run.folder / "evaluation" / "evaluation.json").read_text())
    assert found["confusion_matrix"] == seen.matrix.tolist()
    code, printed = tfseg("export", "--run", run.folder, "--out", tmp_path / "served")
    assert code == 0, printed
    assert json.loads((tmp_path / "served/1/assets.extra/tfseg.json").read_text())["window"] == 32


def test_a_depth_that_the_run_does_not_know_is_refused(trained, tfseg, tmp_path):
    deep = tmp_path / "deep"
    deep.mkdir()
    for file in (trained / "images").iterdir():
        gray = np.asarray(Image.open(file).convert("L")).astype(np.uint16) * 257
        Image.fromarray(gray).save(deep / f"{file.stem}.png")
    code, printed = tfseg(
        "predict", deep / "p0.png", "--run", trained / "run", "--out", tmp_path / "out"
    )
    assert code == 1
    assert "p0.png has more than 8 bit, but the run was trained on 8. Bring it to 0..255" in printed
    code, printed = tfseg(
        "evaluate", "--run", trained / "run", "--images", deep, "--masks", trained / "masks"
    )
    assert code == 1
    assert "are of more than 8 bit, but those to train on are of 8 bit" in printed
    val = "--val-images", deep, "--val-masks", trained / "masks"
    code, printed = tfseg(*words(trained), *val, "--out", tmp_path / "run")
    assert code == 1
    assert "are of more than 8 bit, but those to train on are of 8 bit" in printed


def test_a_run_whose_images_are_gone_is_exported_all_the_same(
    trained, tfseg, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    run = Run(shutil.copytree(trained / "run", tmp_path / "moved"))
    settings = run.settings() | {"images": "/nowhere/photos", "masks": "/nowhere/labels"}
    (run.folder / "run.json").write_text(json.dumps(settings))
    code, printed = tfseg("export", "--run", run.folder, "--format", "litert")
    assert code == 1
    assert "no folder '/nowhere/photos'. Check the path. Or pass other images" in printed
    code, printed = tfseg("export", "--run", run.folder)
    assert code == 0, printed
    assert "Not compared with the model on images" in printed
    assert "Exported and checked saved_models/moved/1, on noise alone" in printed
    code, printed = tfseg("evaluate", "--run", run.folder)
    assert (
        "no folder '/nowhere/photos'. Check the path. --images and --masks name others" in printed
    )


def test_masks_of_others_have_an_ignored_value_of_their_own(trained, tfseg, tmp_path):
    for name, change in (
        ("nine", lambda mask: np.where(mask == 2, 9, mask)),
        ("gone", lambda mask: mask % 2),
    ):
        (tmp_path / name).mkdir()
        for file in (trained / "masks").iterdir():
            Image.fromarray(change(np.asarray(Image.open(file))).astype(np.uint8)).save(
                tmp_path / name / file.name
            )
    words = (
        "evaluate",
        "--run",
        trained / "run",
        "--images",
        trained / "images",
        "--out",
        tmp_path / "out",
        "--masks",
    )
    code, printed = tfseg(*words, tmp_path / "nine")
    assert code == 1
    assert "contains values that map to no class: 9" in printed
    code, printed = tfseg(*words, tmp_path / "nine", "--ignore-value", "9")
    assert code == 0, printed
    code, printed = tfseg(
        *words, trained / "masks", "--ignore-value", "2"
    )  # a class in the run's own masks
    assert code == 0, printed
    ignored = 6 * 8 * 56
    assert f"is of the class band; {ignored} pixels are ignored" in printed
    code, printed = tfseg("evaluate", "--run", trained / "run", "--ignore-value", "9")
    assert code == 2
    assert "--ignore-value goes with --images and --masks" in printed
    code, printed = tfseg(*words, tmp_path / "nine", "--ignore-value", "9")
    assert (
        f"Warning: no pixel to measure on is of the class band; {ignored} pixels are ignored"
        in printed
    )
    assert (
        np.sum(json.loads((tmp_path / "out/evaluation.json").read_text())["confusion_matrix"])
        == 6 * 48 * 56 - ignored
    )


def test_the_doctor_draws_two_files_of_one_name_and_numbers_beyond_255(tfseg, tmp_path):
    write_clean(tmp_path)
    image = Image.open(tmp_path / "images" / "p1.png")
    image.save(tmp_path / "images" / "p1.bmp")
    for extra, file in enumerate(sorted((tmp_path / "masks").iterdir())):
        rows, columns = -(-image.height // 3), -(-image.width // 3)
        numbers = np.minimum(np.arange(rows * columns), 270 + extra).reshape(rows, columns)
        numbers = numbers.repeat(3, 0).repeat(3, 1)[: image.height, : image.width]
        Image.fromarray(numbers.astype(np.uint16)).save(file)
    code, printed = tfseg("doctor", tmp_path, "--html", tmp_path / "deep" / "report.html")
    assert code == 1, printed
    assert "same_name" in printed
    assert (tmp_path / "deep" / "report.html").is_file()


def test_values_with_gaps_and_gray_images_as_the_doctor_advises(tfseg, tmp_path):
    fill(tmp_path)
    for file in (tmp_path / "masks").iterdir():
        mask = np.asarray(Image.open(file))
        Image.fromarray(np.where(mask == 2, 9, mask).astype(np.uint8)).save(file)
    code, printed = tfseg("doctor", tmp_path, "--class-names", NAMES)
    remedy = re.search(r"--mask-values \S+\d", printed)[0].split()
    assert remedy[1] == "0=0,1=1,9=2"
    code, printed = tfseg(*words(tmp_path), *SMALL, *remedy, "--gray", "--out", tmp_path / "run")
    assert code == 0, printed
    assert Run(tmp_path / "run").model().input_shape[-1] == 1
    code, printed = tfseg("train", "--resume", "--out", tmp_path / "run", *remedy)
    assert code == 0, printed
    code, printed = tfseg(
        "train", "--resume", "--out", tmp_path / "run", "--class-weights", "none", "--gray"
    )
    assert code == 0, printed
    code, printed = tfseg("doctor", tmp_path, "--class-names", NAMES, *remedy)
    assert code == 0, printed
    code, printed = tfseg(
        *words(tmp_path), "--mask-values", "0=0,1=1,9=3", "--out", tmp_path / "other"
    )
    assert code == 1
    assert "gives the ids 3; of 3 classes they are 0 to 2" in printed
    code, printed = tfseg(*words(tmp_path), "--mask-values", "9:2", "--out", tmp_path / "other")
    assert code == 2
    assert "must be VALUE=ID with commas between" in printed


def test_training_with_weights_of_classes_and_images_by_themselves(tfseg, tmp_path):
    fill(tmp_path)
    options = "--class-weights", "median", "--normalize-each", "--val-fraction", "0.4"
    code, printed = tfseg(*words(tmp_path), *SMALL, *options, "--out", tmp_path / "run")
    assert code == 0, printed
    assert "tfseg tune --run" in printed
    settings = Run(tmp_path / "run").settings()
    assert settings["class_weights"] == "median"
    assert settings["median_weights"][2] > settings["median_weights"][0]
    assert isinstance(Run(tmp_path / "run").model().get_layer("normalize"), Standardize)
    code, printed = tfseg("train", "--resume", "--out", tmp_path / "run", "--class-weights", "none")
    assert "was begun with --class-weights median" in printed


def test_resume_refuses_other_settings_and_does_nothing_when_done(trained, tfseg, tmp_path):
    run = shutil.copytree(trained / "run", tmp_path / "run")
    code, printed = tfseg("train", "--resume", "--out", run, "--size", "64")
    assert code == 1
    assert "was begun with --size 32. Leave the option out" in printed
    before = (run / "history.csv").read_text()
    code, printed = tfseg(*words(trained), *SMALL, "--out", run, "--resume")
    assert code == 0, printed
    assert (run / "history.csv").read_text() == before


def test_a_run_keeps_to_its_own_samples(trained, tfseg, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "copy")
    settings = json.loads((folder / "run" / "run.json").read_text())
    settings |= {name: str(folder / name) for name in ("images", "masks")}
    (folder / "run" / "run.json").write_text(json.dumps(settings))
    before = (folder / "run" / "evaluation.json").read_text()
    for index in range(6, 12):  # images that came later take no part
        image, mask = draw_sample(index)
        Image.fromarray(image).save(folder / "images" / f"a{index}.png")
        Image.fromarray(mask).save(folder / "masks" / f"a{index}.png")
    code, printed = tfseg("evaluate", "--run", folder / "run")
    assert code == 0, printed
    assert (folder / "run" / "evaluation.json").read_text() == before
    name = settings["val_names"][0]
    (folder / "images" / f"{name}.jpg").unlink()
    (folder / "masks" / f"{name}.png").unlink()
    code, printed = tfseg("train", "--resume", "--out", folder / "run")
    assert code == 1
    assert f"begun with are gone: {name}." in printed


def test_validation_images_are_read_like_the_training_ones(tfseg, tmp_path):
    fill(tmp_path)
    (tmp_path / "val").mkdir()
    fill(tmp_path / "val", 2)
    for image in (tmp_path / "images").iterdir():
        Image.open(image).convert("L").save(image)
    val = ("--val-images", tmp_path / "val" / "images", "--val-masks", tmp_path / "val" / "masks")
    code, printed = tfseg(*words(tmp_path), *val, *SMALL, "--out", tmp_path / "run")
    assert code == 0, printed  # a gray run, color images to validate on
    others = ("--images", tmp_path / "val" / "images", "--masks", tmp_path / "val" / "masks")
    assert tfseg("evaluate", "--run", tmp_path / "run", *others)[0] == 0


def test_what_is_wrong_in_both_parts_is_told_at_once(folder, tfseg):
    (folder / "val").mkdir()
    fill(folder / "val", 2)
    for mask in (folder / "masks" / "p2.png", folder / "val" / "masks" / "p1.png"):
        Image.new("L", (56, 48), 9).save(mask)
    val = ("--val-images", folder / "val" / "images", "--val-masks", folder / "val" / "masks")
    code, printed = tfseg(*words(folder), *val, *SMALL, "--out", folder / "run")
    assert code == 1
    assert re.search(r"train on: .*masks/p2\.png.*validate on: .*val/masks/p1\.png", printed)


def test_what_a_user_should_know_is_said(tfseg, tmp_path):
    fill(tmp_path)
    paint(tmp_path, lambda mask: mask == 1)
    code, printed = tfseg(*words(tmp_path, "disc"), *SMALL, "--out", tmp_path / "one")
    assert code == 0, printed
    assert "in the masks 0 is background and 1 is disc" in printed
    assert "Warning: only 4 steps in all. Raise --epochs" in printed
    code, printed = tfseg("train", "--resume", "--out", tmp_path / "one")
    assert "All 2 epochs are done" in printed
    code, printed = tfseg(*words(tmp_path, "ground,disc,band"), *SMALL, "--out", tmp_path / "three")
    assert "Warning: no pixel to train on is of the class band" in printed


def test_images_that_cannot_be_predicted_are_all_named(trained, tfseg, tmp_path):
    pictures = shutil.copytree(trained / "images", tmp_path / "images")
    for name in ("p0.jpg", "p3.jpg"):
        (pictures / name).write_text("junk")
    code, printed = tfseg("predict", pictures, "--run", trained / "run", "--out", tmp_path / "out")
    assert code == 1
    assert re.search(
        r"p0\.jpg cannot be read.*p3\.jpg cannot be read as an image. Its content does not start like one",
        printed,
    )
    assert not (tmp_path / "out").exists()


def test_names_that_look_like_markup_are_printed_as_they_are(tfseg, tmp_path):
    fill(tmp_path, 2)
    code, printed = tfseg(
        *words(tmp_path, "ground[dry],[/x],c"), *SMALL, "--out", tmp_path / "a [b]"
    )
    assert code == 0, printed
    assert "ground[dry]" in printed
    assert "[/x]" in printed
    assert "a [b]' " in printed  # quoted for the shell


def test_a_run_of_black_and_white_masks_with_validation_folders(tfseg, tmp_path):
    fill(tmp_path)
    (tmp_path / "val").mkdir()
    fill(tmp_path / "val")
    for mask in tmp_path.glob("**/masks/*.png"):
        Image.fromarray(np.where(np.asarray(Image.open(mask)) == 1, 255, 0).astype(np.uint8)).save(
            mask
        )
    for image in tmp_path.glob("**/images/*.jpg"):
        Image.open(image).convert("L").save(image)
    val = ("--val-images", tmp_path / "val" / "images", "--val-masks", tmp_path / "val" / "masks")
    code, printed = tfseg(
        *words(tmp_path, "ground,disc"),
        *val,
        *SMALL,
        "--optimizer",
        "sgd",
        "--out",
        tmp_path / "run",
    )
    assert code == 0, printed
    assert "The masks hold 0 and 255: read as ground and disc" in printed
    assert "6 images to train on, 6 to validate on" in printed
    assert json.loads((tmp_path / "run" / "run.json").read_text())["channels"] == 1


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def paint(folder, change):
    for path in (folder / "masks").iterdir():
        Image.fromarray(change(np.asarray(Image.open(path))).astype(np.uint8)).save(path)


BAD_INPUT = {
    "missing folder": (lambda f: shutil.rmtree(f / "images"), "no folder '.*images'"),
    "empty folder": (
        lambda f: [p.unlink() for p in (f / "masks").iterdir()],
        "masks' contains no image",
    ),
    "no mask": (lambda f: (f / "masks" / "p1.png").unlink(), r"p1\.jpg has no mask 'p1\.png'"),
    "no image": (lambda f: (f / "images" / "p1.jpg").unlink(), r"p1\.png has no image 'p1'"),
    "sizes differ": (
        lambda f: Image.new("L", (9, 9)).save(f / "masks" / "p1.png"),
        r"p1\.png is 9 x 9 pixels",
    ),
    "no such class": (
        lambda f: Image.new("L", (56, 48), 9).save(f / "masks" / "p1.png"),
        "contains values that map to no class: 9",
    ),
    "truncated": (lambda f: cut_in_half(f / "images" / "p1.jpg"), r"p1\.jpg is damaged"),
    "truncated mask": (lambda f: cut_in_half(f / "masks" / "p1.png"), r"p1\.png is damaged"),
    "junk": (
        lambda f: (f / "images" / "p1.jpg").write_text("junk"),
        r"p1\.jpg cannot be read as an image",
    ),
    "JPEG mask": (
        lambda f: (
            (f / "masks" / "p1.png").rename(f / "masks" / "p1.jpg")
            and Image.new("L", (56, 48)).save(f / "masks" / "p1.jpg")
        ),
        r"p1\.jpg is a JPEG used as a mask.*PNG",
    ),
    "black and white with three names": (
        lambda f: paint(f, lambda mask: np.where(mask == 1, 255, 0)),
        "All labeled pixels are of the class 'ground'.*Check the values",
    ),
    "swapped or numbered": (
        lambda f: paint(f, lambda mask: np.arange(mask.size).reshape(mask.shape) % 200),
        "swapped, or of numbered objects",
    ),
    "one sample": (
        lambda f: [
            p.unlink() for d in ("images", "masks") for p in (f / d).iterdir() if p.stem != "p0"
        ],
        "At least two samples are needed",
    ),
}


@pytest.mark.parametrize("fault", BAD_INPUT)
def test_bad_input_is_named_before_training_and_nothing_is_written(folder, tfseg, fault):
    spoil, message = BAD_INPUT[fault]
    spoil(folder)
    code, printed = tfseg(*words(folder), *SMALL, "--out", folder / "run")
    assert code == 1
    assert re.search(message, printed), printed
    assert "Traceback" not in printed
    assert not (folder / "run").exists()


def test_words_that_are_off_end_with_2(folder, tfseg):
    for more, message in [
        (("--filters", "a,b"), "must be numbers"),
        (("--optimizer", "adamm"), "Invalid value for '--optimizer'"),
        (("--val-images", folder / "images"), "--val-images and --val-masks go together"),
        (("--epochs", "0"), "Invalid value for '--epochs'"),
        (("--learning-rate", "0"), "must be above 0"),
    ]:
        code, printed = tfseg(*words(folder), "--out", folder / "run", *more)
        assert code == 2, printed
        assert message in printed
    code, printed = tfseg("train", "--images", folder / "images", "--out", folder / "run")
    assert code == 2
    assert "--masks, --class-names" in printed
    assert not (folder / "run").exists()


def test_networks_are_listed(tfseg):
    code, printed = tfseg("train", "--networks")
    assert code == 0
    assert re.search(r"--model: .*unet, .* --encoder: .*efficientnet_lite0, ", printed)


def test_a_network_that_cannot_be_built_leaves_no_run(folder, tfseg):
    code, printed = tfseg(*words(folder), "--filters", "32", "--out", folder / "run")
    assert code == 1
    assert "must name at least two levels" in printed
    assert not (folder / "run").exists()


def test_a_folder_that_is_taken_is_refused_before_the_images_are_read(trained, tfseg):
    code, printed = tfseg(
        "train", "--images", "x", "--masks", "y", "--class-names", NAMES, "--out", trained / "run"
    )
    assert code == 1
    assert "already holds a run. Continue it with --resume" in printed
    code, printed = tfseg(
        "train", "--images", "x", "--masks", "y", "--class-names", NAMES, "--out", trained
    )
    assert code == 1
    assert "already exists and is not empty" in printed


def test_commands_without_a_run_say_so(tfseg, tmp_path):
    for command in (("predict", "x.png"), ("evaluate",), ("export",)):
        code, printed = tfseg(*command, "--run", tmp_path / "none")
        assert code == 1
        assert "holds no run. Start one with `tfseg train" in printed


def test_the_doctor_gives_a_clean_bill(tfseg, tmp_path):
    write_clean(tmp_path)
    code, printed = tfseg("doctor", tmp_path / "images", tmp_path / "masks", "--class-names", NAMES)
    assert code == 0, printed
    assert "Result: no problems found." in printed
    assert "class_weights=[" in printed
    code, printed = tfseg("doctor", tmp_path)  # finds both folders
    assert code == 0, printed


def test_the_doctor_warns_without_an_error(tfseg, tmp_path):
    write_clean(tmp_path)
    code, printed = tfseg(
        "doctor", tmp_path / "images", tmp_path / "masks", "--class-names", f"{NAMES},tree"
    )
    assert code == 0, printed
    assert "No image shows the class tree" in printed


def test_the_doctor_finds_a_planted_fault_and_writes_its_reports(tfseg, tmp_path):
    write_clean(tmp_path)
    write_clean(tmp_path / "val", 2, first=6)
    change_masks(tmp_path, lambda mask: np.where(mask == 2, 9, mask).astype(np.uint8), "p1.png")
    (tmp_path / "val" / "masks" / "p7.png").unlink()
    val = ("--val-images", tmp_path / "val" / "images", "--val-masks", tmp_path / "val" / "masks")
    out = ("--html", tmp_path / "report.html", "--json", tmp_path / "report.json")
    words = ("doctor", tmp_path / "images", tmp_path / "masks", "--class-names", NAMES)
    code, printed = tfseg(*words, *val, *out)
    assert code == 1
    assert "Result: 2 errors." in printed
    assert "If 9 means no label, pass `--ignore-value 9`" in printed
    report = json.loads((tmp_path / "report.json").read_text())
    assert [finding["kind"] for finding in report["findings"]] == ["no_mask", "unknown_labels"]
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert tfseg(*words, "--ignore-value", "9")[0] == 0
    code, printed = tfseg(*words, *val[:2])
    assert code == 2
    assert "--val-images and --val-masks go together" in printed


@pytest.mark.parametrize(
    "command", ["demo", "doctor", "train", "evaluate", "tune", "predict", "export"]
)
def test_help_has_an_example(tfseg, command):
    code, printed = tfseg(command, "--help")
    assert code == 0
    assert f"tfseg {command}" in printed.split("Example", 1)[1]


@pytest.mark.slow
def test_any_network_of_the_house(tfseg, trained, tmp_path):
    small = [word for word in SMALL if word not in ("--filters", "4,8")]
    out = tmp_path / "run"
    network = ("--model", "lraspp", "--encoder", "efficientnet_lite0", "--weights", "none")
    code, printed = tfseg(*words(trained), *small, *network, "--out", out)
    assert code == 0, printed
    assert Run(out).model().name == "lraspp"


def test_a_network_that_does_not_exist_is_said_before_the_images_are_read(tfseg, folder):
    Image.fromarray(np.full((48, 56), 77, np.uint8)).save(folder / "masks" / "p1.png")  # no class
    code, printed = tfseg(*words(folder), "--encoder", "resnet5", "--out", folder / "run")
    assert code == 1
    assert "resnet50" in printed
    assert "p1.png" not in printed
    assert not (folder / "run").exists()


@pytest.mark.slow
def test_a_file_of_weights_is_found_again_from_another_folder(
    tfseg, trained, tmp_path, monkeypatch
):
    efficientnet_lite("efficientnet_lite0").save_weights(tmp_path / "lite.weights.h5")
    monkeypatch.chdir(tmp_path)
    small = [word for word in SMALL if word not in ("--filters", "4,8")]
    network = ("--model", "lraspp", "--weights", "lite.weights.h5")
    code, printed = tfseg(*words(trained), *small, *network, "--out", "run")
    assert code == 0, printed
    assert Run("run").settings()["weights"] == str(tmp_path / "lite.weights.h5")


def test_camvid_and_isbi_train_without_code(tfseg, tmp_path, shared_data):
    def few(source, target, count):
        target.mkdir(parents=True)
        for path in sorted(source.iterdir())[:count]:
            shutil.copy(path, target)
        return target

    camvid, isbi = shared_data / "camvid", shared_data / "isbi2012_em"
    names = "sky,building,pole,road,pavement,tree,sign,fence,car,pedestrian,bicyclist"
    for name, images, masks, more in (
        (
            "camvid",
            camvid / "train",
            camvid / "trainannot",
            ("--class-names", names, "--ignore-value", "11"),
        ),
        (
            "isbi",
            isbi / "image",
            isbi / "label",
            ("--class-names", "membrane,cell", "--ignore-value", "255"),
        ),
    ):
        images, masks = (few(path, tmp_path / name / path.name, 4) for path in (images, masks))
        out = tmp_path / "runs" / name
        code, printed = tfseg(
            "train", "--images", images, "--masks", masks, *more, *SMALL, "--out", out
        )
        assert code == 0, printed
        report = json.loads((out / "evaluation.json").read_text())
        assert len(report["classes"]) == len(more[1].split(","))
