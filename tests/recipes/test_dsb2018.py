import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal

from tfseg.datasets import dsb2018 as data_set
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


def test_rims_lie_where_nuclei_touch_another_or_the_background():
    assert_array_equal(dsb2018.rims(TOUCHING), RIMS)


def test_touching_nuclei_are_split_where_they_touch():
    found = dsb2018.split(certain(RIMS))
    assert average_precision([TOUCHING], [found])["ap"][0] == 1
    assert_array_equal(found > 0, TOUCHING > 0)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_rim_goes_to_the_nearest_inside(width):
    truth = np.zeros((20, 36), int)
    truth[2:18, 2:18], truth[2:18, 18:34] = 1, 2
    classes = np.where(truth, dsb2018.RIM, 0)
    for left in (2, 18):
        classes[2 + width : 18 - width, left + width : left + 16 - width] = dsb2018.INSIDE
    assert_array_equal(dsb2018.split(certain(classes)), truth)


@given(arrays(np.int64, (6, 7), elements=st.integers(0, 2)))
def test_every_pixel_that_is_no_background_gets_a_nucleus(classes):
    found = dsb2018.split(certain(classes))
    assert_array_equal(found > 0, classes > 0)
    assert found.min() >= 0


def test_rims_without_an_inside_are_nuclei_of_their_own():
    found = dsb2018.split(certain(np.pad([[2, 2, 0, 2]], 2)))
    assert_array_equal(np.unique(found[2, 2:4]), [found[2, 2]])
    assert len({0, found[2, 2], found[2, 5]}) == 3


def test_nothing_is_found_in_nothing():
    assert not dsb2018.split(certain(np.zeros((5, 7), int))).any()


def test_the_truth_survives_the_way_through_rims(shared_data):
    _, val = data_set(shared_data / "dsb2018_fluo")
    truths = [val[index]["instances"] for index in range(len(val))]
    found = [dsb2018.split(certain(dsb2018.rims(truth))) for truth in truths]
    assert average_precision(truths, found)["ap"][0] == pytest.approx(1)
