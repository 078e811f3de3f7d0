"""README.md is short, its links exist, its cell runs and its names have examples."""

import re
from pathlib import Path

import matplotlib.figure
import pytest

import tfseg

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
CELL = re.search(r"## Quick start in Python\n\n```python\n(.*?)```", README, re.DOTALL)[1]
TABLE = re.search(r"## What is included\n\n(.*?)\n\n", README, re.DOTALL)[1]
NAMES = [
    f"{package}.{name}"
    for package, names in re.findall(r"\| `(tfseg\.\w+)` \| (.*) \|", TABLE)
    for name in re.findall(r"`(\w+)`", names)
]


def look_up(dotted):
    """Return the object of a dotted name such as tfseg.data.Folder."""
    value = tfseg
    for name in dotted.split(".")[1:]:
        value = getattr(value, name)
    return value


def test_it_has_at_most_1000_words():
    assert len(README.split()) <= 1000


def test_its_links_exist():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert len(links) >= 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_it_lists_every_notebook():
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"notebooks/{notebook.name}" in README


def test_the_quick_start_runs(folder, monkeypatch, without_xla):
    assert len([line for line in CELL.splitlines() if line]) <= 12
    cell = CELL.replace("epochs=20", "epochs=1").replace("size=256", "size=32")
    cell = cell.replace('["background", "leaf"]', '["ground", "disc", "band"]')
    cell = cell.replace("num_classes=2", "num_classes=3, filters=(4, 8)").replace("0.2", "0.4")
    monkeypatch.chdir(folder)
    (folder / "images").rename("photos")
    (folder / "masks").rename("labels")
    *lines, last = cell.strip().splitlines()
    names = {}
    exec("\n".join(lines), names)
    assert isinstance(eval(last, names), matplotlib.figure.Figure)  # Jupyter shows it
    assert (folder / "saved_models" / "leaves" / "1" / "saved_model.pb").is_file()


def test_the_table_names_at_least_sixty_objects():
    assert len(NAMES) >= 60


@pytest.mark.parametrize("dotted", NAMES)
def test_every_listed_name_has_an_example(dotted):
    document = look_up(dotted).__doc__ or ""
    if dotted == "tfseg.inference.refine":  # a module of functions
        document = look_up(f"{dotted}.crf").__doc__
    assert ">>> " in document, f"{dotted} has no doctested Example"
