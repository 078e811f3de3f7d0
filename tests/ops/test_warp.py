import cv2
import keras
import numpy as np
import pytest
from keras import ops
from oracles import affine_warp as slow_warp
from oracles import block_means, spline_surface

from tfseg.ops import apply_matrices, crop_matrices, resample, smooth_field, source_points

IDENTITY = np.array([[[1, 0, 0], [0, 1, 0]]], "float32")
# multiples of 1/32, to which OpenCV before 5.0.0 rounds coordinates
MATRIX = np.array([[26, -11, 103], [10, 35, -86]], "float32") / 32
WITHOUT_TIES = np.array([[0.8123, -0.3571, 3.217], [0.3019, 1.0937, -2.703]], "float32")

every_interpolation = pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
linear_or_cubic = pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
CV2 = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


def noise(shape, dtype="uint8", seed=3):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


def read(images, x, y, *rest, **options):
    return ops.convert_to_numpy(resample(ops.convert_to_tensor(images), x, y, *rest, **options))


def warp(images, matrices, size, *rest, displacement=None, **options):
    return read(
        images,
        *source_points(ops.convert_to_tensor(matrices), size, displacement),
        *rest,
        **options,
    )


def matrices(
    size, center, scale=1.0, angle=0.0, shear=0.0, flip_x=1.0, flip_y=1.0, perspective=None
):
    values = [
        np.array([value], "float32") for value in (center, scale, angle, shear, flip_x, flip_y)
    ]
    far = None if perspective is None else np.array([perspective], "float32")
    return ops.convert_to_numpy(crop_matrices(size, *map(ops.convert_to_tensor, values), far))


def center_of(image):
    return (image.shape[0] - 1) / 2, (image.shape[1] - 1) / 2


def compiled(function):
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


# --- whole pixels


@pytest.mark.parametrize(
    ("dtype", "top"),
    [("uint8", 256), ("uint16", 2**16), ("int32", 2**24), ("int32", -(2**24)), ("float32", 1.0)],
)
@every_interpolation
def test_identity_changes_nothing(interpolation, dtype, top):
    images = (np.random.default_rng(0).random((2, 7, 11, 3)) * top).astype(dtype)
    same = np.repeat(IDENTITY, 2, 0)
    found = warp(images, same, (7, 11), interpolation=interpolation)
    assert found.dtype == (dtype if interpolation == "nearest" else "float32")
    assert np.array_equal(found, images)
    assert np.array_equal(warp(images, same, (7, 11), interpolation=interpolation, fill=9), images)


@pytest.mark.parametrize("perspective", [None, (0.0, 0.0)])
@every_interpolation
def test_a_crop_of_the_whole_image_changes_nothing(interpolation, perspective):
    image = noise((6, 9, 2))
    same = matrices((6, 9), center_of(image), perspective=perspective)
    assert np.array_equal(warp(image[None], same, (6, 9), interpolation=interpolation)[0], image)


def test_each_image_has_its_own_matrix():
    images = noise((2, 5, 6, 1))
    left_by_one = np.array([[[1, 0, 1], [0, 1, 0]]], "float32")
    moved = warp(images, np.concatenate([IDENTITY, left_by_one]), (5, 6))
    assert np.array_equal(moved[0], images[0])
    assert np.array_equal(moved[1, :, :-1], images[1, :, 1:])
    assert not moved[1, :, -1].any()


@every_interpolation
def test_flips_and_rotations_by_90_degrees(interpolation):
    image = noise((6, 9, 2))

    def moved(size, **change):
        return warp(
            image[None],
            matrices(size, center_of(image), **change),
            size,
            interpolation=interpolation,
        )[0]

    assert np.array_equal(moved((6, 9), flip_x=-1.0), image[:, ::-1])
    assert np.array_equal(moved((6, 9), flip_y=-1.0), image[::-1])
    # np.rot90 rotates counter-clockwise on the screen; the cosine of pi / 2 is off by 1e-7 in
    # float32
    assert np.allclose(moved((9, 6), angle=np.pi / 2), np.rot90(image), atol=2e-3)
    assert np.allclose(moved((9, 6), angle=-np.pi / 2), np.rot90(image, -1), atol=2e-3)
    assert np.allclose(moved((6, 9), angle=np.pi), np.rot90(image, 2), atol=2e-3)


def test_flips_are_after_rotation():
    image = noise((6, 9, 2))
    moved = warp(
        image[None], matrices((9, 6), center_of(image), angle=np.pi / 2, flip_x=-1.0), (9, 6)
    )[0]
    assert np.allclose(moved, np.rot90(image)[:, ::-1], atol=2e-3)


def test_scale_magnifies_about_the_center():
    image = np.arange(9.0, dtype="float32")[None, None, :, None] * np.ones((1, 5, 1, 1), "float32")
    # output x = 0..8 with its center 4 at source 5, scale 2: source 5 + (x - 4) / 2
    magnified = warp(image, matrices((1, 9), (2, 5), scale=2.0), (1, 9))[0, 0, :, 0]
    assert np.allclose(magnified, [3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7])


# --- outside of the image


def test_fill_is_interpolated_at_the_border():
    image = np.array([[10.0, 20.0]], "float32")[None, ..., None]
    half_right = np.array([[[1, 0, -0.5], [0, 1, 0]]], "float32")
    # source x = -0.5, 0.5, 1.5, 2.5: means of (100, 10), (10, 20), (20, 100), then only the fill
    assert np.allclose(warp(image, half_right, (1, 4), fill=100)[0, 0, :, 0], [55, 15, 60, 100])
    assert np.allclose(warp(image, half_right, (1, 4))[0, 0, :, 0], [5, 15, 10, 0])


@every_interpolation
def test_fill_per_channel(interpolation):
    images, fill = noise((1, 6, 7, 3), "float32"), (10, 0, 250)
    found = warp(images, MATRIX[None], (9, 12), interpolation=interpolation, fill=fill)
    alone = [
        warp(
            images[..., i : i + 1], MATRIX[None], (9, 12), interpolation=interpolation, fill=fill[i]
        )
        for i in range(3)
    ]
    assert np.allclose(found, np.concatenate(alone, -1), atol=1e-4)
    far = np.array([[[1, 0, 100], [0, 1, 0]]], "float32")
    assert np.array_equal(
        warp(images, far, (1, 1), interpolation=interpolation, fill=fill)[0, 0, 0], fill
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
def test_nearest_keeps_the_dtype_and_adds_no_label(dtype):
    mask = np.array([[0, 7], [7, 200]], dtype)[None, ..., None]
    turned = warp(
        mask, matrices((5, 5), (0.5, 0.5), 2.0, 0.5), (5, 5), interpolation="nearest", fill=255
    )
    assert turned.dtype == dtype
    assert set(turned.ravel()) == {0, 7, 200, 255}


@every_interpolation
def test_pixels_beyond_the_extent_are_never_used(interpolation):
    sizes = [(5, 8), (9, 12), (4, 3)]
    sources = [noise((*size, 2), "float32", seed) for seed, size in enumerate(sizes)]
    array = np.full((3, 9, 12, 2), 1e6, "float32")
    for i, source in enumerate(sources):
        array[i, : source.shape[0], : source.shape[1]] = source
    maps = np.repeat(MATRIX[None], 3, 0)
    extents = np.array(sizes, "float32")
    found = warp(array, maps, (14, 16), interpolation=interpolation, fill=90, extents=extents)
    for ours, source in zip(found, sources, strict=True):
        alone = warp(source[None], MATRIX[None], (14, 16), interpolation=interpolation, fill=90)[0]
        assert np.allclose(ours, alone, atol=1e-3)


# --- comparison with other code


@pytest.mark.parametrize("fill", [0, 90])
def test_bilinear_matches_the_slow_loop(fill):
    image = noise((13, 17, 3))
    fast = warp(image[None], WITHOUT_TIES[None], (12, 20), fill=fill)[0]
    assert (
        np.abs(fast - slow_warp(image, WITHOUT_TIES, (12, 20), fill)).max() < 2e-3
    )  # float32 coordinates


@pytest.mark.parametrize("fill", [0, 90])
@linear_or_cubic
def test_matches_opencv_warp_affine(interpolation, fill):
    image = noise((40, 50, 3), "float32")
    flags = CV2[interpolation] | cv2.WARP_INVERSE_MAP
    theirs = cv2.warpAffine(image, MATRIX, (55, 45), None, flags, cv2.BORDER_CONSTANT, (fill,) * 3)
    ours = warp(image[None], MATRIX[None], (45, 55), interpolation=interpolation, fill=fill)[0]
    assert np.abs(ours - theirs).max() < 2e-3


@pytest.mark.parametrize("fill", [0, 90])
@linear_or_cubic
def test_matches_opencv_remap(interpolation, fill):
    image = noise((20, 31, 3), "float32")
    rng = np.random.default_rng(8)
    x = rng.integers(-4 * 32, 35 * 32, (25, 40)).astype("float32") / 32
    y = rng.integers(-4 * 32, 24 * 32, (25, 40)).astype("float32") / 32
    theirs = cv2.remap(image, x, y, CV2[interpolation], None, cv2.BORDER_CONSTANT, (fill,) * 3)
    ours = read(image[None], x[None], y[None], interpolation=interpolation, fill=fill)[0]
    assert np.abs(ours - theirs).max() < 2e-3


def test_nearest_matches_opencv():
    mask = noise((40, 50, 1))
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    theirs = cv2.warpAffine(
        mask[..., 0], WITHOUT_TIES, (55, 45), None, flags, cv2.BORDER_CONSTANT, 255
    )
    ours = warp(mask[None], WITHOUT_TIES[None], (45, 55), interpolation="nearest", fill=255)[
        0, ..., 0
    ]
    assert np.mean(ours == theirs) > 0.999
    x, y = np.random.default_rng(9).uniform(-3, 53, (2, 30, 30)).astype("float32")
    theirs = cv2.remap(mask[..., 0], x, y, cv2.INTER_NEAREST, None, cv2.BORDER_CONSTANT, 255)
    assert np.mean(read(mask[None], x[None], y[None], "nearest", 255)[0, ..., 0] == theirs) > 0.999


@linear_or_cubic
def test_matches_opencv_warp_perspective(interpolation):
    y, x = np.mgrid[:60, :80]
    # smooth, so that the rounding of older OpenCV versions has little effect
    image = (100 + 60 * np.sin(x / 9)[..., None] * np.cos(y / 7)[..., None] + x[..., None]).astype(
        "float32"
    )
    matrix = matrices((45, 55), (28.3, 41.7), 0.9, 0.4, 0.1, -1.0, perspective=(0.3, -0.2))
    flags = CV2[interpolation] | cv2.WARP_INVERSE_MAP
    theirs = cv2.warpPerspective(
        image, matrix[0].astype("float64"), (55, 45), None, flags, cv2.BORDER_CONSTANT, 0
    )
    ours = warp(image[None], matrix, (45, 55), interpolation=interpolation)[0, ..., 0]
    x, y = (ops.convert_to_numpy(side)[0] for side in source_points(matrix, (45, 55)))
    within = (x > 1) & (y > 1) & (x < 77) & (y < 57)
    assert 0.5 < within.mean() < 1
    assert np.abs(ours - theirs)[within].max() < 0.3


# --- matrices and points


def test_vertical_lines_lean_by_the_shear_to_the_right():
    matrix = matrices((9, 9), (4, 4), shear=np.arctan(0.5))
    # output (x, y) shows source (x + (y - 4) / 2, y): the line at 4 is at x = 4 - (y - 4) / 2
    image = np.zeros((1, 9, 9, 1), "float32")
    image[:, :, 4] = 1
    line = warp(image, matrix, (9, 9))[0, ..., 0]
    assert line[::2].argmax(1).tolist() == [6, 5, 4, 3, 2]
    horizontal = warp(image.transpose(0, 2, 1, 3), matrix, (9, 9))[0, ..., 0]
    assert np.allclose(horizontal, np.eye(9)[4][:, None], atol=1e-5)


def test_the_border_in_perspective_is_farther_away():
    # center 4, source 20; the borders are 4 away: 4 / (1 - 1/4) and 4 / (1 + 1/4) in the source
    matrix = matrices((3, 9), (7, 20), perspective=(0.25, 0.0))
    x, y = (ops.convert_to_numpy(side)[0] for side in source_points(matrix, (3, 9)))
    assert x[1, [0, 4, 8]] == pytest.approx([20 - 3.2, 20, 20 + 16 / 3], abs=1e-5)
    assert y[:, 8] == pytest.approx([7 - 4 / 3, 7, 7 + 4 / 3], abs=1e-5)
    x, y = (
        ops.convert_to_numpy(side)[0]
        for side in source_points(matrices((5, 3), (7, 20), perspective=(0, -0.6)), (5, 3))
    )
    assert y[[0, 2, 4], 1] == pytest.approx([7 - 2 / 0.4, 7, 7 + 2 / 1.6], abs=1e-5)


CHANGE = {"scale": 0.7, "angle": 0.6, "shear": -0.3, "flip_x": -1.0, "flip_y": -1.0}


@pytest.mark.parametrize("perspective", [None, (0.3, -0.35)])
@pytest.mark.parametrize("size", [(11, 15), (10, 24), (1, 1), (1, 8)])
def test_the_output_center_maps_to_center(size, perspective):
    matrix = matrices(size, (33.25, -7.5), **CHANGE, perspective=perspective)
    point = np.array([[(size[1] - 1) / 2]], "float32"), np.array([[(size[0] - 1) / 2]], "float32")
    x, y = (
        ops.convert_to_numpy(side) for side in apply_matrices(ops.convert_to_tensor(matrix), *point)
    )
    assert (x.item(), y.item()) == pytest.approx((-7.5, 33.25), abs=1e-4)


def test_the_matrix_is_a_product_of_simple_matrices():
    size, center, (right, low) = (11, 15), (33.25, -7.5), (0.3, -0.35)
    to_middle = np.array([[1, 0, -7], [0, 1, -5], [0, 0, 1.0]])
    far = np.array([[1, 0, 0], [0, 1, 0], [-right / 7, -low / 5, 1]])
    flips = np.diag([-1.0, -1, 1])
    shear = np.array([[1, np.tan(-0.3), 0], [0, 1, 0], [0, 0, 1]])
    turn = np.array([[np.cos(0.6), -np.sin(0.6), 0], [np.sin(0.6), np.cos(0.6), 0], [0, 0, 1]])
    shrink, to_center = (
        np.diag([1 / 0.7, 1 / 0.7, 1]),
        np.array([[1, 0, -7.5], [0, 1, 33.25], [0, 0, 1]]),
    )
    expected = to_center @ shrink @ turn @ shear @ flips @ far @ to_middle
    found = matrices(size, center, **CHANGE, perspective=(right, low))[0]
    assert found == pytest.approx(expected, abs=1e-4)
    expected = to_center @ shrink @ turn @ shear @ flips @ to_middle
    assert matrices(size, center, **CHANGE)[0] == pytest.approx(expected[:2], abs=1e-4)


def test_apply_matrices():
    maps = np.array([[[1, 2, 3], [4, 5, 6]], [[0, 1, 0], [1, 0, 0]]], "float32")
    x, y = np.array([[1, 2], [3, 4]], "float32"), np.array([[5, 6], [7, 8]], "float32")
    moved = [ops.convert_to_numpy(side).tolist() for side in apply_matrices(maps, x, y)]
    assert moved == [[[14, 17], [7, 8]], [[35, 44], [3, 4]]]
    maps = np.array([[[1, 2, 3], [4, 5, 6], [0, 0, 2]]], "float32")
    moved = [
        ops.convert_to_numpy(side).tolist()
        for side in apply_matrices(maps, x[:1, None], y[:1, None])
    ]
    assert moved == [[[[7, 8.5]]], [[[17.5, 22]]]]


def test_displacement():
    shift = np.zeros((1, 2, 3, 2), "float32")
    shift[0, 1, 2] = 10, 100
    maps = np.array([[[2, 0, 1], [0, 3, 5]]], "float32")
    x, y = (ops.convert_to_numpy(side)[0] for side in source_points(maps, (2, 3), shift))
    assert x.tolist() == [[1, 3, 5], [1, 3, 25]]
    assert y.tolist() == [[5, 5, 5], [8, 8, 308]]


# --- downsampled levels


def downsampled(image, times, **options):
    """Return the whole image at 1/2, 1/4, ... of its size, sampled from that level."""
    size = tuple(-(-side // 2**times) for side in image.shape[:2])
    # the center of the blocks, which extend beyond an odd image
    center = [(side * 2**times - 1) / 2 for side in size]
    matrix = matrices(size, center, scale=0.5**times)
    return warp(image[None], matrix, size, levels=(np.array([times], "int32"), times), **options)[0]


@linear_or_cubic
@pytest.mark.parametrize("times", [1, 2])
def test_levels_are_means_of_blocks(times, interpolation):
    image = noise((12, 20, 3), "float32")
    size = 20 // 2**times, 12 // 2**times
    found = downsampled(image, times, interpolation=interpolation)
    assert np.array_equal(found, block_means(image, times))
    assert np.allclose(found, cv2.resize(image, size, interpolation=cv2.INTER_AREA), atol=1e-4)


def test_means_of_integers_are_rounded_half_up():
    image = noise((12, 20, 3))
    assert np.array_equal(downsampled(image, 1), np.floor(block_means(image) + 0.5))
    assert np.array_equal(
        downsampled(image, 1), cv2.resize(image, (10, 6), interpolation=cv2.INTER_AREA)
    )
    assert np.abs(downsampled(image, 2) - block_means(image, 2)).max() <= 1
    signed = np.array([[-3, -3], [-3, -4]], "int32")[..., None]
    assert downsampled(signed, 1).item() == -3
    assert downsampled(np.full((2, 2, 1), 65535, "uint16"), 1).item() == 65535


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_last_odd_row_or_column_counts_twice(times):
    image = noise((13, 21, 2), "float32")
    assert np.allclose(downsampled(image, times), block_means(image, times), atol=1e-4)


def test_every_image_has_its_own_level():
    images = noise((4, 16, 24, 2), "float32")
    levels = [2, 0, 1, 0]
    maps = np.concatenate(
        [matrices((4, 6), (8.5, 11.0), scale=0.5**level, angle=0.2) for level in levels]
    )
    found = warp(images, maps, (4, 6), levels=(np.array(levels, "int32"), 2))
    for ours, image, matrix, level in zip(found, images, maps, levels, strict=True):
        x, y = (
            (ops.convert_to_numpy(side) + 0.5) / 2**level - 0.5
            for side in source_points(matrix[None], (4, 6))
        )
        theirs = read(block_means(image, level).astype("float32")[None], x, y)[0]
        assert np.allclose(ours, theirs, atol=1e-3)


@linear_or_cubic
@pytest.mark.parametrize("sizes", [[(5, 8), (9, 12), (4, 3)], [(7, 11), (1, 1), (9, 5)]])
def test_pixels_beyond_the_extent_are_not_averaged(interpolation, sizes):
    sources = [noise((*size, 2), "float32", seed) for seed, size in enumerate(sizes)]
    array = np.full((3, 9, 12, 2), 1e6, "float32")
    for i, source in enumerate(sources):
        array[i, : source.shape[0], : source.shape[1]] = source
    levels = np.array([1, 2, 2], "int32")
    maps = np.concatenate(
        [matrices((7, 7), (3, 4), scale=0.5**level, angle=0.3) for level in levels]
    )
    options = {"interpolation": interpolation, "fill": 90}
    found = warp(
        array, maps, (7, 7), extents=np.array(sizes, "int32"), levels=(levels, 2), **options
    )
    for ours, source, matrix, level in zip(found, sources, maps, levels, strict=True):
        alone = warp(source[None], matrix[None], (7, 7), levels=(np.array([level]), 2), **options)[
            0
        ]
        assert np.allclose(ours, alone, atol=1e-3)
        assert ours.max() < 400


# --- smooth fields


@pytest.mark.parametrize("lattice", [(8, 8), (4, 6)])
def test_smooth_field_is_a_sum_of_b_splines(lattice):
    coarse = np.random.default_rng(5).normal(size=(2, *lattice, 2)).astype("float32")
    found = ops.convert_to_numpy(smooth_field(ops.convert_to_tensor(coarse), (9, 14)))
    assert found.shape == (2, 9, 14, 2)
    assert found.dtype == "float32"
    for i, k in np.ndindex(2, 2):
        assert found[i, ..., k] == pytest.approx(
            spline_surface(coarse[i, ..., k], (9, 14)), abs=1e-5
        )


def test_smooth_field_of_constant_and_linear_coefficients():
    rows, columns = np.mgrid[:8, :7].astype("float32")
    coarse = np.stack([np.full((8, 7), 3, "float32"), 2 * rows - 5 * columns + 1], -1)[None]
    found = ops.convert_to_numpy(smooth_field(ops.convert_to_tensor(coarse), (11, 9)))[0]
    assert found[..., 0] == pytest.approx(np.full((11, 9), 3), abs=1e-5)
    # from the second row and column, 1, to the second to last ones, 6 and 5
    expected = 2 * np.linspace(1, 6, 11)[:, None] - 5 * np.linspace(1, 5, 9) + 1
    assert found[..., 1] == pytest.approx(expected, abs=1e-4)


def test_smooth_field_is_within_its_coefficients():
    coarse = np.sign(np.random.default_rng(6).normal(size=(4, 8, 8, 2))).astype("float32")
    found = ops.convert_to_numpy(smooth_field(ops.convert_to_tensor(coarse), (50, 40)))
    assert np.abs(found).max() <= 1 + 1e-5
    assert (
        np.abs(np.diff(found, axis=1)).max() < 0.25
    )  # 5 steps of the lattice over 49, a slope below 2


# --- compiled


def whole_map(images, extents, levels, coarse, center, interpolation):
    one = ops.ones_like(center[:, 0])
    far = ops.stack([0.2 * one, -0.1 * one], -1)
    maps = crop_matrices((9, 11), center, 0.6 * one, 0.3 * one, 0.1 * one, -one, one, far)
    x, y = source_points(maps, (9, 11), smooth_field(coarse, (9, 11)))
    return resample(images, x, y, interpolation, (20, 0, 90), extents, (levels, 2))


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_compiled_equals_eager(interpolation):
    rng = np.random.default_rng(2)
    arrays = (
        noise((3, 17, 22, 3), "uint8"),
        np.array([[17, 22], [9, 22], [13, 15]], "float32"),
        np.array([0, 2, 1], "int32"),
        rng.normal(size=(3, 5, 5, 2)).astype("float32"),
        np.array([[8, 10.5], [4, 9.25], [7.1, 6]], "float32"),
    )

    def run(*tensors):
        return whole_map(*tensors, interpolation)

    arrays = [ops.convert_to_tensor(array) for array in arrays]
    eager = ops.convert_to_numpy(run(*arrays))
    fused = ops.convert_to_numpy(compiled(run)(*arrays))
    assert eager.std() > 10
    assert fused.dtype == eager.dtype
    assert np.abs(fused.astype("float64") - eager).max() < 2e-2
