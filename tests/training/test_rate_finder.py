import keras
import numpy as np
import pytest
import tensorflow as tf

from tfseg.training import compile_for, find_learning_rate, rate_finder
from tfseg.viz import rate_search


def line(samples=8):
    """Return batches of y = 2 x, and a model of one weight that starts at 0."""
    x = np.linspace(-1, 1, samples)[:, None]
    batches = tf.data.Dataset.from_tensor_slices((x, 2 * x)).batch(4)
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros", use_bias=False)]
    )
    model.compile("adam", "mse")
    return model, batches


def test_the_search_finds_a_rate_that_learns_and_restores_the_model():
    model, batches = line()
    optimizer, weights = model.optimizer, model.get_weights()
    search = find_learning_rate(model, batches, low=1e-4, high=10.0, steps=60)
    assert 1e-2 < search.best < 5  # the weight must move by 2
    assert len(search.rates) == len(search.losses) <= 60
    assert search.losses.min() < 0.8 * search.losses[0]
    assert model.optimizer is optimizer
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), weights, strict=True))
    assert int(model.optimizer.iterations) == 0
    model.fit(batches, verbose=0)
    assert int(model.optimizer.iterations) == 2
    (axes,) = rate_search(search).axes
    assert axes.get_xscale() == "log"


@pytest.mark.slow
def test_schedules_and_random_layers_survive_a_search_in_half_precision():
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        image = keras.Input((16, 16, 3))
        x = keras.layers.Dropout(0.5)(keras.layers.Conv2D(4, 3, padding="same")(image))
        logits = keras.layers.Conv2D(3, 1, dtype="float32")(x)
        model = keras.Model(image, logits)
        compile_for(model, "adam", steps=10, jit_compile=False)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    optimizer = model.optimizer
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    assert isinstance(rate_finder._with_rate(optimizer, 0.1), keras.optimizers.LossScaleOptimizer)
    states = [variable.numpy() for variable in model.non_trainable_variables]
    images = np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 3)).astype("float32")
    batches = tf.data.Dataset.from_tensors((images, np.ones((4, 16, 16), "uint8")))
    find_learning_rate(model, batches, low=1e-5, high=1e-2, steps=6)
    assert model.optimizer is optimizer
    for value, variable in zip(states, model.non_trainable_variables, strict=True):
        assert np.array_equal(value, variable.numpy())
    model.fit(batches, verbose=0)


def test_what_a_user_excludes_from_weight_decay_stays_excluded():
    optimizer = keras.optimizers.AdamW(weight_decay=0.1)
    kernel, bias = (keras.Variable([1.0], name=name) for name in ("kernel", "bias"))
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    rate_finder._with_rate(optimizer, 0.5).apply([np.zeros(1, np.float32)] * 2, [kernel, bias])
    assert (float(kernel[0]), float(bias[0])) == pytest.approx((0.95, 1))


def test_a_search_without_a_finite_loss_is_an_error():
    model, batches = line()
    model.compile("sgd", loss=lambda y, x: keras.ops.mean(x) * float("nan"))
    message = r"not finite or grows fourfold at a rate of 0.1. Choose a lower"
    with pytest.raises(ValueError, match=message):
        find_learning_rate(model, batches, low=0.1)
    with pytest.raises(ValueError, match="steps=2 must be a finite number of at least 3"):
        find_learning_rate(model, batches, steps=2)
    with pytest.raises(ValueError, match="low=1 and high=0.1; expected 0 < low < high"):
        find_learning_rate(model, batches, low=1, high=0.1)
