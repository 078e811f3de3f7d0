"""Properties of every metric in `tfseg.metrics.METRICS`."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from tfseg.metrics import METRICS, CalibrationError, ConfusionMetrics

TENSORFLOW = keras.backend.backend() == "tensorflow"
EXACT = {"rel": 0} if TENSORFLOW else {"rel": 1e-5}  # JAX adds confidences in float32
every_metric = pytest.mark.parametrize("cls", METRICS.values(), ids=METRICS)


def draw(seed=0, shape=(6, 3, 5), classes=4):
    """Return labels, some of them 255, and random logits."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([*range(classes), 255], shape)
    return labels, rng.normal(0, 2, (*shape, classes)).astype("float32")


def values_of(metric):
    """Return the result as a list of floats."""
    result = metric.result()
    return [float(value) for value in (result.values() if isinstance(result, dict) else [result])]


def measure(metric, *batches):
    for labels, logits in batches:
        metric.update_state(labels, logits)
    return values_of(metric)


def all_metrics():
    """Return one of each, and variants of ConfusionMetrics; scores with equal names are equal."""
    scores = (
        "iou",
        "mean_precision",
        "micro_dice",
        "weighted_recall",
        "per_image_iou",
        "per_image_specificity",
    )
    channels = ("dice", "per_image_recall")
    return [
        *(cls(3) for cls in METRICS.values()),
        ConfusionMetrics(3, scores, name="averages"),
        ConfusionMetrics(3, channels, multi_label=True, threshold=0.3, name="channels"),
    ]


def model_and_data():
    """Return a model whose logits are its input, and eight images for it."""
    labels, logits = draw(shape=(8, 3, 5), classes=3)
    model = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Dense(3, kernel_initializer="identity")]
    )
    return model, logits, labels


def compile_with_metrics(model, metrics=None, **options):
    # learning rate 0 does not change the logits; the loss does not matter
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    model.compile(keras.optimizers.SGD(0.0), loss, metrics=metrics or all_metrics(), **options)


def expected_of(labels, logits, metrics=None):
    expected = {}
    for metric in metrics or all_metrics():
        metric.update_state(labels, logits)
        result = metric.result()
        expected |= result if isinstance(result, dict) else {metric.name: result}
    return {name: float(value) for name, value in expected.items()}


def as_floats(logs):
    return {name: float(value) for name, value in logs.items() if name != "loss"}


@every_metric
class TestMetric:
    def test_nan_without_counted_pixels_and_reset(self, cls):
        labels, logits = draw()
        metric = cls(4)
        assert np.isnan(measure(metric, (np.full_like(labels, 255), logits))).all()
        expected = measure(metric, (labels, logits))
        metric.reset_state()
        assert not any(ops.convert_to_numpy(state.value).any() for state in metric.variables)
        assert measure(metric, (labels, logits)) == expected

    @given(st.permutations(range(6)), st.lists(st.integers(0, 6), max_size=4))
    @settings(deadline=None, max_examples=4)
    def test_batch_size_and_order_do_not_change_a_digit(self, cls, order, cuts):
        labels, logits = draw()
        edges = [0, *sorted(cuts), 6]
        parts = [list(order[a:b]) for a, b in itertools.pairwise(edges) if a < b]
        batched = measure(cls(4), *((labels[part], logits[part]) for part in parts))
        assert batched == pytest.approx(measure(cls(4), (labels, logits)), **EXACT)

    def test_a_perfect_prediction_scores_1(self, cls):
        labels, _ = draw()
        logits = 50 * np.eye(4, dtype="float32")[labels.clip(0, 3)]
        best = 0 if cls is CalibrationError else 1
        assert measure(cls(4), (labels, logits)) == pytest.approx(
            [best] * len(values_of(cls(4))), abs=1e-6
        )

    def test_ignored_pixels_are_not_counted(self, cls):
        labels, logits = draw()
        ignored = labels == 255
        changed = np.where(ignored[..., None], np.float32(1e4) * np.arange(4), logits)
        assert measure(cls(4), (labels, changed)) == measure(cls(4), (labels, logits))
        flat = labels[~ignored][None], logits[~ignored][None]
        assert measure(cls(4), (flat[0][None], flat[1][None])) == pytest.approx(
            measure(cls(4), (labels, logits))
        )

    @pytest.mark.parametrize("label", [4, -1, 2**31 - 1])
    def test_after_an_invalid_label_every_result_is_nan(self, cls, label):
        labels, logits = draw()
        labels[0, 0, :2] = label
        metric = cls(4)
        assert np.isnan(measure(metric, (labels, logits), draw(1))).all()
        assert int(metric.invalid) == 2
        metric.reset_state()
        assert np.isfinite(measure(metric, draw(1))).all()

    def test_255_is_a_class_with_more_than_255_classes(self, cls):
        labels, logits = draw(shape=(2, 3, 4), classes=300)
        labels[0] = 255
        expected = measure(cls(300, ignore_index=None), (labels, logits))
        assert measure(cls(300), (labels, logits)) == expected
        ignored = np.concatenate([labels, np.full_like(labels, 65535)])
        assert measure(cls(300), (ignored, np.concatenate([logits, logits]))) == expected

    @pytest.mark.parametrize("ignore_index", [[0, 255], "255", True, {255}])
    def test_an_invalid_ignore_index_is_an_error(self, cls, ignore_index):
        with pytest.raises(ValueError, match=rf"^{cls.__name__}: ignore_index=.*one class id"):
            cls(4, ignore_index=ignore_index)

    def test_the_order_of_classes_does_not_matter(self, cls):
        labels, logits = draw()
        order = [2, 0, 3, 1]  # new class c was order[c]
        renamed = np.where(labels == 255, 255, np.argsort(order)[labels.clip(0, 3)])
        assert measure(cls(4), (renamed, logits[..., order])) == pytest.approx(
            measure(cls(4), (labels, logits))
        )

    def test_a_volume_is_a_long_image(self, cls):
        labels, logits = draw(shape=(2, 3, 4, 5))
        flat = labels.reshape(2, 12, 5), logits.reshape(2, 12, 5, 4)
        assert measure(cls(4), (labels, logits)) == measure(cls(4), flat)

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_half_precision_logits_are_converted_to_float32(self, cls, dtype):
        labels, logits = draw()
        half = ops.cast(logits, dtype)
        assert measure(cls(4), (labels, half)) == measure(
            cls(4), (labels, ops.cast(half, "float32"))
        )

    def test_nan_and_infinite_logits_are_counted(self, cls):
        labels, logits = draw()
        logits[0, 0] = logits[1, 1, :, 2] = np.nan
        logits[2, 2, 0, 1], logits[3, 0, 0] = np.inf, -np.inf
        assert np.isfinite(measure(cls(4), (labels, logits))).all()

    def test_serialization_keeps_the_arguments(self, cls):
        metric = cls(4, ignore_index=3, name="mine")
        labels, logits = draw()
        data = np.where(labels == 255, 3, labels), logits
        expected = measure(metric, data)
        for again in (
            keras.metrics.deserialize(json.loads(json.dumps(keras.metrics.serialize(metric)))),
            cls.from_config(metric.get_config()),
        ):
            assert type(again) is cls
            assert again.get_config() == metric.get_config()
            assert measure(again, data) == expected

    def test_invalid_batches_are_an_error(self, cls):
        labels, logits = draw()
        with pytest.raises(
            ValueError, match=r"num_classes=3, but y_pred of shape .* has 4 channels"
        ):
            cls(3).update_state(labels, logits)
        with pytest.raises(ValueError, match=r"y_true of shape .* does not fit y_pred"):
            cls(4).update_state(labels[:, :2], logits)
        with pytest.raises(ValueError, match="not `weighted_metrics`"):
            cls(4).update_state(labels, logits, sample_weight=np.ones(6))
        with pytest.raises(
            ValueError,
            match="float32 has 90 pixels with invalid values. Expected whole numbers",
        ):
            cls(4).update_state(np.full(labels.shape, 0.5, "float32"), logits)
        with pytest.raises(ValueError, match="90 pixels with invalid values. Expected one-hot"):
            cls(4).update_state(np.full(logits.shape, 0.5, "float32"), logits)

    def test_counts_sum_across_replicas(self, cls):
        assert {state.aggregation for state in cls(4).variables} == {"sum"}

    def test_an_invalid_number_of_classes_is_an_error(self, cls):
        for number in (0, 2.5):
            with pytest.raises(
                ValueError, match=rf"{cls.__name__}: num_classes={number} must be a whole number"
            ):
                cls(number)


def test_fit_under_xla_and_mixed_precision_equals_an_eager_loop():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model, logits, labels = model_and_data()
        compile_with_metrics(model, jit_compile=True)
        history = model.fit(logits, labels, batch_size=4, verbose=0).history
        expected = expected_of(labels, model(logits))
    finally:
        keras.config.set_dtype_policy("float32")
    measured = {name: value for name, (value,) in history.items() if name != "loss"}
    assert measured == pytest.approx(expected, rel=1e-12 if TENSORFLOW else 1e-5)


@pytest.fixture(scope="module")
def evaluate():
    """Return a function of a target that gives the scores of a compiled model, and the model."""
    models = {}

    def run(target):
        if target.ndim not in models:
            models[target.ndim], _, _ = model_and_data()
            models[target.ndim].compile(
                "sgd", lambda y, x: ops.mean(x), metrics=kinds_of_states(), jit_compile=True
            )
        model, (_, logits, _) = models[target.ndim], model_and_data()
        scores = model.evaluate(logits, target, batch_size=8, verbose=0, return_dict=True)
        return as_floats(scores), model

    return run


def invalid_targets():
    """Return {name: a target of 3 classes with one invalid pixel}."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (8, 3, 5))
    # of one dtype, since each is compiled; integers are in `TestMetric`
    floating, dense = labels.astype("float32"), np.eye(3, dtype="float32")[labels]
    found = {}
    for name, target, value in (
        ("above", floating, 3),
        ("below", floating, -1),
        ("fractional", floating, 0.5),
        ("NaN", floating, np.nan),
        ("dense negative", dense, [-0.5, 1, 0]),
        ("dense above 1", dense, [0, 0, 255]),
        ("dense NaN", dense, [0, np.nan, 0]),
    ):
        found[name] = target.copy()
        found[name][2, 1, 3] = value
    return found


@pytest.mark.parametrize(("name", "target"), invalid_targets().items())
def test_after_an_invalid_pixel_every_score_of_evaluate_is_nan(name, target, evaluate):
    scores, model = evaluate(target)
    assert len(scores) >= 12
    assert np.isnan(list(scores.values())).all(), scores
    assert all(int(metric.invalid) == 1 for metric in model.metrics[1].metrics)


def test_several_classes_per_pixel_are_invalid_without_multi_label(evaluate):
    scores, _ = evaluate(np.full((8, 3, 5, 3), 0.7, "float32"))
    for name, value in scores.items():
        assert np.isnan(value) == (not name.startswith("channels")), name


def test_metrics_are_saved_and_loaded_with_their_model(tmp_path):
    model, logits, labels = model_and_data()
    compile_with_metrics(model, run_eagerly=TENSORFLOW)
    before = model.evaluate(logits, labels, batch_size=4, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.evaluate(logits, labels, batch_size=4, verbose=0, return_dict=True) == before
    assert as_floats(before) == pytest.approx(expected_of(labels, logits), rel=1e-6)


def kinds_of_states():
    """Return metrics with all kinds of states; the others count like one of them."""
    return [all_metrics()[0], *all_metrics()[-2:]]


REPLICAS = """
import json, sys
import tensorflow as tf
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
from test_contract import compile_with_metrics, kinds_of_states, model_and_data
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model, logits, labels = model_and_data()
    compile_with_metrics(model, kinds_of_states())
history = model.fit(logits, labels, batch_size=4, shuffle=False, verbose=0).history
print(json.dumps([strategy.num_replicas_in_sync, history]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not TENSORFLOW, reason="MirroredStrategy is TensorFlow's")
def test_two_replicas_equal_one_device():
    # in a subprocess, since logical devices must be set before TensorFlow starts
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    replicas, history = json.loads(done.stdout.splitlines()[-1])
    assert replicas == 2
    del history["loss"]
    measured = {name: value for name, (value,) in history.items()}
    _, logits, labels = model_and_data()
    assert measured == pytest.approx(expected_of(labels, logits, kinds_of_states()), rel=1e-14)
    assert len(measured) >= 12
