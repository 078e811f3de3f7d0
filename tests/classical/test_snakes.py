import itertools

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage import data, segmentation
from skimage.segmentation import morphsnakes

from tfseg.classical.snakes import chan_vese, geodesic_active_contour, morphological_chan_vese

BY_REGION = (chan_vese, morphological_chan_vese)
COINS = data.coins()[20:140, 10:130]
ROWS, COLUMNS = np.mgrid[:61, :71]
DISC = np.hypot(ROWS - 28, COLUMNS - 37) < 15
NOISE = np.random.default_rng(0).normal(0, 8, DISC.shape)
IMAGE = (np.where(DISC, 150, 80) + NOISE).astype(np.uint8)
BOX = (16, 8, 58, 50)


def iou(one, other):
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


@pytest.fixture
def skimage_segmentation(monkeypatch):
    """Reset scikit-image's operators, and make them ignore the outside of the image."""
    lines = morphsnakes._P2

    def opened(u):
        return np.max(
            [ndimage.binary_erosion(u, line, border_value=1) for line in lines], axis=0
        ).astype(np.int8)

    turns = itertools.cycle(
        [lambda u: opened(morphsnakes.inf_sup(u)), lambda u: morphsnakes.inf_sup(opened(u))]
    )
    monkeypatch.setattr(morphsnakes, "_curvop", lambda u: next(turns)(u))
    return segmentation


class TestByRegion:
    @pytest.mark.parametrize("method", BY_REGION)
    def test_disc_and_its_negative(self, method):
        result = method(IMAGE)
        assert result.dtype == np.int32
        assert iou(result == 1, DISC) > 0.97
        assert iou(method(255 - IMAGE) == 1, ~DISC) > 0.97
        assert np.array_equal(method(np.repeat(IMAGE[..., None], 3, -1)), result)

    @pytest.mark.parametrize("method", BY_REGION)
    def test_brightness_and_contrast_do_not_matter(self, method):
        low = IMAGE // 2
        expected = method(low)
        assert np.array_equal(method(low + 127), expected)
        assert np.array_equal(method(low * 2), expected)
        assert np.array_equal(method(low / 128), expected)  # a float image in 0..1

    @pytest.mark.parametrize("method", BY_REGION)
    @pytest.mark.parametrize("shape", [(1, 1), (1, 9), (8, 1), (5, 7), (13, 11, 3)])
    def test_constant_images_are_all_0(self, method, shape):
        result = method(np.full(shape, 77, np.uint8))
        assert result.shape == shape[:2]
        assert not result.any()

    @pytest.mark.parametrize("method", BY_REGION)
    def test_images_of_few_rows_or_columns(self, method):
        for width in (1, 3):
            strip = np.array([[0] * 10 + [200] * 11] * width, np.uint8)
            for image in (strip, strip.T):
                right = method(image) == (image > 0)
                assert right.shape == image.shape
                assert right.mean() > 0.85  # too narrow for smoothing with lines of three pixels

    @pytest.mark.parametrize("method", BY_REGION)
    def test_invalid_arguments_are_refused(self, method):
        with pytest.raises(
            ValueError, match=f"^{method.__name__}: got an image of shape .* has no pixels"
        ):
            method(np.zeros((0, 5)))
        with pytest.raises(ValueError, match=f"^{method.__name__}: the image has values from nan"):
            method(np.full((5, 5), np.nan))
        with pytest.raises(ValueError, match=f"^{method.__name__}: iterations=0"):
            method(IMAGE, iterations=0)


def test_chan_vese_equals_scikit_image():
    gray = COINS.astype(np.float32)
    expected = segmentation.chan_vese(gray, mu=0.1, tol=0.01, max_num_iter=30)
    brighter = expected if gray[expected].mean() > gray[~expected].mean() else ~expected
    assert np.array_equal(chan_vese(COINS, mu=0.1, tolerance=0.01, iterations=30), brighter)
    for option in ("mu", "tolerance"):
        with pytest.raises(ValueError, match=f"chan_vese: {option}=-1 must be"):
            chan_vese(COINS, **{option: -1})


@pytest.mark.parametrize(("iterations", "smoothing"), [(1, 1), (7, 1), (20, 3), (15, 0)])
def test_morphological_chan_vese_equals_scikit_image(skimage_segmentation, iterations, smoothing):
    expected = (
        skimage_segmentation.morphological_chan_vese(
            COINS.astype(float), iterations, smoothing=smoothing
        )
        > 0
    )
    brighter = expected if COINS[expected].mean() > COINS[~expected].mean() else ~expected
    assert np.array_equal(morphological_chan_vese(COINS, iterations, smoothing), brighter)


def test_regions_are_not_rounded_at_the_image_border():
    """Those of scikit-image's own operators are."""
    half = np.where(COLUMNS > 30, 200, 20).astype(np.uint8)
    assert np.array_equal(morphological_chan_vese(half), half > 100)
    assert np.array_equal(morphological_chan_vese(255 - half), half < 100)


@pytest.mark.parametrize("smoothing", [-1, 0.5, np.nan])
def test_invalid_smoothing_is_refused(smoothing):
    with pytest.raises(ValueError, match="^morphological_chan_vese: smoothing="):
        morphological_chan_vese(IMAGE, smoothing=smoothing)
    with pytest.raises(ValueError, match="^geodesic_active_contour: smoothing="):
        geodesic_active_contour(IMAGE, BOX, smoothing=smoothing)


class TestGeodesicActiveContour:
    @pytest.mark.parametrize("image", [IMAGE, 255 - IMAGE])
    def test_it_shrinks_or_grows_to_the_edge_of_a_disc(self, image):
        result = geodesic_active_contour(image, BOX)
        assert result.dtype == np.int32
        assert iou(result == 1, DISC) > 0.93
        inner = np.hypot(ROWS - 27, COLUMNS - 36) < 5
        assert iou(geodesic_active_contour(image, initial_mask=inner, balloon=1) == 1, DISC) > 0.85

    @pytest.mark.parametrize("balloon", [-1, 0, 1])
    @pytest.mark.parametrize(("iterations", "smoothing"), [(1, 1), (13, 1), (20, 2), (9, 0)])
    def test_equals_scikit_image(self, skimage_segmentation, balloon, iterations, smoothing):
        start = np.zeros(COINS.shape, int)
        start[25:90, 30:100] = 7
        edges = skimage_segmentation.inverse_gaussian_gradient(
            COINS / COINS.std(), alpha=250, sigma=1.5
        )
        limit = 1 / np.sqrt(1 + 250 * 0.07)
        expected = skimage_segmentation.morphological_geodesic_active_contour(
            edges, iterations, start, smoothing=smoothing, threshold=limit, balloon=balloon
        )
        result = geodesic_active_contour(
            COINS, None, start, iterations, smoothing, balloon, sigma=1.5, edge_threshold=0.07
        )
        assert 0 < result.sum() < result.size
        assert np.array_equal(result, expected)
        box = (30, 25, 100, 90)
        assert np.array_equal(
            geodesic_active_contour(COINS, box, None, iterations, smoothing, balloon, 1.5, 0.07),
            result,
        )

    def test_brightness_contrast_and_rotation_do_not_matter(self):
        low = IMAGE // 2
        start = (ROWS > 8) & (ROWS < 50) & (COLUMNS > 15) & (COLUMNS < 58)
        expected = geodesic_active_contour(low, initial_mask=start)
        assert np.array_equal(geodesic_active_contour(low + 127, initial_mask=start), expected)
        assert np.array_equal(geodesic_active_contour(low * 2, initial_mask=start), expected)
        for turns in range(4):
            result = geodesic_active_contour(
                np.rot90(low, turns), initial_mask=np.rot90(start, turns)
            )
            assert np.array_equal(result, np.rot90(expected, turns))

    def test_calls_do_not_depend_on_earlier_ones(self):
        """scikit-image stores the next operator in a global variable."""
        results = [geodesic_active_contour(IMAGE, BOX, iterations=9) for _ in range(2)]
        segmentation.morphological_geodesic_active_contour(IMAGE / 255, 1)
        assert np.array_equal(results[0], results[1])
        assert np.array_equal(geodesic_active_contour(IMAGE, BOX, iterations=9), results[0])

    @pytest.mark.parametrize("shape", [(1, 1), (1, 9), (8, 1), (5, 7), (13, 11, 3)])
    def test_in_constant_images_it_shrinks_to_nothing(self, shape):
        image = np.full(shape, 77, np.uint8)
        everywhere = np.ones(shape[:2], bool)
        assert not geodesic_active_contour(image, initial_mask=everywhere).any()
        seed = np.zeros(shape[:2], bool)
        seed[0, 0] = True
        assert geodesic_active_contour(image, initial_mask=seed, balloon=1, smoothing=0).all()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, "got neither of `box` and `initial_mask`, .* Pass box="),
            ({"box": BOX, "initial_mask": DISC}, "got both of `box` and `initial_mask`"),
            ({"box": (80, 0, 90, 9)}, "contains no pixel of the 71 x 61 image"),
            (
                {"initial_mask": DISC.T},
                r"got initial_mask of shape \(71, 61\) and dtype bool, expected bool .* \(61, 71\)",
            ),
            ({"initial_mask": DISC * 1.0}, "got initial_mask of shape .* dtype float64"),
            ({"box": BOX, "iterations": 0}, "iterations=0"),
            ({"box": BOX, "balloon": 2}, "balloon=2 is unknown. Choose from -1, 0, 1"),
            ({"box": BOX, "sigma": 0}, "sigma=0 must be"),
            ({"box": BOX, "edge_threshold": np.inf}, "edge_threshold=inf must be"),
        ],
    )
    def test_invalid_arguments_are_refused(self, options, message):
        with pytest.raises(ValueError, match=f"^geodesic_active_contour: .*{message}"):
            geodesic_active_contour(IMAGE, **options)

    def test_nuclei_in_their_boxes(self, shared_data):
        folder = shared_data / "dsb2018_fluo"
        found = []
        for name in (folder / "val.txt").read_text().split()[2:4]:
            image = np.array(Image.open(folder / "images" / f"{name}.png").convert("L"))
            labels = np.array(Image.open(folder / "labels" / f"{name}.png"))
            number = np.bincount(labels.ravel())[1:].argmax() + 1  # the largest
            rows, columns = np.nonzero(labels == number)
            box = columns.min() - 3, rows.min() - 3, columns.max() + 4, rows.max() + 4
            found.append(iou(geodesic_active_contour(image, box) > 0, labels == number))
        assert np.mean(found) > 0.75  # measured 0.829; 0.464 for the boxes
