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
    class_score,
    confusion_matrix,
    mean_present,
    split_labels,
    top_class,
)

# Three classes; the third is never true. Rows are true, columns predicted.
MATRIX = np.array([[5, 2, 1], [0, 3, 0], [0, 0, 0]])


def numpy_scores(matrix):
    counts = class_counts(ops.cast(matrix, "float32"))
    names = ("iou", "dice", "precision", "recall", "specificity")
    return {name: ops.convert_to_numpy(class_score(name, *counts)) for name in names}


def test_true_classes_run_down_and_predicted_across():
    matrix = confusion_matrix(np.array([0, 0, 0, 1, 2]), np.array([0, 1, 1, 2, 2]), 3)
    assert ops.convert_to_numpy(matrix).tolist() == [[1, 2, 0], [0, 0, 1], [0, 0, 1]]


def test_invalid_pixels_are_not_counted():
    labels, guesses = np.array([[0, 1], [1, 0]]), np.array([[1, 1], [0, 0]])
    valid = np.array([[True, True], [True, False]])
    assert ops.convert_to_numpy(confusion_matrix(labels, guesses, 2, valid)).tolist() == [
        [0, 1],
        [1, 1],
    ]
    assert not ops.convert_to_numpy(
        confusion_matrix(labels, guesses, 2, np.zeros((2, 2), bool))
    ).any()


@given(
    arrays("int32", 30, elements=st.sampled_from([-1, 0, 1, 2, 3, 4, 5, 255])),
    arrays("int32", 30, elements=st.integers(0, 3)),
)
@settings(deadline=None, max_examples=25)
def test_counts_match_the_slow_loop(truth, guesses):
    labels, valid = split_labels(truth.reshape(2, 15), 2, 4, ignore_index=2)
    fast = confusion_matrix(labels, guesses.reshape(2, 15), 4, valid)
    assert np.array_equal(
        ops.convert_to_numpy(fast), oracles.confusion_matrix(truth, guesses, 4, ignore_index=2)
    )


def test_scores_of_an_asymmetric_matrix():
    scores = numpy_scores(MATRIX)
    # Class 0: 5 hit, 3 missed, 0 wrong. Class 1: 3 hit, 0 missed, 2 wrong. Class 2: 0 hit, 0 missed, 1 wrong.
    assert scores["iou"] == pytest.approx([5 / 8, 3 / 5, 0])
    assert scores["dice"] == pytest.approx([10 / 13, 6 / 8, 0])
    assert scores["precision"] == pytest.approx([1, 3 / 5, 0])
    assert scores["recall"] == pytest.approx([5 / 8, 1, np.nan], nan_ok=True)
    assert scores["specificity"] == pytest.approx([1, 6 / 8, 10 / 11])


def test_a_class_absent_from_truth_and_prediction_has_no_score_and_leaves_the_mean():
    scores = numpy_scores([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    assert scores["iou"] == pytest.approx([3 / 4, 2 / 3, np.nan], nan_ok=True)
    assert float(mean_present(scores["iou"])) == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert np.isnan(float(mean_present(np.array([np.nan, np.nan], "float32"))))


def test_each_image_is_counted_by_itself():
    labels, guesses = np.array([[0, 0, 1], [1, 1, 1]]), np.array([[0, 1, 1], [0, 1, 1]])
    valid = np.array([[True, True, True], [True, True, False]])
    matrices = ops.convert_to_numpy(confusion_matrix(labels, guesses, 2, valid, per_image=True))
    assert matrices.tolist() == [[[1, 1], [0, 1]], [[0, 0], [1, 1]]]


def test_weights_of_classes_without_a_score_do_not_count():
    scores = np.array([[0.2, np.nan, 0.8], [np.nan] * 3], "float32")
    assert ops.convert_to_numpy(mean_present(scores)) == pytest.approx([0.5, np.nan], nan_ok=True)
    # (3 * 0.2 + 1 * 0.8) / (3 + 1)
    assert float(mean_present(scores[0], np.array([3, 9, 1], "float32"))) == pytest.approx(0.35)


@pytest.mark.parametrize("classes", [2, 3, 19])
def test_the_top_class_is_the_first_of_equals(classes):
    scores = np.random.default_rng(0).integers(0, 3, (4, 50, classes)).astype("float32")
    assert np.array_equal(ops.convert_to_numpy(top_class(scores)), scores.argmax(-1))


def test_agreement_of_two_classes_by_hand():
    # TP 6, FN 2, FP 1, TN 3. Matthews: (6 * 3 - 2 * 1) / sqrt(8 * 7 * 5 * 4). Kappa: right 9 / 12,
    # by chance (8 * 7 + 4 * 5) / 144 = 76 / 144, so (108 - 76) / (144 - 76).
    matthews, kappa = agreement(ops.cast([[6, 2], [1, 3]], "float32"))
    assert float(matthews) == pytest.approx(16 / 1120**0.5)
    assert float(kappa) == pytest.approx(32 / 68)


@given(arrays("int64", (4, 4), elements=st.integers(0, 3)))
@settings(deadline=None, max_examples=25)
def test_scores_match_the_slow_loop(matrix):
    scores = numpy_scores(matrix)
    for name, expected in oracles.scores(matrix.tolist()).items():
        assert scores[name] == pytest.approx(expected, nan_ok=True)
