import keras
import numpy as np
import pytest

from tfseg import optimizers

NAMES = ("kernel", "bias", "gamma", "beta")


def reloaded(optimizer):
    return type(optimizer).from_config(optimizer.get_config())


def test_adamw_decays_kernels_only_also_when_it_is_loaded():
    optimizer = reloaded(reloaded(optimizers.AdamW(0.5, weight_decay=0.1)))
    variables = [keras.Variable([1.0], name=name) for name in NAMES]
    optimizer.apply([np.zeros(1, np.float32)] * 4, variables)
    # without a gradient only the decay remains: 1 - 0.5 * 0.1
    assert [float(variable[0]) for variable in variables] == pytest.approx([0.95, 1, 1, 1])


def averaged_steps(optimizer, steps):
    """Return the average of a variable that is 1, 2, 3 ... after each update."""
    variable = keras.Variable(0.0)
    for _ in range(steps):
        optimizer.apply([np.float32(-1)], [variable])
    assert float(variable) == steps
    optimizer.finalize_variable_values([variable])
    return float(variable)


def test_an_average_warms_up():
    # momenta 0, 2/11, 3/12: the averages are 1, then 2/11 + 9/11 * 2 = 20/11, then
    # 1/4 * 20/11 + 3/4 * 3; with a constant 0.999 they would be 1, 1.001, 1.003
    for steps, expected in ((1, 1), (2, 20 / 11), (3, 5 / 11 + 9 / 4)):
        optimizer = reloaded(optimizers.SGD(1.0, use_ema=True, ema_momentum=0.999))
        assert averaged_steps(optimizer, steps) == pytest.approx(expected)


def test_the_momentum_of_an_average_does_not_exceed_its_final_value():
    optimizer = optimizers.SGD(1.0, use_ema=True, ema_momentum=0.1)
    assert averaged_steps(optimizer, 3) == pytest.approx(0.1 * (0.1 * 1 + 0.9 * 2) + 0.9 * 3)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD"])
def test_averages_are_saved_and_compile(name, tmp_path):
    optimizer = getattr(optimizers, name)(0.1, use_ema=True, ema_momentum=0.75)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    # XLA for one of them: their averages share the code
    is_compiled = name == "Adam"
    model.compile(optimizer, "mse", jit_compile=is_compiled, run_eagerly=not is_compiled)
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").optimizer
    assert type(loaded) is type(optimizer)
    assert loaded.get_config()["ema_momentum"] == 0.75
    for value, kept in zip(optimizer.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(value.numpy(), kept.numpy())
