import html
import re
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from clean_folder import NAMES, change_masks, draw_clean, write_clean
from PIL import Image

from tfseg import viz
from tfseg.data import Reader
from tfseg.doctor import diagnose, write_doctor_page


class Page(HTMLParser):
    """The tags of a page, those that are not closed, and its images."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.pictures = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if tag == "img":
            header, data = attrs["src"].split(",")
            assert header == "data:image/jpeg;base64"
            self.pictures.append(np.asarray(Image.open(BytesIO(b64decode(data)))))
        elif tag not in ("meta", "html"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag != "html":
            assert self.open.pop() == tag


def write(folder, class_names=NAMES, **options):
    report = diagnose((folder / "images", folder / "masks"), class_names, **options)
    write_doctor_page(report, folder / "page.html", "leaves & <twigs>")
    text = (folder / "page.html").read_text()
    page = Page(text)
    assert page.open == []
    return text, page


@pytest.fixture
def clean(tmp_path):
    return write_clean(tmp_path)


def test_a_clean_page(clean):
    text, page = write(clean)
    assert "Nothing found: the dataset is fit to train on." in text
    assert "leaves &amp; &lt;twigs&gt;" in text
    assert len(page.pictures) == 6  # samples
    ground, colors = draw_clean(0)
    expected = viz.blend(ground, colors, 3)
    shown = np.asarray(Image.fromarray(page.pictures[0]).resize((80, 64)))
    assert np.abs(shown.astype(int) - expected).mean() < 8  # enlarged, JPEG, made small
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%", text)]
    assert max(widths) == 100
    assert len(widths) == 3


def test_nothing_is_fetched(clean):
    text, page = write(clean)
    assert "http" not in text
    assert "url(" not in text
    assert not {tag for tag, _ in page.tags} & {"link", "script", "iframe"}
    assert all(attrs["src"].startswith("data:") for _, attrs in page.tags if "src" in attrs)


def test_names_are_escaped(clean):
    evil = "<img src=x onerror='alert(1)'>"
    for name in ("images", "masks"):
        (clean / name / "p1.png").rename(clean / name / "<b>'\"&.png")
    text, page = write(clean, [evil, "b", "c"], ignore=2)
    assert evil not in text
    assert html.escape(evil) in text
    assert "<b>" not in text
    assert len([tag for tag, _ in page.tags if tag == "img"]) == len(page.pictures)


def test_a_finding_shows_at_most_six(clean):
    write_clean(clean / "more", 3, first=6)
    for path in (clean / "more").glob("*/*"):
        path.rename(clean / path.parent.name / path.name)
    change_masks(clean, lambda mask: np.where(mask == 2, 9, mask).astype(np.uint8))
    text, page = write(clean)
    assert "<p class=more>and 3 more</p>" in text
    assert len(page.pictures) == 6 + 6
    assert (
        "If these are the classes in their order: Folder(..., mask_values={0: 0, 1: 1, 9: 2})"
        in text
    )


def test_values_that_are_no_class_are_magenta(clean):
    change_masks(clean, lambda mask: np.where(mask == 2, 9, mask).astype(np.uint8))
    _, page = write(clean)
    below = page.pictures[-1][-20:, 20:-20].reshape(-1, 3).mean(0)
    assert below == pytest.approx([255, 0, 255], abs=6)


def test_what_does_not_fit_is_shown_side_by_side(clean):
    change_masks(clean, lambda mask: mask.T.copy(), "p1.png")
    (clean / "images" / "p2.png").unlink()
    (clean / "masks" / "p3.png").unlink()
    (clean / "masks" / "p4.png").write_text("junk")
    (clean / "images" / "p4.png").write_text("junk")
    text, page = write(clean)
    shapes = [
        picture.shape[:2] for picture in page.pictures[5:]
    ]  # after four samples, one of them two images
    assert shapes == [(208, 260)] * 2 + [(208, 260), (260, 208)]
    assert text.count("cannot be read</div>") == 2


def test_masks_that_hold_no_ids_are_shown_as_they_are(clean):
    change_masks(
        clean, lambda mask: np.array([(200, 0, 0), (0, 200, 0), (0, 0, 200)], np.uint8)[mask]
    )
    _, page = write(clean)
    assert page.pictures[-1][5, 5] == pytest.approx([200, 0, 0], abs=8)


class Boxes(Reader):
    def __getitem__(self, index):
        box = np.array([[10, 10, 70, 50 + 30 * index]], np.float32)
        return {
            "image": np.zeros((64, 80, 1), np.uint8),
            "boxes": box,
            "classes": np.zeros(1, np.int32),
        }


def test_boxes_are_drawn(tmp_path):
    report = diagnose(Boxes(["dog", "cat"], [(64, 80)] * 2, 1, np.uint8))
    write_doctor_page(report, tmp_path / "page.html")
    picture = Page((tmp_path / "page.html").read_text()).pictures[0].astype(int)
    scale = 260 / 80
    assert picture[round(30 * scale), round(10 * scale)].sum() > 200  # on the left side
    assert picture[round(30 * scale), round(40 * scale)].sum() < 60  # in the middle
