"""Thresholds, compared with OpenCV, scikit-image and slow references, and on constant images."""

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy import ndimage
from skimage import filters

from tfseg.classical.thresholds import (
    adaptive,
    hysteresis,
    multi_otsu,
    otsu,
    otsu_threshold,
    sauvola,
    triangle,
)

METHODS = (otsu, triangle, multi_otsu, adaptive, sauvola, hysteresis)


def noise(seed=0, shape=(37, 52), dtype="uint8"):
    """Bright blobs on a dark background, with noise, in 0..255."""
    rng = np.random.default_rng(seed)
    image = (
        60
        + 120 * (ndimage.gaussian_filter(rng.normal(size=shape), 3) > 0.06)
        + rng.normal(0, 15, shape)
    )
    return image.clip(0, 255).astype(dtype)


def within_class_sum(image, classes):
    """Return the sum over classes of squared distances from their means."""
    groups = [image[classes == number].astype(float) for number in np.unique(classes)]
    return sum(((group - group.mean()) ** 2).sum() for group in groups)


def minimum_sum(image, count):
    """Return the minimum sum over all divisions of the gray levels into `count` classes."""
    cuts = itertools.combinations(np.unique(image)[1:], count - 1)
    return min(
        within_class_sum(image, np.searchsorted(levels, image, side="right")) for levels in cuts
    )


def dice(mask, ground_truth):
    return 2 * np.sum(mask & ground_truth) / (mask.sum() + ground_truth.sum())


def test_classes_by_hand():
    image = np.array([[10, 12, 200], [11, 90, 210], [95, 92, 205]], np.uint8)
    # Three groups: about 11, about 92, about 205. With two classes the nearer two join.
    assert multi_otsu(image).tolist() == [[0, 0, 2], [0, 1, 2], [1, 1, 2]]
    assert otsu(image).tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 1]]
    assert otsu_threshold(image) == 95
    # Above 202: 210, 205. Above 91 and connected to them: 200, 95, 92. Not above 91: 90.
    assert hysteresis(image, 91, 202).tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 1]]
    assert hysteresis(image, 91, 209).tolist() == hysteresis(image, 91, 202).tolist()
    assert hysteresis(image, 91, 210).tolist() == np.zeros((3, 3)).tolist()


@pytest.mark.parametrize("method", METHODS)
def test_classes_are_int32_in_order_of_brightness(method):
    image = noise()
    classes = method(image)
    assert (classes.dtype, classes.shape) == (np.int32, image.shape)
    means = [image[classes == number].mean() for number in range(classes.max() + 1)]
    assert len(means) == (3 if method is multi_otsu else 2)
    assert means == sorted(means)


@pytest.mark.parametrize("seed", range(4))
def test_otsu_and_triangle_equal_opencv(seed):
    for image in (noise(seed), 255 - noise(seed), noise(seed) // 16 + 100, noise(seed, (1, 9))):
        for method, rule in ((otsu, cv2.THRESH_OTSU), (triangle, cv2.THRESH_TRIANGLE)):
            assert (method(image) == cv2.threshold(image, 0, 1, rule)[1]).all()


def test_otsu_of_floats_uses_256_bins_over_their_range():
    image = noise(3, dtype="float32") + np.float32(0.3)
    bins = ((image - image.min()) / np.ptp(image) * 256).clip(0, 255).astype(np.uint8)
    assert (otsu(image) == cv2.threshold(bins, 0, 1, cv2.THRESH_OTSU)[1]).all()
    faint = 100 + (image - image.min()) / 1000  # a range of 0.3 gray levels
    assert (otsu(faint) != otsu(image)).mean() < 0.01
    level = otsu_threshold(image)
    assert ((image > level) == otsu(image)).all()
    assert abs(level - filters.threshold_otsu(image)) < np.ptp(image) / 256


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_multi_otsu_equals_scikit_image(classes):
    for seed in range(3):
        image = noise(seed)
        expected = np.digitize(image, filters.threshold_multiotsu(image, classes), right=True)
        assert (multi_otsu(image, classes) == expected).all()
    assert (multi_otsu(image, 2) == otsu(image)).all()


@given(arrays("uint8", (5, 6)), st.integers(2, 4))
@settings(deadline=None, max_examples=40)
def test_multi_otsu_is_optimal(image, count):
    image //= 24  # at most 11 levels
    classes = multi_otsu(image, count)
    levels = np.unique(image)
    assert classes.max() + 1 == min(count, len(levels))
    if len(levels) > count:
        assert within_class_sum(image, classes) == pytest.approx(
            minimum_sum(image, count), abs=1e-6
        )
    else:
        assert (levels[classes] == image).all()


def test_multi_otsu_with_a_class_per_level():
    image = np.repeat(np.arange(0, 250, 10, dtype=np.uint8), 3)[None] + np.array(
        [[0], [1]], np.uint8
    )
    assert (multi_otsu(image, 25) == np.repeat(np.arange(25), 3)).all()
    assert (
        multi_otsu(image, 10**6) == np.unique(image, return_inverse=True)[1].reshape(image.shape)
    ).all()


def test_multi_otsu_of_floats_uses_256_bins():
    image = 20 + 70 * (np.arange(512)[None] + 0.5) / 512
    image[0, [0, -1]] = 20, 90
    assert (multi_otsu(image, 300) == np.arange(512) // 2).all()


@pytest.mark.parametrize(("size", "offset"), [(51, 0), (11, 2), (3, -4), (15, 1.5), (15, -1.5)])
def test_adaptive_equals_opencv(size, offset):
    image = noise(1)
    method, kind = cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY
    assert (
        adaptive(image, size, offset) == cv2.adaptiveThreshold(image, 1, method, kind, size, offset)
    ).all()
    # For floats the mean is not rounded, so it differs by up to half a level.
    mean = cv2.GaussianBlur(
        image.astype("float32"), (size, size), 0, borderType=cv2.BORDER_REPLICATE
    )
    differs = adaptive(image, size, offset) != adaptive(image.astype("float32"), size, offset)
    assert (np.abs(image - mean + offset)[differs] <= 0.5).all()


def test_adaptive_of_low_contrast_and_constant_areas():
    # 12-bit values in uint16: a step of 0.06 gray levels is found, constant areas stay dark.
    image = np.full((60, 60), 3000, np.uint16)
    image[20:30, 20:30] = 3015
    expected = np.zeros((60, 60), int)
    expected[20:30, 20:30] = 1
    assert (adaptive(image, 25) == expected).all()
    assert (adaptive(image.astype("float32") / 65535, 25) == expected).all()
    assert (adaptive(65535 - image, 25, 0.01) == 1 - expected).all()
    for level in np.linspace(101, 254, 20, dtype="float32"):
        assert not adaptive(np.repeat([[level] * 40 + [0] * 24], 64, 0), 11)[:, :30].any()


@pytest.mark.parametrize(("size", "k"), [(25, 0.2), (3, 0.5), (15, 0)])
def test_sauvola_equals_scikit_image(size, k):
    for image in (noise(2), noise(2, dtype="float32")):
        level = filters.threshold_sauvola(image, size, k, r=127.5)
        differs = sauvola(image, size, k) != (image > level)
        assert (np.abs(image - level)[differs] < 1e-3).all()
        assert differs.mean() < 0.01
    assert (
        filters.threshold_sauvola(noise(2), size, k)
        == filters.threshold_sauvola(noise(2), size, k, r=127.5)
    ).all()


@given(arrays("uint8", (7, 8)), st.integers(0, 250), st.integers(0, 60))
@settings(deadline=None, max_examples=60)
def test_hysteresis_equals_scikit_image(image, low, step):
    # scikit-image uses 4 neighbors. For 8, keep the weak components that contain a strong pixel.
    high = low + step
    assert (
        hysteresis(image, low, high, 4) == filters.apply_hysteresis_threshold(image, low, high)
    ).all()
    components, _ = ndimage.label(image > low, np.ones((3, 3)))
    assert (
        hysteresis(image, low, high)
        == (np.isin(components, components[image > high]) & (components > 0))
    ).all()


def test_hysteresis_default_thresholds():
    # Otsu's threshold is 70: 12 * 8 * (180 - 70 / 12)^2 is more than for the other two thresholds.
    # The mean above it is 180, so `high` is 125; 120 is kept where it touches 200.
    image = [[120, 200, 200, 0, 0], [200, 200, 200, 0, 120], [200, 0, 0, 0, 0], [0, 0, 0, 70, 0]]
    image = np.array(image, np.uint8)
    assert otsu_threshold(image) == 70
    assert hysteresis(image).tolist() == [
        [1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 0, 0, 0, 0],
        [0] * 5,
    ]
    assert hysteresis(image, high=119).tolist() == (image > 100).astype(int).tolist()
    # The mean above 0 is (1440 + 70) / 9 = 168, so `high` is 84.
    assert hysteresis(image, low=0).tolist() == (image > 100).astype(int).tolist()
    assert not hysteresis(image, high=200).any()
    assert not hysteresis(image, low=200).any()


@pytest.mark.parametrize("method", METHODS)
def test_rotated_and_flipped_images(method):
    image = noise(5)
    for change in (np.rot90, np.fliplr, np.flipud):
        assert (method(change(image)) == change(method(image))).all()
    assert (image == noise(5)).all()


@pytest.mark.parametrize("method", [otsu, multi_otsu, triangle, hysteresis, adaptive])
def test_invariance_to_brightness_and_contrast(method):
    image = noise(6) // 3
    assert (method(image + np.uint8(90)) == method(image)).all()
    if method not in (adaptive, triangle):  # these round the mean, or see the empty levels between
        assert (method(image * np.uint8(3)) == method(image)).all()


@pytest.mark.parametrize("method", METHODS)
def test_colors_are_converted_to_gray(method):
    image = noise(7)
    assert (method(image[..., None]) == method(image)).all()
    assert (method(np.repeat(image[..., None], 3, -1)) == method(image)).all()
    green = np.zeros((9, 9, 3), np.uint8)
    green[..., 2], green[3:6, 3:6] = 255, (0, 255, 0)  # green is brighter than blue
    if method is not sauvola:
        assert method(green)[4, 4] == 1 > method(green)[0, 0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (5, 5)])
@pytest.mark.parametrize(
    "value", [np.uint8(0), np.uint8(255), np.float32(100.3), np.uint16(900), True]
)
def test_constant_images_are_class_0(method, shape, value):
    assert (method(np.full(shape, value)) == np.zeros(shape)).all()


@pytest.mark.parametrize("method", METHODS)
def test_two_pixels_and_tiny_float_differences(method):
    method(np.array([[3, 200]], np.uint8))
    image = np.array([[0, np.finfo("float32").tiny], [0, 0]], "float32")
    assert method(image).max() <= 1
    assert otsu(image).tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "image",
    [np.zeros((0, 4)), np.full((3, 3), np.nan), np.full((3, 3), 300.0), np.zeros((3, 3, 4))],
)
def test_invalid_images_are_refused(method, image):
    with pytest.raises(ValueError, match=f"^{method.__name__}: "):
        method(image)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda image: multi_otsu(image, 1), "multi_otsu: num_classes=1 must be at least 2"),
        (
            lambda image: multi_otsu(image, 2.5),
            "multi_otsu: num_classes=2.5 must be a whole number",
        ),
        (lambda image: adaptive(image, 50), "adaptive: size=50 must be odd"),
        (lambda image: adaptive(image, 1), "adaptive: size=1 must be odd and at least 3"),
        (lambda image: adaptive(image, offset=np.nan), "adaptive: offset=nan must be a finite"),
        (lambda image: sauvola(image, 24), "sauvola: size=24 must be odd"),
        (
            lambda image: sauvola(image, k=-0.1),
            "sauvola: k=-0.1 must be a finite number of at least 0",
        ),
        (lambda image: hysteresis(image, 90, 80), "hysteresis: got low=90 and high=80, expected"),
        (lambda image: hysteresis(image, np.nan, 80), "hysteresis: got low=nan and high=80"),
        (
            lambda image: hysteresis(image, connectivity=6),
            "connected_components: connectivity=6 is unknown",
        ),
    ],
)
def test_invalid_options_are_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call(noise())


def test_nuclei(shared_data):
    folder, scores = shared_data / "dsb2018_fluo", []
    for name in (folder / "val.txt").read_text().split():
        image = np.array(Image.open(folder / "images" / f"{name}.png").convert("L"))
        ground_truth = np.array(Image.open(folder / "labels" / f"{name}.png")) > 0
        masks = (
            otsu(image),
            hysteresis(image),
            triangle(image),
            multi_otsu(image),
            adaptive(image, 101, -5),
        )
        scores.append([dice(mask > 0, ground_truth) for mask in masks])
    # Measured on all 20 images: 0.866, 0.860, 0.760, 0.818, 0.891.
    assert (np.mean(scores, axis=0) > (0.85, 0.84, 0.74, 0.79, 0.87)).all()
