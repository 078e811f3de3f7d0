import cv2
import numpy as np
import pytest
from keras import ops
from oracles import affine_warp as slow_warp

from tfseg.ops import affine_matrices, affine_warp

IDENTITY = np.array([[[1, 0, 0], [0, 1, 0]]], "float32")


def noise(shape, dtype="uint8"):
    return np.random.default_rng(3).integers(0, 256, shape).astype(dtype)


def warp(images, matrices, size, **options):
    return ops.convert_to_numpy(affine_warp(ops.convert_to_tensor(images), matrices, size, **options))


def matrices(size, centre, scale=1.0, angle=0.0, flip_x=1.0, flip_y=1.0):
    values = [np.array([value], "float32") for value in (centre, scale, angle, flip_x, flip_y)]
    return ops.convert_to_numpy(affine_matrices(size, *values))


def middle(image):
    return (image.shape[0] - 1) / 2, (image.shape[1] - 1) / 2


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_identity_changes_no_byte(interpolation):
    images = noise((2, 7, 11, 3))
    assert np.array_equal(warp(images, np.repeat(IDENTITY, 2, 0), (7, 11), interpolation=interpolation), images)


def test_each_image_goes_through_its_own_matrix():
    images = noise((2, 5, 6, 1))
    left_by_one = np.array([[[1, 0, 1], [0, 1, 0]]], "float32")
    moved = warp(images, np.concatenate([IDENTITY, left_by_one]), (5, 6))
    assert np.array_equal(moved[0], images[0])
    assert np.array_equal(moved[1, :, :-1], images[1, :, 1:])
    assert not moved[1, :, -1].any()


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_flips_and_turns_move_whole_pixels(interpolation):
    image = noise((6, 9, 2))

    def moved(size, **change):
        return warp(image[None], matrices(size, middle(image), **change), size, interpolation=interpolation)[0]

    assert np.array_equal(moved((6, 9), flip_x=-1.0), image[:, ::-1])
    assert np.array_equal(moved((6, 9), flip_y=-1.0), image[::-1])
    # np.rot90 turns counter-clockwise on the screen; the sine of pi / 2 is off by 1e-7 in float32
    assert np.allclose(moved((9, 6), angle=np.pi / 2), np.rot90(image), atol=1e-3)
    assert np.allclose(moved((9, 6), angle=-np.pi / 2), np.rot90(image, -1), atol=1e-3)
    assert np.allclose(moved((6, 9), angle=np.pi), np.rot90(image, 2), atol=1e-3)


def test_scale_magnifies_about_the_centre():
    image = np.arange(9.0)[None, None, :, None] * np.ones((1, 5, 1, 1))
    # output x = 0..8 with its middle 4 on source 5, shown twice as large: source 5 + (x - 4) / 2
    magnified = warp(image, matrices((1, 9), (2, 5), scale=2.0), (1, 9))[0, 0, :, 0]
    assert np.allclose(magnified, [3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7])


def test_the_fill_blends_in_at_the_border():
    image = np.array([[10.0, 20.0]])[None, ..., None]
    half_right = np.array([[[1, 0, -0.5], [0, 1, 0]]], "float32")
    # source x = -0.5, 0.5, 1.5, 2.5: halves of (100, 10), (10, 20), (20, 100), then nothing but the fill
    assert np.allclose(warp(image, half_right, (1, 4), fill=100)[0, 0, :, 0], [55, 15, 60, 100])
    assert np.allclose(warp(image, half_right, (1, 4))[0, 0, :, 0], [5, 15, 10, 0])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_nearest_keeps_the_dtype_and_makes_no_new_label(dtype):
    mask = np.array([[0, 7], [7, 200]], dtype)[None, ..., None]
    turned = warp(mask, matrices((5, 5), (0.5, 0.5), 2.0, 0.5), (5, 5), interpolation="nearest", fill=255)
    assert turned.dtype == dtype
    assert set(turned.ravel()) == {0, 7, 200, 255}


MATRIX = np.array([[0.8123, -0.3571, 3.217], [0.3019, 1.0937, -2.703]], "float32")  # without ties


@pytest.mark.parametrize("fill", [0, 90])
def test_bilinear_matches_the_slow_loop(fill):
    image = noise((13, 17, 3))
    fast = warp(image[None], MATRIX[None], (12, 20), fill=fill)[0]
    assert np.abs(fast - slow_warp(image, MATRIX, (12, 20), fill)).max() < 1e-2  # float32 coordinates


@pytest.mark.parametrize("fill", [0, 90])
def test_bilinear_matches_opencv(fill):
    image = noise((40, 50, 3), "float32")
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    theirs = cv2.warpAffine(image, MATRIX, (55, 45), None, flags, cv2.BORDER_CONSTANT, (fill,) * 3)
    ours = warp(image[None], MATRIX[None], (45, 55), fill=fill)[0]
    # OpenCV may round coordinates to 1/32 pixel; that is up to 255 / 32 on noise
    assert np.abs(ours - theirs).max() < 8
    assert np.abs(ours - theirs).mean() < 1


def test_nearest_matches_opencv():
    mask = noise((40, 50, 1))
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    theirs = cv2.warpAffine(mask[..., 0], MATRIX, (55, 45), None, flags, cv2.BORDER_CONSTANT, 255)
    ours = warp(mask[None], MATRIX[None], (45, 55), interpolation="nearest", fill=255)[0, ..., 0]
    assert np.mean(ours == theirs) > 0.99
