import keras
import numpy as np
import pytest

from tfseg.schedules import SCHEDULES, Cosine, OneCycle, Poly


def values(schedule, steps):
    return [float(schedule(step)) for step in steps]


def test_linear_warm_up():
    for schedule in (Cosine(0.5, 100, 4), Poly(0.5, 100, 4)):
        assert values(schedule, range(5)) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def test_decay():
    # a quarter, half and all of the 96 steps after warm-up, and later
    steps = (28, 52, 100, 1000)
    assert values(Cosine(2.0, 100, 4), steps) == pytest.approx(
        [1 + np.sqrt(0.5), 1, 0, 0], abs=1e-6
    )
    assert values(Poly(2.0, 100, 4), steps) == pytest.approx(
        [2 * 0.75**0.9, 2 * 0.5**0.9, 0, 0], abs=1e-6
    )


def test_one_cycle():
    cycle = OneCycle(1.0, 100, 19)
    # halfway up it is the mean of 1/25 and 1; halfway down, 40.5 of 81 steps, that of 1 and 1e-4
    assert float(cycle(9)) == pytest.approx((1 / 25 + 1) / 2)
    assert float(cycle(19)) == pytest.approx(1)
    assert (float(cycle(59)) + float(cycle(60))) / 2 == pytest.approx((1 + 1e-4) / 2, abs=1e-3)
    assert float(cycle(100)) == pytest.approx(1e-4)
    assert 1 / 25 < float(cycle(0)) < 0.06


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "constant"])
def test_serialization_with_an_optimizer(name):
    optimizer = keras.optimizers.Adam(SCHEDULES[name](0.01, 50, 5))
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    steps = (0, 3, 5, 30, 50)
    assert values(again._learning_rate, steps) == values(optimizer._learning_rate, steps)
