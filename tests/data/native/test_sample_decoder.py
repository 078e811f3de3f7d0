"""Samples that TensorFlow decodes are equal to the bit to those of the reader."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from conftest import draw_sample
from tfseg.data import Folder
from tfseg.data.native.sample_decoder import sample_decoder
from tfseg.data.readers.formats import Cityscapes, Voc

NAMES = ["ground", "disc", "band"]
COLORS = np.array([(128, 64, 0), (0, 64, 129), (7, 0, 0), (200, 200, 200)], np.uint8)


def save(array, file, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(file, **options)


def voc(root, suffix="jpg"):
    for index in range(3):
        image, mask = draw_sample(index, 45 + index, 56)
        mask[0, 0] = 255
        save(image, root / f"JPEGImages/p{index}.{suffix}")
        save(mask, root / f"SegmentationClass/p{index}.png")
    names = root / "ImageSets/Segmentation/train.txt"
    names.parent.mkdir(parents=True)
    names.write_text("p2\np0\np1")
    return Voc(root, class_names=NAMES[1:])


def cityscapes(root):
    for index in range(3):
        image, mask = draw_sample(index)
        save(image, root / f"leftImg8bit/train/ulm/ulm_{index}_leftImg8bit.png")
        ids = np.array([7, 26, 0], np.uint8)[mask]
        save(ids, root / f"gtFine/train/ulm/ulm_{index}_gtFine_labelIds.png")
    return Cityscapes(root)


def color_folder(convert):
    """Return a function that creates a reader of masks of colors, converted to another kind."""

    def write(root):
        for index in range(3):
            image, mask = draw_sample(index)
            mask[3, 5] = 3
            save(image, root / f"images/p{index}.jpg")
            (root / "masks").mkdir(exist_ok=True)
            convert(Image.fromarray(COLORS[mask])).save(root / f"masks/p{index}.png")
        return Folder(root / "images", root / "masks", NAMES, COLORS[3], colors=COLORS[:3])

    return write


def with_alpha(image):
    image.putalpha(Image.fromarray(draw_sample(0)[1]))
    return image


READERS = {
    "Voc": voc,
    "Voc of PNGs": lambda root: voc(root, "png"),
    "Cityscapes": cityscapes,
    "colors": color_folder(lambda image: image),
    "colors in a palette": color_folder(lambda image: image.quantize(4)),
    "colors with alpha": color_folder(with_alpha),
    "tiles": lambda root: voc(root).tiles(30, overlap=0.1),
    "tiles of a part": lambda root: voc(root).subset([2, 0]).disjoint_tiles(34).subset([1, 4, 3]),
    "a part of a part": lambda root: voc(root).subset([2, 0, 1, 1]).subset([3, 1]),
}


def check_equal(reader, shrink):
    """Check that TensorFlow decodes the samples that a reader reads."""
    decode = tf.function(sample_decoder(reader, np.arange(len(reader)), shrink).read)
    seen = set()
    for index in range(len(reader)):
        image, mask, is_sound = decode(tf.constant(index, tf.int64))
        expected = reader.read(index, shrink)
        assert is_sound
        assert np.array_equal(image, expected["image"])
        assert np.array_equal(mask, expected["mask"])
        seen.update(np.unique(mask))
    assert len(seen) >= 3


@pytest.mark.parametrize("shrink", [1, 2, 4])
@pytest.mark.parametrize("kind", READERS)
def test_samples_are_those_of_the_reader(kind, shrink, tmp_path):
    check_equal(READERS[kind](tmp_path), shrink)


def one_color(image):
    colored = Image.new("RGB", image.size, tuple(COLORS[0].tolist()))
    colored.putalpha(image.getchannel(0))
    return colored


def unknown_color(image):
    image.putpixel((3, 4), (128, 64, 1))
    return image


@pytest.mark.parametrize("convert", [one_color, unknown_color])
def test_masks_that_python_refuses_are_not_sound(convert, tmp_path):
    reader = color_folder(convert)(tmp_path)
    with pytest.raises(ValueError, match=r"p0\.png (contains|has)"):
        reader[0]
    assert not sample_decoder(reader, np.arange(3), 1).read(0)[2]


class Changed(Folder):
    """A reader of a user that changes what a folder contains."""


def test_other_readers_are_left_to_python(tmp_path):
    reader = voc(tmp_path)
    folders = tmp_path / "JPEGImages", tmp_path / "SegmentationClass", NAMES
    others = [Changed(*folders), Changed(*folders).subset([0])]
    save(np.zeros((45, 56), np.uint8), tmp_path / "SegmentationClass/p0.gif")
    (tmp_path / "SegmentationClass/p0.png").unlink()
    others.append(Folder(*folders))
    for other in others:
        assert sample_decoder(other, np.arange(len(other)), 1) is None
    assert sample_decoder(reader, [0], 64) is None  # images are smaller than a block
