import json

import numpy as np
import pytest
from clean_folder import NAMES, change_masks, draw_clean, write_clean
from PIL import Image
from rich.console import Console

from tfseg.data import Arrays
from tfseg.doctor import diagnose
from tfseg.doctor.dataset_report import NO_CLASS


@pytest.fixture
def clean(tmp_path):
    return write_clean(tmp_path)


def found(folder, **options):
    return diagnose((folder / "images", folder / "masks"), NAMES, **options)


def test_the_figures_are_those_of_the_arrays(clean):
    report = found(clean)
    images, masks = (np.stack(arrays) for arrays in zip(*map(draw_clean, range(6)), strict=True))
    assert (report.pictures, report.val_pictures, report.channels, report.sizes) == (
        6,
        0,
        3,
        [(64, 80)],
    )
    assert [row.pixels for row in report.classes] == [(masks == i).sum() for i in range(3)]
    assert [row.pictures for row in report.classes] == [6, 6, 6]
    mean, deviation = report.normalization
    assert mean == pytest.approx(images.mean((0, 1, 2)).tolist())
    assert deviation == pytest.approx(images.std((0, 1, 2)).tolist())
    shares = [(masks == i).mean() for i in range(3)]
    assert report.class_weights == pytest.approx(
        [np.median(shares) / share for share in shares], abs=1e-4
    )


def test_json_has_the_same_keys_whatever_was_found(clean, tmp_path):
    found(clean).save(tmp_path / "clean.json")
    (clean / "masks" / "p1.png").unlink()
    found(clean).save(tmp_path / "faulty.json")
    reports = [json.loads((tmp_path / name).read_text()) for name in ("clean.json", "faulty.json")]
    keys = [
        "images",
        "val_images",
        "smallest",
        "largest",
        "channels",
        "normalization",
        "ignored_pixels",
        "classes",
    ]
    assert [list(report) for report in reports] == [[*keys, "findings"]] * 2
    assert reports[0]["findings"] == []
    row = {
        "id": 1,
        "name": "wall",
        "pixels": int,
        "images": 6,
        "objects": 0,
        "weight": float,
        "share": float,
    }
    assert list(reports[0]["classes"][1]) == list(row)
    assert list(reports[1]["findings"][0]) == ["kind", "severity", "files", "message", "fix"]
    assert reports[1]["findings"][0]["files"] == [str(clean / "images" / "p1.png")]


def test_errors_come_first(clean):
    Image.open(clean / "images" / "p1.png").convert("L").save(clean / "images" / "p1.png")
    change_masks(clean, lambda mask: mask + 9 * (mask == 2).astype(np.uint8), "p2.png")
    report = found(clean)
    assert [finding.kind for finding in report.findings] == ["unknown_labels", "mixed_channels"]
    assert [finding.kind for finding in report.errors] == ["unknown_labels"]
    assert report.verdict() == "1 error, 1 warning"
    assert "error unknown_labels: 1 mask with the value 11" in str(report)


def test_tables_show_names_as_they_are(clean):
    (clean / "images" / "p1.png").rename(clean / "images" / "[red]x.png")
    console = Console(width=200, record=True, file=open("/dev/null", "w"))
    console.print(*diagnose((clean / "images", clean / "masks"), ["[b]", "c", "d"]).tables())
    printed = console.export_text()
    assert "images/[red]x.png" in printed
    assert "[b]" in printed
    assert "normalization=([" in printed
    assert "objects" not in printed


def test_a_sample_is_read_again(clean):
    change_masks(clean, lambda mask: np.array([1, 7, 255], np.uint8)[mask], "p1.png")
    report = found(clean)
    for name in ("images", "masks"):
        image, labels, boxes = report.picture(str(clean / name / "p1.png"))
        assert np.array_equal(image, draw_clean(1)[0])
        assert np.array_equal(labels, np.array([1, NO_CLASS, 255])[draw_clean(1)[1]])
        assert boxes is None
    (clean / "images" / "p1.png").unlink()
    assert report.picture(str(clean / "images" / "p1.png"))[0] is None


def test_a_reader_is_read_again():
    image, mask = draw_clean(1)
    report = diagnose(Arrays([image, image], [mask, mask], NAMES))
    assert np.array_equal(report.picture("1")[1], mask)


def test_what_a_reader_knows_is_not_asked_twice():
    image, mask = draw_clean(1)
    reader = Arrays([image], [mask], NAMES)
    with pytest.raises(
        ValueError, match="a reader has class_names, ignore and mask_values of its own"
    ):
        diagnose(reader, NAMES)
    with pytest.raises(ValueError, match="data is a reader, val is not"):
        diagnose(reader, val=("a", "b"))


def test_a_missing_folder_is_said(clean):
    with pytest.raises(FileNotFoundError, match="no folder '.*nowhere'"):
        diagnose((clean / "images", clean / "nowhere"), NAMES)


def test_nothing_that_can_be_read_is_a_report_too(clean):
    for path in clean.glob("*/*.png"):
        path.write_text("junk")
    report = found(clean)
    assert [finding.kind for finding in report.findings] == ["unreadable"]
    assert len(report.findings[0].files) == 12
    assert report.normalization == ([], [])
    assert report.facts()["pixels"] == "-"


def test_progress_is_told_of_both_parts(clean):
    val = write_clean(clean / "val", 2, first=6)
    seen = []
    found(
        clean,
        val=(val / "images", val / "masks"),
        track=lambda samples, total: seen.append(total) or samples,
    )
    assert seen == [8]
