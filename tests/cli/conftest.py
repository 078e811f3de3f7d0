"""The command as the tests of this folder run it, and two runs that they share."""

import hashlib
import re
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from conftest import draw_sample, untraced
from tfseg import cli, viz

NAMES = "ground,disc,band"
SMALL = ("--model", "tiny_unet", "--size", "16", "--batch-size", "2", "--epochs", "2")


def fill(folder, count=6):
    """Write images of 32 x 32 pixels (JPEG) and masks (PNG)."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for index in range(count):
        image, mask = draw_sample(index, 32, 32)
        Image.fromarray(image).save(folder / "images" / f"p{index}.jpg", quality=95)
        Image.fromarray(mask).save(folder / "masks" / f"p{index}.png")


def repaint(folder, change):
    """Replace every mask of a folder by `change(mask)`."""
    for path in (folder / "masks").iterdir():
        mask = change(np.asarray(Image.open(path)))
        Image.fromarray(mask.astype(np.uint8)).save(path)


def train_words(folder, names=NAMES):
    """Return the words of `tfseg train` for the images of a folder."""
    data = ("--images", folder / "images", "--masks", folder / "masks")
    return ("train", *data, "--class-names", names)


def run_command(words):
    """Run the command; return its exit code."""
    argv, sys.argv = sys.argv, ["tfseg", *map(str, words)]
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    finally:
        sys.argv = argv
    return 0


LOADED = {}


@pytest.fixture(autouse=True)
def _models_are_loaded_once(monkeypatch):
    """Load equal files once: the runs of most tests are copies of one run."""
    load = keras.saving.load_model

    def load_once(file):
        content = hashlib.sha256(Path(file).read_bytes()).hexdigest()
        if content not in LOADED:
            LOADED[content] = load(file)
        return LOADED[content]

    monkeypatch.setattr(keras.saving, "load_model", load_once)


@pytest.fixture(autouse=True)
def _figures_are_small(monkeypatch):
    """Draw coarse figures, faster. Those of the shared runs and of `tests/inference` are whole."""
    save = viz.save_figure

    def save_small(figure, file, dpi=None):
        figure.set_layout_engine("none")
        save(figure, file, dpi=20)

    monkeypatch.setattr(viz, "save_figure", save_small)


@pytest.fixture
def tfseg(monkeypatch, capsys):
    """Return a function that runs the command and returns (exit code, everything it printed)."""

    def run(*words):
        code = run_command(words)
        printed = capsys.readouterr()
        text = re.sub(r"\x1b\[[0-9;]*m", "", printed.out + printed.err)
        return code, re.sub(r"\s+", " ", text)

    monkeypatch.setenv("COLUMNS", "200")
    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Return a folder with images, masks and a finished run; do not change it."""
    folder = tmp_path_factory.mktemp("trained")
    fill(folder)
    with untraced():
        assert run_command((*train_words(folder), *SMALL, "--out", folder / "run")) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """Return a copy of that run."""
    from tfseg.training import Run

    return Run(shutil.copytree(trained / "run", tmp_path / "run"))


@pytest.fixture(scope="session")
def gray_trained(tmp_path_factory):
    """Return a folder with a run of gray images and black and white masks.

    The validation folders have color images.
    """
    folder = tmp_path_factory.mktemp("gray")
    fill(folder)
    fill(folder / "val", 2)
    for part in (folder, folder / "val"):
        repaint(part, lambda mask: np.where(mask == 1, 255, 0))
    for image in (folder / "images").iterdir():
        Image.open(image).convert("L").save(image)
    val = ("--val-images", folder / "val/images", "--val-masks", folder / "val/masks")
    words = (*train_words(folder, "ground,disc"), *val, *SMALL, "--optimizer", "sgd")
    with untraced():
        assert run_command((*words, "--normalize-each", "--out", folder / "run")) == 0
    return folder
