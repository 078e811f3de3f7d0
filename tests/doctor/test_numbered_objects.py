import json

import numpy as np
import pytest
from PIL import Image

from tfseg.doctor import diagnose
from tfseg.doctor.numbered_objects import fitting_head


def write(folder, counts, side=6):
    """Write images of 64 x 64 pixels, and masks of this many squares, numbered from 1."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for index, count in enumerate(counts):
        mask = np.zeros((64, 64), np.uint8)
        for number in range(count):
            y, x = divmod(number, 7)
            mask[9 * y : 9 * y + side, 9 * x : 9 * x + side] = number + 1
        image = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / "images" / f"n{index}.png")
        Image.fromarray(mask).save(folder / "masks" / f"n{index}.png")
    return folder / "images", folder / "masks"


def test_numbers_are_objects_instead_of_classes(tmp_path):
    images, masks = write(tmp_path, [9, 12, 20])
    report = diagnose((images, masks))
    (finding,) = report.findings
    assert (finding.kind, finding.severity) == ("numbered_objects", "warning")
    command = f"tfseg train --task instances --head star --images {images} --labels {masks}"
    assert command in finding.fix
    # 41 squares of 36 pixels on 3 images of 4096
    assert [(row.name, row.pixels) for row in report.classes] == [
        ("background", 3 * 64 * 64 - 41 * 36),
        ("object", 41 * 36),
    ]
    assert report.objects.count == 41
    assert report.objects.per_image == [9, 12, 20]
    assert report.objects.diameters == pytest.approx([2 * 6 / np.sqrt(np.pi)] * 3)
    facts = report.facts()
    assert facts["objects"] == "41, numbered in the masks"
    assert facts["per image"] == "9 to 20, median 12"
    assert facts["training"].startswith(command)
    assert "loss argument" not in facts
    assert not report.ignored_pixels
    report.save(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["objects"]["count"] == 41


def test_the_name_of_the_class_is_kept(tmp_path):
    report = diagnose(write(tmp_path, [9, 12]), ["nucleus"])
    assert [row.name for row in report.classes] == ["background", "nucleus"]
    assert report.errors[0].kind == "numbered_objects"  # masks of classes are expected
    assert report.ignored_pixels == 0


def test_the_head_fits_number_and_size():
    assert fitting_head(30, 12, 256) == "star"
    assert fitting_head(30, 100, 256) == "mask_rcnn"  # large
    assert fitting_head(2, 12, 256) == "mask_rcnn"  # few
