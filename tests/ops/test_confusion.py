import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops

from tfseg.ops import (
    agreement,
    class_counts,
    class_fraction,
    confusion_matrix,
    count_id_pairs,
    mean_ratio,
    ratio,
    split_labels,
    top_class,
    top_ids,
)

# three classes, the third one absent; rows are true classes, columns predicted classes
MATRIX = np.array([[5, 2, 1], [0, 3, 0], [0, 0, 0]])


def numpy_scores(matrix):
    counts = class_counts(ops.cast(matrix, "float32"))
    names = ("iou", "dice", "precision", "recall", "specificity")
    return {name: ops.convert_to_numpy(ratio(*class_fraction(name, *counts))) for name in names}


def test_rows_are_true_and_columns_predicted_classes():
    matrix = confusion_matrix(np.array([0, 0, 0, 1, 2]), np.array([0, 1, 1, 2, 2]), 3)
    assert ops.convert_to_numpy(matrix).tolist() == [[1, 2, 0], [0, 0, 1], [0, 0, 1]]


def test_invalid_pixels_are_not_counted():
    labels, predictions = np.array([[0, 1], [1, 0]]), np.array([[1, 1], [0, 0]])
    valid = np.array([[True, True], [True, False]])
    assert ops.convert_to_numpy(confusion_matrix(labels, predictions, 2, valid)).tolist() == [
        [0, 1],
        [1, 1],
    ]
    assert not ops.convert_to_numpy(
        confusion_matrix(labels, predictions, 2, np.zeros((2, 2), bool))
    ).any()


@given(
    arrays("int32", 30, elements=st.sampled_from([-1, 0, 1, 2, 3, 4, 5, 255])),
    arrays("int32", 30, elements=st.integers(0, 3)),
)
@settings(deadline=None, max_examples=15)
def test_counts_match_the_slow_loop(labels, predictions):
    split, valid, _ = split_labels(labels.reshape(2, 15), 2, 4, ignore_index=2)
    fast = confusion_matrix(split, predictions.reshape(2, 15), 4, valid)
    assert np.array_equal(
        ops.convert_to_numpy(fast), oracles.confusion_matrix(labels, predictions, 4, ignore_index=2)
    )


def test_scores_of_an_asymmetric_matrix():
    scores = numpy_scores(MATRIX)
    # class 0: tp 5, fn 3, fp 0; class 1: tp 3, fn 0, fp 2; class 2: tp 0, fn 0, fp 1
    assert scores["iou"] == pytest.approx([5 / 8, 3 / 5, 0])
    assert scores["dice"] == pytest.approx([10 / 13, 6 / 8, 0])
    assert scores["precision"] == pytest.approx([1, 3 / 5, 0])
    assert scores["recall"] == pytest.approx([5 / 8, 1, np.nan], nan_ok=True)
    assert scores["specificity"] == pytest.approx([1, 6 / 8, 10 / 11])


def test_a_class_absent_from_labels_and_prediction_is_excluded_from_the_mean():
    scores = numpy_scores([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    assert scores["iou"] == pytest.approx([3 / 4, 2 / 3, np.nan], nan_ok=True)
    iou = np.array([3, 2, 0], "float32"), np.array([4, 3, 0], "float32")
    assert float(mean_ratio(*iou)) == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert float(mean_ratio(*iou, zero_division=1.0)) == pytest.approx((3 / 4 + 2 / 3 + 1) / 3)
    assert float(mean_ratio(*iou, kept=[True, False, True])) == pytest.approx(3 / 4)
    assert np.isnan(float(mean_ratio(*iou, kept=[False, False, True])))


def test_per_image_matrices():
    labels, predictions = np.array([[0, 0, 1], [1, 1, 1]]), np.array([[0, 1, 1], [0, 1, 1]])
    valid = np.array([[True, True, True], [True, True, False]])
    matrices = ops.convert_to_numpy(confusion_matrix(labels, predictions, 2, valid, per_image=True))
    assert matrices.tolist() == [[[1, 1], [0, 1]], [[0, 0], [1, 1]]]


def test_weights_of_classes_without_a_score_are_ignored():
    numerator = np.array([[1, 0, 4], [0, 0, 0]], "float32")
    denominator = np.array([[5, 0, 5], [0, 0, 0]], "float32")
    means = ops.convert_to_numpy(mean_ratio(numerator, denominator))
    assert means == pytest.approx([0.5, np.nan], nan_ok=True)
    # (3 * 0.2 + 1 * 0.8) / (3 + 1)
    weights = np.array([3, 9, 1], "float32")
    assert float(mean_ratio(numerator[0], denominator[0], weights)) == pytest.approx(0.35)


@pytest.mark.parametrize("classes", [2, 3, 19])
def test_top_class_is_the_lower_class_on_ties(classes):
    scores = np.random.default_rng(0).integers(0, 3, (4, 50, classes)).astype("float32")
    assert np.array_equal(ops.convert_to_numpy(top_class(scores)), scores.argmax(-1))
    assert top_ids(scores).dtype == "uint8"
    assert np.array_equal(top_ids(scores), scores.argmax(-1))


@pytest.mark.parametrize(("classes", "dtype"), [(255, "uint8"), (256, "int32"), (300, "int32")])
def test_ids_of_many_classes_do_not_wrap(classes, dtype):
    logits = np.zeros((1, classes), "float32")
    logits[0, -1] = 1
    assert top_ids(logits) == [classes - 1]
    assert top_ids(logits).dtype == dtype


def test_a_single_channel_is_compared_with_a_threshold():
    scores = np.array([[-0.1], [0.0], [0.2], [0.6]], "float32")
    assert ops.convert_to_numpy(top_class(scores)).tolist() == [0, 0, 1, 1]
    assert ops.convert_to_numpy(top_class(scores, 0.5)).tolist() == [0, 0, 0, 1]
    assert top_ids(scores).tolist() == [0, 0, 1, 1]


def test_pairs_of_ids_are_counted_in_64_bits():
    labels, predictions = np.array([0, 0, 2, 1], "uint8"), np.array([0, 1, 1, 1], "uint8")
    matrix = count_id_pairs(labels, predictions, 200)
    assert matrix.dtype == "int64"
    assert matrix[:3, :3].tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]
    assert count_id_pairs(labels + 100, predictions, 200)[102, 1] == 1


def test_agreement_of_two_classes_by_hand():
    # TP 6, FN 2, FP 1, TN 3. Matthews: (6 * 3 - 2 * 1) / sqrt(8 * 7 * 5 * 4). Kappa: correct 9 /
    # 12, by chance (8 * 7 + 4 * 5) / 144 = 76 / 144, so (108 - 76) / (144 - 76).
    matthews, kappa = agreement(ops.cast([[6, 2], [1, 3]], "float32"))
    assert float(matthews) == pytest.approx(16 / 1120**0.5)
    assert float(kappa) == pytest.approx(32 / 68)


@given(arrays("int64", (4, 4), elements=st.integers(0, 3)))
@settings(deadline=None, max_examples=15)
def test_scores_match_the_slow_loop(matrix):
    scores = numpy_scores(matrix)
    for name, expected in oracles.scores(matrix.tolist()).items():
        assert scores[name] == pytest.approx(expected, nan_ok=True)
