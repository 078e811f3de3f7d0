"""Training that can be killed: a run's folder, its callbacks, and the assembly from a user's folder."""

from tfseg.training.augmented import AugmentedModel, augmented
from tfseg.training.callbacks import Progress
from tfseg.training.doctor_page import write_doctor_page
from tfseg.training.folder import compile_for, open_folder, open_readers, remember, require_two_classes, train_folder
from tfseg.training.run import Run

__all__ = [
    "AugmentedModel",
    "Progress",
    "Run",
    "augmented",
    "compile_for",
    "open_folder",
    "open_readers",
    "remember",
    "require_two_classes",
    "train_folder",
    "write_doctor_page",
]
