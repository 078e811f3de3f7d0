import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console

from tfseg import cli
from tfseg.recipes import brain_tissue
from tfseg.training import Run, TrainConfig


def recorded_console():
    return Console(record=True, width=200, file=open(os.devnull, "w"))


def small_slabs():
    """Return a part of every slab, cropped to 64 x 64 pixels: the demo's readers, but faster."""
    from tfseg.data import Arrays
    from tfseg.datasets import brain_tissue as load

    parts = []
    for reader, count in zip(load(), (16, 2, 2), strict=True):
        # around the middle of the slab, where every tissue is
        indices = range(len(reader) // 2 - count // 2, len(reader) // 2 - count // 2 + count)
        samples = [reader[index] for index in indices]
        images = np.stack([sample["image"][80:144, 60:124] for sample in samples])
        masks = np.stack([sample["mask"][80:144, 60:124] for sample in samples])
        parts.append(Arrays(images, masks, reader.class_names))
    return parts


@pytest.mark.slow
def test_from_data_to_a_served_model(tmp_path, monkeypatch):
    monkeypatch.setattr(brain_tissue, "EPOCHS", 1)
    monkeypatch.setattr(brain_tissue, "FILTERS", (4, 6))
    monkeypatch.setattr(brain_tissue, "AUGMENT", {"size": 32})
    monkeypatch.setattr(brain_tissue, "brain_tissue", small_slabs)
    console = recorded_console()
    scores = brain_tissue.run(console, tmp_path / "run", tmp_path / "served")
    printed = console.export_text()
    assert (tmp_path / "served" / "1" / "saved_model.pb").is_file()
    agreement = float(re.search(r"([\d.]+)% of its pixels", printed)[1])
    assert agreement >= 99.9
    assert "one averaged brain (MNI ICBM152): 16 for training, 2 for validation" in printed
    report = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert report["mean_dice"] == pytest.approx(scores.means()["mean_dice"])
    assert np.sum(report["confusion_matrix"]) == 2 * 64 * 64
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"samples.png", "curves.png", "best.keras", "run.json"} <= files
    assert not files & {"state", "served.npy"}
    run = Run(tmp_path / "run")
    assert (run.config.dataset, run.record.length.steps) == ("brain_tissue", 2)
    assert run.record.resolved["optimizer"]["config"]["learning_rate"]["config"] == {
        "initial_learning_rate": 3e-3,
        "decay_steps": 2,
        "alpha": 0.0,
        "warmup_target": None,
        "warmup_steps": 0,
    }

    commands = [shlex.split(line) for line in printed.split("Then try:")[1].strip().splitlines()]
    assert [words[1] for words in commands] == ["predict", "train", "run"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", commands[0])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    assert (tmp_path / "predictions" / "slice_labels.png").is_file()


class FakeRun:
    """A run of some dataset that exists."""

    def __init__(self, folder, dataset):
        self.folder, self.config = folder, TrainConfig(out=str(folder), dataset=dataset)

    def exists(self):
        return True


@pytest.mark.parametrize(("dataset", "removed"), [("brain_tissue", True), ("leaves", False)])
def test_only_an_older_demo_is_replaced(dataset, removed, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(brain_tissue, "Run", lambda folder: FakeRun(folder, dataset))
    brain_tissue._remove_old_demo(tmp_path / "run")
    assert (tmp_path / "run").exists() != removed


def fake_server(answer, code=0):
    """Return a `subprocess.run` that writes `answer`."""

    def run(command, **_):
        np.save(command[-1], answer)
        return subprocess.CompletedProcess(command, code, "", "the reason")

    return run


def test_an_export_that_answers_otherwise_is_an_error(tmp_path, monkeypatch):
    ids = np.zeros((4, 5), np.uint8)

    def verify():
        brain_tissue._verify(recorded_console(), "v/1", tmp_path / "s.png", ids)

    monkeypatch.setattr(subprocess, "run", fake_server(ids))
    verify()
    assert not (tmp_path / "served.npy").exists()
    monkeypatch.setattr(subprocess, "run", fake_server(ids + np.eye(4, 5, dtype=np.uint8)))
    with pytest.raises(RuntimeError, match="does not answer as the model does"):
        verify()
    monkeypatch.setattr(subprocess, "run", fake_server(ids, code=1))
    with pytest.raises(RuntimeError, match=r"(?s)cannot be served:.*the reason"):
        verify()


@pytest.mark.slow
def test_the_demo_reaches_its_scores(tmp_path):
    command = [sys.executable, "-m", "tfseg", "demo", "--out", "run", "--export-to", "served"]
    subprocess.run(command, cwd=tmp_path, check=True)
    report = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    dice = {row["class"]: row["dice"] for row in report["classes"]}
    assert min(dice["gray matter"], dice["white matter"]) >= 0.90
