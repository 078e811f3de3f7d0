import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal

from tfseg.datasets import dsb2018 as load
from tfseg.metrics import average_precision
from tfseg.recipes import dsb2018

TOUCHING = np.array(
    [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 2, 2, 2],
        [0, 1, 1, 1, 2, 2, 2],
        [0, 1, 1, 1, 2, 2, 2],
        [0, 0, 0, 0, 0, 0, 0],
    ]
)
RIMS = np.array(
    [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 2, 2, 2, 2, 2, 2],
        [0, 2, 1, 2, 2, 1, 1],
        [0, 2, 2, 2, 2, 2, 2],
        [0, 0, 0, 0, 0, 0, 0],
    ]
)


def certain(classes):
    return 20 * np.eye(3, dtype=np.float32)[classes]


def test_a_rim_touches_another_nucleus_or_the_background():
    assert_array_equal(dsb2018.rims(TOUCHING), RIMS)


def test_connected_insides_are_split_at_their_neck():
    y, x = np.mgrid[:30, :56]
    left, right = (np.hypot(y - 15, x - center) < 11 for center in (15, 36))
    inside = left | right
    assert cv2.connectedComponents(inside.astype(np.uint8))[0] == 2  # with the background
    found = dsb2018.split(certain(np.where(inside, dsb2018.INSIDE, 0)))
    expected = np.where(left & (x < 26), 1, np.where(inside, 2, 0))
    assert average_precision([expected], [found])["ap"][:8].min() == 1
    assert_array_equal(found > 0, inside)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_rim_belongs_to_the_nearest_inside(width):
    nuclei = np.zeros((20, 36), int)
    nuclei[2:18, 2:18], nuclei[2:18, 18:34] = 1, 2
    classes = np.where(nuclei, dsb2018.RIM, 0)
    for left in (2, 18):
        classes[2 + width : 18 - width, left + width : left + 16 - width] = dsb2018.INSIDE
    assert_array_equal(dsb2018.split(certain(classes)), nuclei)


@given(arrays(np.int64, (9, 8), elements=st.integers(0, 2)))
def test_a_nucleus_covers_no_background_and_is_not_tiny(classes):
    found = dsb2018.split(certain(classes))
    assert not found[classes == 0].any()
    assert np.bincount(found.ravel())[1:].min(initial=dsb2018.MIN_AREA) >= dsb2018.MIN_AREA


def test_rims_without_an_inside_are_nuclei():
    rim = np.full((5, 5), dsb2018.RIM)
    found = dsb2018.split(certain(np.pad(np.hstack([rim, np.zeros((5, 3), int), rim]), 2)))
    assert [len(np.unique(part[part > 0])) for part in (found[:, :7], found[:, 7:], found)] == [
        1,
        1,
        2,
    ]


def test_background_has_no_nuclei():
    assert not dsb2018.split(certain(np.zeros((5, 7), int))).any()


def test_ground_truth_survives_rims_and_splitting(shared_data):
    _, val = load(shared_data / "dsb2018_fluo")
    expected = [val[index]["instances"] for index in range(len(val))]
    found = [dsb2018.split(certain(dsb2018.rims(nuclei))) for nuclei in expected]
    assert average_precision(expected, found)["ap"][0] > 0.98  # a few lobed nuclei are split
