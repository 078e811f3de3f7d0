import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops

from tfseg.ops import class_scores, confusion_matrix, mean_present, split_labels

# Three classes; the third is never true. Rows are true, columns predicted.
MATRIX = np.array([[5, 2, 1], [0, 3, 0], [0, 0, 0]])


def numpy_scores(matrix):
    return {name: ops.convert_to_numpy(values) for name, values in class_scores(ops.cast(matrix, "float32")).items()}


def test_true_classes_run_down_and_predicted_across():
    matrix = confusion_matrix(np.array([0, 0, 0, 1, 2]), np.array([0, 1, 1, 2, 2]), 3)
    assert ops.convert_to_numpy(matrix).tolist() == [[1, 2, 0], [0, 0, 1], [0, 0, 1]]


def test_invalid_pixels_are_not_counted():
    labels, guesses = np.array([[0, 1], [1, 0]]), np.array([[1, 1], [0, 0]])
    valid = np.array([[True, True], [True, False]])
    assert ops.convert_to_numpy(confusion_matrix(labels, guesses, 2, valid)).tolist() == [[0, 1], [1, 1]]
    assert not ops.convert_to_numpy(confusion_matrix(labels, guesses, 2, np.zeros((2, 2), bool))).any()


@given(
    arrays("int32", 30, elements=st.sampled_from([-1, 0, 1, 2, 3, 4, 5, 255])),
    arrays("int32", 30, elements=st.integers(0, 3)),
)
@settings(deadline=None, max_examples=25)
def test_counts_match_the_slow_loop(truth, guesses):
    labels, valid = split_labels(truth.reshape(2, 15), 2, 4, ignore_index=2)
    fast = confusion_matrix(labels, guesses.reshape(2, 15), 4, valid)
    assert np.array_equal(ops.convert_to_numpy(fast), oracles.confusion_matrix(truth, guesses, 4, ignore_index=2))


def test_scores_of_an_asymmetric_matrix():
    scores = numpy_scores(MATRIX)
    # Class 0: 5 hit, 3 missed, 0 wrong. Class 1: 3 hit, 0 missed, 2 wrong. Class 2: 0 hit, 0 missed, 1 wrong.
    assert scores["iou"] == pytest.approx([5 / 8, 3 / 5, 0])
    assert scores["dice"] == pytest.approx([10 / 13, 6 / 8, 0])
    assert scores["accuracy"] == pytest.approx([5 / 8, 1, np.nan], nan_ok=True)


def test_a_class_absent_from_truth_and_prediction_has_no_score_and_leaves_the_mean():
    scores = numpy_scores([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    assert scores["iou"] == pytest.approx([3 / 4, 2 / 3, np.nan], nan_ok=True)
    assert float(mean_present(scores["iou"])) == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert np.isnan(float(mean_present(np.array([np.nan, np.nan], "float32"))))


@given(arrays("int64", (4, 4), elements=st.integers(0, 3)))
@settings(deadline=None, max_examples=25)
def test_scores_match_the_slow_loop(matrix):
    scores = numpy_scores(matrix)
    for name, expected in oracles.scores(matrix.tolist()).items():
        assert scores[name] == pytest.approx(expected, nan_ok=True)
