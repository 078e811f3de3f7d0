"""A run: the folder that a training leaves behind, and from which it goes on after a kill."""

import csv
import json
import os
import re
import shutil
from pathlib import Path

import keras
import numpy as np

from tfseg import checks


class Run:
    """The folder of a training.

    It holds `run.json` (the settings), `history.csv` (a row an epoch), `best.keras` (the model of the best
    epoch) and `state/` (everything `restore` needs); `tuned.keras` and `tuning.json` once its decision is tuned. Each
    file is written beside and renamed, so that a kill at any moment leaves the last whole one.

    Args:
        folder: where the run lives.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    @property
    def best(self):
        """Path of the model of the best epoch."""
        return self.folder / "best.keras"

    @property
    def tuned(self):
        """Path of that model with a decision that was fitted to a score; a better epoch removes it."""
        return self.folder / "tuned.keras"

    def is_free(self):
        """Whether the folder holds nothing, or only the settings of a run that never ended an epoch."""
        if self.folder.is_dir():
            return {path.name for path in self.folder.iterdir()} <= {"run.json"}
        return not self.folder.exists()

    def refuse_if_taken(self):
        """Raise a FileExistsError unless the folder is free."""
        if not self.is_free():
            what = (
                "already holds a run" if self.has_settings() else "already exists and is not empty"
            )
            remedy = "Continue it with --resume, or choose" if self.has_settings() else "Choose"
            raise FileExistsError(f"'{self.folder}' {what}. {remedy} another folder.")

    def create(self, settings):
        """Make the folder with its settings (a dict for JSON).

        Raises:
            FileExistsError: it already holds something.
        """
        self.refuse_if_taken()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._replace(
            "run.json", lambda path: path.write_text(json.dumps(settings, indent=1) + "\n")
        )

    def has_settings(self):
        """Whether the folder holds a run."""
        return (self.folder / "run.json").is_file()

    def settings(self):
        """Return the settings of the run.

        Raises:
            FileNotFoundError: the folder holds no run.
        """
        if not self.has_settings():
            raise FileNotFoundError(
                f"'{self.folder}' holds no run. Start one with `tfseg train --out {self.folder}`."
            )
        path = self.folder / "run.json"
        try:
            return json.loads(path.read_text())
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is damaged ({error}). Start a new run.") from error

    def model(self, tuned=True):
        """Load the model of the best epoch.

        Args:
            tuned: with its decision tuned, if `keep_tuned` was called, and then not compiled; False for the model as it
                was trained.
        """
        if not self.best.is_file():
            raise FileNotFoundError(
                f"'{self.folder}' holds no model yet: its first epoch has not ended."
            )
        return keras.saving.load_model(self.tuned if tuned and self.tuned.is_file() else self.best)

    def keep_tuned(self, model, tuning):
        """Keep the model of the best epoch with a decision fitted to a score, see `inference.tune_offsets`.

        Args:
            model: what `inference.with_offsets` made of `model(tuned=False)`.
            tuning: dict for `tuning.json`, of what is known about it.
        """
        self.forget_tuning()
        self._replace(
            "tuning.json", lambda path: path.write_text(json.dumps(tuning, indent=1) + "\n")
        )
        self._replace("tuned.keras", model.save)

    def tuning(self):
        """Return what `keep_tuned` was told about the decision; None if it is not tuned."""
        file = self.folder / "tuning.json"
        return json.loads(file.read_text()) if self.tuned.is_file() and file.is_file() else None

    def forget_tuning(self):
        """Go back to the model as it was trained."""
        for path in (self.tuned, self.folder / "tuning.json"):
            path.unlink(missing_ok=True)

    def history(self):
        """Return {name: list of one number an epoch}."""
        path = self.folder / "history.csv"
        if not path.is_file():
            return {}
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return {name: [float(row[name]) for row in rows] for name in rows[0]} if rows else {}

    def restore(self, model):
        """Put a compiled model, of the architecture the run began with, where the last whole epoch left it.

        Weights, optimizer and the states of random layers come back.

        Returns:
            The number of epochs done; 0 if none was finished.

        Raises:
            ValueError: the state is of another model.
        """
        states = sorted((self.folder / "state").glob("epoch-*.npz"))
        if not states:
            return 0
        model.optimizer.build(model.trainable_variables)
        with np.load(states[-1]) as state:
            variables = _state_of(model)
            stored = {name: state[name] for name in state.files}
            if {n: v.shape for n, v in stored.items()} != {
                n: tuple(v.shape) for n, v in variables.items()
            }:
                raise ValueError(
                    f"{states[-1]} was written by another model. Train with the run's own settings."
                )
            for name, variable in variables.items():
                variable.assign(stored[name])
        return int(re.search(r"\d+", states[-1].stem).group())

    def callbacks(self, epochs_done=0, monitor="val_mean_iou", patience=None):
        """Return the Keras callbacks that keep the folder up to date.

        Args:
            epochs_done: what `restore` returned.
            monitor: figure of the logs by which the best epoch is chosen, the higher the better.
            patience: stop once so many epochs in a row were no better than the best before them; None to go on to
                the end. The epochs are counted in the history, so that a run which was killed waits no longer than
                an undisturbed one, and one that had ended trains no more. `model` loads the best epoch's model.
        """
        if patience is not None:
            checks.positive_int("Run.callbacks", "patience", patience)
        history = {name: values[:epochs_done] for name, values in self.history().items()}
        return [_Keep(self, history, monitor, patience)]

    def _replace(self, name, write):
        """Write a file through `write(path)`, whole or not at all."""
        path = self.folder / name
        beside = path.with_name(f".new-{path.name}")  # keeps its suffix: Keras and NumPy go by it
        write(beside)
        os.replace(beside, path)

    def _write_history(self, history):
        def write(path):
            with path.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(history)
                writer.writerows(zip(*history.values(), strict=True))

        self._replace("history.csv", write)

    def _write_state(self, model, epochs_done):
        folder = self.folder / "state"
        folder.mkdir(exist_ok=True)
        values = {name: keras.ops.convert_to_numpy(v) for name, v in _state_of(model).items()}
        name = f"epoch-{epochs_done:06d}.npz"
        self._replace(f"state/{name}", lambda path: np.savez(path, **values))
        for old in folder.glob("epoch-*.npz"):
            if old.name != name:
                old.unlink()

    def drop_state(self):
        """Remove what is only needed to resume, once the run has ended."""
        shutil.rmtree(self.folder / "state", ignore_errors=True)


def _state_of(model):
    """All variables that decide how training goes on. `.keras` files leave the random layers' states out."""
    variables = [
        *model.trainable_variables,
        *model.non_trainable_variables,
        *model.optimizer.variables,
    ]
    metrics = {
        id(v) for metric in model.metrics for v in metric.variables
    }  # begin anew every epoch
    kept = [v for v in variables if id(v) not in metrics]
    # By number: Keras counts the names of layers on within a process, so that they differ from run to run.
    return {f"{number:05d}": variable for number, variable in enumerate(kept)}


class _Keep(keras.callbacks.Callback):
    """Writes history, best model and state after every epoch, in an order that a kill cannot spoil."""

    def __init__(self, run, history, monitor, patience):
        super().__init__()
        self._run, self._history, self._monitor, self._patience = run, history, monitor, patience
        self._swap = keras.callbacks.SwapEMAWeights()

    def on_train_begin(self, logs=None):
        if self._waited_enough():
            # `stop_training` would let one more step and a validation pass. Keras' BackupAndRestore skips epochs so.
            self.model._initial_epoch = self.params["epochs"]

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}}
        if self._monitor not in row:
            raise ValueError(
                f"The run chooses its best epoch by '{self._monitor}', but has {', '.join(row)}."
            )
        for name, value in row.items():
            self._history.setdefault(name, []).append(value)
        if not self._epochs_without_gain():
            self._run.forget_tuning()
            self.on_test_begin()
            self._run._replace("best.keras", self.model.save)
            self.on_test_end()
        self._run._write_history(self._history)
        self._run._write_state(self.model, epoch + 1)
        if self._waited_enough():
            self.model.stop_training = True

    # Keras puts the running means of weights (`use_ema`) into the model when `fit` ends. What is measured and kept
    # before that shall be them as well, while training and its state go on with the weights themselves.
    def on_test_begin(self, logs=None):
        if self._averages():
            self._swap.on_test_begin()

    def on_test_end(self, logs=None):
        if self._averages():
            self._swap.on_test_end()

    def _averages(self):
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        self._swap.set_model(self.model)
        return optimizer.use_ema and optimizer.built

    def on_train_end(self, logs=None):
        self.model._initial_epoch = None  # else a later `fit` would skip its epochs too

    def _waited_enough(self):
        return self._patience is not None and self._epochs_without_gain() >= self._patience

    def _epochs_without_gain(self):
        scores = np.nan_to_num(self._history.get(self._monitor, []), nan=-np.inf)
        return len(scores) - 1 - int(scores.argmax()) if len(scores) else 0
