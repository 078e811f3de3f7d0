import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from objects_sample import objects_sample

from tfseg.data.readers.extract import block_centers, block_means, extract, shrink_sample


def test_a_crop_keeps_visible_objects_and_renumbers_them():
    whole = objects_sample()
    crop = extract(whole, (7, 10), (13, 20))  # 19 of 20 columns of the second object
    assert np.array_equal(crop["image"], whole["image"][7:, 10:])
    assert crop["boxes"].tolist() == [[0, 1, 19, 3], [19, 12, 20, 13]]
    assert crop["classes"].tolist() == [1, 2]
    renumbered = np.where(whole["instances"] > 0, whole["instances"] - 1, 0)
    assert np.array_equal(crop["instances"], renumbered[7:, 10:])
    dtypes = [crop[name].dtype for name in ("instances", "boxes", "classes")]
    assert dtypes == [np.int32, np.float32, np.int32]


@pytest.mark.parametrize(("columns", "count"), [(11, 1), (10, 0)])
def test_a_crop_drops_objects_of_which_less_than_a_tenth_is_visible(columns, count):
    # The object starts at column 9: 11 columns show 2 of its 20, a tenth, and 10 columns show 1.
    crop = extract(objects_sample(), (7, 0), (5, columns))
    assert len(crop["boxes"]) == len(crop["classes"]) == crop["instances"].max() == count
    assert (crop["mask"] == 1).any()  # the visible pixels keep their class


def test_a_crop_without_objects():
    crop = extract(objects_sample(), (12, 0), (4, 4))
    assert (crop["boxes"].shape, crop["classes"].shape) == ((0, 4), (0,))
    assert not crop["instances"].any()


def test_a_crop_does_not_keep_the_whole_image_in_memory():
    crop = extract(objects_sample(), (0, 0), (5, 5))
    assert all(crop[name].base is None for name in ("image", "mask"))


def test_block_means_of_complete_and_incomplete_blocks():
    image = np.array([[0, 4, 10, 30, 7], [8, 0, 10, 31, 8], [1, 2, 5, 5, 90]], np.uint8)[..., None]
    # 12/4; 81/4 = 20.25; 15/2 = 7.5, to even; 3/2 = 1.5, to even; 10/2; 90
    assert block_means(image, 2)[..., 0].tolist() == [[3, 20, 8], [2, 5, 90]]
    # (0 + 4 + 10 + 30 + 8 + 0 + 10 + 31 + 1 + 2 + 5 + 5) / 12 = 8.83; (7 + 8 + 90) / 3
    assert block_means(image, 4)[..., 0].tolist() == [[9, 35]]
    assert block_means(image, 1) is image


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_block_means_keep_the_dtype(dtype):
    image = np.full((9, 8, 3), np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1e-3, dtype)
    means = block_means(image, 8)
    assert means.dtype == dtype
    assert np.allclose(means, image[:2, :1], rtol=1e-6)


def test_block_centers():
    mask = np.arange(35, dtype=np.uint8).reshape(5, 7)
    assert block_centers(mask, 2).tolist() == [[8, 10, 12, 13], [22, 24, 26, 27], [29, 31, 33, 34]]
    assert block_centers(mask, 4).tolist() == [[16, 20], [30, 34]]
    assert block_centers(mask, 8).tolist() == [[32]]  # row 4 and column 4


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 4, 8]))
def test_sizes_are_rounded_up(height, width, shrink):
    sample = {
        "image": np.zeros((height, width, 3), np.uint8),
        "mask": np.zeros((height, width), np.uint8),
    }
    smaller = shrink_sample(sample, shrink)
    size = (-(-height // shrink), -(-width // shrink))
    assert smaller["image"].shape[:2] == smaller["mask"].shape == size


def test_objects_shrink_with_the_image():
    smaller = shrink_sample(objects_sample(), 2)
    assert smaller["boxes"].tolist() == [[0, 0.5, 2, 2.5], [4.5, 4, 14.5, 5], [14.5, 9.5, 15, 10]]
    assert smaller["boxes"].dtype == np.float32
    assert smaller["classes"].tolist() == [2, 1, 2]
    ys, xs = np.nonzero(smaller["instances"] == 2)
    assert (ys.min(), ys.max() + 1, xs.min(), xs.max() + 1) == (4, 5, 4, 14)
