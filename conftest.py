"""Doctests of `tfseg/` run in a temporary folder with a small dataset: photos/ and labels/."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")

import numpy as np
import pytest
from PIL import Image

# `--doctest-modules` imports every file: __main__ runs the command, benchmarks set the backend,
# and the scripts that write goldens need torch.
collect_ignore = [
    "tfseg/__main__.py",
    "tests/benchmarks",
    "tests/goldens",
    "notebooks/readme_strip.py",
]


# While tests are collected, the garbage collector walks a million objects again and again, none of
# which is garbage: half the time of the collection.
gc.disable()


def pytest_collection_finish():
    """Collect garbage again, but without the objects of the imported modules."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _doctest_folder(request):
    """Go to a folder with four RGB images (48 x 64 JPEG) and masks of the ids 0 and 1 (PNG)."""
    if not isinstance(request.node, pytest.DoctestItem):
        return
    # not as arguments: every test would make a folder
    tmp_path = request.getfixturevalue("tmp_path")
    monkeypatch = request.getfixturevalue("monkeypatch")
    for name in ("photos", "labels"):
        (tmp_path / name).mkdir()
    for index in range(4):
        mask = np.zeros((48, 64), np.uint8)
        mask[8:32, 8 * index : 8 * index + 24] = 1
        image = np.where(mask[..., None], (40, 160, 60), (150, 140, 130)).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / "photos" / f"leaf{index}.jpg", quality=95)
        Image.fromarray(mask).save(tmp_path / "labels" / f"leaf{index}.png")
    monkeypatch.setenv("CI", "true")  # OpenVINO sends no telemetry
    monkeypatch.chdir(tmp_path)
