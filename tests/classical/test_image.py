import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tfseg.classical.image import to_0_255, to_gray, to_mask, to_rgb, to_uint8

BYTES = np.arange(24, dtype=np.uint8).reshape(4, 6) * 11
COLORS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def test_uint8_images_are_returned_unchanged():
    for image in (BYTES, COLORS, BYTES[..., None]):
        result = to_0_255("f", image)
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result, np.squeeze(image))
        assert np.shares_memory(result, image)


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int32", "int64", "uint64"])
def test_integers_are_8_bit_or_16_bit(dtype):
    np.testing.assert_array_equal(to_0_255("f", np.array([[0, 7, 255]], dtype)), [[0, 7, 255]])
    result = to_0_255("f", np.array([[0, 256, 65535]], dtype))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [[0, 256 / 257, 255]], rtol=1e-6)
    if dtype != "uint16":
        with pytest.raises(ValueError, match="f: the image has values from 0 to 65536, expected"):
            to_0_255("f", np.array([[0, 65536]], dtype))


def test_bool_becomes_0_and_255():
    np.testing.assert_array_equal(to_0_255("f", np.array([[False, True]])), [[0, 255]])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_in_0_to_1_and_0_to_255(dtype):
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
def test_dtypes_of_the_same_image_agree(image, dtype):
    other = image * 257.0 if dtype == "uint16" else image
    if dtype != "uint16" and image.max(initial=0) <= 1:
        return  # such images are read as 0..1
    np.testing.assert_array_equal(to_uint8(to_0_255("f", other.astype(dtype))), image)


def test_conversion_to_gray_and_rgb():
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


def test_to_uint8_rounds():
    np.testing.assert_array_equal(
        to_uint8(np.float32([[0.4, 0.6, 254.6, 255.00002]])), [[0, 1, 255, 255]]
    )


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.zeros((4, 5, 4)),
            r"got an image of shape \(4, 5, 4\) and dtype float64, expected numbers",
        ),
        (np.zeros((4, 5, 2)), "an image of shape"),
        (np.zeros(5), "an image of shape"),
        (np.zeros((1, 4, 5, 3)), "an image of shape"),
        (np.full((4, 5), "a"), "dtype <U1"),
        (np.zeros((4, 5), complex), "dtype complex128"),
        (np.zeros((0, 5)), r"got an image of shape \(0, 5\), which has no pixels"),
        (np.zeros((4, 0, 3), "uint8"), "no pixels"),
        (np.full((4, 5), -1), "the image has values from -1 to -1, expected"),
        (np.full((4, 5), np.nan), "the image has values from nan to nan, expected finite values"),
        (np.array([[0, np.nan]]), "values from nan"),
        (np.array([[0, np.inf]]), "the image has values from 0 to inf"),
        (np.array([[-0.1, 1]]), "values from -0.1 to 1"),
        (np.array([[0, 255.5]]), "values from 0 to 255.5"),
    ],
)
def test_invalid_images_are_refused(image, message):
    for convert in (to_0_255, to_gray, to_rgb):
        with pytest.raises(ValueError, match=f"^owner: .*{message}"):
            convert("owner", image)


def test_masks_become_bool():
    numbers = np.array([[0, 2, -1], [1, 0, 255]])
    for mask in (numbers, numbers.astype("uint8"), numbers != 0):
        result = to_mask("f", "mask", mask, (2, 3))
        assert result.dtype == bool
        np.testing.assert_array_equal(result, numbers != 0)
    with pytest.raises(
        ValueError, match=r"f: got mask of shape \(2, 3\) and dtype int64, expected .* \(3, 2\)"
    ):
        to_mask("f", "mask", numbers, (3, 2))
    with pytest.raises(
        ValueError,
        match=r"f: got roi of shape \(2, 3, 1\) .* expected bool or integers of shape \(H, W\)",
    ):
        to_mask("f", "roi", numbers[..., None])
    with pytest.raises(ValueError, match="dtype float64"):
        to_mask("f", "mask", numbers / 2)


def test_floats_slightly_above_1_are_refused():
    with pytest.raises(
        ValueError,
        match="f: the image has values up to 1.0001, .* Clip to 0..1, or scale to 0..255",
    ):
        to_0_255("f", np.array([[0.0, 0.5, 1.0001]]))
