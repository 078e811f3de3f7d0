import keras
import numpy as np
import pytest
from keras import ops

from tfseg.ops import class_sums, softmax_nll, softmax_nll_and_sums, softmax_sums


def draw(scale=2.0):
    rng = np.random.default_rng(0)
    return (
        rng.normal(0, scale, (2, 7, 4)).astype("float32"),
        rng.integers(0, 4, (2, 7)).astype("int32"),
        rng.random((2, 7)).astype("float32"),
    )


def slow(logits, labels, weight):
    """Return -log p and the weighted sums of p per class and over all pixels, by float64 loops."""
    nll, overlap, predicted = np.zeros(labels.shape), np.zeros((2, 4)), np.zeros((2, 4))
    for i, j in np.ndindex(labels.shape):
        x = logits[i, j].astype("float64")
        log_p = x - x.max() - np.log(np.exp(x - x.max()).sum())
        c = labels[i, j]
        nll[i, j] = -log_p[c]
        overlap[i, c] += weight[i, j] * np.exp(log_p[c])
        predicted[i] += weight[i, j] * np.exp(log_p)
    return nll, overlap, predicted


def run(*arguments):
    return softmax_nll_and_sums(*(ops.convert_to_tensor(x) for x in arguments))


def run_apart(*arguments):
    logits, labels, weight = (ops.convert_to_tensor(x) for x in arguments)
    return softmax_nll(logits, labels), *softmax_sums(logits, labels, weight)


together_and_apart = pytest.mark.parametrize("run", [run, run_apart])
many_or_few = pytest.mark.parametrize("few", [32, 2], ids=["few classes", "many classes"])


@pytest.fixture(autouse=True)
def few_classes(request, monkeypatch):
    """Test both ways to sum per class on the same four classes."""
    if "few" in request.fixturenames:
        monkeypatch.setattr("tfseg.ops.softmax.FEW_CLASSES", request.getfixturevalue("few"))


def value_and_gradient(function, x):
    if keras.backend.backend() == "jax":
        import jax

        value, gradient = jax.value_and_grad(function)(ops.convert_to_tensor(x))
    else:
        import tensorflow as tf

        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        gradient = tape.gradient(value, x)
    return float(value), ops.convert_to_numpy(gradient)


@many_or_few
@together_and_apart
def test_matches_the_slow_loop(run, few):
    for found, expected in zip(run(*draw()), slow(*draw()), strict=True):
        assert ops.convert_to_numpy(found) == pytest.approx(expected, rel=1e-5)


@together_and_apart
def test_an_array_too_large_for_flat_int32_indices(run, monkeypatch):
    monkeypatch.setattr("tfseg.ops.softmax.FLAT_LIMIT", 2 * 7 * 4)
    monkeypatch.setattr("tfseg.ops.softmax.ops.arange", None)  # makes the flat indices
    arguments = draw()
    for found, expected in zip(run(*arguments), slow(*arguments), strict=True):
        assert ops.convert_to_numpy(found) == pytest.approx(expected, rel=1e-5)


# gradients that arrive at -log p and at the square of each sum, all different
RETURNS = {
    "nll": np.random.default_rng(1).normal(size=(2, 7)).astype("float32"),
    "overlap": np.random.default_rng(2).normal(size=(2, 4)).astype("float32"),
    "predicted": np.random.default_rng(3).normal(size=(2, 4)).astype("float32"),
}


@pytest.mark.parametrize("used", [["nll"], ["overlap"], ["predicted"], list(RETURNS)], ids="+".join)
@many_or_few
@together_and_apart
def test_gradient_matches_automatic_differentiation(run, few, used):
    logits, labels, weight = draw()

    def together(*returned):
        named = zip(RETURNS, returned, strict=True)
        return sum(
            ops.sum(RETURNS[name] * ops.square(value)) for name, value in named if name in used
        )

    def plain(x):
        log_p, t = ops.log_softmax(x), ops.one_hot(labels, 4)
        p = ops.exp(log_p) * weight[..., None]
        return together(-ops.sum(t * log_p, axis=-1), ops.sum(p * t, axis=1), ops.sum(p, axis=1))

    value, gradient = value_and_gradient(lambda x: together(*run(x, labels, weight)), logits)
    expected_value, expected = value_and_gradient(plain, logits)
    assert value == pytest.approx(expected_value, rel=1e-5, abs=1e-5)
    assert gradient == pytest.approx(expected, rel=1e-4, abs=1e-5)


@many_or_few
@together_and_apart
def test_a_pixel_of_weight_0_has_exactly_zero_gradient(run, few):
    logits, labels, weight = draw()
    weight[0, 3] = weight[1, 5] = 0
    logits[0, 3] = 1e4

    def total(x):
        _, overlap, predicted = run(x, labels, weight)
        return ops.sum(overlap * RETURNS["overlap"] + predicted * RETURNS["predicted"])

    gradient = value_and_gradient(total, logits)[1]
    assert not gradient[0, 3].any()
    assert not gradient[1, 5].any()
    assert gradient[0, 2].all()


@pytest.mark.parametrize("size", [1e4, 1e30])
@many_or_few
@together_and_apart
def test_finite_for_logits_of_any_size(run, few, size):
    logits, labels, weight = draw(1.0)
    logits = np.sign(logits) * np.float32(size)
    for found, expected in zip(
        run(logits, labels, weight), slow(logits, labels, weight), strict=True
    ):
        assert ops.convert_to_numpy(found) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    gradient = value_and_gradient(lambda x: sum(map(ops.sum, run(x, labels, weight))), logits)[1]
    assert np.isfinite(gradient).all()


def test_adding_a_constant_to_the_logits_of_a_pixel_changes_nothing():
    logits, labels, weight = draw()
    logits = np.round(logits * 8) / 8  # exact in float32, also with 4096 added
    for near, far in zip(
        run(logits, labels, weight), run(logits + 4096, labels, weight), strict=True
    ):
        assert ops.convert_to_numpy(far) == pytest.approx(ops.convert_to_numpy(near), rel=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX has no float64 by default")
def test_float64():
    logits, labels, weight = draw()
    logits, weight = logits.astype("float64"), weight.astype("float64")
    for found, expected in zip(
        run(logits, labels, weight), slow(logits, labels, weight), strict=True
    ):
        assert ops.dtype(found) == "float64"
        assert ops.convert_to_numpy(found) == pytest.approx(expected, rel=1e-12)


@many_or_few
def test_class_sums(few):
    values, labels = (
        np.array([[1.0, 2, 4], [8, 16, 32]], "float32"),
        np.array([[2, 0, 2], [1, 1, 0]], "int32"),
    )
    sums = class_sums(ops.convert_to_tensor(values), ops.convert_to_tensor(labels), 3)
    assert ops.convert_to_numpy(sums).tolist() == [[2, 0, 5], [32, 24, 0]]
