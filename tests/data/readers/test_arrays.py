import numpy as np
import pytest

from conftest import draw_sample
from tfseg.data import Arrays

NAMES = ["ground", "disc", "band"]


@pytest.fixture(scope="module")
def images():
    return [draw_sample(i)[0] for i in range(3)]


@pytest.fixture(scope="module")
def masks():
    return [draw_sample(i)[1] for i in range(3)]


def test_arrays_are_samples(images, masks):
    reader = Arrays([image[..., 0] for image in images], masks, NAMES)
    assert reader[1]["image"].shape == (48, 56, 1)
    assert np.array_equal(reader[1]["mask"], masks[1])
    with_channel = [mask[..., None].astype(np.int64) for mask in masks]
    assert np.array_equal(Arrays(images, with_channel, NAMES)[1]["mask"], masks[1])


def test_the_repr_names_at_most_eight_classes(images, masks):
    assert repr(Arrays(images, masks, NAMES)) == (
        "<Arrays: 3 samples of image, mask; 3 channels of uint8; 3 classes: ground, disc, band>"
    )
    many = repr(Arrays(images, masks, [str(i) for i in range(12)]))
    assert many.endswith("12 classes: 0, 1, 2, 3, 4, 5, 6, 7, ...>")


def test_images_and_masks_must_match(images, masks):
    with pytest.raises(ValueError, match="got 2 images and 3 masks"):
        Arrays(images[:2], masks, NAMES)
    with pytest.raises(ValueError, match=r"image 0 has size \(48, 56\), but its mask \(47, 56\)"):
        Arrays(images, [masks[0][1:], *masks[1:]], NAMES)


def test_images_must_have_the_same_channels_and_dtype(images, masks):
    with pytest.raises(ValueError, match=r"image 1 has 1 channels of uint8, but image 0 has 3"):
        Arrays([images[0], images[1][..., 0]], masks[:2], NAMES)


def test_masks_must_be_class_ids(images, masks):
    with pytest.raises(ValueError, match="mask 1 has dtype float64"):
        Arrays(images, [masks[0], masks[1] * 1.0, masks[2]], NAMES)
    with pytest.raises(ValueError, match="mask 2 contains values that map to no class: 2 "):
        Arrays(images, masks, ["a", "b"])[2]


def test_arrays_are_read_smaller():
    image, mask = draw_sample(0, 45, 50)
    smaller = Arrays([image], [mask], NAMES).read(0, 4)
    assert smaller["image"].shape == (12, 13, 3)
    assert np.array_equal(smaller["image"][0, 0], np.rint(image[:4, :4].mean((0, 1))))
    assert np.array_equal(smaller["mask"][:11, :12], mask[2::4, 2::4])
