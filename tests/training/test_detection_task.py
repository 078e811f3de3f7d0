import os
import signal
import subprocess
import time
from dataclasses import replace
from unittest import mock

import keras
import numpy as np
import pytest
from detector_runs import detector_config, eager_detector, small_detector
from eager_command import eager_command
from numpy.testing import assert_allclose
from object_scenes import NAMES, SIDE, Scenes, write_coco
from plain_encoder import PLAIN

from tfseg.inference import evaluate_objects
from tfseg.models import faster_rcnn, normalization_of, tiny_unet
from tfseg.models.detection.anchors import anchors
from tfseg.models.detection.assemble import ANCHOR_RATIOS, STRIDES
from tfseg.models.encoders import ENCODERS
from tfseg.ops import box_iou
from tfseg.training import (
    NonFiniteLossError,
    Run,
    TrainConfig,
    build_model,
    open_readers,
    train,
    trainer,
)
from tfseg.training.detection_task import DetectionTask
from tfseg.training.non_finite import explain_object_batches, object_faults
from tfseg.training.open_data import check_readers

pytestmark = pytest.mark.usefixtures("eager")

TRAIN, VAL = range(4), range(4, 6)
SIZES = (8, 12, 16, 24, 32)


@pytest.fixture(autouse=True)
def _plain_encoder():
    with mock.patch.dict(ENCODERS, PLAIN):
        yield


def covered(reader, sizes):
    """Return the fraction of the objects that an anchor overlaps with an IoU of 0.5 or more."""
    boxes = np.concatenate([reader[i]["boxes"] for i in range(len(reader))])
    listed = np.concatenate(anchors(SIDE, SIDE, STRIDES, sizes, ANCHOR_RATIOS))
    return float((np.asarray(box_iou(boxes, listed)).max(axis=1) >= 0.5).mean())


def test_a_run_has_the_facts_scores_and_best_model_of_a_detector(detector):
    run = Run(detector / "run")
    facts, (train_reader, val) = run.data, open_readers(run.config, run.data)
    assert facts.object_names == NAMES
    classes = [train_reader[i]["classes"] for i in range(len(train_reader))]
    assert facts.object_counts == np.bincount(np.concatenate(classes), minlength=2).tolist()
    assert sum(facts.val_object_counts) == sum(len(val[i]["classes"]) for i in range(len(val)))
    assert facts.max_objects == max(map(len, classes))
    assert facts.anchor_coverage == pytest.approx(covered(train_reader, SIZES))
    assert (run.config.head, run.config.monitor) == (None, "val_mask_ap")
    history = run.history()
    assert history["epoch"] == [1, 2]
    losses = {f"loss_{name}" for name in ("objectness", "rpn_box", "class", "box", "mask")}
    scores = {"val_ap", "val_ap50", "val_mask_ap", "val_mask_ap50"}
    assert set(history) == {"epoch", "loss"} | losses | scores
    assert np.isfinite([history[name] for name in losses]).all()
    model = run.model()
    model.run_eagerly = True
    found = evaluate_objects(model, val).means()
    best = int(np.argmax(history["val_mask_ap"]))
    for name in ("ap", "ap50", "mask_ap", "mask_ap50"):
        assert found[name] == pytest.approx(history[f"val_{name}"][best], abs=1e-6)


class Kill(keras.callbacks.Callback):
    """Stops the training like Ctrl-C at the start of the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def assert_same_training(run, other):
    states = []
    for each in (run, other):
        with np.load(next((each.folder / "state").iterdir())) as state:
            states.append({name: state[name] for name in state.files})
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert_allclose(states[1][name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    for name, values in run.history().items():
        assert_allclose(other.history()[name], values, rtol=1e-3, atol=1e-4)


def test_an_interrupted_run_continues_with_the_same_samples(detector, tmp_path):
    config = detector_config(detector, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        train(config, model=eager_detector(), callbacks=[Kill()])
    assert Run(config.out).history()["epoch"] == [1]
    other = eager_detector()
    other.sampling_seed.state.assign([98, 99])  # of the process that resumes
    assert_same_training(Run(detector / "run"), train(config, model=other))


@pytest.mark.slow
def test_a_training_that_diverges_stops_and_says_so(detector, tmp_path):
    model = eager_detector()
    # so fast that the only step of the first epoch, whose loss is finite, spoils the weights
    model.compile(keras.optimizers.SGD(float("inf")), run_eagerly=True)
    message = "train: After epoch 1: .*diverged. Lower the .* sound: .*, objects of the classes 0"
    with pytest.raises(NonFiniteLossError, match=message):
        train(detector_config(detector, tmp_path / "run"), model=model)
    assert not Run(tmp_path / "run").best.exists()


@pytest.mark.slow
def test_a_training_of_the_shell_survives_kill_9(tmp_path):
    write_coco(tmp_path, range(5))
    labels = ("--images", tmp_path / "images", "--labels", tmp_path / "instances.json")
    words = ("--encoder", "mobilenet_v3_small", "--weights", "none", "--size", SIDE, *labels)
    words += ("--anchor-sizes", "8,12,16,24,32", "--batch-size", 2, "--epochs", 4)
    command = eager_command("train", "--task", "detect", *words, "--out", tmp_path / "killed")
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    history = tmp_path / "killed" / "history.csv"
    while not history.exists() or len(history.read_text().splitlines()) < 3:  # two epochs done
        assert killed.poll() is None, killed.stderr.read()
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    run = Run(tmp_path / "killed")
    assert len(run.history()["epoch"]) < 4
    resumed = train(run.config)
    assert_same_training(train(replace(run.config, out=str(tmp_path / "straight"))), resumed)


def no_track(samples, total):
    return samples


def facts_of(config, reader=None, model=None):
    reader = Scenes(TRAIN) if reader is None else reader
    data = check_readers(config.task, reader, Scenes(VAL), no_track)
    return DetectionTask(config, model).find_facts(data)


def detect_config(**changes):
    options = {"task": "detect", "head": "faster_rcnn", "encoder": "plain"}
    options |= {"weights": None, "anchor_sizes": SIZES, "out": "run"}
    return TrainConfig(**{**options, **changes})


def test_anchors_that_fit_few_objects_are_warned_of():
    # the smallest anchors are 64 pixels, the squares 12 to 19
    sizes = (64, 64, 128, 256, 512)
    message = r"overlap only 0% of the training objects .* Pass anchor_sizes=.*which cover \d+%"
    with pytest.warns(UserWarning, match=message):
        facts = facts_of(detect_config(anchor_sizes=sizes))
    assert facts.anchor_coverage == 0.0
    # resized to 256 pixels the squares have 48 to 76
    assert facts_of(detect_config(anchor_sizes=sizes, size=256)).anchor_coverage > 0.9
    expected = covered(Scenes(TRAIN), SIZES)
    facts = facts_of(detect_config(), model=small_detector(masks=False))
    assert 0.5 < facts.anchor_coverage < 1
    assert facts.anchor_coverage == pytest.approx(expected)


def test_objects_that_are_used():
    assert facts_of(detect_config(max_objects=2)).max_objects == 2
    mosaic = {"size": 64, "mosaic": 0.5}
    assert facts_of(detect_config(augment=mosaic)).max_objects == 12  # of four images
    crowded = Scenes(TRAIN)
    crowded._scenes[0]["crowd"][:] = True
    counts = [sum(facts_of(detect_config(), reader).object_counts) for reader in (None, crowded)]
    assert counts[0] - counts[1] == len(crowded[0]["classes"])


def test_images_without_any_object_are_refused():
    empty = Scenes(TRAIN)
    for scene in empty._scenes:
        for name in ("boxes", "classes", "crowd", "areas"):
            scene[name] = scene[name][:0]
        for name in ("mask", "instances"):
            scene[name] = np.zeros_like(scene[name])
    with pytest.raises(ValueError, match="none of the 4 training images has an object"):
        facts_of(detect_config(), empty)


def test_the_config_builds_the_detector():
    facts = facts_of(detect_config())
    pairs = ((8, 12), (12, 16), (16, 24), (24, 32), (32, 48))
    config = detect_config(size=(64, 96), anchor_sizes=pairs, layout="v1")
    model = build_model(config, facts)
    assert (model.name, model.num_classes, model.has_masks) == ("faster_rcnn", 2, False)
    assert model.size == (64, 96)
    assert model.anchor_sizes == pairs
    assert model.get_layer("box_head").get_layer("box_fc1").units == 1024  # of the layout v1
    deep = replace(facts, dtype="uint16", mean=[1.0, 2.0, 3.0], std=[2.0, 4.0, 5.0])
    assert_allclose(normalization_of(build_model(config, deep))[0], [1, 2, 3])


@pytest.mark.parametrize(
    ("changes", "reader", "model", "message"),
    [
        ({"head": None}, None, None, "config.head is None, so pass a detector as `model`"),
        ({}, None, "unet", "needs a detector, .* but the model 'tiny_unet' is a Functional"),
        ({}, None, "mask", "task='detect', but the detector 'mask_rcnn' predicts masks"),
        (
            {"task": "instances", "head": "mask_rcnn"},
            None,
            "box",
            "'faster_rcnn' predicts no masks",
        ),
        ({"task": "instances", "head": "mask_rcnn"}, "boxes", None, "needs instances, but the rea"),
        ({"class_names": ["a", "b"]}, None, None, r"\('a', 'b'\), but the reader has \('red', 'gr"),
        ({}, None, "three", "has 3 classes, but the reader has 2: red, green. Build it with"),
    ],
)
def test_what_does_not_fit_is_refused_before_images_are_read(
    changes, reader, model, message, monkeypatch, tmp_path
):
    def read(*_, **__):
        pytest.fail("images were read")

    monkeypatch.setattr(trainer, "check_readers", read)
    models = {
        None: lambda: None,
        "unet": lambda: tiny_unet(2, filters=4),
        "mask": small_detector,
        "box": lambda: small_detector(masks=False),
        "three": lambda: faster_rcnn(3, "plain"),
    }
    readers = [Scenes(part, masks=reader is None) for part in (TRAIN, VAL)]
    config = detect_config(**{**changes, "out": str(tmp_path / "run")})
    with pytest.raises(ValueError, match=message):
        train(config, *readers, models[model]())


def test_a_detector_is_refused_for_masks_of_classes(tmp_path):
    config = TrainConfig(out=str(tmp_path / "run"))
    with pytest.raises(ValueError, match="'faster_rcnn' is a detector. Pass a config with task="):
        train(config, Scenes(TRAIN), Scenes(VAL), small_detector(masks=False))


def test_what_is_wrong_with_a_batch_of_objects_is_named():
    reader = Scenes(range(2))
    images = np.stack([reader[i]["image"] for i in range(2)]).astype(np.float32)
    boxes, classes = np.zeros((2, 1, 4)), np.array([[0], [-1]])
    text = explain_object_batches([(images, {"boxes": boxes, "classes": classes})], reader, 2)
    assert text.endswith(f"to {images.max():g}, objects of the classes 0.")
    reader._scenes[1]["classes"][0] = 7
    text = explain_object_batches(
        [(images, {"boxes": boxes, "classes": np.array([[0], [7]])})], reader, 2
    )
    assert text.startswith("The objects have the classes 7; expected 0 to 1. Correct the labels")
    assert text.endswith("The first such samples: 1.")
    (fault,) = object_faults(np.array([[0, 0, np.nan, 1]]), np.array([0]), 2)
    assert fault == "Boxes that are NaN or infinite: 1. Correct them."
    assert object_faults(np.array([[0, 0, np.nan, 1]]), np.array([-1]), 2) == []  # padding
