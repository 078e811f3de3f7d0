"""Parts of `tfseg export`; `test_predict` exports runs and compares with `tfseg predict`."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from export.detector_models import small_detector
from object_scenes import NAMES
from PIL import Image

from tfseg.cli.export import _images_to_compare, _names, _value_range
from tfseg.files import write_png
from tfseg.models import tiny_unet


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--size", "16"), "--size: '16' must be height and width"),
        (("--size", "16,a"), "'16,a' must be numbers"),
        (("--size", "0,16", "--format", "litert"), "--size: '0,16' must be height and width"),
        (("--size", "16,16"), "without `formats`"),
        (("--max-pixels", "0"), "--max-pixels"),
    ],
)
def test_impossible_sizes_are_refused(options, message, trained, tfseg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, printed = tfseg("export", "--run", trained / "run", *options)
    assert code != 0
    assert message in printed
    assert not Path("saved_models").exists()


def test_images_to_compare_are_spread_over_all(run, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(7):
        Image.fromarray(np.full((5, 5, 3), index, np.uint8)).save(folder / f"{index}.png")
    for index in range(7):  # results of `predict --out photos`
        write_png(folder / f"{index}_labels.png", np.full((5, 5), 99, np.uint8))
    found = _images_to_compare(run, folder, 4, required=True)
    assert [int(image[0, 0, 0]) for image in found] == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("dtype", "measured", "expected"),
    [
        ("uint8", (3, 90), (0, 255)),
        ("uint16", (0, 4095), (0, 4095)),
        ("uint16", None, (0, 65535)),
        ("float32", (-1000.0, 3000.0), (-1000.0, 3000.0)),
        ("float32", None, None),
    ],
)
def test_the_range_of_a_run(dtype, measured, expected):
    assert _value_range(SimpleNamespace(dtype=dtype, value_range=measured)) == expected


def test_exports_of_detectors_name_object_categories():
    data = SimpleNamespace(class_names=["background", "cell"], object_names=["cell"])
    run = SimpleNamespace(data=data)
    detector = small_detector("faster_rcnn", 1)
    assert _names(run, detector) == {"object_names": ["cell"]}
    assert _names(run, tiny_unet(2)) == {"class_names": ["background", "cell"]}


@pytest.mark.slow
def test_a_run_of_a_detector_is_exported(detector, tfseg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ("--score-threshold", "0.01", "--nms-iou", "0.4", "--max-detections", "9")
    code, printed = tfseg("export", "--run", detector / "run", *options)
    assert code == 0, printed
    metadata = json.loads(Path("saved_models/run/1/assets.extra/tfseg.json").read_text("utf-8"))
    assert metadata["thresholds"] == {
        "score_threshold": 0.01,
        "nms_iou": 0.4,
        "max_detections": 9,
    }
    assert metadata["object_names"] == list(NAMES)
    assert "SavedModel" in printed
    code, printed = tfseg("export", "--inspect", "saved_models/run/1")
    assert code == 0, printed
    assert f"0 {NAMES[0]} " in printed
    assert f"network: {metadata['model']} images: " in printed
