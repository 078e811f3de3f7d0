import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import adapted_rand_error as skimage_error

from tfseg.metrics import adapted_rand_error


def test_a_merged_and_a_cut_cell_by_hand():
    # 2 + 2 pixels in one: 2 + 2 ordered pairs of the target, 12 of the prediction, 4 of both
    assert adapted_rand_error([[[1, 1, 0, 2, 2]]], [[[5, 5, 5, 5, 5]]]) == pytest.approx(1 - 8 / 16)
    # one of 3 pixels, in pieces of 2 and 1: 6, 2 and 2 pairs
    assert adapted_rand_error([[[4, 4, 4]]], [[[1, 1, 2]]]) == pytest.approx(1 - 4 / 8)


def test_pixels_outside_of_the_targets_are_left_out():
    target = [[1, 1, 0, 2]]
    assert adapted_rand_error([target], [[[3, 3, 9, 8]]]) == 0
    assert adapted_rand_error([target], [[[3, 3, 0, 8]]]) == 0


def test_images_are_averaged_without_those_that_have_no_pair():
    merged, equal, empty = [[1, 1, 2, 2]], [[1, 1, 2, 2]], [[0, 0, 0, 1]]
    images = [merged, equal, empty], [[[7, 7, 7, 7]], [[2, 2, 1, 1]], [[1, 1, 1, 1]]]
    assert adapted_rand_error(*images) == pytest.approx((0.5 + 0) / 2)
    assert math.isnan(adapted_rand_error([empty], [empty]))
    assert math.isnan(adapted_rand_error([], []))


labels = arrays("uint8", (6, 7), elements=st.integers(0, 3))


@given(labels, labels)
@settings(deadline=None, max_examples=60)
def test_the_error_matches_scikit_image(target, prediction):
    with np.errstate(invalid="ignore"):
        expected = skimage_error(target, prediction, ignore_labels=(0,))[0]
    assert adapted_rand_error([target], [prediction]) == pytest.approx(expected, nan_ok=True)


def test_bad_label_maps_are_named():
    with pytest.raises(ValueError, match="adapted_rand_error: image 1: target of shape"):
        adapted_rand_error([[[1]], [[1, 2]]], [[[1]], [[1]]])
    with pytest.raises(ValueError, match="1 predictions, but more targets"):
        adapted_rand_error([[[1]], [[1]]], [[[1]]])
