import re

import numpy as np
import pytest

from tfseg.data.readers.mask_values import single_class_warning, to_class_ids, value_tables

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
    assert value_tables("R", "abc", 255, None) == ({0: 0, 1: 1, 2: 2}, {0: 0, 1: 1, 2: 2, 255: 255})
    assert value_tables("R", "abc", 1, None) == ({0: 0, 2: 2}, {0: 0, 1: 255, 2: 2})
    assert value_tables("R", "abc", 9, {9: 1, 4: 0}) == ({9: 1, 4: 0}, {9: 1, 4: 0})


def test_255_is_a_class_with_more_than_255_classes():
    names = [str(class_id) for class_id in range(300)]
    mask_values, table = value_tables("R", names, 255, None)
    assert mask_values[255] == 255
    assert len(mask_values) == 300
    assert table[65535] == 65535
    ids = to_class_ids(np.array([[0, 255, 299, 65535]], np.uint16), table, "m")
    assert (ids.dtype, ids.tolist()) == (np.int32, [[0, 255, 299, 65535]])
    ids = to_class_ids(np.array([[0, 255]], np.uint8), table, "m")
    assert (ids.dtype, ids.tolist()) == (np.int32, [[0, 255]])
    with pytest.raises(ValueError, match=r"300 \(classes: 0 to 299; ignored: 65535\)"):
        to_class_ids(np.array([[300]]), table, "m")
    assert value_tables("R", names, 7, None)[1][7] == 65535


@pytest.mark.parametrize(
    ("masks", "count", "message"),
    [
        ([[[0, 255]]], 2, r"class 'n0' \(0\) and pixels of 255, .* mask_values={0: 0, 255: 1}"),
        ([[[0, 0]], [[255, 0]]], 3, "class 'n0'"),
        ([[[255]]], 2, "only pixels of 255"),
        ([[[1, 255]]], 2, r"class 'n1' \(1\) and .* mask_values={1: 0, 255: 1}"),
        ([[[0, 0]]], 2, None),
        ([[[0, 255]], [[1]]], 2, None),
        ([[[7, 255]]], 2, None),  # an unknown value, which is refused later
        ([[[0, 255]]], 300, None),
    ],
)
def test_masks_of_a_single_class_and_255_are_reported(masks, count, message):
    names = [f"n{class_id}" for class_id in range(count)]
    for dtype in (np.uint8, np.int64):
        found = single_class_warning("Arrays", [np.array(mask, dtype) for mask in masks], names)
        if message is None:
            assert found is None
        else:
            assert re.search(f"^Arrays: the masks contain .*{message}", found)
