"""`tfseg train`, `evaluate`, `predict` and `tune` for detectors."""

import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from object_scenes import NAMES, SIDE, draw_scene, write_coco
from PIL import Image

from tfseg import training
from tfseg.cli.training_summary import _describe_objects
from tfseg.data import Coco
from tfseg.inference import predict_instances
from tfseg.training import Run

pytestmark = pytest.mark.usefixtures("eager")

SMALL = (
    *("--encoder", "mobilenet_v3_small", "--weights", "none", "--anchor-sizes", "8,12,16,24,32"),
    *("--size", SIDE, "--batch-size", 2, "--epochs", 2),
)
FIGURES = {"confusion.png", "curves.png", "precision_recall.png", "worst.png"}


def train_words(folder, task="instances"):
    labels = ("--images", folder / "images", "--labels", folder / "instances.json")
    return ("train", "--task", task, *labels)


def copied(detector, tmp_path):
    return Run(shutil.copytree(detector / "run", tmp_path / "run"))


def test_training_describes_the_objects_and_reports(detector, tfseg, tmp_path, monkeypatch):
    found = []

    def copy(config, callbacks, track, frame, checked):
        found.append(config)
        run = copied(detector, tmp_path)
        callbacks[0].on_train_begin({})
        return run

    monkeypatch.setattr(training, "train", copy)
    options = ("--layout", "v1", "--input-size", "64,96", "--anchor-ratios", "0.5,2")
    options += ("--max-objects", 7, "--val-fraction", 0.25)
    words = (*train_words(detector), *SMALL, *options, "--out", tmp_path / "run")
    code, printed = tfseg(*words)
    assert code == 0, printed
    config = found.pop()
    assert config == replace(
        config,  # what is left to plan
        images=str(detector / "images"),
        labels=str(detector / "instances.json"),
        val_fraction=0.25,
        head="mask_rcnn",
        layout="v1",
        size=(64, 96),
        anchor_sizes=(8, 12, 16, 24, 32),
        anchor_ratios=(0.5, 2),
        max_objects=7,
        encoder="mobilenet_v3_small",
        weights=None,
        augment={**config.augment, "size": SIDE},
        epochs=2,
        batch_size=2,
    )
    assert config.clip_norm == 10
    counts = Run(tmp_path / "run").data.object_counts
    assert f"Training on 4 images, validating on 1. Objects: red {counts[0]}, green" in printed
    assert "Best of 2 epochs by validation mask AP: " in printed
    assert "tfseg predict IMAGES --run" in printed
    assert "tfseg tune" not in printed
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names >= FIGURES | {"evaluation.json", "evaluation.csv"}


def test_of_many_classes_few_are_named(capsys):
    names = [f"class{number}" for number in range(20)]
    counts = [0] * 18 + [5, 6]
    data = SimpleNamespace(
        object_names=names,
        object_counts=counts,
        val_object_counts=[1] * 19 + [0],
        train_names=["a"],
        val_names=["b"],
        window=None,
    )
    _describe_objects(data)
    printed = " ".join(capsys.readouterr().out.split())
    assert "validating on 1. Objects: class18 5, class19 6. " in printed
    assert "the training images have no object of 18 classes: class0, class1, " in printed
    assert (
        "class7 ... Warning: the validation images have no object of the class class19." in printed
    )


def test_a_fraction_beside_images_to_validate_on_is_refused(tfseg, tmp_path):
    lists = tmp_path / "voc" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (tmp_path / "voc" / "Annotations").mkdir()
    (lists / "val.txt").write_text("a\n")
    words = ("train", "--task", "detect", "--val-fraction", 0.3, "--out", tmp_path / "run")
    words += ("--images", tmp_path, "--labels", tmp_path / "voc")
    code, printed = tfseg(*words)
    assert code == 2
    assert "--val-fraction contradicts" in printed
    assert "which lists the images to validate on" in re.sub(r"[\s│]+", " ", printed)
    (lists / "val.txt").unlink()
    code, printed = tfseg(*words)
    assert (code, "contradicts" in printed) == (1, False)
    code, printed = tfseg(*words, "--val-images", tmp_path, "--val-labels", tmp_path)
    assert code == 2
    assert "--val-fraction contradicts --val-images" in re.sub(r"[\s│]+", " ", printed)


@pytest.mark.slow
def test_training_without_code(tfseg, tmp_path):
    write_coco(tmp_path, range(5))
    code, printed = tfseg(*train_words(tmp_path), *SMALL, "--out", tmp_path / "run")
    assert code == 0, printed
    run = Run(tmp_path / "run")
    assert (run.config.head, run.config.layout) == ("mask_rcnn", "light")
    assert run.model().anchor_sizes == (8, 12, 16, 24, 32)
    assert np.isfinite(run.history()["val_mask_ap"]).all()
    assert {path.name for path in run.folder.iterdir()} >= FIGURES


def test_evaluate_repeats_the_scores_of_the_training(detector, tfseg, tmp_path):
    run = copied(detector, tmp_path)
    code, printed = tfseg("evaluate", "--run", run.folder)
    assert code == 0, printed
    report = json.loads((run.folder / "evaluation.json").read_text())
    best = np.nanmax(run.history()["val_mask_ap"])
    assert report["mask_ap"] == pytest.approx(best, abs=1e-6)
    assert {path.name for path in run.folder.iterdir()} >= FIGURES
    others = ("--images", detector / "images", "--labels", detector / "instances.json")
    words = ("evaluate", "--run", run.folder, *others, "--max-detections", 11)
    code, printed = tfseg(*words)
    assert code == 0, printed
    assert "Warning: 4 of these 5 images were used for training" in printed
    assert "run on 5 images" in printed
    assert "worst.png" in printed
    assert json.loads((run.folder / "evaluation" / "evaluation.json").read_text())["classes"]
    for words, message in (
        (("--masks", "m"), "--masks: no meaning for"),
        (("--ignore-value", 9), "--ignore-value: no meaning for"),
        (("--batch-size", 2), "--batch-size: no meaning for"),
        (others[:2], "--images and --labels go together"),
    ):
        code, printed = tfseg("evaluate", "--run", run.folder, *words)
        assert code == 2
        assert message in printed


def test_predictions_are_label_maps_outlines_and_tables(detector, tfseg, tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "out"
    shutil.copytree(detector / "images", folder)
    (folder / "s1.png").write_text("junk")
    words = ("predict", folder, "--run", detector / "run", "--out", out, "--score-threshold", 0)
    code, printed = tfseg(*words)
    assert code == 1
    assert "1 of 5 images failed; the results of the others are complete" in printed
    results = ("instances.png", "overlay.png", "outlines.geojson")
    names = {f"s{index}_{name}" for index in (0, 2, 3, 4) for name in results}
    tables = {"detections.json", "counts.csv", "objects.csv"}
    assert {path.name for path in out.iterdir()} == names | tables
    reader = Coco(folder, out / "detections.json")
    assert reader.object_names == NAMES
    assert [reader.name(index) for index in range(len(reader))] == ["s0", "s2", "s3", "s4"]
    annotations = json.loads((out / "detections.json").read_text())["annotations"]
    assert all({"bbox", "score", "area", "segmentation"} <= set(entry) for entry in annotations)

    done = (out / "s0_overlay.png").stat().st_mtime_ns
    Image.fromarray(draw_scene(1)["image"]).save(folder / "s1.png")
    (out / "s2_overlay.png").unlink()
    code, printed = tfseg(*words, "--skip-existing")
    assert code == 0, printed
    assert "Skipping 3 images with results." in printed
    assert "in 2 images ->" in printed
    assert (out / "s0_overlay.png").stat().st_mtime_ns == done
    images = json.loads((out / "detections.json").read_text())["images"]
    assert sorted(image["file_name"] for image in images) == [f"s{i}.png" for i in range(5)]


def test_options_of_segmentation_networks_are_refused(detector, tfseg, tmp_path, trained):
    run = ("--run", detector / "run")
    code, printed = tfseg("predict", detector / "images", *run, "--probabilities", "npy")
    assert code == 2
    assert "--probabilities: no meaning for" in printed
    for words in (("--score", "mean_iou"), ("--window", 64), ("--masks", "m")):
        code, printed = tfseg("tune", *run, *words)
        assert code == 2
        assert words[0] in printed
        assert "no meaning for" in printed
    code, printed = tfseg("tune", *run)
    assert code == 1  # two folds of one validation image
    assert "expected at least two of each" in printed
    semantic = ("--run", trained / "run")
    code, printed = tfseg("predict", trained / "images", *semantic, "--score-threshold", 0.5)
    assert code == 2
    assert "--score-threshold: no meaning for" in printed


def test_detectors_of_boxes_have_nothing_to_tune(detector, tfseg, tmp_path):
    run = copied(detector, tmp_path)
    file = run.folder / "run.json"
    record = json.loads(file.read_text())
    record["config"] |= {"task": "detect", "head": "faster_rcnn"}
    file.write_text(json.dumps(record))
    code, printed = tfseg("tune", "--run", run.folder)
    assert code == 1
    assert "is a run of --task detect, which has nothing to tune" in printed


@pytest.fixture
def tuned(detector, tfseg, tmp_path):
    """Return a run with another object threshold than 0.5, chosen by `tfseg tune`.

    The network of two steps is not sure of anything: its scores are near 1/3. What it finds is
    made the ground truth, so it is right about all objects above that, and finds none at 0.5.
    """
    run, photos = copied(detector, tmp_path), tmp_path / "photos"
    photos.mkdir()
    for name in ("s2.png", "s3.png"):
        shutil.copy(detector / "images" / name, photos)
    words = ("predict", photos, "--run", run.folder, "--out", tmp_path / "found")
    code, printed = tfseg(*words, "--score-threshold", 0.3)
    assert code == 0, printed
    labels = ("--images", photos, "--labels", tmp_path / "found" / "detections.json")
    code, printed = tfseg("tune", "--run", run.folder, *labels, "--score", "ap50")
    assert code == 0, printed
    threshold = run.tuning()["object_threshold"]
    assert threshold < 0.5
    assert f"Saved to the run: object threshold {threshold:g}. Scores" in printed
    assert f"objects with a score above {threshold:g}, without overlap" in printed
    return run


def test_tuned_thresholds_reach_predictions_and_evaluations(tuned, detector, tfseg, tmp_path):
    image, out = detector / "images" / "s3.png", tmp_path / "out"
    code, printed = tfseg("predict", image, "--run", tuned.folder, "--out", out)
    assert code == 0, printed
    instances = np.asarray(Image.open(out / "s3_instances.png"))
    expected = predict_instances(
        tuned.model(tuned=False), draw_scene(3)["image"], None, tuned.tuning()["object_threshold"]
    )
    assert expected["instances"].any()
    assert (instances == expected["instances"]).all()
    code, printed = tfseg("evaluate", "--run", tuned.folder)
    assert code == 0, printed
    assert f"a score above {tuned.tuning()['object_threshold']:g}, without overlap" in printed
    code, printed = tfseg("evaluate", "--run", tuned.folder, "--score-threshold", 0.9)
    assert "a score above 0.9, without overlap" in printed
    assert "Counts: 0 predicted" in printed


@pytest.mark.slow
def test_tuned_thresholds_reach_exports(tuned, tfseg, tmp_path):
    code, printed = tfseg("export", "--run", tuned.folder, "--out", tmp_path / "served")
    assert code == 0, printed
    metadata = json.loads((tmp_path / "served/1/assets.extra/tfseg.json").read_text())
    assert metadata["thresholds"]["score_threshold"] == tuned.tuning()["object_threshold"]
    assert metadata["tuning"] == tuned.tuning()


def test_resume_refuses_another_task_and_other_anchors(detector, tfseg):
    resume = ("train", "--resume", "--out", detector / "run")
    for words, message in (
        (("--task", "detect"), "was started with --task instances"),
        (("--anchor-sizes", "8,16,32,64,128"), "was started with no --anchor-sizes"),
        (("--input-size", 64), "was started with no --input-size"),
    ):
        code, printed = tfseg(*resume, *words)
        assert code == 1
        assert message in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--head", "mask_rcnn"), "--head needs --task detect or --task instances, not semantic"),
        (("--labels", "a"), "--labels needs --task detect or --task instances, not semantic"),
        (("--task", "detect", "--images", "a"), "--labels required, except with --resume"),
        (
            ("--task", "detect", "--images", "a", "--labels", "b", "--masks", "m"),
            "has no meaning for task='detect'. Remove it.",
        ),
        (
            ("--task", "detect", "--images", "a", "--labels", "b", "--head", "mask_rcnn"),
            "contradicts task='detect'. Pass task='instances'",
        ),
        (
            ("--task", "detect", "--images", "a", "--labels", "b", "--model", "unet"),
            "--model contradicts --task detect. Pass --head.",
        ),
        (
            ("--task", "detect", "--images", "a", "--labels", "b", "--val-images", "c"),
            "Pass --val-images and --val-labels together.",
        ),
        (
            ("--task", "detect", "--images", "a", "--labels", "b", "--anchor-sizes", "a,b"),
            "'a,b' must be numbers separated by commas, one per level",
        ),
    ],
)
def test_contradictions_end_with_2(words, message, tfseg, tmp_path):
    code, printed = tfseg("train", *words, "--out", tmp_path / "run")
    assert code == 2, printed
    assert message in " ".join(printed.replace("│", " ").split())
    assert not (tmp_path / "run").exists()
