import json
import os
import re
import shlex
import subprocess
import sys

import pytest
from rich.console import Console

from tfseg import cli
from tfseg.recipes import brain_tissue
from tfseg.training import Run


def run(tmp_path):
    console = Console(record=True, width=200, file=open(os.devnull, "w"))
    scores = brain_tissue.run(console, tmp_path / "run", tmp_path / "served")
    return scores, console.export_text()


def test_the_way_from_data_to_a_served_model(tmp_path, monkeypatch):
    monkeypatch.setattr(brain_tissue, "EPOCHS", 1)
    Run(tmp_path / "run").create({"recipe": "brain_tissue"})  # an older demo is replaced
    _, printed = run(tmp_path)
    assert (tmp_path / "served" / "1" / "saved_model.pb").is_file()
    agreement = float(re.search(r"([\d.]+)% of its pixels", printed)[1])
    assert agreement >= 99.9
    assert "one averaged brain" in printed
    commands = [shlex.split(line) for line in printed.split("Then try:")[1].strip().splitlines()]
    assert [words[1] for words in commands] == ["predict", "train", "run"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", commands[0])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    assert (tmp_path / "predictions" / "slice_labels.png").is_file()
    assert {"samples.png", "curves.png", "best.keras"} <= {
        p.name for p in (tmp_path / "run").iterdir()
    }


@pytest.mark.slow
def test_the_demo_reaches_its_scores(tmp_path):
    command = [sys.executable, "-m", "tfseg", "demo", "--out", "run", "--export-to", "served"]
    subprocess.run(command, cwd=tmp_path, check=True)
    report = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    dice = {row["class"]: row["dice"] for row in report["classes"]}
    assert min(dice["gray matter"], dice["white matter"]) >= 0.90
