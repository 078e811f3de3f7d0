"""Training that can be killed: a run's folder, its callbacks, and the assembly from a user's folder."""

from tfseg.training.callbacks import Progress
from tfseg.training.folder import compile_for, open_folder, open_readers, remember, require_two_classes, train_folder
from tfseg.training.run import Run

__all__ = [
    "Progress",
    "Run",
    "compile_for",
    "open_folder",
    "open_readers",
    "remember",
    "require_two_classes",
    "train_folder",
]
