from types import SimpleNamespace

import numpy as np
import pytest
from keras import ops

from tfseg.ops import read_target, split_dense, split_labels, target_kind


def kind(true_shape, pred_shape, dtype="uint8"):
    return target_kind(
        "Loss", SimpleNamespace(shape=true_shape, dtype=dtype), SimpleNamespace(shape=pred_shape)
    )


@pytest.mark.parametrize(
    ("true_shape", "pred_shape", "dtype", "expected"),
    [
        ((2, 5, 6), (2, 5, 6, 3), "uint8", "labels"),
        ((2, 5, 6, 1), (2, 5, 6, 3), "uint8", "labels"),
        ((2, 5, 6, 1), (2, 5, 6, 3), "float32", "labels"),
        ((2, 5, 6, 3), (2, 5, 6, 3), "uint8", "dense"),
        ((2, 5, 6, 3), (2, 5, 6, 3), "float32", "dense"),
        ((2, 5, 6, 1), (2, 5, 6, 1), "int32", "labels"),
        ((2, 5, 6, 1), (2, 5, 6, 1), "float16", "dense"),  # one channel is a probability
        ((2, 4, 5, 6), (2, 4, 5, 6, 3), "uint8", "labels"),  # a volume
        ((2, 4, 5, 6, 3), (2, 4, 5, 6, 3), "uint8", "dense"),
        ((None, None, None), (None, 5, 6, 3), "uint8", "labels"),
        ((2, 3, 3), (2, 3, 3, 3), "uint8", "labels"),  # the last side equals C, so the rank decides
    ],
)
def test_kind_of_target(true_shape, pred_shape, dtype, expected):
    assert kind(true_shape, pred_shape, dtype) == expected


@pytest.mark.parametrize(
    "true_shape",
    [(2, 5, 7), (3, 5, 6), (2, 5, 6, 2), (2, 5, 6, 3, 1), (5, 6), (2, 6, 5, 1), (2, 5, 6, 0), ()],
)
def test_a_target_of_another_shape_is_an_error(true_shape):
    with pytest.raises(
        ValueError, match=r"Loss: y_true of shape .* does not fit y_pred of shape \(2, 5, 6, 3\)"
    ) as e:
        kind(true_shape, (2, 5, 6, 3))
    assert "(2, 5, 6, 1)" in str(e.value)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "int64", "float32"])
def test_labels_outside_the_classes_are_ignored_in_any_dtype(dtype):
    labels, valid = split_labels(np.array([[0, 1, 2, 3, 255]], dtype), 2, 3)
    assert ops.convert_to_numpy(labels).tolist() == [[0, 1, 2, 0, 0]]
    assert ops.convert_to_numpy(valid).tolist() == [[True, True, True, False, False]]


def test_negative_labels_and_a_trailing_axis():
    # 255 is -1 as int8
    labels, valid = split_labels(np.array([[[-1], [2], [-128]]], "int8"), 2, 3)
    assert ops.convert_to_numpy(labels).tolist() == [[0, 2, 0]]
    assert ops.convert_to_numpy(valid).tolist() == [[False, True, False]]


@pytest.mark.parametrize(
    ("ignore_index", "kept"), [(1, [True, False, True]), (None, [True, True, True])]
)
def test_ignore_index_can_be_a_class_or_none(ignore_index, kept):
    assert ops.convert_to_numpy(
        split_labels(np.array([[0, 1, 2]]), 2, 3, ignore_index)[1]
    ).tolist() == [kept]


def test_class_255_is_valid_if_it_is_not_ignored():
    labels = np.array([[255, 299]])
    assert ops.convert_to_numpy(split_labels(labels, 2, 300)[1]).tolist() == [[False, True]]
    assert ops.convert_to_numpy(split_labels(labels, 2, 300, None)[1]).tolist() == [[True, True]]


def dense_valid(pixels, *arguments, **options):
    dense, valid = split_dense(np.array([pixels]), *arguments, **options)
    dense, valid = ops.convert_to_numpy(dense)[0], ops.convert_to_numpy(valid)[0]
    assert not dense[~valid].any()
    assert np.array_equal(dense[valid], np.array(pixels, "float32")[valid])
    return valid.tolist()


def test_a_dense_pixel_is_ignored_by_ignore_index_or_without_a_class():
    pixels = [[0.2, 0.8], [255, 255], [0, 255], [0, 0], [1, 0]]
    assert dense_valid(pixels) == [True, False, False, False, True]
    assert dense_valid(pixels, exclusive=False) == [True, False, False, True, True]
    assert dense_valid([[1, 0], [0, 0]], None) == [True, False]


def test_an_ignored_class_is_ignored_in_dense_targets_too():
    one_hot = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert dense_valid(one_hot, 0) == [False, True, True]
    assert dense_valid(one_hot, 1) == [True, False, True]


def test_a_single_dense_channel_is_a_probability():
    pixels = [[0.0], [0.3], [1.0], [255.0], [-1.0], [2.0], [np.nan]]
    assert dense_valid(pixels) == [True, True, True, False, False, False, False]
    assert dense_valid(pixels, None) == [True, True, True, False, False, False, False]
    assert dense_valid(pixels, 0) == [False, True, True, False, False, False, False]


def test_floating_values_for_one_channel_are_probabilities():
    y_true, kind = read_target("Loss", np.float32([[0.9, 0, 255]]), np.zeros((1, 3, 1), "float32"))
    assert (kind, y_true.shape) == ("dense", (1, 3, 1))


@pytest.mark.parametrize(
    ("y_true", "message"),
    [
        (
            [[0.5, 1, 2]],
            r"Loss: y_true of shape \(1, 3\) and dtype float32 has 1 pixels .* whole numbers, or",
        ),
        (
            [[[0.9, 0.9], [1, 0], [0, 1]]],
            "has 1 pixels .* one-hot labels or probabilities that sum to 1. Set multi_label=True",
        ),
        ([[[1.0, 0], [-1, 1], [-0.1, 0]]], "has 2 pixels .* one-hot labels or prob"),
    ],
)
def test_invalid_values_are_an_error(y_true, message):
    with pytest.raises(ValueError, match=message):
        read_target("Loss", np.float32(y_true), np.zeros((1, 3, 2), "float32"))


def test_floating_labels_ignored_pixels_and_multi_label_targets_are_valid():
    for y_true, multi_label in (
        ([[0, 1, 255]], False),
        ([[[255, 255], [0.5, 0.5], [0, 0]]], False),
    ):
        read_target(
            "Loss", np.float32(y_true), np.zeros((1, 3, 2), "float32"), multi_label=multi_label
        )
    read_target(
        "Loss", np.ones((1, 3, 2), "float32"), np.zeros((1, 3, 2), "float32"), multi_label=True
    )
