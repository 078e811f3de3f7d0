"""How long a training is: its rounds and steps, also if they were changed on the way."""

from bisect import bisect
from dataclasses import dataclass, replace

VALIDATION_FRACTION = 0.2  # of the time, at most
TOLERATED_FRACTION = 0.3  # the same once a training runs, so that noise removes no round
MAX_ROUNDS = 20  # each ends with a validation


@dataclass(frozen=True)
class TrainingLength:
    """How long a training takes.

    Attributes:
        epochs: number of rounds that end with a validation.
        steps_per_epoch: number of training steps in each; by minutes, as it was at the beginning.
        seconds_per_step, seconds_per_validation: as measured at the beginning of a training by
            minutes; None for others, and so is what follows.
        ends: for each round the number of steps that are done at its end.
        moves: [number of steps done, number of steps in all]: when the end of the training and of
            its learning-rate schedule was moved, beginning with [0, number of steps planned].
    """

    epochs: int
    steps_per_epoch: int
    seconds_per_step: float | None = None
    seconds_per_validation: float | None = None
    ends: list | None = None
    moves: list | None = None

    @property
    def steps(self) -> int:
        """The number of training steps."""
        return self.steps_after(self.epochs)

    def steps_after(self, epochs: int) -> int:
        """Return the number of steps that are done after a number of rounds."""
        if self.ends is None:
            return epochs * self.steps_per_epoch
        return self.ends[epochs - 1] if epochs else 0

    def without_rounds_after(self, epochs: int) -> "TrainingLength":
        """Return the length with only the first rounds."""
        return replace(self, epochs=epochs, ends=self.ends[:epochs])


def length_for(seconds: float, step: float, validation: float) -> TrainingLength:
    """Return the rounds that fill a time: 20, or fewer if validations took over a fifth of it.

    Args:
        seconds: duration of all steps and validations.
        step, validation: seconds of each.
    """
    rounds = _rounds(seconds, validation, VALIDATION_FRACTION, MAX_ROUNDS)
    steps = max(1, int((seconds / rounds - validation) / step))
    ends = [steps * number for number in range(1, rounds + 1)]
    return TrainingLength(rounds, steps, step, validation, ends, [[0, ends[-1]]])


def refit(
    length: TrainingLength, done: int, seconds: float, step: float, validation: float
) -> TrainingLength:
    """Return a length that ends in time: with more or fewer steps, or fewer rounds.

    Args:
        length: the length so far.
        done: number of steps done; if a round has just ended, the next one begins.
        seconds: time that is left for steps and validations.
        step, validation: seconds of each.
    """
    epoch = bisect(length.ends, done)  # number of rounds that have ended
    first = length.steps_after(epoch)
    rounds = _rounds(seconds, validation, TOLERATED_FRACTION, length.epochs - epoch)
    steps = max(rounds, int((seconds - rounds * validation) / step))
    total = done + steps - first  # of the current round and those after it
    ends = [
        max(first + round(total * number / rounds), done + number)
        for number in range(1, rounds + 1)
    ]
    return replace(
        length,
        epochs=epoch + rounds,
        ends=length.ends[:epoch] + ends,
        moves=[*length.moves, [done, ends[-1]]],
    )


def _rounds(seconds, validation, fraction, most):
    """Return how many validations take at most a fraction of the time, at least 1."""
    if validation <= 0:
        return most
    return max(1, min(most, int(fraction * seconds / validation)))
