"""The checks of the fields of a `TrainConfig` that say which samples are validated on."""

from numbers import Real
from pathlib import Path

from tfseg import checks
from tfseg.data.groups import compile_pattern, table_of
from tfseg.training.task_fields import fail


def checked_split(config) -> dict:
    """Check the fraction and the groups; a file of groups becomes an absolute path."""
    if not isinstance(config.val_fraction, Real) or not 0 < config.val_fraction < 1:
        fail(config, "val_fraction", "must be above 0 and below 1.")
    checked = {"val_fraction": float(config.val_fraction)}
    if config.groups is not None:
        checked["groups"] = _checked_groups(config)
    return checked


def checked_folds(config) -> dict:
    """Check the number of folds, and the number of the fold of one run."""
    if config.folds is None:
        if config.fold is not None:
            fail(config, "fold", "is one of several: pass their number as folds.")
        return {}
    folds = checks.positive_int("TrainConfig", "folds", config.folds)
    if config.init_from is not None:
        fail(config, "folds", "contradicts init_from: the network has seen every fold's images.")
    if folds < 2:
        fail(config, "folds", "leaves nothing to train on. Pass at least 2.")
    if config.has_objects:
        fail(config, "folds", f"contradicts task={config.task!r}: only masks are trained in folds.")
    if config.val_images is not None:
        fail(config, "folds", "contradicts val_images, which are validated on. Remove one.")
    if config.fold is None:
        return {"folds": folds}
    fold = checks.positive_int("TrainConfig", "fold", config.fold)
    if fold > folds:
        fail(config, "fold", f"must be at most folds={folds}.")
    return {"folds": folds, "fold": fold}


def _checked_groups(config):
    if config.val_images is not None:
        fail(config, "groups", "contradicts val_images, which are validated on. Remove one.")
    if not isinstance(config.groups, str):
        fail(config, "groups", "must be a regular expression or a file, FILE.csv[:COLUMN].")
    file, column = table_of(config.groups)
    if file is None:
        compile_pattern(config.groups)
        return config.groups
    file = str(Path(file).resolve())
    return file if column is None else f"{file}:{column}"
