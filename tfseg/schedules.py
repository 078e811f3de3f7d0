"""Learning-rate schedules with linear warm-up.

Each takes the peak learning rate, the number of training steps and the number of warm-up steps.
"""

import math

import keras
from keras import ops


class _WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Base of the schedules: a rise to the peak learning rate, then a decay.

    Args:
        peak: the highest learning rate.
        steps: number of training steps, including the warm-up.
        warmup: number of warm-up steps.
    """

    def __init__(self, peak: float, steps: int, warmup: int):
        super().__init__()
        self.peak, self.steps, self.warmup = float(peak), int(steps), int(warmup)

    def __call__(self, step):
        """Return the learning rate of a step, counted from 0."""
        step = ops.cast(step, "float32")
        warmup_progress = (step + 1) / (self.warmup + 1)
        decay_steps = max(1, self.steps - self.warmup)
        progress = ops.clip((step - self.warmup) / decay_steps, 0.0, 1.0)
        factor = ops.where(step < self.warmup, self.rise(warmup_progress), self.decay(progress))
        return self.peak * factor

    def rise(self, progress):
        """Return the factor of the peak rate during warm-up; `progress` is in (0, 1)."""
        return progress

    def decay(self, progress):
        """Return the factor of the peak rate after warm-up; `progress` is in [0, 1]."""
        raise NotImplementedError

    def get_config(self) -> dict:
        """Return the arguments, for `.keras` files."""
        return {"peak": self.peak, "steps": self.steps, "warmup": self.warmup}


@keras.saving.register_keras_serializable(package="tfseg")
class Cosine(_WarmUp):
    """Linear warm-up, then cosine decay to 0 (SGDR, arXiv:1608.03983, without restarts).

    Args:
        peak: the highest learning rate.
        steps: number of training steps, including the warm-up.
        warmup: number of warm-up steps.

    Example:
        >>> import tfseg
        >>> rate = tfseg.schedules.Cosine(peak=0.1, steps=100, warmup=10)
        >>> [round(float(rate(step)), 3) for step in (0, 10, 55, 100)]
        [0.009, 0.1, 0.05, 0.0]
    """

    def decay(self, progress):
        """Return the factor of the peak rate; see the base class."""
        return 0.5 * (1 + ops.cos(math.pi * progress))


@keras.saving.register_keras_serializable(package="tfseg")
class Poly(_WarmUp):
    """Linear warm-up, then (1 - progress)**0.9, as in DeepLab (arXiv:1606.00915).

    The arguments are those of `Cosine`.
    """

    def decay(self, progress):
        """Return the factor of the peak rate; see the base class."""
        return ops.power(1 - progress, 0.9)


@keras.saving.register_keras_serializable(package="tfseg")
class OneCycle(_WarmUp):
    """One cycle (arXiv:1708.07120): cosine rise from peak / 25, then cosine decay to peak / 10,000.

    The arguments are those of `Cosine`.
    """

    def rise(self, progress):
        """Return the factor of the peak rate; see the base class."""
        return _cosine_between(1 / 25, 1.0, progress)

    def decay(self, progress):
        """Return the factor of the peak rate; see the base class."""
        return _cosine_between(1.0, 1e-4, progress)


def _cosine_between(start, end, progress):
    return end + (start - end) * 0.5 * (1 + ops.cos(math.pi * progress))


@keras.saving.register_keras_serializable(package="tfseg")
class MovableEnd(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule whose end can be moved while it is used, without compiling the model again.

    It passes through all of `schedule`, at the pace that the last call of `move_end` has set. The
    learning rate never jumps. The backend must be TensorFlow: others compile the pace in.

    Args:
        schedule: one of the schedules above.
        pace: (step at which the pace was set, step of `schedule` reached there, steps of `schedule`
            per step); (0, 0, 1) follows `schedule` as it is.

    Example:
        >>> import tfseg
        >>> rate = tfseg.schedules.MovableEnd(tfseg.schedules.Poly(0.1, steps=100, warmup=1))
        >>> rate.move_end(0, 10)
        >>> rate.move_end(5, 1000)  # half of the decay took 5 steps, the other half takes 995
        >>> [round(float(rate(step)), 3) for step in (5, 502, 1000)]
        [0.054, 0.029, 0.0]
    """

    def __init__(self, schedule, pace=(0.0, 0.0, 1.0)):
        super().__init__()
        self.schedule = schedule
        self._pace = keras.Variable(
            list(pace), trainable=False, dtype="float32", aggregation="only_first_replica"
        )

    def __call__(self, step):
        """Return the learning rate of a step, counted from 0."""
        return self.schedule(self._reached(step))

    def move_end(self, step: int, end: int) -> None:
        """From `step` on, pass through the rest of the schedule until `end`."""
        reached = float(self._reached(step))
        pace = (self.schedule.steps - reached) / max(1, end - step)
        self._pace.assign([step, reached, pace])

    def _reached(self, step):
        """Return the step of `schedule` that belongs to a step."""
        start, reached, pace = ops.unstack(self._pace)
        return reached + (ops.cast(step, "float32") - start) * pace

    def get_config(self) -> dict:
        """Return the arguments, for `.keras` files."""
        serialize = keras.saving.serialize_keras_object
        pace = ops.convert_to_numpy(self._pace).tolist()
        return {"schedule": serialize(self.schedule), "pace": pace}

    @classmethod
    def from_config(cls, config):
        """Return the schedule that `get_config` described."""
        schedule = keras.saving.deserialize_keras_object(config["schedule"])
        return cls(schedule, config["pace"])


def constant(peak: float, steps: int, warmup: int) -> float:
    """Return `peak`. The other arguments make it interchangeable with the schedules."""
    return peak


SCHEDULES = {"cosine": Cosine, "poly": Poly, "one_cycle": OneCycle, "constant": constant}
