import numpy as np
import pytest
from PIL import Image

from tfseg.data import Folder
from tfseg.data.readers.pairing import naming_rule


def reader_of(folder):
    return Folder(folder / "images", folder / "masks", ["ground", "disc", "band"])


def test_images_and_masks_must_pair(folder):
    (folder / "masks" / "p1.png").unlink()
    (folder / "masks" / "spare.png").write_bytes((folder / "masks" / "p2.png").read_bytes())
    with pytest.raises(
        ValueError, match=r"(?s)2 problems.*p1\.jpg has no mask.*spare\.png has no image.*rename"
    ):
        reader_of(folder)


def test_two_files_of_the_same_name_are_rejected(folder):
    (folder / "images" / "p1.png").write_bytes((folder / "masks" / "p1.png").read_bytes())
    with pytest.raises(ValueError, match="have the same name without suffix"):
        reader_of(folder)


def test_sizes_must_match(folder):
    Image.fromarray(np.zeros((48, 55), np.uint8)).save(folder / "masks" / "p5.png")
    with pytest.raises(
        ValueError, match=r"p5\.jpg is 56 x 48, but its mask .*p5\.png is 55 x 48 pixels.*nearest"
    ):
        reader_of(folder)


def test_gray_among_color_is_read_as_color(folder):
    gray = Image.open(folder / "images" / "p0.jpg").convert("L")
    gray.save(folder / "images" / "p0.jpg")
    reader = reader_of(folder)
    assert reader.channels == 3
    assert reader[0]["image"].shape == (48, 56, 3)


def test_names_that_differ_by_a_rule_are_explained(folder):
    for path in (folder / "masks").iterdir():
        path.rename(path.with_stem(path.stem.replace("p", "mask_")))
    with pytest.raises(
        ValueError, match="Each mask 'mask_NAME' seems to belong to the image 'pNAME': rename"
    ):
        reader_of(folder)


@pytest.mark.parametrize(
    ("images", "masks", "rule"),
    [
        (["image_000", "image_001"], ["mask_001", "mask_000"], ("image_", "", "mask_", "")),
        (["21_training", "22_training"], ["21_m1", "22_m1"], ("", "_training", "", "_m1")),
        (["a", "b"], ["a_mask", "b_mask"], ("", "", "", "_mask")),
        (["x10", "x11"], ["y20", "y21"], None),  # other numbers
        (["a", "b"], ["a", "c"], None),
        (["a1", "a2"], ["b1"], None),
    ],
)
def test_naming_rules(images, masks, rule):
    assert naming_rule(images, masks) == rule


def test_names_that_look_the_same_are_the_same(folder):
    (folder / "images" / "p1.jpg").rename(folder / "images" / "caf\u00e9.jpg")
    (folder / "masks" / "p1.png").rename(folder / "masks" / "cafe\u0301.png")
    assert reader_of(folder).name(0) == "caf\u00e9"


def test_names_that_are_not_utf_8_can_be_printed(folder):
    for name in ("images/p1.jpg", "masks/p1.png"):
        path = folder / name
        path.rename(path.with_stem(b"m\xfcller".decode("utf-8", "surrogateescape")))
    reader = reader_of(folder)
    assert reader.name(0) == "m\\xfcller"
    assert reader.name(0).encode() == b"m\\xfcller"
    assert reader[0]["mask"].shape == (48, 56)
