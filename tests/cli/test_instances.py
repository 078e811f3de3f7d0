"""`tfseg` on numbered masks: train, evaluate and predict instances without boxes."""

import csv
import json
import shutil

import numpy as np
import pytest
from instance_runs import let_find_objects, write_numbered, write_panoptic
from object_scenes import NAMES, draw_scene
from PIL import Image

from tfseg.cli.tune import instance_outcome
from tfseg.data import Coco, InstanceMasks
from tfseg.inference import InstanceTuning, object_table, predict_instances
from tfseg.metrics import average_precision
from tfseg.models import with_object_thresholds
from tfseg.training import Run, open_readers
from tfseg.viz import draw_panoptic

RESULTS = ("instances.png", "overlay.png", "outlines.geojson")
TABLES = {"counts.csv", "objects.csv", "detections.json"}


@pytest.fixture(scope="session")
def finder(star_run, tmp_path_factory):
    """Return a folder with a copy of the run whose model finds objects; do not change it."""
    folder = tmp_path_factory.mktemp("finder")
    run = Run(shutil.copytree(star_run / "run", folder / "run"))
    model = run.model()
    let_find_objects(model, draw_scene(3)["image"])
    model.save(run.best)
    return folder


def rows(file):
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def test_predict_writes_label_maps_tables_and_outlines(finder, star_run, tfseg, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    shutil.copytree(star_run / "images", photos)
    (photos / "s1.png").write_text("junk")
    words = ("predict", photos, "--run", finder / "run", "--out", out)
    code, printed = tfseg(*words)
    assert code == 1
    assert "1 of 5 images failed; the results of the others are complete" in printed
    names = {f"s{index}_{name}" for index in (0, 2, 3, 4) for name in RESULTS}
    assert {path.name for path in out.iterdir()} == names | TABLES

    image = draw_scene(3)["image"]
    found = predict_instances(Run(finder / "run").model(), image)
    stored = Image.open(out / "s3_instances.png")
    instances = np.asarray(stored)
    assert (stored.mode, instances.dtype) == ("I;16", np.uint16)
    assert (instances == found["instances"]).all()
    count = len(found["scores"])
    assert count > 1
    counts = {row["image"]: int(row["objects"]) for row in rows(out / "counts.csv")}
    assert counts[str(photos / "s3.png")] == count
    assert len(counts) == 4
    table = [row for row in rows(out / "objects.csv") if row["image"] == str(photos / "s3.png")]
    expected = object_table(image, instances)
    for name in ("number", "area", "centroid_x", "x_max", "eccentricity", "mean_intensity"):
        assert [float(row[name]) for row in table] == pytest.approx(expected[name], abs=1e-4)
    assert [float(row["score"]) for row in table] == pytest.approx(found["scores"], abs=1e-5)
    assert {row["class"] for row in table} == {"object"}
    features = json.loads((out / "s3_outlines.geojson").read_text())["features"]
    assert len(features) == count
    reader = Coco(photos, out / "detections.json")
    assert len(reader) == 4
    assert len(reader[2]["classes"]) == counts[str(photos / "s3.png")]

    done = (out / "s0_instances.png").stat().st_mtime_ns
    Image.fromarray(draw_scene(1)["image"]).save(photos / "s1.png")
    (out / "s2_overlay.png").unlink()
    code, printed = tfseg(*words, "--skip-existing")
    assert code == 0, printed
    assert "Skipping 3 images with results." in printed
    assert "objects in 2 images ->" in printed
    assert (out / "s0_instances.png").stat().st_mtime_ns == done
    assert len(rows(out / "counts.csv")) == 5
    (out / "counts.csv").write_text("mine")
    code, printed = tfseg(*words)
    assert code == 1
    assert "counts.csv: it is not a table of tfseg for these classes" in printed


def test_a_higher_threshold_finds_fewer_objects(finder, star_run, tfseg, tmp_path):
    words = ("predict", star_run / "images" / "s3.png", "--run", finder / "run")
    code, printed = tfseg(*words, "--out", tmp_path, "--score-threshold", 0.999999)
    assert code == 0, printed
    assert "0 objects in 1 image ->" in printed
    assert not np.asarray(Image.open(tmp_path / "s3_instances.png")).any()


def test_evaluate_prints_ap_pq_and_the_counting_error(finder, star_run, tfseg, tmp_path):
    run = Run(shutil.copytree(finder / "run", tmp_path / "run"))
    code, printed = tfseg("evaluate", "--run", run.folder)
    assert code == 0, printed
    _, val = open_readers(run.config, run.data)
    model = run.model()
    samples = [val[index] for index in range(len(val))]
    found = [predict_instances(model, sample["image"])["instances"] for sample in samples]
    targets = [sample["instances"] for sample in samples]
    report = json.loads((run.folder / "evaluation.json").read_text())
    expected = average_precision(targets, found)
    assert report["ap"] == pytest.approx(expected["mean_ap"])
    true, predicted = (np.array([labels.max() for labels in maps]) for maps in (targets, found))
    assert report["count_error"] == pytest.approx(np.abs(predicted - true).mean())
    assert f"Counts: {predicted.sum()} predicted, {true.sum()} true; per image off by" in printed
    assert "PQ" in printed
    assert "Aggregated Jaccard index" in printed
    names = {path.name for path in run.folder.iterdir()}
    assert names >= {"evaluation.csv", "image_scores.csv", "worst.png", "curves.png"}
    (row,) = rows(run.folder / "image_scores.csv")
    assert (int(row["objects"]), int(row["predicted"])) == (true[0], predicted[0])
    others = ("--images", star_run / "images", "--labels", star_run / "labels")
    code, printed = tfseg("evaluate", "--run", run.folder, *others, "--window", 48)
    assert code == 0, printed
    assert "4 of these 5 images were used for training" in printed
    assert (run.folder / "evaluation" / "image_scores.csv").is_file()


def test_foreign_options_and_commands_are_refused(star_run, tfseg):
    run = ("--run", star_run / "run")
    for words in (("--nms-iou", 0.5), ("--probabilities", "npy")):
        code, printed = tfseg("predict", star_run / "images", *run, *words)
        assert code == 2
        assert f"{words[0]}: no meaning for" in printed
        assert "a run of --task instances --head star" in printed
    code, printed = tfseg("evaluate", *run, "--masks", "m")
    assert code == 2
    assert "--masks: no meaning for" in printed
    for words, message in (
        (("--score", "mean_iou"), "--score mean_iou: no meaning for"),
        (("--masks", "m"), "--masks: no meaning for"),
    ):
        code, printed = tfseg("tune", *run, *words)
        assert code == 2
        assert message in printed
    code, printed = tfseg("tune", *run)
    assert code == 1  # two folds of one validation image
    assert "expected at least two of each" in printed
    code, printed = tfseg("export", *run, "--format", "onnx")
    assert code == 1
    assert "SavedModel is the only format" in printed


@pytest.mark.slow
def test_tuned_thresholds_reach_predictions_evaluations_and_exports(
    finder, star_run, tfseg, tmp_path, monkeypatch
):
    run = Run(shutil.copytree(finder / "run", tmp_path / "run"))
    others = ("--images", star_run / "images", "--labels", star_run / "labels")
    code, printed = tfseg("tune", "--run", run.folder, *others, "--score", "ap50")
    assert code == 0, printed
    assert "ap50: " in printed
    if run.tuning() is None:
        assert "the run keeps the default thresholds" in printed
    # whatever these random weights are good for, the thresholds of the run count
    model = with_object_thresholds(run.model(tuned=False), 0.999999)
    run.keep_tuned(model, {"score": "ap50", "object_threshold": 0.999999})
    image = star_run / "images" / "s3.png"
    code, printed = tfseg("predict", image, "--run", run.folder, "--out", tmp_path / "out")
    assert "0 objects in 1 image ->" in printed
    code, printed = tfseg("evaluate", "--run", run.folder, *others)
    assert "Counts: 0 predicted" in printed
    monkeypatch.chdir(tmp_path)
    export = ("export", "--run", run.folder, "--images", star_run / "images", "--nms-overlap", 0.3)
    code, printed = tfseg(*export)
    assert code == 0, printed
    metadata = json.loads((tmp_path / "saved_models/run/1/assets.extra/tfseg.json").read_text())
    assert metadata["thresholds"] == {"object_threshold": 0.999999, "nms_overlap": 0.3}
    assert metadata["tuning"]["score"] == "ap50"
    assert metadata["object_names"] == ["object"]
    code, printed = tfseg("export", "--inspect", "saved_models/run/1")
    assert code == 0, printed
    assert "0 object" in printed


def test_outcomes_are_worded():
    found = InstanceTuning("ap", 0.5, 0.52, 0.6, 0.3)
    assert "0.5000 before tuning, 0.5200 after" in instance_outcome(found)
    assert "object threshold 0.6, NMS overlap 0.3." in instance_outcome(found)
    assert "NMS" not in instance_outcome(InstanceTuning("ap", 0.5, 0.52, 0.15, None))
    kept = instance_outcome(InstanceTuning("ap", 0.5, 0.5, 0.6, 0.3))
    assert "No improvement on held-out images; the run keeps the default thresholds." in kept


@pytest.mark.slow
@pytest.mark.parametrize("head", ["star", "center"])
def test_training_without_code(head, tfseg, tmp_path):
    write_numbered(tmp_path, range(5))
    folders = ("--images", tmp_path / "images", "--labels", tmp_path / "labels")
    words = ("--model", "tiny_unet", "--size", 32, "--batch-size", 2)
    command = ("train", "--task", "instances", "--head", head, *folders, *words)
    code, printed = tfseg(*command, "--epochs", 2, "--out", tmp_path / "run")
    assert code == 0, printed
    reader = InstanceMasks(tmp_path / "images", tmp_path / "labels")
    total = sum(len(reader[index]["classes"]) for index in range(5))
    run = Run(tmp_path / "run")
    assert run.data.object_counts[0] + run.data.val_object_counts[0] == total
    assert f"Objects: object {run.data.object_counts[0]}." in printed
    score = {"star": "AP", "center": "PQ"}[head]
    assert f"Best of 2 epochs by validation {score}: " in printed
    assert "Counts: " in printed
    assert "tfseg predict IMAGES --run" in printed
    assert "tfseg export --run" in printed
    code, printed = tfseg("train", "--resume", "--out", tmp_path / "run", "--head", "mask_rcnn")
    assert code == 1
    assert f"was started with --head {head}" in printed


@pytest.mark.slow
def test_things_and_stuff_without_code(tfseg, tmp_path):
    write_panoptic(tmp_path, range(5))
    images, labels = ("--images", tmp_path / "images"), ("--labels", tmp_path / "panoptic.json")
    words = ("--model", "tiny_unet", "--size", 32, "--batch-size", 2)
    command = ("train", "--task", "instances", "--head", "center", *images, *labels, *words)
    code, printed = tfseg(*command, "--epochs", 2, "--out", tmp_path / "run")
    assert code == 0, printed
    assert "Best of 2 epochs by validation PQ: " in printed
    run, out = Run(tmp_path / "run"), tmp_path / "out"
    names = [*NAMES, "sky", "soil"]
    assert (run.data.label_names, run.data.thing_ids) == (names, [0, 1])
    code, printed = tfseg("evaluate", "--run", run.folder, *images, *labels)
    assert code == 0, printed
    report = rows(run.folder / "evaluation" / "evaluation.csv")
    assert [row["class"] for row in report] == names
    code, printed = tfseg("predict", tmp_path / "images", "--run", run.folder, "--out", out)
    assert code == 0, printed
    image = draw_scene(3)["image"]
    found = predict_instances(run.model(), image)
    assert (np.asarray(Image.open(out / "s3_labels.png")) == found["mask"]).all()
    overlay = draw_panoptic(image, found["instances"], found["mask"], names)
    assert (np.asarray(Image.open(out / "s3_overlay.png")) == overlay).all()
    (out / "s3_labels.png").unlink()
    again = ("predict", tmp_path / "images", "--run", run.folder, "--out", out)
    code, printed = tfseg(*again, "--skip-existing")
    assert "Skipping 4 images with results." in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--anchor-sizes", "8,16,32,64,128"), "has no meaning for head='star'. Remove it"),
        (("--masks", "m"), "has no meaning for head='star'. Remove it"),
        (("--grid", 3), "grid=3 is unknown. Choose from 1, 2, 4."),
    ],
)
def test_contradictions_end_with_2(words, message, tfseg, tmp_path):
    folders = ("--task", "instances", "--head", "star", "--images", "a", "--labels", "b")
    code, printed = tfseg("train", *folders, *words, "--out", tmp_path / "run")
    assert code == 2, printed
    assert message in " ".join(printed.replace("│", " ").split())
