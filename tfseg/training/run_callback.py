"""The callback that writes a run's files after every epoch."""

import csv
import warnings

import keras
import numpy as np

from tfseg.checks import low_is_best
from tfseg.files import atomic_write, remove_leftovers
from tfseg.training.averages import AveragedWeights, guard_validations, unguard_validations
from tfseg.training.fit_checks import (
    schedule_option,
    warn_of_ended_schedule,
    warn_of_wrong_outputs,
)
from tfseg.training.non_finite import NonFiniteLossError, has_finite_weights


def state_variables(model: keras.Model) -> dict:
    """Return {number: variable} of everything that determines how a training continues.

    `.keras` files leave out the states of random layers.
    """
    variables = [
        *model.trainable_variables,
        *model.non_trainable_variables,
        *model.optimizer.variables,
    ]
    # metrics start anew in every epoch
    metrics = {id(v) for metric in model.metrics for v in metric.variables}
    kept = [variable for variable in variables if id(variable) not in metrics]
    # By number: Keras numbers the names of layers within a process, so they differ between runs.
    return {f"{number:05d}": variable for number, variable in enumerate(kept)}


class KeepRun(keras.callbacks.Callback):
    """Writes best model, history and state after every epoch, in an order that survives a kill.

    With averaged weights (Keras' `use_ema`), validation and the best model use the averages, while
    training and its state continue with the weights themselves. Keras does that only when `fit`
    ends. A loss or a weight that is not finite stops the training before anything of its epoch is
    written.

    Args:
        run: the `Run`.
        history: {name: list with one number or None per epoch} of the epochs done.
        monitor: metric in the logs that selects the best epoch.
        patience: stop after this many epochs without improvement, or None.
    """

    def __init__(self, run, history, monitor, patience):
        super().__init__()
        self._run, self._history = run, history
        self._monitor, self._patience = monitor, patience
        self._epoch, self._batch, self._last_loss, self._averages = 0, 0, None, None

    def on_train_begin(self, logs=None):
        for folder in (self._run.folder, self._run.folder / "state"):
            remove_leftovers(folder)
        warn_of_wrong_outputs("Run.callbacks", self.model)
        if self.params.get("steps"):
            left = self.params["epochs"] - len(self._history.get("epoch", []))
            warn_of_ended_schedule("Run.callbacks", self.model, left * self.params["steps"])
        self._averages = AveragedWeights(self.model)
        guard_validations(self.model, self._averages)
        if self._is_out_of_patience():
            # `stop_training` would allow one more step and a validation. Keras' BackupAndRestore
            # skips epochs in the same way.
            self.model._initial_epoch = self.params["epochs"]

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch, self._last_loss = epoch, None

    def on_train_batch_end(self, batch, logs=None):
        # The loss of the step before: to wait for this step's would leave an accelerator idle.
        self._check_last_step()
        self._batch, self._last_loss = batch, (logs or {}).get("loss")

    def on_test_begin(self, logs=None):
        self._check_last_step()
        if self._averages is not None:  # None in an `evaluate` outside of a training
            self._averages.__enter__()

    def on_test_end(self, logs=None):
        if self._averages is not None:
            self._averages.__exit__()

    def on_epoch_end(self, epoch, logs=None):
        self._check_last_step()
        row = {"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}}
        self._check_validation(epoch, row)
        self._check_labels(epoch)
        self._check_weights(epoch)
        self._add_to_history(row)
        if self._monitor not in row:
            self._check_monitor(row)
        elif self._epochs_without_improvement() == 0:
            self._run.forget_tuning()
            with AveragedWeights(self.model), atomic_write(self._run.best) as path:
                self.model.save(path)
        self._write_history()
        self._write_state(epoch + 1)
        if self._is_out_of_patience():
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        unguard_validations(self.model)
        self.model._initial_epoch = None  # otherwise a later `fit` would skip its epochs too
        if self._history.get("epoch") and not self._scores():
            raise ValueError(self._missing_monitor(self._history))

    def _check_last_step(self):
        loss, self._last_loss = self._last_loss, None
        if loss is None or np.isfinite(float(loss)):
            return
        raise NonFiniteLossError(
            f"The loss is {float(loss)} at step {self._batch + 1} of epoch {self._epoch + 1}. "
            f"{self._describe_weights()}",
            self._epoch,
            self._batch,
        )

    def _check_validation(self, epoch, row):
        loss = row.get("val_loss", 0.0)
        if not np.isfinite(loss):
            raise NonFiniteLossError(
                f"The validation loss is {loss} after epoch {epoch + 1}. "
                f"{self._describe_weights()}",
                epoch,
                None,
            )

    def _check_labels(self, epoch):
        """Stop at labels that make the scores NaN, even if a loss of the user stays finite."""
        counts = [metric.invalid for metric in _metrics(self.model) if hasattr(metric, "invalid")]
        # the sum of one number: under MirroredStrategy, int() of a Keras variable fails
        invalid = max((int(keras.ops.sum(count)) for count in counts), default=0)
        if invalid:
            raise NonFiniteLossError(
                f"The scores are NaN after epoch {epoch + 1}: {invalid} pixels have labels that "
                "are neither a class nor `ignore_index`. Translate them to class ids.",
                epoch,
                None,
            )

    def _check_weights(self, epoch):
        """Stop if the last step of an epoch, whose loss was finite, spoiled the weights."""
        if not has_finite_weights(self.model):
            raise NonFiniteLossError(
                f"After epoch {epoch + 1}: {self._describe_weights()}", epoch, self._batch
            )

    def _describe_weights(self):
        """Return what the weights say about the cause, and what is left of the run."""
        if has_finite_weights(self.model):
            text = (
                "The weights are finite, so the labels are the likely cause: class ids outside "
                "[0, C) that are not `ignore_index`, or NaN."
            )
        else:
            text = (
                "The weights are no longer finite: the training diverged. Lower the learning rate "
                f"({_peak_rate(self.model):g}) or clip the gradients, and check the images for NaN."
            )
        epochs = len(self._history.get("epoch", []))
        kept = f"The run keeps {epochs} complete epochs." if epochs else "Nothing was saved."
        return f"{text} {kept}"

    def _check_monitor(self, row):
        """Accept an epoch without a validation (`validation_freq`), and only that."""
        validated = any(name.startswith("val_") for name in row)
        if validated or not self._monitor.startswith("val_"):
            raise ValueError(self._missing_monitor(row))
        if not self._scores() and row["epoch"] == self._history["epoch"][0]:
            warnings.warn(
                f"Run.callbacks: epoch {row['epoch']} had no validation, so no best model is "
                f"saved yet. The first epoch with {self._monitor!r} will be; pass "
                "`validation_data` to `fit` if there is none.",
                stacklevel=3,
            )

    def _missing_monitor(self, names):
        return (
            f"Run.callbacks: monitor={self._monitor!r} selects the best epoch, but the logs have "
            f"only {', '.join(names)}."
        )

    def _add_to_history(self, row):
        """Append a row; metrics may be missing in some epochs, or new in a resumed training."""
        done = len(self._history.get("epoch", []))
        for name in row:
            self._history.setdefault(name, [None] * done)
        for name, values in self._history.items():
            values.append(row.get(name))

    def _write_history(self):
        with (
            atomic_write(self._run.folder / "history.csv") as path,
            path.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(self._history)
            writer.writerows(zip(*self._history.values(), strict=True))  # None is an empty cell

    def _write_state(self, epochs_done):
        folder = self._run.folder / "state"
        name = f"epoch-{epochs_done:06d}.npz"
        variables = state_variables(self.model)
        values = {key: keras.ops.convert_to_numpy(value) for key, value in variables.items()}
        with atomic_write(folder / name) as path:
            np.savez(path, **values)
        for old in folder.glob("epoch-*.npz"):
            if old.name != name:
                old.unlink()

    def _is_out_of_patience(self):
        if self._patience is None:
            return False
        return self._epochs_without_improvement() >= self._patience

    def _scores(self):
        """Return the monitored values of the epochs that have one."""
        return [score for score in self._history.get(self._monitor, []) if score is not None]

    def _epochs_without_improvement(self):
        """Return the number of validated epochs since the best one; NaN counts as the worst."""
        scores = np.array(self._scores(), dtype=float)
        if lower_is_better(self._monitor, self.model):
            scores = -scores
        scores = np.nan_to_num(scores, nan=-np.inf)
        return len(scores) - 1 - int(scores.argmax()) if len(scores) else 0


def _peak_rate(model):
    """Return the learning rate, or the highest one of a schedule of `compile_for`."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    peak = schedule_option(model, "peak")
    return float(optimizer.learning_rate if peak is None else peak)


def lower_is_better(monitor: str, model: keras.Model) -> bool:
    """Whether the best epoch is the one with the lowest value: of a loss, an error or a distance.

    A metric that knows its direction says it; for others the name decides.
    """
    name = monitor.removeprefix("val_")
    for metric in _metrics(model):
        direction = getattr(metric, "_direction", None)
        if metric.name == name and direction is not None:
            return direction == "down"
    return low_is_best(name)


def _metrics(model):
    """Return all metrics, also those inside Keras' container of the compiled ones."""
    return [part for metric in model.metrics for part in getattr(metric, "metrics", [metric])]
