"""A run: the folder of a training, from which it can be resumed after a kill."""

import csv
import json
import re
import shutil
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from tfseg import checks
from tfseg.files import atomic_write
from tfseg.training.config import TrainConfig
from tfseg.training.length import TrainingLength
from tfseg.training.record import DataFacts, RunRecord
from tfseg.training.run_callback import KeepRun, state_variables

FOLDS_FILE = "folds.json"  # in the folder of a training in folds, see `FoldRuns`


class Run:
    """The folder of a training.

    It contains `run.json` (config, data, versions), `history.csv` (one row per epoch), `best.keras`
    (the model of the best epoch) and `state/` (what `restore` needs); after tuning also
    `tuned.keras` and `tuning.json`. Each file is written under a temporary name and renamed, so a
    kill at any moment leaves complete files.

    `train` fills the folder. Around a `fit` of your own, use `restore` and `callbacks`.

    Args:
        folder: path of the folder.

    Example:
        >>> import keras, numpy as np, tfseg
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse", metrics=["accuracy"])
        >>> run = tfseg.training.Run("runs/line")
        >>> done = run.restore(model)  # epochs that an earlier process completed
        >>> x, y = np.ones((8, 2)), np.ones((8, 1))
        >>> _ = model.fit(x, y, epochs=3, initial_epoch=done, verbose=0,
        ...               callbacks=run.callbacks(done, monitor="accuracy"))
        >>> run.history()["epoch"]
        [1.0, 2.0, 3.0]
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    @property
    def best(self) -> Path:
        """Path of the model of the best epoch."""
        return self.folder / "best.keras"

    @property
    def tuned(self) -> Path:
        """Path of that model with tuned offsets or thresholds; a better epoch removes it."""
        return self.folder / "tuned.keras"

    @property
    def record(self) -> RunRecord:
        """The content of `run.json`.

        Raises:
            FileNotFoundError: the folder contains no run.
            ValueError: the file is damaged, or has the schema of another version of tfseg.
        """
        if not self.exists() and self.best.is_file():
            raise FileNotFoundError(
                f"'{self.folder}' has no run.json: it was written by `Run.callbacks` in a `fit` of "
                "your own. `Run.model()` loads its best model; commands and `record` need a run of "
                "`tfseg.training.train`."
            )
        if (self.folder / FOLDS_FILE).is_file():
            raise FileNotFoundError(
                f"'{self.folder}' has a training in folds. Open it with "
                "`tfseg.training.FoldRuns`, or pass one of its folds, such as fold_1."
            )
        if not self.exists():
            raise FileNotFoundError(
                f"'{self.folder}' has no run. Start one with `tfseg train --out {self.folder}`."
            )
        file = self.folder / "run.json"
        record = RunRecord.from_json(file.read_text("utf-8"), file)
        return replace(record, config=replace(record.config, out=str(self.folder)))

    @property
    def config(self) -> TrainConfig:
        """The config of the training."""
        return self.record.config

    @property
    def data(self) -> DataFacts:
        """What the training found in its data."""
        return self.record.data

    def exists(self) -> bool:
        """Whether the folder contains a run."""
        return (self.folder / "run.json").is_file()

    def can_start(self) -> bool:
        """Whether a run can start: the folder is missing, empty, or has a run without an epoch."""
        if not self.folder.is_dir():
            return not self.folder.exists()
        names = {path.name for path in self.folder.iterdir()}
        return {name for name in names if not name.startswith(".")} <= {"run.json"}

    def raise_if_exists(self) -> None:
        """Raise a FileExistsError unless a run can start in the folder."""
        if self.can_start():
            return
        if self.exists():
            raise FileExistsError(
                f"'{self.folder}' already contains a run. Continue it with --resume, or choose "
                "another folder."
            )
        raise FileExistsError(f"'{self.folder}' is not empty. Choose another folder.")

    def stored(self, config: TrainConfig) -> RunRecord | None:
        """Return the record of a run to resume; None if a new one can start.

        Raises:
            FileExistsError: the folder contains something other than a run.
            ValueError: the run has another config.
        """
        if self.can_start():
            return None
        if not self.exists():
            self.raise_if_exists()
        record = self.record
        names = record.config.differences(config)
        if names:
            changes = "; ".join(
                f"{name}={getattr(record.config, name)!r}, not {getattr(config, name)!r}"
                for name in names
            )
            raise ValueError(
                f"'{self.folder}' contains a run with another config: {changes}. Resume with the "
                "same config, or choose another folder."
            )
        return record

    def create(self, record: RunRecord) -> None:
        """Write `run.json`; the folder is created if missing.

        `train` does it. Around a `fit` of your own there is nothing to create.

        Raises:
            FileExistsError: the folder already contains something.
            ValueError: `record` is not a `RunRecord`.
        """
        if not isinstance(record, RunRecord):
            raise ValueError(
                f"Run.create: record={record!r} must be a RunRecord, which `train` makes. Around a "
                "`fit` of your own, leave `create` out: `callbacks` create the folder."
            )
        self.raise_if_exists()
        with atomic_write(self.folder / "run.json") as path:
            path.write_text(record.to_json(), encoding="utf-8")

    def keep_length(self, length: TrainingLength) -> None:
        """Write another length of the training into `run.json`."""
        record = replace(self.record, length=length)
        with atomic_write(self.folder / "run.json") as path:
            path.write_text(record.to_json(), encoding="utf-8")

    def model(self, tuned: bool = True) -> keras.Model:
        """Load the model of the best epoch.

        Args:
            tuned: load it with tuned logit offsets or thresholds, if `keep_tuned` was called; it is
                then not compiled. False for the model as it was trained.

        Raises:
            FileNotFoundError: no epoch has ended yet.
            ValueError: the file is damaged.
        """
        if not self.best.is_file():
            raise FileNotFoundError(
                f"'{self.folder}' contains no model yet: its first epoch has not ended."
            )
        file = self.tuned if tuned and self.tuned.is_file() else self.best
        if _is_damaged_zip(file):
            remedy = "Copy it again, or train again in another folder."
            if file == self.tuned:
                remedy = "`Run.forget_tuning()` returns to best.keras; then tune again."
            raise ValueError(f"{file} is damaged, for example by an incomplete copy. {remedy}")
        return keras.saving.load_model(file)

    def keep_tuned(self, model: keras.Model, tuning: dict) -> None:
        """Keep the model of the best epoch with what `inference.tune_run` found.

        Args:
            model: what `inference.with_offsets` or `models.with_object_thresholds` made of
                `model(tuned=False)`.
            tuning: dict for `tuning.json`, with the scores before and after.
        """
        self.forget_tuning()
        with atomic_write(self.folder / "tuning.json") as path:
            path.write_text(json.dumps(tuning, indent=1) + "\n", encoding="utf-8")
        with atomic_write(self.tuned) as path:
            model.save(path)

    def tuning(self) -> dict | None:
        """Return the dict that `keep_tuned` got; None if the run is not tuned."""
        file = self.folder / "tuning.json"
        if not self.tuned.is_file() or not file.is_file():
            return None
        return json.loads(file.read_text("utf-8"))

    def forget_tuning(self) -> None:
        """Return to the model as it was trained."""
        for path in (self.tuned, self.folder / "tuning.json"):
            path.unlink(missing_ok=True)

    def history(self) -> dict:
        """Return {name: list with one number per epoch}; NaN where an epoch has no value."""
        return {
            name: [float("nan") if value is None else value for value in values]
            for name, values in self._read_history().items()
        }

    def best_epoch(self) -> int:
        """Return the number of the epoch of `model`, counted from 1.

        Raises:
            FileNotFoundError: the folder contains no run.
            KeyError: no epoch has ended yet.
        """
        scores = np.array(self.history()[self.config.monitor])
        return int(np.nan_to_num(scores, nan=-np.inf).argmax()) + 1

    def _read_history(self):
        """Return {name: list with one number or None per epoch}."""
        path = self.folder / "history.csv"
        if not path.is_file():
            return {}
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if not rows:
            return {}
        try:
            return {
                name: [float(row[name]) if row[name] else None for row in rows] for name in rows[0]
            }
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is damaged ({error}). Copy it again, or repair its rows in an editor."
            ) from error

    def restore(self, model: keras.Model) -> int:
        """Set a compiled model to where the last complete epoch left it.

        Restores the weights, the optimizer and the states of random layers. The model must have the
        architecture and optimizer that the run began with.

        Returns:
            The number of complete epochs; 0 if there is none.

        Raises:
            ValueError: the state belongs to another model, or its file is damaged.
        """
        states = sorted((self.folder / "state").glob("epoch-*.npz"))
        if not states:
            return 0
        model.optimizer.build(model.trainable_variables)
        variables = state_variables(model)
        stored = self._read_state(states[-1])
        shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
        if {name: value.shape for name, value in stored.items()} != shapes:
            raise ValueError(
                f"{states[-1]} was written by another model. Build the model as the run did."
            )
        for name, variable in variables.items():
            variable.assign(stored[name])
        return int(re.search(r"\d+", states[-1].stem).group())

    def _read_state(self, file):
        """Return {number: array} of a state file."""
        if not _is_damaged_zip(file):
            with np.load(file) as state:
                return {name: state[name] for name in state.files}
        best = " The best model, best.keras, can still be used." if self.best.is_file() else ""
        raise ValueError(
            f"{file} is damaged, so the training cannot continue after its last epoch. Copy the "
            f"file again, or delete it to train again from the first epoch.{best}"
        )

    def callbacks(
        self, epochs_done: int = 0, monitor: str = "val_mean_iou", patience: int | None = None
    ) -> list:
        """Return the Keras callbacks that keep the folder up to date.

        They stop the training with a `NonFiniteLossError` if the loss of a step or of a validation
        is not finite; nothing of that epoch is saved. They warn if the model ends in a softmax or
        sigmoid, but its loss expects logits. The folder is created if it is missing.

        Args:
            epochs_done: what `restore` returned.
            monitor: metric in the logs that selects the best epoch. The highest is best; of a loss,
                an error or a distance, such as "val_loss", the lowest. With `validation_freq`, the
                epochs without a validation are not compared.
            patience: stop after this many validated epochs in a row without improvement; None to
                train to the end. Epochs are counted in the history: a run that was killed and
                resumed stops at the same epoch, and one that has stopped trains no further.
        """
        if patience is not None:
            checks.positive_int("Run.callbacks", "patience", patience)
        history = {name: values[:epochs_done] for name, values in self._read_history().items()}
        return [KeepRun(self, history, monitor, patience)]

    def drop_state(self) -> None:
        """Remove what only `restore` needs, once the training has ended."""
        shutil.rmtree(self.folder / "state", ignore_errors=True)


def _is_damaged_zip(file):
    """Whether a .keras or .npz file is truncated or has changed bytes."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is not None
    except (zipfile.BadZipFile, zlib.error, EOFError):
        return True
