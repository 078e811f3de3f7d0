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
from tfseg.doctor import diagnose, write_html


class Page(HTMLParser):
    """Parses a page: its tags, its images, and the tags that are still open."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.images = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if tag == "img":
            header, data = attrs["src"].split(",")
            assert header == "data:image/jpeg;base64"
            self.images.append(np.asarray(Image.open(BytesIO(b64decode(data)))))
        elif tag not in ("meta", "html"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag != "html":
            assert self.open.pop() == tag


def write(folder, class_names=NAMES, **options):
    report = diagnose((folder / "images", folder / "masks"), class_names, **options)
    write_html(report, folder / "page.html", "leaves & <twigs>")
    text = (folder / "page.html").read_text()
    page = Page(text)
    assert page.open == []
    return text, page


def test_names_need_not_be_valid_utf8(clean):
    report = diagnose((clean / "images", clean / "masks"), NAMES)
    write_html(report, clean / "page.html", b"m\xfcller".decode("utf-8", "surrogateescape"))
    assert "<h1>m?ller</h1>" in (clean / "page.html").read_text("utf-8")


def test_a_clean_page(clean):
    text, page = write(clean)
    assert "No problems found: the dataset is ready for training." in text
    assert "leaves &amp; &lt;twigs&gt;" in text
    assert len(page.images) == 6  # samples
    ground, colors = draw_clean(0)
    expected = viz.blend(ground, colors, 3)
    shown = np.asarray(Image.fromarray(page.images[0]).resize((80, 64)))
    assert np.abs(shown.astype(int) - expected).mean() < 8  # enlarged, compressed, reduced
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%", text)]
    assert max(widths) == 100
    assert len(widths) == 3


def test_a_page_loads_no_other_file(clean):
    text, page = write(clean)
    assert "http" not in text
    assert "url(" not in text
    assert not {tag for tag, _ in page.tags} & {"link", "script", "iframe"}
    assert all(attrs["src"].startswith("data:") for _, attrs in page.tags if "src" in attrs)


def test_names_are_escaped(clean):
    evil = "<img src=x onerror='alert(1)'>"
    for name in ("images", "masks"):
        (clean / name / "p1.png").rename(clean / name / "<b>'\"&.png")
    text, page = write(clean, [evil, "b", "c"], ignore_value=2)
    assert evil not in text
    assert html.escape(evil) in text
    assert "<b>" not in text
    assert len([tag for tag, _ in page.tags if tag == "img"]) == len(page.images)


def test_a_finding_shows_at_most_six_images(clean):
    write_clean(clean / "more", 3, first=6)
    for path in (clean / "more").glob("*/*"):
        path.rename(clean / path.parent.name / path.name)
    change_masks(clean, lambda mask: np.where(mask == 2, 9, mask).astype(np.uint8))
    text, page = write(clean)
    assert "<p class=more>and 3 more</p>" in text
    assert len(page.images) == 6 + 6
    assert "If these are the classes in order: Folder(..., mask_values={0: 0, 1: 1, 9: 2})" in text


def test_values_without_a_class_are_magenta(clean):
    change_masks(clean, lambda mask: np.where(mask == 2, 9, mask).astype(np.uint8))
    _, page = write(clean)
    below = page.images[-1][-20:, 20:-20].reshape(-1, 3).mean(0)
    assert below == pytest.approx([255, 0, 255], abs=6)


def test_images_and_masks_of_different_sizes_are_side_by_side(clean):
    change_masks(clean, lambda mask: mask.T.copy(), "p1.png")
    (clean / "images" / "p2.png").unlink()
    (clean / "masks" / "p3.png").unlink()
    (clean / "masks" / "p4.png").write_text("junk")
    (clean / "images" / "p4.png").write_text("junk")
    text, page = write(clean)
    # the four samples need five images; then come those of the findings
    shapes = [image.shape[:2] for image in page.images[5:]]
    assert shapes == [(208, 260)] * 2 + [(208, 260), (260, 208)]
    assert text.count("cannot be read</div>") == 2


def test_color_masks_are_shown_in_their_own_colors(clean):
    change_masks(
        clean, lambda mask: np.array([(200, 0, 0), (0, 200, 0), (0, 0, 200)], np.uint8)[mask]
    )
    _, page = write(clean)
    assert page.images[-1][5, 5] == pytest.approx([200, 0, 0], abs=8)


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
    write_html(report, tmp_path / "page.html")
    image = Page((tmp_path / "page.html").read_text()).images[0].astype(int)
    scale = 260 / 80
    assert image[round(30 * scale), round(10 * scale)].sum() > 200  # the left side of the box
    assert image[round(30 * scale), round(40 * scale)].sum() < 60  # inside the box
