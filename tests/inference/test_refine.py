import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from oracles import guided

from tfseg.inference import refine
from tfseg.inference.crf import softmax

IMAGE = np.random.default_rng(0).integers(0, 256, (13, 11, 3)).astype(np.uint8)
LOGITS = np.random.default_rng(1).normal(0, 2, (13, 11, 4)).astype(np.float32)


@pytest.mark.parametrize("function", [refine.crf, refine.guided_filter])
def test_a_sigmoid_is_two_classes(function):
    two = LOGITS[..., :2]
    found = function(two[..., 1:] - two[..., :1], IMAGE)
    expected = function(two, IMAGE)
    assert found.shape == (13, 11, 1)
    assert found == pytest.approx(expected[..., 1:] - expected[..., :1], abs=1e-3)


@pytest.mark.parametrize("function", [refine.crf, refine.guided_filter])
def test_a_float_image_is_the_same_image(function):
    expected = function(LOGITS, IMAGE)
    assert function(LOGITS, IMAGE.astype(np.float32)) == pytest.approx(expected, abs=1e-4)
    assert function(LOGITS, IMAGE / 255) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("image", [IMAGE, IMAGE[..., 0], IMAGE[..., :1]])
def test_a_guided_filter_is_a_regression_in_every_window(image):
    shares = softmax(LOGITS.reshape(-1, 4)).reshape(LOGITS.shape)
    found = np.exp(refine.guided_filter(LOGITS, image, radius=2, epsilon=0.02))
    assert found == pytest.approx(np.maximum(guided(shares, image, 2, 0.02), 1e-6), abs=1e-4)


def test_more_classes_than_opencv_filters_at_once():
    logits = np.random.default_rng(2).normal(0, 2, (9, 8, 50)).astype(np.float32)
    shares, image = softmax(logits.reshape(-1, 50)).reshape(logits.shape), IMAGE[:9, :8]
    found = np.exp(refine.guided_filter(logits, image, radius=2, epsilon=0.02))
    assert found == pytest.approx(np.maximum(guided(shares, image, 2, 0.02), 1e-6), abs=1e-4)


def test_one_color_one_pixel_one_class():
    for function in (refine.crf, refine.guided_filter):
        assert np.isfinite(function(LOGITS, np.full((13, 11), 7, np.uint8))).all()
        assert function(LOGITS[:1, :1], IMAGE[:1, :1]).argmax(-1) == LOGITS[:1, :1].argmax(-1)


def test_small_pieces_take_the_class_around_them():
    ids = np.array(
        [
            [0, 0, 0, 5, 5],
            [0, 7, 0, 5, 5],
            [0, 0, 5, 7, 7],
            [0, 0, 5, 5, 5],
        ],
        np.uint8,
    )
    # the lone 7 lies among 0; of the four steps out of the two 7 on the right all lead to 5
    found = refine.absorb_small(ids, min_area=3)
    assert found.dtype == np.uint8
    assert found.tolist() == [[0, 0, 0, 5, 5], [0, 0, 0, 5, 5], [0, 0, 5, 5, 5], [0, 0, 5, 5, 5]]
    assert np.array_equal(refine.absorb_small(ids, min_area=2)[2], ids[2])
    assert np.array_equal(refine.absorb_small(ids, min_area=1), ids)


def test_a_piece_among_small_ones_waits_for_them():
    ids = np.zeros((7, 7), int)
    ids[2:5, 2:5] = 1  # a ring of eight pixels around a single one
    ids[3, 3] = 2
    assert not refine.absorb_small(ids, min_area=9).any()
    assert np.array_equal(refine.absorb_small(ids, min_area=2), np.where(ids == 2, 1, ids))
    board = np.indices((4, 4)).sum(0) % 2
    assert np.array_equal(refine.absorb_small(board, min_area=2), board)  # nothing is larger


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 2)),
    st.integers(1, 9),
)
@settings(max_examples=100, deadline=None)
def test_no_small_piece_is_left_beside_a_larger_one(ids, min_area):
    from tfseg.classical.labels import connected_components

    found = refine.absorb_small(ids, min_area)
    pieces = connected_components(found + 1)
    areas = np.bincount(pieces.ravel())[pieces]
    assert (areas >= min_area).all() or (areas < min_area).all()
    kept = (
        np.bincount(connected_components(ids + 1).ravel())[connected_components(ids + 1)]
        >= min_area
    )
    assert np.array_equal(found[kept], ids[kept])  # what was large enough has not changed


@pytest.mark.parametrize("function", [refine.crf, refine.guided_filter])
def test_what_does_not_fit_is_refused(function):
    name = function.__name__
    with pytest.raises(
        ValueError, match=rf"{name}: logits of shape \(13, 11, 4\) came with an image \(11, 13\)"
    ):
        function(LOGITS, IMAGE.transpose(1, 0, 2))
    with pytest.raises(ValueError, match=rf"{name}: logits of shape \(13, 11\)"):
        function(LOGITS[..., 0], IMAGE)
    with pytest.raises(ValueError, match="not finite"):
        function(np.full_like(LOGITS, np.nan), IMAGE)
    shares = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    with pytest.raises(ValueError, match=f"{name}: probabilities came, .* Pass logits"):
        function(shares, IMAGE)
    assert function(np.log(shares), IMAGE).shape == LOGITS.shape


def test_parameters_out_of_range_are_refused():
    for options, message in (
        ({"iterations": 0}, "iterations=0 must be a whole number of at least 1"),
        ({"near": 0}, "near=0 must be a finite number above 0"),
        ({"smooth": -1}, "smooth=-1 must be a finite number of at least 0"),
        ({"smooth": 0, "bilateral": 0}, "smooth and bilateral are both 0"),
    ):
        with pytest.raises(ValueError, match=f"crf: {message}"):
            refine.crf(LOGITS, IMAGE, **options)
    with pytest.raises(ValueError, match="guided_filter: radius=0"):
        refine.guided_filter(LOGITS, IMAGE, radius=0)
    with pytest.raises(ValueError, match="absorb_small: class ids of shape .* and dtype float32"):
        refine.absorb_small(LOGITS[..., 0])
    with pytest.raises(ValueError, match=r"absorb_small: class ids of shape \(0, 3\)"):
        refine.absorb_small(np.zeros((0, 3), int))
