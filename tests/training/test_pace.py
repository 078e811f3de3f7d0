import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from tfseg.schedules import Cosine, MovableEnd
from tfseg.training import TimeFrame, pace
from tfseg.training.length import length_for
from tfseg.training.pace import Pace, Rounds


class Machine:
    """Calls a `Pace` as `fit` would, on a clock of its own.

    Args:
        step, validation: seconds of each without load, also of the evaluation at the end.
        load: function of the time that returns how many times as long everything takes.
        minutes: duration of the training.
    """

    def __init__(self, monkeypatch, step, validation, load, minutes=20):
        monkeypatch.setattr(pace.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(pace, "measure_load", lambda: load(self.now))
        self.now, self.step, self.validation, self.load = 0.0, step, validation, load
        self.minutes, self.kept, self.rates = minutes, [], []
        self.frame = TimeFrame(0.0, validations=1.5, seconds=20.0)
        self.schedule = MovableEnd(Cosine(1.0, 1000, 50))

    def work(self, seconds):
        self.now += seconds * self.load(self.now)

    def train(self):
        self.work(3 * self.step + 2 * self.validation)  # what `time_steps` does
        factor = self.load(self.now)
        step, validation = factor * self.step, factor * self.validation
        left = self.frame.time_left(self.minutes, validation, factor)
        length = length_for(left, step, validation)
        self.fit(Pace(length, self.minutes, self.frame, self.kept.append))
        self.work(1.5 * self.validation + self.frame.seconds)
        self.length = self.kept[-1] if self.kept else length
        return self.now / 60 / self.minutes

    def fit(self, rounds, first_epoch=0, stop_at=None):
        optimizer = SimpleNamespace(_learning_rate=self.schedule)
        model = SimpleNamespace(stop_training=False, optimizer=optimizer)
        rounds.set_model(model)
        rounds.set_params({})
        rounds.on_train_begin()
        epoch = first_epoch
        while not model.stop_training:
            rounds.on_epoch_begin(epoch)
            while not model.stop_training:
                self.rates.append(float(self.schedule(len(self.rates))))
                self.work(self.step)
                rounds.on_train_batch_end(0)
            self.work(self.validation)
            rounds.on_epoch_end(epoch)
            epoch += 1
        self.params, self.epochs = rounds.params, epoch


def idle(time):
    return 1.0


@pytest.mark.parametrize("validation", [0.0, 4.0, 40.0], ids=["none", "short", "long"])
@pytest.mark.parametrize(
    "load",
    [
        idle,
        lambda time: 2.0 if time > 600 else 1.0,
        lambda time: 1.0 if time > 600 else 2.5,
        lambda time: 2.0 if time > 1080 else 1.0,
        lambda time: 1.0 + time / 1200,
        lambda time: 1.0 + (time // 45 % 2),
        lambda time: 1.2 + np.sin(time) / 2,
    ],
    ids=["idle", "slower", "faster", "late", "rising", "changing", "noisy"],
)
def test_a_training_ends_in_time_whatever_the_load(monkeypatch, load, validation):
    machine = Machine(monkeypatch, 5.0, validation, load)
    assert machine.train() == pytest.approx(1, abs=0.1)
    assert len(machine.rates) == machine.length.steps
    assert machine.epochs == machine.length.epochs
    # the learning rate rises once, and falls to its end
    assert machine.rates[-1] < 0.01
    peak = int(np.argmax(machine.rates))
    assert (np.diff(machine.rates[peak:]) <= 1e-6).all()


def test_an_idle_machine_changes_little(monkeypatch):
    machine = Machine(monkeypatch, 5.0, 4.0, idle)
    machine.train()
    assert len(machine.kept) < 3
    assert machine.epochs == 20


def test_a_load_that_stays_shortens_the_training_to_half(monkeypatch):
    whole = Machine(monkeypatch, 5.0, 4.0, idle)
    whole.train()
    half = Machine(monkeypatch, 5.0, 4.0, lambda time: 2.0 if time > 600 else 1.0)
    half.train()
    assert half.length.steps == pytest.approx(0.75 * whole.length.steps, rel=0.06)
    assert half.epochs == 20


def test_steps_of_many_seconds_end_in_time(monkeypatch):
    machine = Machine(monkeypatch, 20.0, 60.0, lambda time: 2.0 if time > 600 else 1.0)
    assert machine.train() == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("first_epoch", [0, 7])
def test_a_recorded_length_is_repeated(monkeypatch, first_epoch):
    machine = Machine(monkeypatch, 5.0, 4.0, lambda time: 2.0 if time > 300 else 1.0)
    machine.train()
    rates, length = machine.rates, machine.length
    assert len(length.moves) > 1
    machine.schedule = MovableEnd(Cosine(1.0, 1000, 50))
    first = length.steps_after(first_epoch)
    machine.rates = [None] * first
    machine.fit(Rounds(length, first_epoch), first_epoch)
    assert machine.rates[first:] == rates[first:]
    assert machine.epochs == length.epochs


def test_the_load_is_how_much_longer_a_thread_takes(monkeypatch):
    assert 1 <= pace.measure_load() < 100
    wall, thread = itertools.count(0, 0.06), itertools.count(0, 0.01)
    monkeypatch.setattr(pace.time, "monotonic", lambda: next(wall))
    monkeypatch.setattr(pace.time, "thread_time", lambda: next(thread))
    assert pace.measure_load() == pytest.approx(3)  # 0.06 s of time for 0.02 s of work


def test_a_stop_by_another_callback_is_left_alone(monkeypatch):
    monkeypatch.setattr(pace.time, "monotonic", lambda: 0.0)
    rounds = Rounds(length_for(100, 1.0, 1.0))
    model = SimpleNamespace(stop_training=True, optimizer=SimpleNamespace(_learning_rate=0.1))
    rounds.set_model(model)
    rounds.set_params({})
    rounds.on_train_begin()
    rounds.on_epoch_begin(0)
    assert rounds.params == {"epochs": 20, "steps": 4}
    rounds.on_train_batch_end(0)
    rounds.on_epoch_end(0)
    assert model.stop_training
