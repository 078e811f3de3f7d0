"""`tfseg doctor`."""

import json
import re

import numpy as np
import object_files
from clean_folder import change_masks, write_clean
from PIL import Image

from .conftest import NAMES, fill, repaint


def test_a_clean_dataset_has_no_problems(tfseg, tmp_path):
    write_clean(tmp_path)
    code, printed = tfseg("doctor", tmp_path / "images", tmp_path / "masks", "--class-names", NAMES)
    assert code == 0, printed
    assert "Result: no problems found." in printed
    assert "class_weights=[" in printed
    code, printed = tfseg("doctor", tmp_path)  # finds both folders
    assert code == 0, printed


def test_it_ends_with_the_command_to_train(tfseg, tmp_path):
    images, masks = write_clean(tmp_path) / "images", tmp_path / "masks"
    train = f"Next: tfseg train --images {images} --masks {masks}"
    _, printed = tfseg("doctor", tmp_path)
    assert "Class names: class_0, class_1, class_2 (the masks contain 0 to 2)." in printed
    assert printed.endswith(f"{train} --minutes 20 --out runs/first ")
    (tmp_path / "val").mkdir()
    write_clean(tmp_path / "val", 2, first=6)
    val = ("--val-images", tmp_path / "val/images", "--val-masks", tmp_path / "val/masks")
    _, printed = tfseg("doctor", images, masks, "--class-names", NAMES, *val)
    options = f"--class-names {NAMES} {' '.join(map(str, val))}"
    assert printed.endswith(f"{train} {options} --minutes 20 --out runs/first ")


def test_it_names_the_option_that_the_command_lacks(tfseg, tmp_path):
    write_clean(tmp_path)
    change_masks(tmp_path, lambda mask: mask * 50)
    code, printed = tfseg("doctor", tmp_path)
    assert code == 0, printed
    assert "Next:" not in printed
    assert "pass --mask-values 0=0,50=1,100=2" in printed
    _, printed = tfseg("doctor", tmp_path, "--mask-values", "0=0,50=1,100=2")
    assert "--mask-values 0=0,50=1,100=2 --minutes" in printed


def test_without_a_dataset_to_train_on_there_is_no_command(tfseg, tmp_path):
    write_clean(tmp_path)
    (tmp_path / "masks" / "p1.png").unlink()
    code, printed = tfseg("doctor", tmp_path)
    assert code == 1
    assert "tfseg train --images" not in printed


def test_a_warning_is_not_an_error(tfseg, tmp_path):
    write_clean(tmp_path)
    folders = tmp_path / "images", tmp_path / "masks"
    code, printed = tfseg("doctor", *folders, "--class-names", f"{NAMES},tree")
    assert code == 0, printed
    assert "No image shows the class tree" in printed


def test_faults_are_reported_on_the_screen_and_in_files(tfseg, tmp_path):
    write_clean(tmp_path)
    write_clean(tmp_path / "val", 2, first=6)
    change_masks(tmp_path, lambda mask: np.where(mask == 2, 9, mask).astype(np.uint8), "p1.png")
    (tmp_path / "val" / "masks" / "p7.png").unlink()
    val = ("--val-images", tmp_path / "val" / "images", "--val-masks", tmp_path / "val" / "masks")
    out = ("--html", tmp_path / "deep" / "report.html", "--json", tmp_path / "report.json")
    words = ("doctor", tmp_path / "images", tmp_path / "masks", "--class-names", NAMES)
    code, printed = tfseg(*words, *val, *out)
    assert code == 1
    assert "Result: 2 errors." in printed
    assert "If 9 marks unlabeled pixels, pass `--ignore-value 9`" in printed
    report = json.loads((tmp_path / "report.json").read_text())
    assert [finding["kind"] for finding in report["findings"]] == ["no_mask", "unknown_labels"]
    assert (tmp_path / "deep" / "report.html").read_text().startswith("<!doctype html>")
    assert tfseg(*words, "--ignore-value", "9")[0] == 0
    code, printed = tfseg(*words, *val[:2])
    assert code == 2
    assert "Pass --val-images and --val-masks together" in printed


def test_files_with_the_same_name_and_ids_above_255_are_drawn(tfseg, tmp_path):
    write_clean(tmp_path)
    image = Image.open(tmp_path / "images" / "p1.png")
    image.save(tmp_path / "images" / "p1.bmp")
    for extra, file in enumerate(sorted((tmp_path / "masks").iterdir())):
        rows, columns = -(-image.height // 3), -(-image.width // 3)
        ids = np.minimum(np.arange(rows * columns), 270 + extra).reshape(rows, columns)
        ids = ids.repeat(3, 0).repeat(3, 1)[: image.height, : image.width]
        Image.fromarray(ids.astype(np.uint16)).save(file)
    code, printed = tfseg("doctor", tmp_path, "--html", tmp_path / "report.html")
    assert code == 1, printed
    assert "same_name" in printed
    assert (tmp_path / "report.html").is_file()


def test_its_advice_about_mask_values_is_an_option(tfseg, tmp_path):
    fill(tmp_path)
    repaint(tmp_path, lambda mask: np.where(mask == 2, 9, mask))
    _, printed = tfseg("doctor", tmp_path, "--class-names", NAMES)
    advice = re.search(r"--mask-values \S+\d", printed)[0].split()
    assert advice[1] == "0=0,1=1,9=2"
    code, printed = tfseg("doctor", tmp_path, "--class-names", NAMES, *advice)
    assert code == 0, printed


def test_a_suffix_distinguishes_masks_in_the_folder_of_the_images(tfseg, tmp_path):
    write_clean(tmp_path)
    for path in list((tmp_path / "masks").iterdir()):
        path.rename(tmp_path / "images" / f"{path.stem}_mask.png")
    words = ("doctor", tmp_path / "images", tmp_path / "images")
    code, printed = tfseg(*words)
    assert code == 1
    assert "mask_suffix='_mask'" in printed
    code, printed = tfseg(*words, "--mask-suffix", "_mask", "--class-names", NAMES)
    assert code == 0, printed
    assert "Result: no problems found." in printed
    assert tfseg(*words, "--mask-suffix", "_mask")[0] == 2  # a reader needs names
    for path in (tmp_path / "images").glob("p[1-9]*"):
        path.unlink()
    code, printed = tfseg(*words, "--mask-suffix", "_mask", "--class-names", NAMES)
    assert code == 1
    assert "only one image to train on" in " ".join(printed.split())


def test_objects_of_any_format_are_examined(tfseg, tmp_path, monkeypatch):
    monkeypatch.setattr("tfseg.doctor.label_findings.IMBALANCE", 1)
    object_files.coco(tmp_path)
    words = ("doctor", tmp_path / "images", tmp_path / "objects.json", "--task")
    code, printed = tfseg(*words, "detect", "--json", tmp_path / "report.json")
    assert code == 1, printed  # a single image
    assert "only one image" in re.sub(r"\s+", " ", printed)
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["objects"]["count"], report["objects"]["crowds"]) == (2, 1)
    assert "detector arguments" in printed
    for word in ("--class-weights", "class_weights=", "weight:"):
        assert word not in printed  # which detectors do not have
    code, printed = tfseg(*words, "boxes")
    assert code == 2
    assert "'boxes' is not one of 'semantic', 'detect', 'instances'" in re.sub(
        r"[\s│]+", " ", printed
    )
    code, printed = tfseg("doctor", tmp_path / "images", "--task", "detect")
    assert code == 2
    assert "needs LABELS" in printed
