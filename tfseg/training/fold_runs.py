"""The folder of a training in folds: one run for each, and the mean of their models."""

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from tfseg.data import Reader
from tfseg.files import atomic_write
from tfseg.models import ensemble
from tfseg.training.config import TrainConfig
from tfseg.training.open_data import open_whole, sample_names, select_samples
from tfseg.training.record import DataFacts, RunRecord
from tfseg.training.run import FOLDS_FILE, Run


class FoldRuns:
    """The folder of a training in folds, as `train_folds` leaves it.

    It contains `folds.json` (config, and the fold of each sample) and an ordinary `Run` for each
    fold in `fold_1`, `fold_2` ... Commands take the folder like that of a run.

    Args:
        folder: path of the folder.

    Example:
        >>> import tfseg
        >>> config = tfseg.training.TrainConfig(
        ...     images="photos", masks="labels", class_names=["leaf"], model="tiny_unet",
        ...     filters=4, epochs=1, batch_size=2, augment={"size": 32}, folds=2, out="runs/cv")
        >>> _ = tfseg.training.train_folds(config)
        >>> folds = tfseg.training.FoldRuns("runs/cv")
        >>> [run.folder.name for run in folds.runs], folds.model().name
        (['fold_1', 'fold_2'], 'ensemble')
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def exists(self) -> bool:
        """Whether the folder contains a training in folds."""
        return (self.folder / FOLDS_FILE).is_file()

    @property
    def config(self) -> TrainConfig:
        """The config of the training."""
        return TrainConfig(**{**self._read()["config"], "out": str(self.folder)})

    @property
    def fold_of(self) -> dict:
        """{name of a sample: the fold that validates on it, from 1}, in the order of the reader."""
        return self._read()["fold_of"]

    @property
    def val_names(self) -> list[list[str]]:
        """For each fold, the names of the samples that it validates on."""
        fold_of = self.fold_of
        numbers = range(1, self.config.folds + 1)
        return [[name for name in fold_of if fold_of[name] == number] for number in numbers]

    @property
    def runs(self) -> list[Run]:
        """The run of each fold; those that have not begun do not exist yet."""
        return [Run(self.folder / f"fold_{i}") for i in range(1, self.config.folds + 1)]

    @property
    def record(self) -> RunRecord:
        """The record of the first fold, with the config of all folds and what all of them found.

        Raises:
            FileNotFoundError: a fold has no model yet.
        """
        self._require_models()
        records = [run.record for run in self.runs]
        data = _all_data([record.data for record in records], list(self.fold_of))
        return replace(records[0], config=self.config, data=data)

    @property
    def data(self) -> DataFacts:
        """What the training found in its data; each sample is both trained and validated on."""
        return self.record.data

    def models(self) -> list[keras.Model]:
        """Load the best model of each fold.

        Raises:
            FileNotFoundError: a fold has no model yet.
        """
        self._require_models()
        return [run.model(tuned=False) for run in self.runs]

    def model(self) -> keras.Model:
        """Return one model whose probabilities are the mean of the folds': `models.ensemble`."""
        return ensemble(self.models())

    def reader(self) -> Reader:
        """Open the samples of all folds.

        Raises:
            ValueError: a sample is missing, or the training got a reader instead of folders.
        """
        facts = self.runs[0].data if self.runs[0].exists() else None
        return select_samples(open_whole(self.config, facts), list(self.fold_of))

    def history(self) -> dict:
        """Return no values: each fold has its own history."""
        return {}

    def tuning(self) -> None:
        """Return None: the mean of the folds is not tuned."""

    def raise_if_exists(self) -> None:
        """Raise a FileExistsError unless a training can start in the folder."""
        if self.exists():
            raise FileExistsError(
                f"'{self.folder}' already contains a training in folds. Continue it with --resume, "
                "or choose another folder."
            )
        Run(self.folder).raise_if_exists()

    def create(self, config: TrainConfig, reader: Reader) -> None:
        """Split the samples into folds, and write `folds.json`."""
        self.raise_if_exists()
        folds = reader.k_fold(config.folds, config.seed, config.groups)
        numbers = {
            name: number for number, (_, val) in enumerate(folds, 1) for name in sample_names(val)
        }
        fold_of = {name: numbers[name] for name in sample_names(reader)}
        content = {"config": json.loads(config.to_json()), "fold_of": fold_of}
        with atomic_write(self.folder / FOLDS_FILE) as path:
            path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def require_config(self, config: TrainConfig) -> None:
        """Raise a ValueError unless the training began with the same config."""
        names = self.config.differences(config)
        if names:
            raise ValueError(
                f"'{self.folder}' contains a training in folds with other {', '.join(names)}. "
                "Resume with the same config, or choose another folder."
            )

    def _read(self):
        if not self.exists():
            raise FileNotFoundError(f"'{self.folder}' has no training in folds: no {FOLDS_FILE}.")
        file = self.folder / FOLDS_FILE
        try:
            return json.loads(file.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"{file} is damaged ({error}). Start a new training.") from error

    def _require_models(self):
        runs = self.runs
        missing = [run.folder.name for run in runs if not run.best.is_file()]
        if missing:
            raise FileNotFoundError(
                f"'{self.folder}' is not trained to the end: no model yet in {', '.join(missing)} "
                f"of {len(runs)} folds. Continue with `tfseg train --resume --out {self.folder}`."
            )


def _all_data(facts, names):
    """Return the `DataFacts` of all samples from those of the folds.

    The samples that the first fold trains and validates on are all samples.
    """
    first = facts[0]
    pixels = np.add(first.class_pixels, first.val_class_pixels).tolist()
    ignored = first.ignored_pixels + first.val_ignored_pixels
    ranges = [fold.value_range for fold in facts if fold.value_range is not None]
    lows_and_highs = np.transpose(ranges) if ranges else None
    return replace(
        first,
        train_names=names,
        val_names=names,
        class_pixels=pixels,
        val_class_pixels=pixels,
        ignored_pixels=ignored,
        val_ignored_pixels=ignored,
        value_range=ranges and [float(lows_and_highs[0].min()), float(lows_and_highs[1].max())],
    )
