import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from skimage import data

from tfseg.classical.labels import connected_components, relabel
from tfseg.classical.split_merge import _split, split_and_merge


def slow_squares(image, tolerance):
    """Return the leaves of the quadtree of a 2 ** k x 2 ** k image, by recursion."""
    labels, count = np.zeros(image.shape[:2], int), 0

    def visit(top, left, side):
        nonlocal count
        block = image[top : top + side, left : left + side].astype(float)
        if side == 1 or (np.ptp(block, axis=(0, 1)) <= tolerance).all():
            labels[top : top + side, left : left + side] = count
            count += 1
            return
        for y in (0, side // 2):
            for x in (0, side // 2):
                visit(top + y, left + x, side // 2)

    visit(0, 0, len(image))
    return relabel(labels, background=None)


def adjacent_pairs(labels):
    """Return (P, 2) pairs of regions that share a side."""
    sides = [(labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])]
    pairs = np.concatenate([np.stack([one.ravel(), other.ravel()], 1) for one, other in sides])
    return np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)


def check(image, labels, tolerance, min_pixels):
    """Check what holds for any order of the merges."""
    assert labels.dtype == np.int32
    assert labels.shape == image.shape[:2]
    np.testing.assert_array_equal(
        connected_components(labels), labels
    )  # connected, numbered from 1 in scan order
    assert labels.min() == 1
    sizes = np.bincount(labels.ravel())[1:]
    assert sizes.min() >= min_pixels or labels.max() == 1
    pixels = np.atleast_3d(image).reshape(labels.size, -1).astype(float)
    means = np.stack([np.bincount(labels.ravel(), channel)[1:] / sizes for channel in pixels.T], 1)
    for one, other in adjacent_pairs(labels):
        assert np.abs(means[one - 1] - means[other - 1]).max() > tolerance


def test_uniform_areas_by_hand():
    image = np.full((11, 14), 50, np.uint8)
    image[2:7, 3:9] = 120
    image[8:, 10:] = 130  # not connected to the 120s
    image[4, 5] = 60  # one pixel inside them, below min_pixels
    image[0, 0] = 255
    ground_truth = (image >= 120).astype(int)
    ground_truth[8:, 10:], ground_truth[4, 5], ground_truth[0, 0] = 2, 1, 0
    labels = split_and_merge(image, tolerance=20, min_pixels=2)
    np.testing.assert_array_equal(labels, relabel(ground_truth, background=None) + 1)
    alone = ground_truth.copy()
    alone[0, 0], alone[4, 5] = 5, 6
    np.testing.assert_array_equal(
        split_and_merge(image, 20, 1), relabel(alone, background=None) + 1
    )
    assert split_and_merge(image, 255).max() == 1
    assert split_and_merge(image, 20, min_pixels=200).max() == 1  # larger than the image


def test_small_regions_join_the_nearest_mean():
    image = np.repeat(np.uint8([[10] * 9 + [100] + [160] * 9]), 6, axis=0)
    labels = split_and_merge(image, 30, min_pixels=10)
    np.testing.assert_array_equal(labels[0], [1] * 9 + [2] * 10)
    # The channel with the largest difference counts: (0, 60, 0) is nearer to (50, 60, 50) than to
    # (0, 0, 0).
    colors = np.zeros((6, 19, 3), np.uint8)
    colors[:, 9] = (0, 60, 0)
    colors[:, 10:] = (50, 60, 50)
    np.testing.assert_array_equal(split_and_merge(colors, 30, 10)[0], [1] * 9 + [2] * 10)


def test_ramp_is_divided_where_the_means_differ():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None], 32, axis=0)
    for tolerance, few, many in ((8, 8, 40), (40, 2, 8)):
        labels = split_and_merge(ramp, tolerance)
        assert few <= labels.max() <= many
        assert (labels == labels[:1]).all()
        check(ramp, labels, tolerance, 20)


@given(
    arrays(
        "uint8", st.sampled_from([(1, 1), (2, 2), (8, 8), (8, 8, 3)]), elements=st.integers(0, 12)
    ),
    st.integers(0, 9),
)
@settings(deadline=None, max_examples=40)
def test_squares_equal_a_recursive_reference(image, tolerance):
    labels, keys = _split(np.atleast_3d(image), tolerance)
    np.testing.assert_array_equal(labels, slow_squares(np.atleast_3d(image), tolerance))
    assert len(keys) == labels.max() + 1


@given(
    arrays("uint8", array_shapes(min_dims=2, max_dims=2, max_side=11), elements=st.integers(0, 40)),
    st.integers(0, 12),
    st.integers(1, 6),
)
@settings(deadline=None, max_examples=60)
def test_invariants_at_any_size(image, tolerance, min_pixels):
    labels = split_and_merge(image, tolerance, min_pixels)
    check(image, labels, tolerance, min_pixels)
    np.testing.assert_array_equal(
        split_and_merge(image + 100, tolerance, min_pixels), labels
    )  # only differences matter
    np.testing.assert_array_equal(
        split_and_merge(np.stack([image] * 3, -1), tolerance, min_pixels), labels
    )


@given(
    arrays(
        "uint8", st.sampled_from([(4, 8), (6, 10), (8, 2), (12, 12)]), elements=st.integers(0, 30)
    )
)
@settings(deadline=None, max_examples=40)
def test_rotation_of_images_with_even_sides(image):
    labels = split_and_merge(image, 6, 3)
    for turns in (1, 2, 3):
        rotated = np.rot90(split_and_merge(np.rot90(image, turns), 6, 3), -turns)
        np.testing.assert_array_equal(relabel(rotated), labels)


@pytest.mark.parametrize("name", ["coffee", "camera"])
def test_photographs(name):
    image = getattr(data, name)()[100:340:2, 60:380:2]
    labels = split_and_merge(image)
    check(image, labels, 16, 20)
    assert 20 < labels.max() < 200
    rotated = np.rot90(split_and_merge(np.rot90(image)), -1)
    np.testing.assert_array_equal(relabel(rotated), labels)
    np.testing.assert_array_equal(split_and_merge(image), labels)
    fewer = split_and_merge(image, 40).max()
    assert fewer < labels.max() / 2


def test_street(shared_data):
    image = np.array(Image.open(min((shared_data / "camvid" / "val").glob("*.jpg"))))
    labels = split_and_merge(image)
    check(image, labels, 16, 20)
    assert 200 < labels.max() < 800  # measured 490
    ground_truth = np.array(Image.open(min((shared_data / "camvid" / "valannot").glob("*.png"))))
    known = ground_truth < 11
    votes = np.zeros((labels.max() + 1, 11), int)
    np.add.at(votes, (labels[known], ground_truth[known]), 1)
    # Give each region its most frequent class. The most frequent class alone is far less accurate.
    assert votes.max(axis=1).sum() / known.sum() > 0.85
    assert votes.sum(axis=0).max() / known.sum() < 0.5


@pytest.mark.parametrize(
    "image", [np.zeros((1, 1)), np.full((5, 7, 3), 9, np.uint8), np.ones((3, 1), bool)]
)
def test_constant_images(image):
    np.testing.assert_array_equal(split_and_merge(image), np.ones(image.shape[:2]))


def test_long_strip_is_not_padded_to_a_square():
    strip = np.zeros((3, 40000), np.uint8)
    strip[:, 20000:] = 100
    np.testing.assert_array_equal(split_and_merge(strip)[0], np.repeat([1, 2], 20000))


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.zeros((0, 4)), {}, r"got an image of shape \(0, 4\)"),
        (np.full((3, 4), np.nan), {}, "the image has values from nan"),
        (np.full((3, 4), 300.0), {}, "the image has values from 300"),
        (np.zeros((3, 4, 2)), {}, "got an image of shape"),
        (np.zeros((3, 4)), {"tolerance": -1}, "tolerance=-1 must be a finite number of at least 0"),
        (np.zeros((3, 4)), {"tolerance": np.nan}, "tolerance=nan"),
        (np.zeros((3, 4)), {"min_pixels": 0}, "min_pixels=0 must be a whole number"),
    ],
)
def test_invalid_arguments_are_refused(image, options, message):
    with pytest.raises(ValueError, match=f"^split_and_merge: {message}"):
        split_and_merge(image, **options)
