import json
import re
import warnings

import keras
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops

from tfseg.metrics import (
    METRICS,
    CalibrationError,
    CohenKappa,
    ConfusionMetrics,
    FrequencyWeightedIoU,
    MatthewsCorrelation,
    MeanAccuracy,
    MeanDice,
    MeanIoU,
    PixelAccuracy,
    scores_of,
)
from tfseg.metrics.confusion_metrics import REPORTABLE, SCORES

TENSORFLOW = keras.backend.backend() == "tensorflow"
CLOSE = {"rel": 1e-11, "abs": 1e-11} if TENSORFLOW else {"rel": 1e-4, "abs": 1e-4}
# Rows are true classes, columns predicted classes. Class 0: tp 5, fn 3, fp 0; class 1: tp 3, fn 0,
# fp 3; class 2: tp 1, fn 1, fp 1; class 3 is absent and never predicted.
MATRIX = np.array([[5, 2, 1, 0], [0, 3, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
matrices = arrays("int64", (4, 4), elements=st.integers(0, 4))


def pixels(matrix):
    """Return labels and logits (1, 1, N[, C]) with this confusion matrix."""
    pairs = [(t, p) for (t, p), count in np.ndenumerate(matrix) for _ in range(count)]
    labels, predicted = np.array(pairs).T
    return labels[None, None], logits_of(predicted[None, None], len(matrix))


def logits_of(predicted, classes):
    return np.eye(classes, dtype="float32")[predicted] - 3


def values_of(metric):
    result = metric.result()
    return (
        {name: float(value) for name, value in result.items()}
        if isinstance(result, dict)
        else float(result)
    )


def counts(metric):
    return ops.convert_to_numpy(metric.matrix).tolist()


def measure(metric, *batches):
    for labels, logits in batches:
        metric.update_state(labels, logits)
    return metric


def draw(seed=0, shape=(6, 3, 5), classes=4):
    rng = np.random.default_rng(seed)
    labels = rng.choice([*range(classes), 255], shape)
    return labels, rng.normal(size=(*shape, classes)).astype("float32")


def as_numpy(scores):
    return {name: ops.convert_to_numpy(value) for name, value in scores.items()}


class TestScores:
    def test_of_an_asymmetric_matrix(self):
        scores = [
            "mean_iou",
            "mean_dice",
            "pixel_accuracy",
            "mean_accuracy",
            "iou",
            "dice",
            "recall",
        ]
        metric = measure(
            ConfusionMetrics(4, scores, class_names=["sky", "car", "man", "cat"]), pixels(MATRIX)
        )
        assert counts(metric) == MATRIX.tolist()
        expected = {
            "mean_iou": (5 / 8 + 3 / 6 + 1 / 3) / 3,
            "mean_dice": (10 / 13 + 6 / 9 + 2 / 4) / 3,
            "pixel_accuracy": 9 / 13,
            "mean_accuracy": (5 / 8 + 1 + 1 / 2) / 3,
            "iou/sky": 5 / 8,
            "iou/car": 3 / 6,
            "iou/man": 1 / 3,
            "iou/cat": np.nan,
            "dice/sky": 10 / 13,
            "dice/car": 6 / 9,
            "dice/man": 2 / 4,
            "dice/cat": np.nan,
            "recall/sky": 5 / 8,
            "recall/car": 1,
            "recall/man": 1 / 2,
            "recall/cat": np.nan,
        }
        assert values_of(metric) == pytest.approx(expected, nan_ok=True)
        assert list(values_of(metric)) == list(expected)

    def test_counts_above_32_bits_on_every_backend(self):
        assert float(scores_of(np.array([[3 * 2**40, 2**40], [0, 0]]))["pixel_accuracy"]) == 0.75

    def test_averages_of_an_asymmetric_matrix(self):
        scores = [
            "precision",
            "specificity",
            "micro_iou",
            "weighted_iou",
            "micro_specificity",
            "per_image_precision",
        ]
        expected = {
            "precision/0": 5 / 5,
            "precision/1": 3 / 6,
            "precision/2": 1 / 2,
            "precision/3": np.nan,
            "specificity/0": 5 / 5,
            "specificity/1": 7 / 10,
            "specificity/2": 10 / 11,
            "specificity/3": 13 / 13,
            "micro_iou": 9 / (9 + 4 + 4),
            "weighted_iou": (8 * 5 / 8 + 3 * 3 / 6 + 2 * 1 / 3) / 13,
            "micro_specificity": (5 + 7 + 10 + 13) / (5 + 10 + 11 + 13),
            "per_image_precision": (1 + 1 / 2 + 1 / 2) / 3,
        }
        metric = measure(ConfusionMetrics(4, scores), pixels(MATRIX))
        assert values_of(metric) == pytest.approx(expected, nan_ok=True, **CLOSE)

    @pytest.mark.parametrize(
        ("cls", "expected"),
        [
            (MeanIoU, (5 / 8 + 3 / 6 + 1 / 3) / 3),
            (MeanDice, (10 / 13 + 6 / 9 + 2 / 4) / 3),
            (PixelAccuracy, 9 / 13),
            (MeanAccuracy, (5 / 8 + 1 + 1 / 2) / 3),
            (FrequencyWeightedIoU, (8 * 5 / 8 + 3 * 3 / 6 + 2 * 1 / 3) / 13),
            # true 8, 3, 2 and predicted 5, 6, 2 of 13: by chance 8 * 5 + 3 * 6 + 2 * 2 = 62 of 169
            (
                MatthewsCorrelation,
                (9 * 13 - 62) / ((169 - 64 - 9 - 4) * (169 - 25 - 36 - 4)) ** 0.5,
            ),
            (CohenKappa, (9 * 13 - 62) / (169 - 62)),
        ],
    )
    def test_single_scores(self, cls, expected):
        metric = measure(cls(4), pixels(MATRIX))
        assert values_of(metric) == pytest.approx(expected)
        assert METRICS[metric.name] is cls

    def test_default_class_names_are_ids(self):
        assert list(values_of(ConfusionMetrics(2, scores=["dice"]))) == ["dice/0", "dice/1"]

    @given(matrices, st.sampled_from([None, 0.0, 1.0]))
    @settings(deadline=None, max_examples=5)
    def test_averages_match_the_slow_loop(self, matrix, zero_division):
        result = as_numpy(scores_of(matrix, zero_division))
        blank = np.nan if zero_division is None else zero_division
        frequency = matrix.sum(1)
        for name, values in oracles.scores(matrix.tolist(), blank).items():
            present = [value for value in values if value == value]
            pairs = [
                (s, value) for s, value in zip(frequency, values, strict=True) if value == value
            ]
            assert result[name] == pytest.approx(values, nan_ok=True, **CLOSE)
            mean = sum(present) / len(present) if present else np.nan
            assert result[f"mean_{name}"] == pytest.approx(mean, nan_ok=True, **CLOSE)
            weight = sum(s for s, _ in pairs)
            weighted = sum(s * value for s, value in pairs) / weight if weight else blank
            assert result[f"weighted_{name}"] == pytest.approx(weighted, nan_ok=True, **CLOSE)
        assert set(result) == {name for name in REPORTABLE if not name.startswith("per_image")}

    @given(matrices, st.permutations(range(4)))
    @settings(deadline=None, max_examples=5)
    def test_reordering_classes_reorders_their_scores(self, matrix, order):
        result = as_numpy(scores_of(matrix))
        reordered = as_numpy(scores_of(matrix[order][:, order]))
        for name, value in result.items():
            value = value[order] if name in SCORES else value
            assert reordered[name] == pytest.approx(value, nan_ok=True, **CLOSE)

    @given(matrices)
    @settings(deadline=None, max_examples=5)
    def test_scores_are_in_range(self, matrix):
        for name, values in as_numpy(scores_of(matrix)).items():
            low = -1 if name in ("matthews", "cohen_kappa") else 0
            values = np.atleast_1d(values)
            assert np.all(np.isnan(values) | ((values >= low - 1e-6) & (values <= 1 + 1e-6))), name

    @given(arrays("int64", 4, elements=st.integers(0, 9)).filter(lambda tp: np.sum(tp > 0) > 1))
    @settings(deadline=None, max_examples=5)
    def test_a_perfect_prediction_scores_1(self, tp):
        for name, values in as_numpy(scores_of(np.diag(tp))).items():
            expected = (
                np.where(tp > 0, 1, np.nan) if name in ("iou", "dice", "precision", "recall") else 1
            )
            assert values == pytest.approx(
                np.broadcast_to(expected, values.shape), nan_ok=True, **CLOSE
            )


class TestZeroDivision:
    # 100 pixels: 99 of class 0, one missed pixel of class 1, none of class 2
    MATRIX = np.array([[99, 0, 0], [1, 0, 0], [0, 0, 0]])

    @pytest.mark.parametrize(
        ("metric", "expected"),
        [
            (MeanIoU(3, zero_division=0.0), (0.99 + 0 + 0) / 3),
            (MeanIoU(3), (0.99 + 0) / 2),
            (MeanIoU(3, zero_division=1.0), (0.99 + 0 + 1) / 3),
            (ConfusionMetrics(3, ["micro_iou"]), 99 / 101),
        ],
        ids=["0.330", "0.495", "0.663", "0.980"],
    )
    def test_four_mean_ious(self, metric, expected, request):
        labels, logits = pixels(self.MATRIX)
        metric.reset_state()
        value = values_of(measure(metric, (labels, logits)))
        value = value["micro_iou"] if isinstance(value, dict) else value
        assert value == pytest.approx(expected)
        assert f"{value:.3f}" in request.node.callspec.id

    def test_mean_ious_of_other_libraries(self):
        """The values in the table of notebook 02_which_mean_iou."""
        sklearn = pytest.importorskip("sklearn.metrics")
        labels, logits = pixels(self.MATRIX)
        labels, predicted = labels.ravel(), logits.argmax(-1).ravel()
        score = sklearn.jaccard_score
        assert (
            round(score(labels, predicted, labels=range(3), average="macro", zero_division=0), 3)
            == 0.33
        )
        assert (
            round(score(labels, predicted, labels=range(3), average="macro", zero_division=1), 3)
            == 0.663
        )
        assert round(score(labels, predicted, labels=range(3), average="micro"), 3) == 0.98
        keras_iou = keras.metrics.MeanIoU(3)
        keras_iou.update_state(labels, predicted)
        assert round(float(keras_iou.result()), 3) == 0.495
        # With torch 2.13.0 on the same arrays: segmentation_models_pytorch 0.6.0
        # iou_score(reduction="macro") 0.6633, reduction="micro" 0.9802; torchmetrics 1.9.0
        # MulticlassJaccardIndex(3) and segmentation.MeanIoU 0.4950; monai 1.6.1 MeanIoU() 0.4950,
        # ignore_empty=False 0.6633.

    def test_zero_division_replaces_every_nan(self):
        labels, logits = pixels(self.MATRIX)
        for fill in (0.0, 1.0):
            metric = ConfusionMetrics(3, scores=REPORTABLE, zero_division=fill)
            nothing = values_of(measure(metric, (np.full_like(labels, 255), logits)))
            assert set(nothing.values()) == {fill}
            assert np.isfinite(list(values_of(measure(metric, (labels, logits))).values())).all()


class TestScikitLearn:
    @pytest.mark.parametrize("zero_division", [None, 0.0, 1.0])
    @pytest.mark.parametrize(
        "matrix", [MATRIX, np.array([[0, 3, 0], [0, 4, 2], [0, 0, 0]])], ids=["4", "3"]
    )
    def test_scores_match_scikit_learn(self, matrix, zero_division):
        sklearn = pytest.importorskip("sklearn.metrics")
        classes = len(matrix)
        labels, logits = pixels(matrix)
        labels, predicted = labels.ravel(), logits.argmax(-1).ravel()
        result = as_numpy(scores_of(matrix, zero_division))
        theirs = sklearn.confusion_matrix(labels, predicted, labels=range(classes))
        assert np.array_equal(theirs, matrix)
        assert result["pixel_accuracy"] == pytest.approx(sklearn.accuracy_score(labels, predicted))
        functions = {
            "dice": sklearn.f1_score,
            "precision": sklearn.precision_score,
            "recall": sklearn.recall_score,
        }
        if zero_division is not None:  # scikit-learn's jaccard_score does not support NaN
            functions["iou"] = sklearn.jaccard_score
        blank = np.nan if zero_division is None else zero_division
        for name, function in functions.items():
            for prefix, average in (
                ("", None),
                ("mean_", "macro"),
                ("micro_", "micro"),
                ("weighted_", "weighted"),
            ):
                expected = function(
                    labels, predicted, labels=range(classes), average=average, zero_division=blank
                )
                assert result[prefix + name] == pytest.approx(expected, nan_ok=True), (
                    name,
                    average,
                )

    @given(matrices.filter(lambda m: np.sum(m.sum(0) > 0) > 1 and np.sum(m.sum(1) > 0) > 1))
    @settings(deadline=None, max_examples=5)
    def test_agreement_matches_scikit_learn(self, matrix):
        sklearn = pytest.importorskip("sklearn.metrics")
        labels, logits = pixels(matrix)
        labels, predicted = labels.ravel(), logits.argmax(-1).ravel()
        result = scores_of(matrix)
        assert float(result["matthews"]) == pytest.approx(
            sklearn.matthews_corrcoef(labels, predicted), **CLOSE
        )
        assert float(result["cohen_kappa"]) == pytest.approx(
            sklearn.cohen_kappa_score(labels, predicted), **CLOSE
        )


class TestCounts:
    @pytest.mark.parametrize("ignore_index", [255, 1, None])
    def test_labels_and_one_hot_targets_give_equal_counts(self, ignore_index):
        labels, logits = draw(3)
        expected = oracles.confusion_matrix(labels, logits.argmax(-1), 4, ignore_index)
        one_hot = (
            np.where((labels >= 0) & (labels < 4), 1, 0)[..., None] * np.eye(4)[labels.clip(0, 3)]
        )
        targets = [
            labels,
            labels[..., None],
            labels.astype("float32")[..., None],
            one_hot,
            one_hot.astype("uint8"),
        ]
        targets.append(0.7 * one_hot)  # soft
        if ignore_index == 255:
            targets.append(np.where(labels[..., None] == 255, 255, one_hot))
        for target in targets:
            metric = ConfusionMetrics(4, ignore_index=ignore_index)
            assert counts(measure(metric, (target, logits))) == expected.tolist()

    def test_probabilities_and_logits_give_equal_counts(self):
        labels, logits = draw(4)
        expected = counts(measure(ConfusionMetrics(4), (labels, logits)))
        assert (
            counts(measure(ConfusionMetrics(4, from_logits=False), (labels, ops.softmax(logits))))
            == expected
        )

    @pytest.mark.skipif(not TENSORFLOW, reason="JAX keeps integers in 32 bits")
    def test_counts_are_exact_above_32_bits_and_float32(self):
        metric = ConfusionMetrics(2)
        for start in (2**24, 2**31 - 1, 2**40, 2**60):
            metric.matrix.assign([[start, 0], [0, start]])
            measure(metric, (np.array([[[1]]]), logits_of(np.array([[[0]]]), 2)))
            assert counts(metric) == [[start, 0], [1, start]]
        metric.matrix.assign([[2**40, 0], [1, 2**40]])
        assert values_of(metric)["pixel_accuracy"] == 2**41 / (2**41 + 1)

    def test_a_batch_of_more_than_2_24_pixels_is_exact(self):
        # float32 cannot represent 2**24 + 1
        metric = ConfusionMetrics(1, scores=("micro_iou",))
        metric.matrix.assign([[0, 0], [0, 10**9]])
        labels = np.ones((1, 2**24 + 1), "uint8")
        measure(metric, (labels, np.ones((1, 2**24 + 1, 1), "float16")))
        assert counts(metric) == [[0, 0], [0, 10**9 + 2**24 + 1]]

    def test_serialization_keeps_scores_and_names(self):
        arguments = {
            "scores": ["dice", "mean_iou", "per_image_iou"],
            "class_names": ["a", "b", "c"],
            "multi_label": True,
            "threshold": 0.3,
            "from_logits": False,
            "zero_division": 1.0,
        }
        metric = ConfusionMetrics(3, **arguments)
        config = json.loads(json.dumps(metric.get_config()))
        assert config.items() >= arguments.items()
        again = ConfusionMetrics.from_config(config)
        assert list(values_of(again)) == ["dice/a", "dice/b", "dice/c", "mean_iou", "per_image_iou"]


class TestSingleChannel:
    @pytest.mark.parametrize("dtype", ["uint8", "float32"])
    def test_counts_background_and_foreground(self, dtype):
        labels = np.array([[[0, 0, 0, 1, 1, 255]]], dtype)
        logits = np.array([[[-2.0, 0.3, -0.1, 4, -1, 3]]])[..., None]
        for target in (labels, labels[..., None]):
            metric = measure(
                ConfusionMetrics(1, scores=["iou"], class_names=["ground", "cell"]),
                (target, logits),
            )
            assert counts(metric) == [[2, 1], [1, 1]]
            assert values_of(metric) == pytest.approx({"iou/ground": 2 / 4, "iou/cell": 1 / 3})

    def test_a_soft_target_is_foreground_above_0_5(self):
        labels = np.array([[[[0.4], [0.6]]]], "float32")
        assert counts(measure(ConfusionMetrics(1), (labels, np.array([[[[1.0], [1.0]]]])))) == [
            [0, 1],
            [0, 1],
        ]

    def test_the_threshold_is_a_probability(self):
        labels = np.array([[[0, 0, 1, 1, 1]]])
        probabilities = np.array([[[0.1, 0.29, 0.31, 0.45, 0.9]]], "float32")[..., None]
        logits = np.log(probabilities / (1 - probabilities))
        for threshold, expected in (
            (0.3, [[2, 0], [0, 3]]),
            (0.5, [[2, 0], [2, 1]]),
            (0.2, [[1, 1], [0, 3]]),
        ):
            for y_pred, from_logits in ((logits, True), (probabilities, False)):
                metric = ConfusionMetrics(1, threshold=threshold, from_logits=from_logits)
                assert counts(measure(metric, (labels, y_pred))) == expected


class TestMultiLabel:
    def draw(self, seed=0, shape=(3, 4, 5), classes=3):
        """Return multi-label targets, a tenth of them ignored, the valid pixels, and logits."""
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 2, (*shape, classes)).astype("float32")
        valid = rng.random(shape) > 0.1
        return (
            np.where(valid[..., None], labels, 255),
            valid,
            rng.normal(size=(*shape, classes)).astype("float32"),
        )

    @pytest.mark.parametrize("threshold", [0.5, 0.3])
    def test_counts_match_the_slow_loop(self, threshold):
        labels, valid, logits = self.draw()
        predictions = 1 / (1 + np.exp(-logits.astype("float64"))) > threshold
        expected = oracles.channel_matrices(labels == 1, predictions, valid)
        for target in (labels, labels.astype("uint8")):
            metric = ConfusionMetrics(3, ("mean_iou",), multi_label=True, threshold=threshold)
            assert counts(measure(metric, (target, logits))) == expected.tolist()

    def test_integer_labels_are_one_class_per_pixel(self):
        labels, logits = draw(5)
        valid = (labels >= 0) & (labels < 4)
        expected = oracles.channel_matrices(
            np.eye(4, dtype=bool)[labels.clip(0, 3)], logits > 0, valid
        )
        assert (
            counts(measure(ConfusionMetrics(4, multi_label=True), (labels, logits)))
            == expected.tolist()
        )

    def test_one_channel_scores_only_the_foreground(self):
        labels = np.array([[[0, 0, 0, 1, 1, 255]]])
        logits = np.array([[[-2.0, 0.3, -0.1, 4, -1, 3]]])[..., None]
        metric = measure(MeanIoU(1, multi_label=True), (labels, logits))
        assert counts(metric) == [[[2, 1], [1, 1]]]
        assert values_of(metric) == pytest.approx(1 / 3)

    def test_scores_agree_with_scikit_learn(self):
        sklearn = pytest.importorskip("sklearn.metrics")
        labels, valid, logits = self.draw(1)
        scores = [name for name in REPORTABLE if not name.startswith("per_image")][:-2]
        result = values_of(measure(ConfusionMetrics(3, scores, multi_label=True), (labels, logits)))
        labels, predicted = labels[valid].astype(int), (logits[valid] > 0).astype(int)
        matrix = sklearn.multilabel_confusion_matrix(labels, predicted)
        assert counts(
            measure(ConfusionMetrics(3, multi_label=True), (labels[None], logits[valid][None]))
        ) == (matrix.tolist())
        for name, function in (
            ("iou", sklearn.jaccard_score),
            ("dice", sklearn.f1_score),
            ("precision", sklearn.precision_score),
            ("recall", sklearn.recall_score),
        ):
            assert [result[f"{name}/{c}"] for c in range(3)] == pytest.approx(
                function(labels, predicted, average=None)
            )
            for prefix, average in (
                ("mean", "macro"),
                ("micro", "micro"),
                ("weighted", "weighted"),
            ):
                assert result[f"{prefix}_{name}"] == pytest.approx(
                    function(labels, predicted, average=average)
                )
        assert result["pixel_accuracy"] == pytest.approx(np.mean(labels == predicted))
        assert list(as_numpy(scores_of(matrix))) == scores


class TestPerImage:
    SCORES_PER_IMAGE = tuple(f"per_image_{score}" for score in SCORES)

    @pytest.mark.parametrize("zero_division", [None, 0.0, 1.0])
    def test_means_match_the_slow_loop(self, zero_division):
        labels, logits = draw(6)
        labels[1] = 255  # an image without a score
        labels[2][labels[2] == 3] = 0
        metric = measure(
            ConfusionMetrics(4, self.SCORES_PER_IMAGE, zero_division=zero_division),
            (labels, logits),
        )
        blank = np.nan if zero_division is None else zero_division
        for score in SCORES:
            expected = oracles.mean_by_image(
                labels, logits.argmax(-1), 4, score, zero_division=blank
            )
            assert values_of(metric)[f"per_image_{score}"] == pytest.approx(expected, **CLOSE)

    def test_several_classes_per_pixel(self):
        labels, valid, logits = TestMultiLabel().draw()
        result = values_of(
            measure(ConfusionMetrics(3, ("per_image_dice",), multi_label=True), (labels, logits))
        )
        each = []
        for image in range(3):
            matrices = oracles.channel_matrices(labels[image] == 1, logits[image] > 0, valid[image])
            each.append(
                np.mean([2 * m[1, 1] / (2 * m[1, 1] + m[0, 1] + m[1, 0]) for m in matrices])
            )
        assert result["per_image_dice"] == pytest.approx(np.mean(each), **CLOSE)

    def test_differs_from_the_dataset_score_and_adds_states_only_if_requested(self):
        # image 0: nine pixels of class 0, all correct; image 1: two of class 1, one correct
        labels = np.array([[[0] * 9], [[1, 1] + [255] * 7]])
        predicted = np.array([[[0] * 9], [[1, 0] + [0] * 7]])
        metric = measure(
            ConfusionMetrics(2, ["mean_iou", "per_image_iou"]), (labels, logits_of(predicted, 2))
        )
        # dataset: 9 / 10 and 1 / 2; image 0: 1; image 1: (0 + 1 / 2) / 2
        assert values_of(metric) == pytest.approx(
            {"mean_iou": 0.7, "per_image_iou": 0.625}, **CLOSE
        )
        assert len(metric.variables) == 4
        assert len(ConfusionMetrics(2).variables) == 2

    @given(st.permutations(range(12)), st.integers(1, 12))
    @settings(deadline=None, max_examples=6)
    def test_batch_size_and_order_do_not_change_a_digit(self, order, size):
        labels, logits = draw(7, (12, 3, 5))
        whole = measure(ConfusionMetrics(4, self.SCORES_PER_IMAGE), (labels, logits))
        parts = [list(order[start : start + size]) for start in range(0, 12, size)]
        batched = measure(
            ConfusionMetrics(4, self.SCORES_PER_IMAGE),
            *((labels[part], logits[part]) for part in parts),
        )
        assert values_of(batched) == values_of(whole)


class TestIgnoredClass:
    """A class as `ignore_index`: its pixels are not counted, and it is in no average."""

    # Class 0 is ignored, and predicted for 2 pixels of class 1. Class 1: tp 3, fn 3, fp 1; class 2:
    # tp 4, fn 1, fp 1.
    LABELS = np.array([[[0, 0, 1, 1]], [[1, 1, 1, 1]], [[2, 2, 2, 2]], [[2, 0, 0, 0]]])
    PREDICTED = np.array([[[0, 1, 0, 1]], [[0, 1, 1, 2]], [[2, 2, 2, 2]], [[1, 2, 1, 0]]])

    def scores(self, **options):
        metric = ConfusionMetrics(3, REPORTABLE, ignore_index=0, **options)
        return values_of(measure(metric, (self.LABELS, logits_of(self.PREDICTED, 3))))

    def test_scores_by_hand(self):
        scores = self.scores()
        iou = [3 / 7, 4 / 6]
        expected = {
            "iou/0": np.nan,
            "iou/1": iou[0],
            "iou/2": iou[1],
            "specificity/0": np.nan,
            "specificity/1": 4 / 5,
            "mean_iou": np.mean(iou),
            "mean_accuracy": (3 / 6 + 4 / 5) / 2,
            "micro_iou": 7 / (7 + 4 + 2),
            "weighted_iou": (6 * iou[0] + 5 * iou[1]) / 11,
            # images: 1 of 2; 2 of 4, class 2 predicted once; 4 of 4; 0 of 1, class 1 predicted once
            "per_image_iou": (1 / 2 + (2 / 4 + 0) / 2 + 1 + (0 + 0) / 2) / 4,
            "pixel_accuracy": 7 / 11,
        }
        found = {name: scores[name] for name in expected}
        assert found == pytest.approx(expected, nan_ok=True, **CLOSE)

    @pytest.mark.parametrize("zero_division", [0.0, 1.0])
    def test_zero_division_gives_it_no_score(self, zero_division):
        scores = self.scores(zero_division=zero_division)
        assert np.isnan([scores[f"{score}/0"] for score in SCORES]).all()
        assert scores["mean_iou"] == pytest.approx((3 / 7 + 4 / 6) / 2)

    def test_averages_of_torchmetrics(self):
        # as in `_jaccard_index_reduce` of torchmetrics 1.9.0
        labels, predicted = self.LABELS.ravel(), self.PREDICTED.ravel()
        matrix = oracles.confusion_matrix(labels, predicted, 3, ignore_index=0)
        tp = np.diag(matrix)
        union = matrix.sum(0) + matrix.sum(1) - tp
        iou = tp / union
        scores = self.scores()
        for average, weights in (("mean", [0, 1, 1]), ("weighted", matrix.sum(1))):
            assert scores[f"{average}_iou"] == pytest.approx(np.average(iou, weights=weights))
        assert scores["micro_iou"] == pytest.approx(tp.sum() / (union.sum() - union[0]))

    def test_scores_of_a_matrix(self):
        metric = measure(
            ConfusionMetrics(3, ignore_index=0), (self.LABELS, logits_of(self.PREDICTED, 3))
        )
        scores, expected = as_numpy(scores_of(counts(metric), ignore_index=0)), self.scores()
        for name in ("mean_iou", "micro_dice", "weighted_recall", "mean_specificity"):
            assert float(scores[name]) == pytest.approx(expected[name])
        assert np.isnan(scores["iou"]).tolist() == [True, False, False]

    def test_a_channel_of_several(self):
        # channel 1 is ignored: the second pixel, and its decisions in every average
        labels = np.array([[[[1, 0, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]]]], "float32")
        logits = np.array([[[[2, 3, -1], [1, 1, 1], [1, 1, 2], [4, -1, -1]]]], "float32")
        scores = ("iou", "mean_iou", "micro_iou", "per_image_iou", "pixel_accuracy")
        metric = ConfusionMetrics(3, scores, ignore_index=1, multi_label=True)
        # channel 0: tp 2, fp 1; channel 2: tp 1, fn 1, tn 1
        assert values_of(measure(metric, (labels, logits))) == pytest.approx(
            {
                "iou/0": 2 / 3,
                "iou/1": np.nan,
                "iou/2": 1 / 2,
                "mean_iou": (2 / 3 + 1 / 2) / 2,
                "micro_iou": 3 / 5,
                "per_image_iou": (2 / 3 + 1 / 2) / 2,
                "pixel_accuracy": 4 / 6,
            },
            nan_ok=True,
            **CLOSE,
        )

    @pytest.mark.parametrize("multi_label", [False, True])
    def test_background_of_one_channel(self, multi_label):
        labels, logits = np.array([[[0, 0, 1, 1]]]), np.array([[[1.0, -1, 2, -3]]])[..., None]
        metric = MeanIoU(1, ignore_index=0, multi_label=multi_label)
        assert values_of(measure(metric, (labels, logits))) == pytest.approx(1 / 2)
        metric = MeanIoU(1, ignore_index=1, multi_label=multi_label)
        expected = np.nan if multi_label else 1 / 2  # of the background, if it is a class
        assert values_of(measure(metric, (labels, logits))) == pytest.approx(expected, nan_ok=True)


class TestOneClass:
    """Ground truth of a single class, as masks of 0 and 255 seem to have."""

    def warned(self, metric, labels, logits):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            measure(metric, (labels, logits)).result()
            metric.result()
        messages = [str(warning.message) for warning in caught]  # JAX warns of int64, too
        return [message for message in messages if "ground truth" in message]

    @pytest.mark.parametrize("channels", [1, 2])
    @pytest.mark.parametrize("multi_label", [False, True])
    @pytest.mark.parametrize("dtype", ["uint8", "float32"])
    def test_masks_of_0_and_255_are_warned_of_once(self, channels, multi_label, dtype):
        labels = np.array([[[0, 255, 0, 255]]], dtype)
        logits = np.zeros((1, 1, 4, channels), "float32")
        for metric in (
            MeanIoU(channels, multi_label=multi_label, name="mine"),
            ConfusionMetrics(channels, multi_label=multi_label, name="mine"),
        ):
            (message,) = self.warned(metric, labels, logits)
            assert message.startswith("mine: every pixel of the ground truth has the same class: ")
            assert "mask_values={0: 0, 255: 1}" in message

    @pytest.mark.parametrize(
        ("labels", "options"),
        [
            ([0, 1, 255], {}),
            ([255, 255, 255], {}),
            ([0, 0, 1], {"ignore_index": 0}),  # only one class is left
            ([0, 0, 1], {"multi_label": True}),
            ([0, 0, 2], {}),  # an invalid label
        ],
    )
    def test_no_other_labels_are_warned_of(self, labels, options):
        logits = np.zeros((1, 1, 3, 2), "float32")
        assert self.warned(ConfusionMetrics(2, **options), np.array([[labels]]), logits) == []

    def test_fit_warns_after_an_epoch(self):
        model = keras.Sequential([keras.Input((None, None, 2)), keras.layers.Dense(2)])
        model.compile("sgd", lambda y, x: ops.mean(x), metrics=[ConfusionMetrics(2)])
        masks = np.array([[[0, 255]], [[0, 0]]], "uint8")
        with pytest.warns(UserWarning, match="confusion_metrics: every pixel"):
            model.fit(np.zeros((2, 1, 2, 2)), masks, verbose=0)


def test_two_of_them_in_a_model_have_keys_of_their_own():
    model = keras.Sequential([keras.Input((None, None, 2)), keras.layers.Dense(2)])
    metrics = [
        ConfusionMetrics(2, ["mean_iou", "iou"]),
        ConfusionMetrics(2, ["mean_iou", "iou"], ["ground", "cell"], name="cells"),
        MeanIoU(2, name="miou"),
    ]
    model.compile("sgd", lambda y, x: ops.mean(x), metrics=metrics)
    labels = np.array([[[0, 1]]])
    history = model.fit(np.zeros((1, 1, 2, 2)), labels, verbose=0).history
    assert set(history) == {
        "loss",
        "mean_iou",
        "iou/0",
        "iou/1",
        "cells_mean_iou",
        "cells_iou/ground",
        "cells_iou/cell",
        "miou",
    }


@pytest.mark.parametrize(
    ("metric", "is_better"),
    [(MeanIoU(2), ops.greater), (CohenKappa(2), ops.greater), (CalibrationError(2), ops.less)],
)
def test_callbacks_know_the_direction_of_single_scores(metric, is_better):
    model = keras.Sequential([keras.Input((None, None, 2)), keras.layers.Dense(2)])
    model.compile("sgd", lambda y, x: ops.mean(x), metrics=[metric], run_eagerly=TENSORFLOW)
    stop = keras.callbacks.EarlyStopping(f"val_{metric.name}")
    data = np.zeros((1, 1, 2, 2)), np.array([[[0, 1]]])
    model.fit(*data, validation_data=data, verbose=0, callbacks=[stop])
    assert stop.monitor_op is is_better


def test_fit_under_xla_equals_an_eager_loop_for_one_channel():
    channels = 1  # three channels: test_contract.py; the other scores are computed alike
    rng = np.random.default_rng(0)
    images = rng.normal(size=(5, 4, 6, 2)).astype("float32")
    labels = rng.choice([*range(max(channels, 2)), 255], (5, 4, 6))
    model = keras.Sequential([keras.Input((None, None, 2)), keras.layers.Conv2D(channels, 1)])
    scores = ("dice", "per_image_iou")
    metrics = [ConfusionMetrics(channels, scores), MeanIoU(channels)]
    # learning rate 0 does not change the model, so the training score is its score
    model.compile(
        keras.optimizers.SGD(0.0), lambda y, x: ops.mean(x), metrics=metrics, jit_compile=True
    )
    expected = values_of(measure(ConfusionMetrics(channels, scores), (labels, model(images))))
    history = model.fit(images, labels, batch_size=2, verbose=0).history
    assert {name: history[name][0] for name in expected} == pytest.approx(expected, rel=1e-6)
    metric = measure(MeanIoU(channels), (labels, model(images)))
    assert history["mean_iou"] == pytest.approx([values_of(metric)], rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 3, "scores": ["mean_iuo"]}, "Did you mean 'mean_iou'"),
        (
            {"num_classes": 3, "scores": ["accuracy"]},
            "scores='accuracy' is unknown. Choose from 'iou', 'dice'",
        ),
        ({"num_classes": 3, "class_names": ["a", "b"]}, "2 class_names for 3 classes"),
        ({"num_classes": 2, "class_names": ["a", "a"]}, "Pass one unique name per class"),
        ({"num_classes": 1, "class_names": ["cell"]}, "1 class_names for 2 classes"),
        ({"num_classes": 2, "class_names": {0: "a", 1: "b"}}, "expected a list of one name per"),
        ({"num_classes": 2, "class_names": {"a", "b"}}, "is a set; expected a list"),
        ({"num_classes": 2, "class_names": "ab"}, "class_names='ab' is a str; expected a list"),
        ({"num_classes": 2, "class_names": []}, "0 class_names for 2 classes"),
        ({"num_classes": 3, "scores": "iou"}, "scores='iou' is a str; expected a list of names"),
        ({"num_classes": 3, "ignore_index": [0, 255]}, "ignore_index=[0, 255] must be one class"),
        ({"num_classes": 3, "multi_label": "False"}, "multi_label='False' must be True or False"),
        ({"num_classes": 3, "from_logits": "no"}, "from_logits='no' must be True or False"),
        (
            {"num_classes": 1, "threshold": 0},
            "threshold=0 must be a probability above 0 and below 1",
        ),
        ({"num_classes": 1, "threshold": 1.0}, "threshold=1.0 must be a probability"),
        (
            {"num_classes": 3, "zero_division": 0.5},
            "zero_division=0.5 is unknown. Choose from None, 0.0, 1.0",
        ),
        (
            {"num_classes": 3, "multi_label": True, "scores": ["matthews"]},
            "'matthews' is undefined for multi-label models",
        ),
        (
            {"num_classes": 3, "multi_label": True, "scores": ["cohen_kappa"]},
            "'cohen_kappa' is undefined for multi-label models",
        ),
    ],
)
def test_invalid_arguments_are_an_error(arguments, message):
    with pytest.raises(ValueError, match="ConfusionMetrics: .*" + re.escape(message)):
        ConfusionMetrics(**arguments)
    if arguments.get("scores") in (["matthews"], ["cohen_kappa"]):
        cls = {"matthews": MatthewsCorrelation, "cohen_kappa": CohenKappa}[arguments["scores"][0]]
        with pytest.raises(ValueError, match=f"{cls.__name__}: .*" + re.escape(message)):
            cls(3, multi_label=True)


def test_several_classes_per_pixel_without_multi_label_are_an_error():
    labels = np.ones((1, 2, 2, 3), "uint8")
    with pytest.raises(
        ValueError, match="4 pixels .*Set multi_label=True if a pixel can belong to several classes"
    ):
        ConfusionMetrics(3).update_state(labels, np.zeros((1, 2, 2, 3), "float32"))
