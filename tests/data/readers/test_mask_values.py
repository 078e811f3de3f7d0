import numpy as np
import pytest

from tfseg.data.readers.mask_values import to_class_ids, value_tables

TABLE = {0: 1, 7: 0, 300: 2, -1: 255}


def test_class_ids_of_wide_values_and_of_bytes():
    assert to_class_ids(np.array([[300, -1, 7]]), TABLE, "m").tolist() == [[2, 255, 0]]
    assert to_class_ids(np.array([[7, 0]], np.uint8), TABLE, "m").tolist() == [[0, 1]]
    assert to_class_ids(np.zeros((0, 4), np.uint16), TABLE, "m").shape == (0, 4)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8])
def test_unknown_values_are_named(dtype):
    message = r"m contains values that map to no class: 5, 6 \(classes: 0, 7, 300; ignored: none\)"
    with pytest.raises(ValueError, match=f"{message}. Name more classes"):
        to_class_ids(np.array([[5, 6, 7]], dtype), TABLE, "m")


def test_many_unknown_values_are_probably_an_image():
    values = np.arange(10, dtype=np.uint8)[None]
    with pytest.raises(ValueError, match=r"2, 3, 4, 5, 6, 8, 9, 10 \.\.\. .*typical of an image"):
        to_class_ids(values + np.uint8(2), TABLE, "m")


def test_value_tables():
    assert value_tables("abc", 255, None) == ({0: 0, 1: 1, 2: 2}, {0: 0, 1: 1, 2: 2, 255: 255})
    assert value_tables("abc", 1, None) == ({0: 0, 2: 2}, {0: 0, 1: 255, 2: 2})
    assert value_tables("abc", 9, {9: 1, 4: 0}) == ({9: 1, 4: 0}, {9: 1, 4: 0})
