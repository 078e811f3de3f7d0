import itertools
import json
import re

import keras
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from tfseg.metrics import METRICS, ConfusionMetrics, MeanDice, MeanIoU, PixelAccuracy, scores_of

every_metric = pytest.mark.parametrize("cls", METRICS.values(), ids=METRICS)
ALL = ("mean_iou", "mean_dice", "pixel_accuracy", "mean_accuracy", "iou", "dice", "accuracy")
# True classes down, predicted across. Class 0: 5 hit, 3 missed, 0 wrong; class 1: 3 hit, 0 missed, 3 wrong;
# class 2: 1 hit, 1 missed, 1 wrong; class 3 is never true nor predicted.
MATRIX = np.array([[5, 2, 1, 0], [0, 3, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]])


def pixels(matrix):
    """Labels and logits (1, 1, N[, C]) that make `matrix`."""
    pairs = [(t, p) for (t, p), count in np.ndenumerate(matrix) for _ in range(count)]
    truth, guess = np.array(pairs).T
    return truth[None, None], logits_of(guess[None, None], len(matrix))


def logits_of(guess, classes):
    return np.eye(classes, dtype="float32")[guess] - 3


def figures(metric):
    result = metric.result()
    return {name: float(value) for name, value in result.items()} if isinstance(result, dict) else float(result)


def counts(metric):
    return ops.convert_to_numpy(metric.matrix).tolist()


def measure(metric, *batches):
    for truth, logits in batches:
        metric.update_state(truth, logits)
    return metric


def draw(seed=0, shape=(6, 3, 5), classes=4):
    rng = np.random.default_rng(seed)
    labels = rng.choice([*range(classes), 255, -1], shape)
    return labels, rng.normal(size=(*shape, classes)).astype("float32")


def test_every_figure_of_an_asymmetric_matrix():
    metric = measure(ConfusionMetrics(4, report=ALL, class_names=["sky", "car", "man", "cat"]), pixels(MATRIX))
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
        "accuracy/sky": 5 / 8,
        "accuracy/car": 1,
        "accuracy/man": 1 / 2,
        "accuracy/cat": np.nan,
    }
    assert figures(metric) == pytest.approx(expected, nan_ok=True)
    assert list(figures(metric)) == list(expected)


@pytest.mark.parametrize(
    ("cls", "expected"),
    [(MeanIoU, (5 / 8 + 3 / 6 + 1 / 3) / 3), (MeanDice, (10 / 13 + 6 / 9 + 2 / 4) / 3), (PixelAccuracy, 9 / 13)],
)
def test_a_single_figure_is_a_scalar_under_its_own_name(cls, expected):
    metric = measure(cls(4), pixels(MATRIX))
    assert figures(metric) == pytest.approx(expected)
    assert METRICS[metric.name] is cls


def test_per_class_figures_bear_numbers_without_names():
    assert list(figures(ConfusionMetrics(2, report=["dice"]))) == ["dice/0", "dice/1"]


@given(st.permutations(range(6)), st.lists(st.integers(0, 6), max_size=4))
@settings(deadline=None, max_examples=15)
def test_batching_and_order_change_no_digit(order, cuts):
    labels, logits = draw()
    whole = measure(ConfusionMetrics(4, report=ALL), (labels, logits))
    edges = [0, *sorted(cuts), 6]
    parts = [list(order[a:b]) for a, b in itertools.pairwise(edges) if a < b]
    batched = measure(ConfusionMetrics(4, report=ALL), *((labels[part], logits[part]) for part in parts))
    assert counts(batched) == counts(whole)
    assert figures(batched) == figures(whole)


def test_counts_and_scores_match_the_slow_loop():
    labels, logits = draw(1)
    metric = measure(ConfusionMetrics(4, report=["iou", "dice", "accuracy"], ignore_index=2), (labels, logits))
    matrix = oracles.confusion_matrix(labels, logits.argmax(-1), 4, ignore_index=2)
    assert counts(metric) == matrix.tolist()
    scores = {f"{k}/{c}": v for k, values in oracles.scores(matrix).items() for c, v in enumerate(values)}
    assert figures(metric) == pytest.approx(scores, nan_ok=True)


def test_figures_agree_with_scikit_learn():
    from sklearn.metrics import accuracy_score, f1_score, jaccard_score

    labels, logits = draw(2)
    valid = (labels >= 0) & (labels < 4)
    truth, guess = labels[valid], logits.argmax(-1)[valid]
    result = figures(measure(ConfusionMetrics(4, report=ALL), (labels, logits)))
    assert result["mean_iou"] == pytest.approx(jaccard_score(truth, guess, average="macro"))
    assert result["mean_dice"] == pytest.approx(f1_score(truth, guess, average="macro"))
    assert result["pixel_accuracy"] == pytest.approx(accuracy_score(truth, guess))
    each = jaccard_score(truth, guess, average=None)
    assert [result[f"iou/{c}"] for c in range(4)] == pytest.approx(each)


@pytest.mark.parametrize("ignore_index", [255, 1, None])
def test_labels_and_one_hot_targets_count_alike(ignore_index):
    labels, logits = draw(3)
    expected = oracles.confusion_matrix(labels, logits.argmax(-1), 4, ignore_index)
    one_hot = np.where((labels >= 0) & (labels < 4), 1, 0)[..., None] * np.eye(4)[labels.clip(0, 3)]
    targets = [labels, labels[..., None], labels.astype("float32")[..., None], one_hot, one_hot.astype("uint8")]
    if ignore_index == 255:
        targets.append(np.where(labels[..., None] == 255, 255, one_hot))
    for target in targets:
        assert counts(measure(ConfusionMetrics(4, ignore_index=ignore_index), (target, logits))) == expected.tolist()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_single_channel_counts_background_and_foreground(dtype):
    truth = np.array([[[0, 0, 0, 1, 1, 255]]], dtype)
    logits = np.array([[[-2.0, 0.3, -0.1, 4, -1, 3]]])[..., None]
    for target in (truth, truth[..., None]):
        metric = measure(ConfusionMetrics(1, report=["iou"], class_names=["ground", "cell"]), (target, logits))
        assert counts(metric) == [[2, 1], [1, 1]]
        assert figures(metric) == pytest.approx({"iou/ground": 2 / 4, "iou/cell": 1 / 3})


def test_a_soft_single_channel_is_foreground_above_one_half():
    truth = np.array([[[[0.4], [0.6]]]], "float32")
    assert counts(measure(ConfusionMetrics(1), (truth, np.array([[[[1.0], [1.0]]]])))) == [[0, 1], [0, 1]]


@every_metric
def test_nothing_counted_is_nan_and_reset_forgets(cls):
    truth, logits = pixels(MATRIX)
    metric = cls(4)
    values = ops.convert_to_numpy(list(_flat(figures(measure(metric, (np.full_like(truth, 255), logits))))))
    assert np.isnan(values).all()
    expected = figures(measure(metric, (truth, logits)))
    metric.reset_state()
    assert not np.any(counts(metric))
    assert figures(measure(metric, (truth, logits))) == expected


def _flat(result):
    return result.values() if isinstance(result, dict) else [result]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX keeps integers in 32 bits")
def test_counts_are_exact_beyond_32_bits():
    metric = ConfusionMetrics(2)
    metric.matrix.assign([[2**40, 0], [0, 2**40]])
    measure(metric, (np.array([[[1]]]), logits_of(np.array([[[0]]]), 2)))
    assert counts(metric) == [[2**40, 0], [1, 2**40]]
    assert figures(metric)["pixel_accuracy"] == 2**41 / (2**41 + 1)


def test_counts_sum_across_replicas():
    assert ConfusionMetrics(2).matrix.aggregation == "sum"


def test_scores_of_a_plain_matrix():
    scores = scores_of(MATRIX)
    assert float(scores["mean_iou"]) == pytest.approx((5 / 8 + 3 / 6 + 1 / 3) / 3)
    assert ops.convert_to_numpy(scores["accuracy"]) == pytest.approx([5 / 8, 1, 1 / 2, np.nan], nan_ok=True)


@every_metric
def test_it_is_saved_and_read_with_its_arguments(cls):
    metric = cls(4, ignore_index=3, name="mine")
    for again in (
        keras.metrics.deserialize(json.loads(json.dumps(keras.metrics.serialize(metric)))),
        cls.from_config(metric.get_config()),
    ):
        assert type(again) is cls
        assert again.get_config() == metric.get_config()
        assert figures(measure(again, draw())) == figures(measure(cls(4, ignore_index=3), draw()))


def test_report_and_names_survive_the_round_trip():
    metric = ConfusionMetrics(3, report=("dice", "mean_iou"), class_names=("a", "b", "c"))
    again = ConfusionMetrics.from_config(json.loads(json.dumps(metric.get_config())))
    assert list(figures(again)) == ["dice/a", "dice/b", "dice/c", "mean_iou"]


@pytest.mark.parametrize("channels", [1, 3])
def test_fit_and_evaluate_under_xla_give_the_same_digits_as_eager(channels):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(5, 4, 6, 2)).astype("float32")
    labels = rng.choice([*range(max(channels, 2)), 255], (5, 4, 6))
    model = keras.Sequential([keras.Input((None, None, 2)), keras.layers.Conv2D(channels, 1)])
    metrics = [ConfusionMetrics(channels, report=ALL), MeanIoU(channels, name="iou")]
    # a rate of 0 keeps the model as it is: what is measured while training is its score
    model.compile(keras.optimizers.SGD(0.0), lambda y, x: ops.mean(x), metrics=metrics, jit_compile=True)
    expected = figures(measure(ConfusionMetrics(channels, report=ALL), (labels, model.predict(images, verbose=0))))
    history = model.fit(images, labels, batch_size=2, verbose=0).history
    assert history["mean_iou"] == history["iou"] == [pytest.approx(expected["mean_iou"], rel=1e-6)]
    result = model.evaluate(images, labels, batch_size=3, verbose=0, return_dict=True)
    assert {name: result[name] for name in expected} == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes=0 must be a whole number of at least 1"),
        ({"num_classes": 2.5}, "num_classes=2.5 must be a whole number"),
        ({"num_classes": 3, "report": ["mean_iuo"]}, "Did you mean 'mean_iou'"),
        ({"num_classes": 3, "class_names": ["a", "b"]}, "2 class_names for 3 classes"),
        ({"num_classes": 1, "class_names": ["cell"]}, "1 class_names for 2 classes"),
    ],
)
def test_arguments_that_do_not_fit_are_an_error(arguments, message):
    with pytest.raises(ValueError, match="ConfusionMetrics: .*" + re.escape(message)):
        ConfusionMetrics(**arguments)


@every_metric
def test_batches_that_do_not_fit_are_an_error(cls):
    labels, logits = draw()
    with pytest.raises(ValueError, match=r"num_classes=3, but y_pred of shape .* has 4 channels"):
        cls(3).update_state(labels, logits)
    with pytest.raises(ValueError, match=r"y_true of shape .* does not fit y_pred"):
        cls(4).update_state(labels[:, :2], logits)
    with pytest.raises(ValueError, match="not `weighted_metrics`"):
        cls(4).update_state(labels, logits, sample_weight=np.ones(6))
