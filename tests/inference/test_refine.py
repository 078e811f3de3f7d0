import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from oracles import guided

from tfseg.classical.labels import connected_components
from tfseg.inference import refine
from tfseg.inference.crf import softmax

IMAGE = np.random.default_rng(0).integers(0, 256, (13, 11, 3)).astype(np.uint8)
LOGITS = np.random.default_rng(1).normal(0, 2, (13, 11, 4)).astype(np.float32)


def probabilities_of(logits):
    return softmax(logits.reshape(-1, logits.shape[-1])).reshape(logits.shape)


@pytest.mark.parametrize("function", [refine.crf, refine.guided_filter])
def test_a_sigmoid_is_a_softmax_of_two_classes(function):
    two = LOGITS[..., :2]
    found = function(two[..., 1:] - two[..., :1], IMAGE)
    expected = function(two, IMAGE)
    assert found.shape == (13, 11, 1)
    assert found == pytest.approx(expected[..., 1:] - expected[..., :1], abs=1e-3)


@pytest.mark.parametrize("function", [refine.crf, refine.guided_filter])
def test_a_float_image_gives_the_same_result(function):
    expected = function(LOGITS, IMAGE)
    assert function(LOGITS, IMAGE.astype(np.float32)) == pytest.approx(expected, abs=1e-4)
    assert function(LOGITS, IMAGE / 255) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("function", [refine.crf, refine.guided_filter])
def test_a_wrong_pixel_is_corrected_and_the_edge_stays(function):
    image = np.full((8, 8, 3), 50, np.uint8)
    image[:, 4:] = 200
    expected = image[..., 0] == 50
    logits = np.where(expected, 1.0, -1.0)[..., None]
    logits[3, 3] = -1
    assert np.array_equal(function(logits, image)[..., 0] > 0, expected)


@pytest.mark.parametrize("image", [IMAGE, IMAGE[..., 0], IMAGE[..., :1]])
def test_a_guided_filter_is_a_regression_in_every_window(image):
    found = np.exp(refine.guided_filter(LOGITS, image, radius=2, epsilon=0.02))
    expected = guided(probabilities_of(LOGITS), image, 2, 0.02)
    assert found == pytest.approx(np.maximum(expected, 1e-6), abs=1e-4)


def test_more_classes_than_opencv_filters_at_once():
    # 50 classes, and the products with 3 colors: more than 128 channels
    logits = np.random.default_rng(2).normal(0, 2, (9, 8, 50)).astype(np.float32)
    image = IMAGE[:9, :8]
    found = np.exp(refine.guided_filter(logits, image, radius=2, epsilon=0.02))
    expected = guided(probabilities_of(logits), image, 2, 0.02)
    assert found == pytest.approx(np.maximum(expected, 1e-6), abs=1e-4)


@pytest.mark.parametrize("function", [refine.crf, refine.guided_filter])
def test_one_color_and_one_pixel(function):
    assert np.isfinite(function(LOGITS, np.full((13, 11), 7, np.uint8))).all()
    assert function(LOGITS[:1, :1], IMAGE[:1, :1]).argmax(-1) == LOGITS[:1, :1].argmax(-1)


def test_small_regions_get_the_class_around_them():
    ids = np.array(
        [
            [0, 0, 0, 5, 5],
            [0, 7, 0, 5, 5],
            [0, 0, 5, 7, 7],
            [0, 0, 5, 5, 5],
        ],
        np.uint8,
    )
    # the single 7 is surrounded by 0; all neighbors of the two 7 on the right are 5
    found = refine.absorb_small(ids, min_pixels=3)
    assert found.dtype == np.uint8
    assert found.tolist() == [[0, 0, 0, 5, 5], [0, 0, 0, 5, 5], [0, 0, 5, 5, 5], [0, 0, 5, 5, 5]]
    assert np.array_equal(refine.absorb_small(ids, min_pixels=2)[2], ids[2])
    assert np.array_equal(refine.absorb_small(ids, min_pixels=1), ids)


def test_the_class_of_most_border_pixels_wins():
    # the 1 has one step to class 0 (left) and two to class 2 (right, below)
    ids = np.array([[0, 1, 2], [0, 2, 2], [0, 2, 2]])
    assert refine.absorb_small(ids, min_pixels=2).tolist() == [[0, 2, 2]] * 3


def test_connectivity_decides_what_a_region_is():
    ids = np.zeros((4, 4), int)
    ids[[1, 2], [1, 2]] = 1  # two pixels that touch at a corner
    assert not refine.absorb_small(ids, min_pixels=2, connectivity=4).any()
    assert np.array_equal(refine.absorb_small(ids, min_pixels=2, connectivity=8), ids)


def test_a_region_among_small_ones_waits_for_them():
    ids = np.zeros((7, 7), int)
    ids[2:5, 2:5] = 1  # a ring of eight pixels around a single one
    ids[3, 3] = 2
    assert not refine.absorb_small(ids, min_pixels=9).any()
    assert np.array_equal(refine.absorb_small(ids, min_pixels=2), np.where(ids == 2, 1, ids))
    board = np.indices((4, 4)).sum(0) % 2
    assert np.array_equal(refine.absorb_small(board, min_pixels=2), board)  # no larger region


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 2)),
    st.integers(1, 9),
)
@settings(max_examples=60, deadline=None)
def test_no_small_region_remains_next_to_a_larger_one(ids, min_pixels):
    def areas(labels):
        regions = connected_components(labels + 1)
        return np.bincount(regions.ravel())[regions]

    found = refine.absorb_small(ids, min_pixels)
    assert (areas(found) >= min_pixels).all() or (areas(found) < min_pixels).all()
    large = areas(ids) >= min_pixels
    assert np.array_equal(found[large], ids[large])  # large regions are unchanged


@pytest.mark.parametrize("function", [refine.crf, refine.guided_filter])
def test_invalid_logits_and_images_are_refused(function):
    name = function.__name__
    message = rf"{name}: got logits of shape \(13, 11, 4\) and an image of size \(11, 13\)"
    with pytest.raises(ValueError, match=message):
        function(LOGITS, IMAGE.transpose(1, 0, 2))
    with pytest.raises(ValueError, match=rf"{name}: got logits of shape \(13, 11\)"):
        function(LOGITS[..., 0], IMAGE)
    with pytest.raises(ValueError, match="not finite"):
        function(np.full_like(LOGITS, np.nan), IMAGE)
    probabilities = probabilities_of(LOGITS)
    with pytest.raises(ValueError, match=f"{name}: got probabilities .* expected logits"):
        function(probabilities, IMAGE)
    assert function(np.log(probabilities), IMAGE).shape == LOGITS.shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "iterations=0 must be a whole number of at least 1"),
        ({"smoothness_std": 0}, "smoothness_std=0 must be a finite number above 0"),
        ({"position_std": -2}, "position_std=-2 must be a finite number above 0"),
        ({"color_std": 0}, "color_std=0 must be a finite number above 0"),
        ({"smoothness_weight": -1}, "smoothness_weight=-1 must be a finite number of at least 0"),
        ({"bilateral_weight": -1}, "bilateral_weight=-1 must be a finite number of at least 0"),
        (
            {"smoothness_weight": 0, "bilateral_weight": 0},
            "smoothness_weight and bilateral_weight are both 0",
        ),
    ],
)
def test_invalid_parameters_of_the_crf_are_refused(options, message):
    with pytest.raises(ValueError, match=f"crf: {message}"):
        refine.crf(LOGITS, IMAGE, **options)


def test_invalid_parameters_of_the_filters_are_refused():
    with pytest.raises(ValueError, match="guided_filter: radius=0"):
        refine.guided_filter(LOGITS, IMAGE, radius=0)
    with pytest.raises(ValueError, match="guided_filter: epsilon=0"):
        refine.guided_filter(LOGITS, IMAGE, epsilon=0)
    message = r"absorb_small: got class ids of shape .* and dtype float32, expected \(H, W\)"
    with pytest.raises(ValueError, match=message):
        refine.absorb_small(LOGITS[..., 0])
    with pytest.raises(ValueError, match=r"absorb_small: got class ids of shape \(0, 3\)"):
        refine.absorb_small(np.zeros((0, 3), int))
