"""Training that can be killed: a run's folder, its callbacks, and the assembly from a user's folder."""

from tfseg.schedules import SCHEDULES, Cosine, OneCycle, Poly
from tfseg.training.augmented import AugmentedModel, augmented
from tfseg.training.budget import fit_within
from tfseg.training.callbacks import Progress
from tfseg.training.determinism import deterministic
from tfseg.training.folder import network_for, open_folder, open_readers, remember, train_folder
from tfseg.training.presets import compile_for
from tfseg.training.rate_finder import RateSearch, find_learning_rate
from tfseg.training.run import Run
from tfseg.training.tensorboard import TensorBoard

__all__ = [
    "SCHEDULES",
    "AugmentedModel",
    "Cosine",
    "OneCycle",
    "Poly",
    "Progress",
    "RateSearch",
    "Run",
    "TensorBoard",
    "augmented",
    "compile_for",
    "deterministic",
    "find_learning_rate",
    "fit_within",
    "network_for",
    "open_folder",
    "open_readers",
    "remember",
    "train_folder",
]
