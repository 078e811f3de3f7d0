import io
import subprocess
import sys
from importlib import import_module

import pytest
from rich.console import Console

from .conftest import SMALL, fill, train_words

console = import_module("tfseg.cli.console")  # `tfseg.cli` has another `console`


@pytest.fixture
def file(monkeypatch):
    """Return what the commands print to, as if it were a file of 80 columns."""
    file = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=file, width=80))
    return file


def test_long_lines_are_not_wrapped_in_a_file(file):
    console.say("word " * 40 + "[x]")
    assert file.getvalue() == "word " * 40 + "[x]\n"


def test_tables_are_wider_in_a_file_than_80_columns(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console.CommandConsole(file=io.StringIO()).width == 120
    monkeypatch.setenv("COLUMNS", "90")
    assert console.CommandConsole(file=io.StringIO()).width == 90


def test_a_long_iteration_has_lines_with_the_remaining_time_in_a_file(file, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    seen = []
    for item in console.track("checking images")(range(100), 100):
        seen.append(item)
        now[0] += 1.0
    assert seen == list(range(100))
    assert file.getvalue().splitlines() == [
        "checking images: 30 of 100, about 1 min 10 s left",
        "checking images: 60 of 100, about 40 s left",
        "checking images: 90 of 100, about 10 s left",
    ]


@pytest.mark.slow
def test_the_log_of_a_training_has_one_line_per_epoch(tmp_path):
    fill(tmp_path)
    log = tmp_path / "log"
    words = [*train_words(tmp_path), *SMALL, "--out", tmp_path / "run"]
    with log.open("w") as file:
        subprocess.run([sys.executable, "-m", "tfseg", *map(str, words)], stdout=file, check=True)
    lines = log.read_text("utf-8").splitlines()
    assert lines[0] == "Plan:"
    begin = next(line for line in lines if line.startswith("Training on"))
    assert begin.startswith("Training on 5 images, validating on 1. Pixels: ground ")
    first, second = (line for line in lines if line.startswith("epoch"))
    assert first.startswith("epoch   1/2  loss ")
    assert " s, about " in first
    assert first.endswith(" left")
    assert second.startswith("epoch   2/2  loss ")
    assert second.endswith(" s")
    assert "\x1b" not in log.read_text("utf-8")
