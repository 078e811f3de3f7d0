import numpy as np
import pytest
from PIL import Image

from tfseg.data import Folder


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
