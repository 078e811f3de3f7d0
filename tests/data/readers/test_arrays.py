import warnings

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


def test_masks_of_0_and_255_are_reported_unless_they_are_mapped(images, masks):
    white = [255 * (mask == 1).astype(np.uint8) for mask in masks]
    with pytest.warns(UserWarning, match=r"Arrays: .*pass mask_values={0: 0, 255: 1}"):
        reader = Arrays(images, white, NAMES[:2])
    assert set(np.unique(reader[0]["mask"])) == {0, 255}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mapped = Arrays(images, white, ["disc"], mask_values={0: 0, 255: 1})
        Arrays(images, white, NAMES[:2], mask_values={0: 0})  # 255 is ignored on purpose
    assert np.array_equal(mapped[2]["mask"], masks[2] == 1)
    assert mapped[2]["mask"].dtype == np.uint8


def test_mask_values_must_be_class_ids(images, masks):
    with pytest.raises(ValueError, match=r"Arrays: mask_values={0: 0, 1: 2} contains the ids 2\."):
        Arrays(images, masks, NAMES[:2], mask_values={0: 0, 1: 2})


def test_more_than_255_classes():
    names = [f"class{class_id}" for class_id in range(300)]
    mask = np.array([[0, 255, 256], [299, 65535, 1]])
    reader = Arrays([np.zeros((2, 3, 3), np.uint8)], [mask], names)
    assert (reader.ignore_index, reader.mask_dtype) == (65535, np.int32)
    assert reader[0]["mask"].dtype == np.int32
    assert np.array_equal(reader[0]["mask"], mask)
    few = Arrays([np.zeros((2, 3, 3), np.uint8)], [mask % 3], names[:255])
    assert (few.ignore_index, few.mask_dtype) == (255, np.uint8)
