from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfseg.ops import blend_weights, window_corners, window_stride


def test_window_corners_by_hand():
    # width 9, windows of 4: 5 spare pixels need two steps of 2.5, and 2.5 rounds to 2
    assert window_corners((5, 9), 4) == [(0, 0), (0, 2), (0, 5), (1, 0), (1, 2), (1, 5)]
    assert window_corners((4, 10), (4, 6), overlap=0.5) == [(0, 0), (0, 2), (0, 4)]
    assert window_corners((3, 2), 4) == [(0, 0)]
    assert window_corners((4, 8), 4) == [(0, 0), (0, 4)]  # no more windows than needed


def test_windows_begin_on_multiples_of_the_stride():
    # 9 spare pixels are 3 strides of 4; steps of int(8 * 0.75) = 6 pixels are rounded down to 4
    assert window_corners((8, 17), 8, 0.25, stride=4) == [(0, 0), (0, 4), (0, 8), (0, 12)]
    assert window_corners((8, 16), 8, stride=4) == [(0, 0), (0, 8)]
    # windows smaller than the stride begin anywhere
    assert window_corners((3, 7), 3, stride=4) == window_corners((3, 7), 3)


sides = st.tuples(st.integers(1, 40), st.integers(1, 40))


@settings(max_examples=150, deadline=None)
@given(sides, sides, st.floats(0, 1, exclude_max=True), st.integers(1, 9))
def test_windows_on_a_stride_cover_every_pixel(extent, size, overlap, stride):
    corners = window_corners(extent, size, overlap, stride)
    covered = np.zeros(extent, int)
    for y, x in corners:
        covered[y : y + size[0], x : x + size[1]] += 1
    assert covered.min() >= 1
    for axis in (0, 1):
        step = window_stride(size[axis], stride)
        starts = sorted({corner[axis] for corner in corners})
        assert all(start % step == 0 for start in starts)
        assert starts[-1] < extent[axis]
        most = max(step, size[axis] * (1 - overlap))
        assert all(b - a <= most for a, b in pairwise(starts))


@settings(max_examples=150, deadline=None)
@given(sides, sides, st.floats(0, 1, exclude_max=True))
def test_windows_cover_every_pixel_with_the_requested_overlap(extent, size, overlap):
    corners = window_corners(extent, size, overlap)
    covered = np.zeros(extent, int)
    for y, x in corners:
        assert 0 <= y <= max(0, extent[0] - size[0])
        assert 0 <= x <= max(0, extent[1] - size[1])
        covered[y : y + size[0], x : x + size[1]] += 1
    assert covered.min() >= 1
    assert len(set(corners)) == len(corners)
    assert corners == sorted(corners)
    for axis in (0, 1):
        starts = sorted({corner[axis] for corner in corners})
        assert all(b - a <= max(1, size[axis] * (1 - overlap)) for a, b in pairwise(starts))


def test_invalid_windows_are_rejected():
    with pytest.raises(ValueError, match=r"window_corners: size=0 must be"):
        window_corners((5, 5), (3, 0))
    with pytest.raises(ValueError, match=r"window_corners: overlap=1 must be"):
        window_corners((5, 5), 3, overlap=1)


def test_blend_weights_are_symmetric_and_positive():
    assert blend_weights(4) == pytest.approx([0.4, 0.8, 0.8, 0.4])
    assert blend_weights(1).tolist() == [1]
    assert blend_weights(1000).min() > 0
