import json
import re

import numpy as np
import pytest
from clean_folder import NAMES, change_masks, diagnose_folder, draw_clean, write_clean
from PIL import Image
from rich.console import Console

from tfseg.data import Arrays
from tfseg.doctor import diagnose
from tfseg.doctor.dataset_report import NO_CLASS


def printed(report):
    console = Console(width=200, record=True, file=open("/dev/null", "w"))
    console.print(*report.tables())
    return console.export_text()


def test_statistics_equal_those_of_the_arrays(clean):
    report = diagnose_folder(clean)
    samples = [draw_clean(index) for index in range(6)]
    images = np.stack([image for image, _ in samples])
    masks = np.stack([mask for _, mask in samples])
    assert (report.images, report.val_images, report.channels) == (6, 0, 3)
    assert report.sizes == [(64, 80)]
    assert [row.pixels for row in report.classes] == [(masks == i).sum() for i in range(3)]
    assert [row.images for row in report.classes] == [6, 6, 6]
    mean, std = report.normalization
    assert mean == pytest.approx(images.mean((0, 1, 2)).tolist())
    assert std == pytest.approx(images.std((0, 1, 2)).tolist())
    fractions = [(masks == i).mean() for i in range(3)]
    weights = [np.median(fractions) / fraction for fraction in fractions]
    assert report.class_weights == pytest.approx(weights, abs=1e-4)


def test_statistics_are_those_of_the_training_samples(clean):
    val = write_clean(clean / "val", 3, first=6)
    alone = diagnose_folder(clean)
    both = diagnose_folder(clean, val=(val / "images", val / "masks"))
    assert (both.images, both.val_images) == (6, 3)
    assert both.classes == alone.classes
    assert both.normalization == alone.normalization


def test_class_weights_count_only_images_that_show_the_class(clean):
    change_masks(clean, lambda mask: np.minimum(mask, 1), "p[1-5].png")
    masks = [draw_clean(index)[1] for index in range(6)]
    masks[1:] = [np.minimum(mask, 1) for mask in masks[1:]]
    frequencies = [np.mean(np.stack(masks) == i) for i in (0, 1)] + [np.mean(masks[0] == 2)]
    expected = [np.median(frequencies) / frequency for frequency in frequencies]
    report = diagnose_folder(clean)
    assert [row.images for row in report.classes] == [6, 6, 1]
    assert report.class_weights == pytest.approx(expected, abs=1e-4)


def test_json_has_the_same_keys_with_and_without_findings(clean, tmp_path):
    diagnose_folder(clean).save(tmp_path / "clean.json")
    (clean / "masks" / "p1.png").unlink()
    diagnose_folder(clean).save(tmp_path / "faulty.json")
    clean_json = json.loads((tmp_path / "clean.json").read_text())
    faulty_json = json.loads((tmp_path / "faulty.json").read_text())
    assert list(clean_json) == [
        "images",
        "val_images",
        "smallest",
        "largest",
        "channels",
        "normalization",
        "ignored_pixels",
        "classes",
        "objects",
        "findings",
    ]
    assert list(faulty_json) == list(clean_json)
    assert clean_json["findings"] == []
    assert list(clean_json["normalization"]) == ["mean", "std"]
    row = clean_json["classes"][1]
    assert list(row) == ["id", "name", "pixels", "images", "objects", "weight", "fraction"]
    masks = np.stack([draw_clean(index)[1] for index in range(6)])
    assert (row["id"], row["name"], row["images"], row["objects"]) == (1, "wall", 6, 0)
    assert row["fraction"] == pytest.approx((masks == 1).mean())
    finding = faulty_json["findings"][0]
    assert list(finding) == ["kind", "severity", "files", "message", "fix"]
    assert finding["files"] == [str(clean / "images" / "p1.png")]


def test_errors_are_listed_first(clean):
    Image.open(clean / "images" / "p1.png").convert("L").save(clean / "images" / "p1.png")
    change_masks(clean, lambda mask: mask + 9 * (mask == 2).astype(np.uint8), "p2.png")
    report = diagnose_folder(clean)
    assert [finding.kind for finding in report.findings] == ["unknown_labels", "mixed_channels"]
    assert [finding.kind for finding in report.errors] == ["unknown_labels"]
    assert report.verdict() == "1 error, 1 warning"
    assert str(report).splitlines()[0] == "1 error, 1 warning; images: 6"
    assert "error unknown_labels: 1 mask with the value 11" in str(report)


def test_tables_print_names_literally(clean):
    (clean / "images" / "p1.png").rename(clean / "images" / "[red]x.png")
    text = printed(diagnose_folder(clean, ["[b]", "c", "d"]))
    assert "images/[red]x.png" in text
    assert "[b]" in text
    assert "normalization=([" in text
    assert "objects" not in text


def test_tables_limit_files_and_classes(clean):
    for index in range(5):
        (clean / "masks" / f"p{index}.png").unlink()
    text = printed(diagnose_folder(clean, [f"class{i}" for i in range(42)]))
    assert "images/p3.png and 1 more" in text
    assert "p4.png" not in text
    assert "class39" in text
    assert "; 2 more classes" in text
    assert "shows 39 of the classes: class3, class4, class5, " in re.sub(r"\s+", " ", text)
    assert "| class40" not in text


def test_facts_of_several_sizes_and_parts(clean):
    image, mask = draw_clean(9, 32, 40)
    Image.fromarray(image).save(clean / "images" / "p9.png")
    Image.fromarray(mask).save(clean / "masks" / "p9.png")
    val = write_clean(clean / "val", 2, first=6)
    facts = diagnose_folder(clean, val=(val / "images", val / "masks")).facts()
    assert facts["images"] == "7 training, 2 validation"
    assert facts["size"] == "40 x 32 to 80 x 64, 2 sizes"
    assert facts["channels"] == "3 (RGB)"
    assert facts["loss argument"].startswith("class_weights=[")


def test_a_sample_of_a_folder_is_loaded_again(clean):
    change_masks(clean, lambda mask: np.array([1, 7, 255], np.uint8)[mask], "p1.png")
    report = diagnose_folder(clean)
    for name in ("images", "masks"):
        image, labels, boxes = report.load(str(clean / name / "p1.png"))
        assert np.array_equal(image, draw_clean(1)[0])
        assert np.array_equal(labels, np.array([1, NO_CLASS, 255])[draw_clean(1)[1]])
        assert boxes is None
    (clean / "images" / "p1.png").unlink()
    assert report.load(str(clean / "images" / "p1.png"))[0] is None


def test_a_sample_of_a_reader_is_loaded_again():
    image, mask = draw_clean(1)
    report = diagnose(Arrays([image, image], [mask, mask], NAMES))
    assert np.array_equal(report.load("1")[1], mask)


def test_arguments_that_a_reader_defines_are_refused():
    image, mask = draw_clean(1)
    reader = Arrays([image], [mask], NAMES)
    with pytest.raises(ValueError, match="got a reader and class_names, ignore_value or"):
        diagnose(reader, NAMES)
    with pytest.raises(ValueError, match="data is a reader, but val is not"):
        diagnose(reader, val=("a", "b"))


def test_a_missing_folder_is_named(clean):
    with pytest.raises(FileNotFoundError, match="no folder '.*nowhere'"):
        diagnose((clean / "images", clean / "nowhere"), NAMES)


def test_a_folder_without_any_readable_file_gives_a_report(clean):
    for path in clean.glob("*/*.png"):
        path.write_text("junk")
    report = diagnose_folder(clean)
    assert [finding.kind for finding in report.findings] == ["unreadable"]
    assert len(report.findings[0].files) == 12
    assert report.normalization == ([], [])
    assert report.facts()["size"] == "-"


def test_progress_counts_both_parts(clean):
    val = write_clean(clean / "val", 2, first=6)
    totals = []
    diagnose_folder(
        clean,
        val=(val / "images", val / "masks"),
        track=lambda samples, total: totals.append(total) or samples,
    )
    assert totals == [8]
