import keras
import numpy as np
import pytest

from tfseg.data import pipeline
from tfseg.training import TimeFrame, compile_for, step_timing
from tfseg.training.run_callback import state_variables

from .conftest import small_readers


def in_minutes(minutes, network, frame):
    return step_timing.length_in_minutes(minutes, network, None, None, (), frame)


def test_the_time_that_is_left_is_filled(monkeypatch, network):
    monkeypatch.setattr(step_timing, "time_steps", lambda *_: (2.0, 4.0))
    monkeypatch.setattr(step_timing, "measure_load", lambda: 2.0)
    monkeypatch.setattr(step_timing.time, "monotonic", lambda: 1020.0)
    # of 600 s, 20 are over and 2 * 15 + 2.5 * 4 are for what follows
    length = in_minutes(10, network, TimeFrame(1000.0, validations=2.5, seconds=15))
    assert length == step_timing.length_for(540.0, 2.0, 4.0)
    with pytest.raises(ValueError, match=r"minutes=1 are too few .* at least 1.1 minutes"):
        in_minutes(1, network, TimeFrame(1000.0, validations=2.5, seconds=15))


class Clock(keras.callbacks.Callback):
    """A clock that only training steps and validations advance."""

    def __init__(self, step, validations):
        super().__init__()
        self.now, self.step, self.validations, self.steps = 0.0, step, iter(validations), 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        self.now += 50 if self.steps == 1 else self.step  # the first one compiles

    def on_epoch_end(self, epoch, logs=None):
        self.now += next(self.validations)


def timed(network, monkeypatch, clock, seconds=1000):
    train, val = small_readers()
    compile_for(network, "adam", steps=100, jit_compile=False)
    monkeypatch.setattr(step_timing.time, "monotonic", lambda: clock.now)
    batches = pipeline(train, 2, shuffle=True)
    return step_timing.time_steps(network, batches, pipeline(val, 2), [clock], seconds)


@pytest.mark.usefixtures("eager")
def test_steps_and_a_short_validation_are_timed_after_a_warm_up(network, monkeypatch):
    clock = Clock(0.5, [20, 7])
    assert timed(network, monkeypatch, clock) == (0.5, 7)
    assert clock.steps == 2 + 10 + 1  # 5 s of steps, and one before the second validation
    clock = Clock(8, [60])  # a long validation is not repeated
    assert timed(network, monkeypatch, clock) == (8, 60)
    assert clock.steps == 2 + 3


@pytest.mark.usefixtures("eager")
def test_timing_leaves_the_model_as_it_was(network, monkeypatch):
    before = [value.copy() for value in network.get_weights()]
    timed(network, monkeypatch, Clock(0.1, [1, 1]))
    assert int(network.optimizer.iterations) == 0
    for value, kept in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, kept)
    momenta = list(state_variables(network).values())[len(before) :]
    assert all(float(keras.ops.max(keras.ops.abs(value))) == 0 for value in momenta)
