"""How a training by minutes ends in time, whatever else the machine does."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import keras

from tfseg.schedules import MovableEnd
from tfseg.training.length import TrainingLength, refit

CHECKS = 40  # per training
TOLERATED = 0.02  # of the minutes: a smaller delay changes nothing
BUSY = 0.02  # seconds of work that measure the load
MEASURED = 3  # checks that the measured duration of a step spans
LOADS = 5  # measurements of the load whose median counts, since single ones scatter


@dataclass(frozen=True)
class TimeFrame:
    """What else belongs to the minutes of a training than `train`.

    Args:
        began: `time.monotonic()` when they began.
        validations: how many times as long as a validation of `train` the evaluation takes that
            follows it; 0 without one.
        seconds: duration of everything else that follows, on an idle machine.
    """

    began: float
    validations: float = 0.0
    seconds: float = 0.0

    def time_left(self, minutes: float, validation: float, load: float) -> float:
        """Return the seconds that are left to train.

        Args:
            minutes: duration of the training.
            validation: seconds that a validation takes.
            load: what `measure_load` returned.
        """
        after = self.seconds * load + self.validations * validation
        return self.began + 60 * minutes - after - time.monotonic()


def measure_load() -> float:
    """Return how many times as long as on an idle machine a thread takes now: 1 or more."""
    began, used = time.monotonic(), time.thread_time()
    while time.thread_time() - used < BUSY:
        pass
    return max(1.0, (time.monotonic() - began) / BUSY)


def let_end_move(model: keras.Model) -> None:
    """Let `Rounds` move the end of the learning-rate schedule of a compiled model."""
    optimizer = _optimizer(model)
    schedule = optimizer._learning_rate
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        optimizer.learning_rate = MovableEnd(schedule)


def _optimizer(model):
    """Return the optimizer of a model, also inside the one that scales losses of float16."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


class Rounds(keras.callbacks.Callback):
    """Ends the rounds of a training, and its learning-rate schedule, where its length says.

    It must be the first callback, and `fit` must have more steps per epoch than any round.

    Args:
        length: the `TrainingLength`.
        epochs_done: number of rounds done by an earlier process.
    """

    def __init__(self, length: TrainingLength, epochs_done: int = 0):
        super().__init__()
        self._length, self._ends_round = length, False
        self._epoch, self._done = epochs_done, length.steps_after(epochs_done)

    def on_train_begin(self, logs=None):
        for done, end in self._length.moves:
            if done <= self._done:
                self._move_end(done, end)
        self._tell_others()

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._tell_others()

    def on_train_batch_end(self, batch, logs=None):
        self._done += 1
        for done, end in self._length.moves:
            if done == self._done:
                self._move_end(done, end)
        if self._done >= self._length.ends[self._epoch]:
            self._ends_round = self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        if self._ends_round:  # otherwise another callback stops the training
            self._ends_round = False
            self.model.stop_training = epoch + 1 >= self._length.epochs

    def _move_end(self, done, end):
        schedule = _optimizer(self.model)._learning_rate
        if isinstance(schedule, MovableEnd):  # a constant learning rate has no end
            schedule.move_end(done, end)

    def _tell_others(self):
        """Tell the other callbacks the length: all of them share `params`."""
        epoch = min(self._epoch, self._length.epochs - 1)
        steps = self._length.steps_after(epoch + 1) - self._length.steps_after(epoch)
        self.params.update(epochs=self._length.epochs, steps=steps)


class Pace(Rounds):
    """Changes the length of a training by minutes while it runs, so that it ends in time.

    Args:
        length: the `TrainingLength` at the beginning.
        minutes: duration of the training.
        frame: what else belongs to the minutes.
        keep: called with every new length, before a step of it.
    """

    def __init__(
        self,
        length: TrainingLength,
        minutes: float,
        frame: TimeFrame,
        keep: Callable[[TrainingLength], None],
    ):
        super().__init__(length)
        self._minutes, self._frame, self._keep = minutes, frame, keep
        self._step, self._validation = length.seconds_per_step, length.seconds_per_validation
        self._ratio, self._loads = self._validation / self._step, deque([measure_load()], LOADS)
        self._trained, self._last, self._next_check = 0.0, None, None
        self._marks = deque(maxlen=MEASURED)  # (seconds of steps, steps) at the last checks

    def on_epoch_begin(self, epoch, logs=None):
        now = time.monotonic()
        if self._last is not None:  # the validation, and what the other callbacks did
            self._ratio = (now - self._last) / self._step
        self._last = now
        super().on_epoch_begin(epoch)

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch)
        now = time.monotonic()
        if not self._marks:  # the first step fills the pipeline
            self._marks.append((0.0, self._done))
            self._next_check = now + self._interval()
        else:
            self._trained += now - self._last
        self._last = now
        if now >= self._next_check and not self._ends_round:
            self._check()
            self._next_check = now + self._interval()

    def on_epoch_end(self, epoch, logs=None):
        another = self._step * (1 + self._ratio)
        if epoch + 1 < self._length.epochs and self._time_left() < another / 2:
            self._change(self._length.without_rounds_after(epoch + 1))
        super().on_epoch_end(epoch)

    def _interval(self):
        return 60 * self._minutes / CHECKS

    def _check(self):
        """Change the length if the training would end too early or too late."""
        seconds, steps = self._marks[0]
        self._step = (self._trained - seconds) / (self._done - steps)
        self._marks.append((self._trained, self._done))
        self._loads.append(measure_load())
        left, validation = self._time_left(), self._step * self._ratio
        rounds = self._length.epochs - self._epoch
        needed = (self._length.steps - self._done) * self._step + rounds * validation
        if abs(left - needed) > TOLERATED * 60 * self._minutes:
            self._change(refit(self._length, self._done, left, self._step, validation))
            self._move_end(*self._length.moves[-1])

    def _change(self, length):
        self._length = length
        self._keep(length)
        self._tell_others()

    def _time_left(self):
        validation, load = self._step * self._ratio, median(self._loads)
        return self._frame.time_left(self._minutes, validation, load)
