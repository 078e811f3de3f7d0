"""The README's notebook cell does what it says, on a folder of images."""

import re
from pathlib import Path

import matplotlib.figure
import numpy as np

import tfseg

README = Path(__file__).parents[1] / "README.md"


def test_the_notebook_cell_runs(folder, monkeypatch):
    cell = re.search(r"## In a notebook\n\n```python\n(.*?)```", README.read_text(), re.DOTALL)[1]
    assert len([line for line in cell.splitlines() if line]) <= 15
    cell = cell.replace("epochs=20", "epochs=1").replace("size=256", "size=32")
    cell = cell.replace('["background", "leaf"]', '["ground", "disc", "band"]').replace(
        "(2)", "(3)"
    )
    cell = cell.replace("num_classes=2", "num_classes=3")
    monkeypatch.chdir(folder)
    (folder / "images").rename("photos")
    (folder / "masks").rename("labels")
    *lines, last = cell.strip().splitlines()
    names = {}
    exec("\n".join(lines), names)
    assert isinstance(eval(last, names), matplotlib.figure.Figure)  # what Jupyter shows
    assert (folder / "saved_models" / "leaves" / "1" / "saved_model.pb").is_file()
    tuning = {**names, "val": names["reader"]}  # one image is too few
    exec(
        re.search(r"### The decision, .*?```python\n(.*?)```", README.read_text(), re.DOTALL)[1],
        tuning,
    )
    assert tuning["tuning"].score == "mean_dice"
    cell = re.search(r"### Curves, .*?```python\n(.*?)```", README.read_text(), re.DOTALL)[1]
    cell = cell.replace("epochs=200", "epochs=2").replace("range(3)", "range(1)")
    for _ in range(2):  # the second time as after a kill
        exec(cell, names)
        assert tfseg.training.Run("runs/notebook").history()["epoch"] == [1, 2]


def test_classes_of_whole_images():
    cell = re.search(
        r"### Classes of whole images\n.*?```python\n(.*?)```", README.read_text(), re.DOTALL
    )[1]
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (20, 32, 32, 3), np.uint8), np.arange(20) % 10
    names = {
        "tfseg": tfseg,
        "images": images,
        "labels": labels,
        "class_names": [f"c{i}" for i in range(10)],
    }
    exec(cell.replace('weights="imagenet"', "weights=None").replace("epochs=5", "epochs=1"), names)
    assert int(np.sum(names["confusion"].matrix)) == 20


def test_what_needs_no_training_runs(folder, monkeypatch):
    cell = re.search(r"## Without training\n.*?```python\n(.*?)```", README.read_text(), re.DOTALL)[
        1
    ]
    reader = tfseg.data.Folder(folder / "images", folder / "masks", ["ground", "disc", "band"])
    train, val = reader.split(0.5)
    model = tfseg.models.unet(3, filters=(4, 8))
    names = {"tfseg": tfseg, "train": train, "val": val, "model": model, "image": val[0]["image"]}
    exec(cell.replace("count=400", "count=20"), names)
    assert 1 < names["labels"].max() < 40
    assert names["mask"].shape == val[0]["mask"].shape
    assert {row["method"] for row in names["rows"]} == {
        "network",
        "pixel classifier",
        "most frequent class",
    }
