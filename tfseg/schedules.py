"""Schedules of the learning rate, by the number of the step."""

import math

import keras
from keras import ops


class _WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A linear rise to the peak, then `decay(share)` of it, share being how much of the rest is done."""

    def __init__(self, peak, steps, warmup):
        super().__init__()
        self.peak, self.steps, self.warmup = float(peak), int(steps), int(warmup)

    def __call__(self, step):
        """Return the learning rate of a step, counted from 0."""
        step = ops.cast(step, "float32")
        rising = (step + 1) / (self.warmup + 1)
        share = ops.clip((step - self.warmup) / max(1, self.steps - self.warmup), 0.0, 1.0)
        return self.peak * ops.where(step < self.warmup, self.rise(rising), self.decay(share))

    def rise(self, share):
        """Return the factor while the rate rises, of the share of the rise in (0, 1)."""
        return share

    def decay(self, share):
        """Return the factor afterwards, of the share in [0, 1]."""
        raise NotImplementedError

    def get_config(self):
        """Return the arguments, for `.keras` files."""
        return {"peak": self.peak, "steps": self.steps, "warmup": self.warmup}


@keras.saving.register_keras_serializable(package="tfseg")
class Cosine(_WarmUp):
    """A linear warm-up, then half a cosine down to 0 (SGDR, arXiv:1608.03983, without restarts)."""

    def decay(self, share):
        """Return the factor."""
        return 0.5 * (1 + ops.cos(math.pi * share))


@keras.saving.register_keras_serializable(package="tfseg")
class Poly(_WarmUp):
    """A linear warm-up, then (1 - share)**0.9, as DeepLab is trained (arXiv:1606.00915)."""

    def decay(self, share):
        """Return the factor."""
        return ops.power(1 - share, 0.9)


@keras.saving.register_keras_serializable(package="tfseg")
class OneCycle(_WarmUp):
    """One cycle (arXiv:1708.07120): by cosines from a 25th up to the peak and down to a 10,000th of it."""

    def rise(self, share):
        """Return the factor."""
        return _eased(1 / 25, 1.0, share)

    def decay(self, share):
        """Return the factor."""
        return _eased(1.0, 1e-4, share)


def _eased(start, end, share):
    return end + (start - end) * 0.5 * (1 + ops.cos(math.pi * share))


def constant(peak, steps, warmup):
    """Return the rate itself; for symmetry with the schedules."""
    return peak


SCHEDULES = {"cosine": Cosine, "poly": Poly, "one_cycle": OneCycle, "constant": constant}
