import numpy as np
import pytest
from scipy import ndimage

from tfseg.data.readers.objects import boxes_around, relabel

INSTANCES = np.array(
    [
        [0, 0, 2, 0, 0, 0],
        [1, 1, 2, 0, 0, 3],
        [1, 0, 2, 2, 1, 0],  # 1 has a second part, to the right of 2
    ]
)


def test_boxes_extend_from_the_first_pixel_to_the_end_of_the_last():
    boxes = boxes_around(INSTANCES)
    assert boxes.tolist() == [[0, 1, 5, 3], [2, 0, 4, 3], [5, 1, 6, 2]]
    assert boxes.dtype == np.float32


def test_boxes_equal_those_of_scipy():
    values = np.kron(np.random.default_rng(0).integers(0, 9, (7, 5)), np.ones((3, 4), int))
    expected = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(values)]
    assert boxes_around(values.astype(np.uint16)).tolist() == [list(box) for box in expected]


def test_no_objects_give_no_boxes():
    assert boxes_around(np.zeros((4, 5), np.uint8)).shape == (0, 4)


def test_a_number_without_pixels_has_no_box():
    with pytest.raises(ValueError, match=r"2 of 4 objects have no pixel: 1, 3\. .*without gaps"):
        boxes_around(np.array([[2, 4], [0, 4]]))


@pytest.mark.parametrize("far", [250, 65535, 70000, 2**24 - 1])
@pytest.mark.parametrize("background", [0, 7])
def test_objects_are_numbered_in_the_order_of_their_ids(far, background):
    instances, ids = relabel(np.array([[far, background, 9], [9, 7, far]]))
    assert instances.tolist() == [[3, 1 if background else 0, 2], [2, 1, 3]]
    assert (ids.tolist(), instances.dtype) == ([7, 9, far], np.int32)


def test_an_empty_mask_stays_empty():
    instances, ids = relabel(np.zeros((2, 3), np.uint16))
    assert (instances.tolist(), ids.tolist()) == ([[0, 0, 0]] * 2, [])
