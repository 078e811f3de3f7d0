"""The callback that writes a run's files after every epoch."""

import csv

import keras
import numpy as np

from tfseg.files import atomic_write, remove_leftovers


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
    ends.

    Args:
        run: the `Run`.
        history: {name: list with one number per epoch} of the epochs done.
        monitor: metric in the logs that selects the best epoch; higher is better.
        patience: stop after this many epochs without improvement, or None.
    """

    def __init__(self, run, history, monitor, patience):
        super().__init__()
        self._run, self._history = run, history
        self._monitor, self._patience = monitor, patience
        self._swap = keras.callbacks.SwapEMAWeights()

    def on_train_begin(self, logs=None):
        for folder in (self._run.folder, self._run.folder / "state"):
            remove_leftovers(folder)
        if self._is_out_of_patience():
            # `stop_training` would allow one more step and a validation. Keras' BackupAndRestore
            # skips epochs in the same way.
            self.model._initial_epoch = self.params["epochs"]

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}}
        if self._monitor not in row:
            raise ValueError(
                f"Run.callbacks: monitor={self._monitor!r} selects the best epoch, but the logs "
                f"have only {', '.join(row)}."
            )
        for name, value in row.items():
            self._history.setdefault(name, []).append(value)
        if self._epochs_without_improvement() == 0:
            self._run.forget_tuning()
            self._save_best()
        self._write_history()
        self._write_state(epoch + 1)
        if self._is_out_of_patience():
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.model._initial_epoch = None  # otherwise a later `fit` would skip its epochs too

    def on_test_begin(self, logs=None):
        if self._averages_weights():
            self._swap.on_test_begin()

    def on_test_end(self, logs=None):
        if self._averages_weights():
            self._swap.on_test_end()

    def _averages_weights(self):
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        self._swap.set_model(self.model)
        return optimizer.use_ema and optimizer.built

    def _save_best(self):
        self.on_test_begin()
        with atomic_write(self._run.best) as path:
            self.model.save(path)
        self.on_test_end()

    def _write_history(self):
        with (
            atomic_write(self._run.folder / "history.csv") as path,
            path.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(self._history)
            writer.writerows(zip(*self._history.values(), strict=True))

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

    def _epochs_without_improvement(self):
        """Return the number of epochs since the best one; NaN counts as the worst."""
        scores = np.nan_to_num(self._history.get(self._monitor, []), nan=-np.inf)
        return len(scores) - 1 - int(scores.argmax()) if len(scores) else 0
