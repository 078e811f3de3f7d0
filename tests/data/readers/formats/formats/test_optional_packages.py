import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tfseg.data import Coco, GeoTiff, Nifti, Tfds, Yolo


def test_importing_the_readers_loads_no_optional_package():
    optional = ("pycocotools", "nibabel", "tifffile", "imagecodecs", "tensorflow_datasets", "yaml")
    script = f"import sys, tfseg.data; print([m for m in {optional!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.fixture
def folder(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / name / "a.tif")
        (tmp_path / name / "a.nii").touch()
    (tmp_path / "labels" / "a.txt").write_text("0 0 0 1 0 1 1")
    (tmp_path / "data.yaml").touch()
    square = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "segmentation": [[0, 0, 3, 0, 3, 3]],
        "bbox": [0, 0, 3, 3],
    }
    images, categories = [{"id": 1, "file_name": "a.tif"}], [{"id": 1, "name": "cat"}]
    content = {"images": images, "annotations": [square], "categories": categories}
    (tmp_path / "coco.json").write_text(json.dumps(content))
    return tmp_path


READ = {
    "coco": ("pycocotools.mask", lambda f: Coco(f / "images", f / "coco.json")[0]),
    "nifti": ("nibabel", lambda f: Nifti(f / "images", f / "labels", ["a"])),
    "tiff": ("tifffile", lambda f: GeoTiff(f / "images", f / "images", ["a"])),
    "tfds": ("tensorflow_datasets", lambda f: Tfds("mnist", "train")),
    "yolo": ("yaml", lambda f: Yolo(f / "images", f / "labels", f / "data.yaml")),
}


@pytest.mark.parametrize("extra", READ)
def test_a_missing_package_is_named_with_its_extra(folder, monkeypatch, extra):
    module, read = READ[extra]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        ImportError, match=rf"'{module}', which is not installed.*tfseg-keras\[{extra}\]"
    ):
        read(folder)


def test_polygons_of_yolo_need_pycocotools(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    reader = Yolo(folder / "images", folder / "labels", ["cat"], "polygons")
    with pytest.raises(ImportError, match=r"tfseg-keras\[coco\]"):
        reader[0]
