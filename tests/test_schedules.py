import keras
import numpy as np
import pytest

from tfseg.schedules import SCHEDULES, Cosine, MovableEnd, OneCycle, Poly


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


def test_a_moved_end_continues_where_the_schedule_was_and_ends_at_its_end():
    plain = Cosine(1.0, 1000, 200)
    schedule = MovableEnd(plain)
    assert values(schedule, (0, 100, 700)) == values(plain, (0, 100, 700))
    schedule.move_end(0, 100)  # ten steps of `plain` per step
    assert values(schedule, (5, 20, 60)) == pytest.approx(values(plain, (50, 200, 600)), abs=1e-6)
    schedule.move_end(60, 260)  # the other 400 in 200 steps: two per step
    steps = (60, 160, 260, 300)
    assert values(schedule, steps) == pytest.approx([0.5, *values(plain, (800, 1000)), 0], abs=1e-6)
    schedule.move_end(160, 170)
    steps = (160, 165, 170)
    expected = values(plain, (800, 900, 1000))
    assert values(schedule, steps) == pytest.approx(expected, abs=1e-6)


def test_a_moved_end_is_used_by_a_compiled_model_and_kept_in_its_file(tmp_path):
    schedule = MovableEnd(Poly(1.0, 1000, 1))
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(schedule), Linear())
    schedule.move_end(0, 10)

    def change(steps):
        """Return by how much the weight falls: the sum of the learning rates."""
        before = float(model.weights[0][0, 0])
        model.fit(np.ones((steps, 1)), np.ones((steps, 1)), batch_size=1, verbose=0)
        return before - float(model.weights[0][0, 0])

    change(5)
    schedule.move_end(5, 6)
    assert change(1) == pytest.approx(0.5**0.9, abs=2e-3)  # (1 - 499/999)**0.9
    assert change(3) == 0
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", {"Linear": Linear})
    assert values(loaded.optimizer._learning_rate, (5, 6)) == values(schedule, (5, 6))


class Linear(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return y_pred
