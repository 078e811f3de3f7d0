import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tfseg.classical.image import to_uint8, to_gray, to_0_255, to_mask, to_rgb

BYTES = np.arange(24, dtype=np.uint8).reshape(4, 6) * 11
COLORS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def test_bytes_stay_as_they_are():
    for image in (BYTES, COLORS, BYTES[..., None]):
        result = to_0_255("f", image)
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result, np.squeeze(image))
        assert np.shares_memory(result, image)


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int32", "int64", "uint64"])
def test_integers_are_bytes_or_of_16_bit(dtype):
    np.testing.assert_array_equal(to_0_255("f", np.array([[0, 7, 255]], dtype)), [[0, 7, 255]])
    result = to_0_255("f", np.array([[0, 256, 65535]], dtype))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [[0, 256 / 257, 255]], rtol=1e-6)
    if dtype != "uint16":
        with pytest.raises(ValueError, match="f: the image has values from 0 to 65536, expected"):
            to_0_255("f", np.array([[0, 65536]], dtype))


def test_a_mask_is_black_and_white():
    np.testing.assert_array_equal(to_0_255("f", np.array([[False, True]])), [[0, 255]])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_of_either_range(dtype):
    result = to_0_255("f", np.array([[0, 0.5, 1]], dtype))
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, [[0, 127.5, 255]])
    np.testing.assert_array_equal(
        to_0_255("f", np.array([[0, 0.5, 1.5, 255]], dtype)), [[0, 0.5, 1.5, 255]]
    )
    assert not to_0_255("f", np.zeros((3, 4), dtype)).any()


@given(
    arrays("uint8", array_shapes(min_dims=2, max_dims=2, max_side=6)),
    st.sampled_from(("float32", "uint16", "f8")),
)
@settings(deadline=None)
def test_the_same_image_of_other_dtypes(image, dtype):
    other = image * 257.0 if dtype == "uint16" else image
    if dtype != "uint16" and image.max(initial=0) <= 1:
        return  # these would be taken for 0..1
    np.testing.assert_array_equal(to_uint8(to_0_255("f", other.astype(dtype))), image)


def test_gray_levels_and_colors():
    expected = cv2.cvtColor(COLORS, cv2.COLOR_RGB2GRAY)
    np.testing.assert_array_equal(to_gray("f", COLORS), expected)
    exact = COLORS @ (0.299, 0.587, 0.114)
    np.testing.assert_allclose(to_gray("f", COLORS.astype("float64")), exact, rtol=1e-5)
    np.testing.assert_array_equal(to_gray("f", BYTES), BYTES)
    np.testing.assert_array_equal(to_rgb("f", BYTES), np.stack([BYTES] * 3, -1))
    np.testing.assert_array_equal(to_rgb("f", COLORS), COLORS)
    np.testing.assert_array_equal(to_gray("f", np.rot90(COLORS)), np.rot90(expected))
    assert to_rgb("f", COLORS[::-1, ::2]).flags.c_contiguous
    assert to_gray("f", COLORS[:1, :1]).shape == (1, 1)


def test_bytes_are_rounded():
    np.testing.assert_array_equal(
        to_uint8(np.float32([[0.4, 0.6, 254.6, 255.00002]])), [[0, 1, 255, 255]]
    )


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (
            np.zeros((4, 5, 4)),
            r"an image of shape \(4, 5, 4\) and dtype float64 came, expected gray \(H, W\) or RGB",
        ),
        (np.zeros((4, 5, 2)), "an image of shape"),
        (np.zeros(5), "an image of shape"),
        (np.zeros((1, 4, 5, 3)), "an image of shape"),
        (np.full((4, 5), "a"), "dtype <U1"),
        (np.zeros((4, 5), complex), "dtype complex128"),
        (np.zeros((0, 5)), r"an image of shape \(0, 5\) came, which has no pixel"),
        (np.zeros((4, 0, 3), "uint8"), "no pixel"),
        (np.full((4, 5), -1), "the image has values from -1 to -1, expected"),
        (np.full((4, 5), np.nan), "the image has values from nan to nan, expected finite ones"),
        (np.array([[0, np.nan]]), "values from nan"),
        (np.array([[0, np.inf]]), "the image has values from 0 to inf"),
        (np.array([[-0.1, 1]]), "values from -0.1 to 1"),
        (np.array([[0, 255.5]]), "values from 0 to 255.5"),
    ],
)
def test_no_such_image(image, words):
    for read in (to_0_255, to_gray, to_rgb):
        with pytest.raises(ValueError, match=f"^owner: .*{words}"):
            read("owner", image)


def test_masks():
    numbers = np.array([[0, 2, -1], [1, 0, 255]])
    for mask in (numbers, numbers.astype("uint8"), numbers != 0):
        result = to_mask("f", "mask", mask, (2, 3))
        assert result.dtype == bool
        np.testing.assert_array_equal(result, numbers != 0)
    with pytest.raises(
        ValueError, match=r"f: mask of shape \(2, 3\) and dtype int64 came, expected .* \(3, 2\)"
    ):
        to_mask("f", "mask", numbers, (3, 2))
    with pytest.raises(
        ValueError, match=r"f: roi of shape \(2, 3, 1\) .* expected bool or integers \(H, W\)"
    ):
        to_mask("f", "roi", numbers[..., None])
    with pytest.raises(ValueError, match="dtype float64"):
        to_mask("f", "mask", numbers / 2)


def test_floats_a_little_above_one_are_refused():
    with pytest.raises(
        ValueError, match="f: the image has values up to 1.0001. Clip to 0..1, or scale to 0..255"
    ):
        to_0_255("f", np.array([[0.0, 0.5, 1.0001]]))
