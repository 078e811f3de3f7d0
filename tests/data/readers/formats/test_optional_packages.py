import ast
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfseg.data import Coco, GeoTiff, Nifti, Tfds, Yolo, readers

OPTIONAL = ("pycocotools", "nibabel", "tifffile", "imagecodecs", "tensorflow_datasets", "yaml")


def imported_at_once(path):
    """Return the packages that a module imports when it is imported itself."""
    found = []
    nodes = [ast.parse(path.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            continue  # runs later
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module)
        elif isinstance(node, ast.Call) and "require_package" in ast.unparse(node.func):
            found.append(node.args[0].value)
        nodes += ast.iter_child_nodes(node)
    return {name.split(".")[0] for name in found}


def test_importing_the_readers_imports_no_optional_package():
    paths = list(Path(readers.__file__).parent.rglob("*.py"))
    assert len(paths) > 20
    for path in paths:
        assert not imported_at_once(path) & set(OPTIONAL), path


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


def test_yolo_polygons_need_pycocotools(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    reader = Yolo(folder / "images", folder / "labels", ["cat"], "polygons")
    with pytest.raises(ImportError, match=r"tfseg-keras\[coco\]"):
        reader[0]
