import keras
import numpy as np
import pytest

from tfseg.data import pipeline
from tfseg.training import TrainingLength, compile_for, step_timing

from .conftest import small_readers


def test_rounds_fill_the_minutes(monkeypatch, network):
    def length(seconds, step, validation):
        monkeypatch.setattr(step_timing, "_time_steps", lambda *_: (step, validation))
        return step_timing.length_for_minutes(seconds / 60, network, None, None)

    # 20 rounds of 5 s each: a validation of 1 s and four steps of 1 s
    assert length(100, 1.0, 1.0) == TrainingLength(20, 4)
    # 20 validations of 4 s would take 80 of 100 s: 5 rounds of 20 s, each with four steps of 4 s
    assert length(100, 4.0, 4.0) == TrainingLength(5, 4)
    assert length(10, 1.0, 4.0) == TrainingLength(1, 6)
    assert length(100, 1.0, 0.0) == TrainingLength(20, 5)
    with pytest.raises(ValueError, match=r"minutes=0.5 are too few .* at least 0.6 minutes"):
        length(30, 5.0, 30.0)


def test_steps_and_validation_are_timed_after_a_warm_up(monkeypatch, network):
    train, val = small_readers()
    compile_for(network, steps=100, jit_compile=False)
    clock = iter([0, 3 * step_timing.TIMED_STEPS, 100, 107])
    calls = []
    monkeypatch.setattr(step_timing.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(step_timing, "_train", lambda *_: calls.append("train"))
    monkeypatch.setattr(step_timing, "_validate", lambda *_: calls.append("validate"))
    batches = pipeline(train, 2, shuffle=True)
    assert step_timing._time_steps(network, batches, pipeline(val, 2)) == (3.0, 7)
    assert calls == ["train", "validate"] * 2


def test_timing_leaves_the_weights_as_they_were(network, eager):
    train, val = small_readers()
    compile_for(network, steps=100, jit_compile=False)
    before = network.get_weights()
    batches = pipeline(train, 2, shuffle=True)
    length = step_timing.length_for_minutes(100, network, batches, pipeline(val, 2))
    assert (length.epochs, length.steps_per_epoch > 1) == (20, True)
    assert int(network.optimizer.iterations) == 2 * step_timing.TIMED_STEPS
    for value, kept in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, kept)


def test_scores_are_a_part_of_the_validation(network):
    calls = []

    class Score(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            calls.append((self.model, logs))

    step_timing._validate(network, (), [Score()])
    assert calls == [(network, {})]
