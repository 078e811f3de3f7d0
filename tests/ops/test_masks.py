from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

from tfseg.ops import nan_where, read_target, split_dense, split_labels, target_kind


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


def split(labels, *arguments):
    """Return the three results of `split_labels` as lists."""
    return [ops.convert_to_numpy(part).tolist() for part in split_labels(labels, *arguments)]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "int64", "float32"])
def test_labels_outside_the_classes_are_invalid_in_any_dtype(dtype):
    labels, valid, invalid = split(np.array([[0, 1, 2, 3, 255]], dtype), 2, 3)
    assert labels == [[0, 1, 2, 0, 0]]
    assert valid == [[True, True, True, False, False]]
    assert invalid == [[False, False, False, True, False]]


def test_negative_labels_and_a_trailing_axis():
    labels, valid, invalid = split(np.array([[[-1], [2], [-128]]], "int8"), 2, 3)
    assert labels == [[0, 2, 0]]
    assert valid == [[False, True, False]]
    assert invalid == [[True, False, True]]
    assert split(np.array([[-1, 2]]), 2, 3, -1)[1:] == [[[False, True]], [[False, False]]]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX has no int64 by default")
@pytest.mark.parametrize(
    ("dtype", "label"), [("int64", 2**32 + 1), ("uint32", 2**32 - 1), ("uint64", 2**33)]
)
def test_labels_beyond_int32_do_not_wrap(dtype, label):
    labels, valid, invalid = split(np.array([[label, 1]], dtype), 2, 3)
    assert (labels, valid, invalid) == ([[0, 1]], [[False, True]], [[True, False]])


def test_fractional_labels_and_nan_are_invalid():
    floating = np.array([[0.5, np.nan, np.inf, -np.inf, 1, 255]], "float32")
    labels, valid, invalid = split(floating, 2, 3)
    assert labels == [[0, 0, 0, 0, 1, 0]]
    assert valid == [[False, False, False, False, True, False]]
    assert invalid == [[True, True, True, True, False, False]]


@pytest.mark.parametrize(
    ("ignore_index", "kept"), [(1, [True, False, True]), (None, [True, True, True])]
)
def test_ignore_index_can_be_a_class_or_none(ignore_index, kept):
    _, valid, invalid = split(np.array([[0, 1, 2]]), 2, 3, ignore_index)
    assert valid == [kept]
    assert invalid == [[False, False, False]]
    assert split(np.array([[255]]), 2, 3, ignore_index)[2] == [[True]]


def test_with_more_than_255_classes_65535_is_ignored():
    labels = np.array([[255, 299, 300, 65535]])
    for dtype in ("uint16", "int32"):
        _, valid, invalid = split(labels.astype(dtype), 2, 300)
        assert valid == [[True, True, False, False]]
        assert invalid == [[False, False, True, False]]
    assert split(labels, 2, 300, None)[2] == [[False, False, True, True]]
    dense = np.eye(300, dtype="float32")[[[255, 299]]]
    dense[0, 1] = 65535
    assert ops.convert_to_numpy(split_dense(dense)[1]).tolist() == [[True, False]]
    assert not ops.convert_to_numpy(split_dense(dense)[2]).any()


def dense_kinds(pixels, *arguments, **options):
    """Return "valid", "invalid" or "ignored" of each pixel."""
    parts = split_dense(np.array([pixels], "float32"), *arguments, **options)
    dense, valid, invalid = (ops.convert_to_numpy(part)[0] for part in parts)
    assert not dense[~valid].any()
    assert np.array_equal(dense[valid], np.array(pixels, "float32")[valid])
    assert not (valid & invalid).any()
    return np.where(valid, "valid", np.where(invalid, "invalid", "ignored")).tolist()


def test_a_dense_pixel_is_ignored_by_ignore_index_or_without_a_class():
    pixels = [[0.2, 0.8], [255, 255], [0, 0], [1, 0]]
    assert dense_kinds(pixels) == ["valid", "ignored", "ignored", "valid"]
    assert dense_kinds(pixels, exclusive=False) == ["valid", "ignored", "valid", "valid"]
    assert dense_kinds([[1, 0], [0, 0], [255, 255]], None) == ["valid", "ignored", "invalid"]


def test_dense_values_that_are_not_probabilities_are_invalid():
    # the last: a mask of 0 and 255 per class
    pixels = [[-0.2, 1], [np.nan, 0], [0, 2], [0, 255]]
    for options in ({}, {"exclusive": False}):
        assert dense_kinds(pixels, **options) == ["invalid"] * 4
    assert dense_kinds([[0.7, 0.7]]) == ["invalid"]
    assert dense_kinds([[0.7, 0.7]], exclusive=False) == ["valid"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_rounded_probabilities_are_valid(dtype):
    soft = np.random.default_rng(0).dirichlet(np.ones(19), (4, 500))
    assert not ops.convert_to_numpy(split_dense(ops.cast(soft, dtype))[2]).any()


def test_an_ignored_class_is_ignored_in_dense_targets_too():
    pixels = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 2, 0]]
    assert dense_kinds(pixels, 0) == ["ignored", "valid", "valid", "invalid"]
    assert dense_kinds(pixels, 1) == ["valid", "ignored", "valid", "invalid"]


def test_a_single_dense_channel_is_a_probability():
    pixels = [[0.0], [0.3], [1.0], [255.0], [-1.0], [2.0], [np.nan]]
    wrong = ["invalid"] * 3
    assert dense_kinds(pixels) == ["valid", "valid", "valid", "ignored", *wrong]
    assert dense_kinds(pixels, None) == ["valid", "valid", "valid", "invalid", *wrong]
    assert dense_kinds(pixels, 0) == ["ignored", "valid", "valid", "invalid", *wrong]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX knows every rank")
@pytest.mark.parametrize("shape", [(1, 2, 3), (1, 2, 3, 1)])
def test_a_mask_of_unknown_rank_is_read_as_labels(shape):
    import tensorflow as tf

    logits, seen = np.zeros((1, 2, 3, 4), "float32"), []

    @tf.function(input_signature=[tf.TensorSpec(None, "uint8")])
    def read(mask):
        y_true, kind = read_target("Loss", mask, logits)
        seen.append(kind)
        return y_true

    labels = np.arange(6, dtype="uint8").reshape(1, 2, 3)
    assert np.array_equal(read(labels.reshape(shape)), labels)
    assert seen == ["labels"]
    with pytest.raises(tf.errors.InvalidArgumentError):
        read(np.zeros((1, 2, 3, 4), "uint8"))


def test_nan_where():
    assert np.isnan(
        ops.convert_to_numpy(nan_where(np.array([False, True]), "float32"))
    ).tolist() == [
        False,
        True,
    ]


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
