"""Training: one config, one `train` function, and runs that survive a kill."""

from tfseg.schedules import SCHEDULES, Cosine, OneCycle, Poly
from tfseg.training.augmented import AugmentedDetector, AugmentedModel, augmented
from tfseg.training.callbacks import Progress
from tfseg.training.config import TrainConfig
from tfseg.training.detection_scores import DetectionScores
from tfseg.training.determinism import deterministic
from tfseg.training.fold_runs import FoldRuns
from tfseg.training.folds import train_folds
from tfseg.training.instance_scores import InstanceScores
from tfseg.training.instance_task import instance_targets
from tfseg.training.length import TrainingLength
from tfseg.training.non_finite import NonFiniteLossError
from tfseg.training.open_data import CheckedData, open_checked, open_like, open_readers
from tfseg.training.pace import TimeFrame
from tfseg.training.planning import TrainingPlan, plan, plan_training
from tfseg.training.presets import compile_for
from tfseg.training.rate_finder import RateSearch, find_learning_rate
from tfseg.training.record import DataFacts, RunRecord
from tfseg.training.run import Run
from tfseg.training.tensorboard import TensorBoard
from tfseg.training.trainer import build_model, train

__all__ = [
    "SCHEDULES",
    "AugmentedDetector",
    "AugmentedModel",
    "CheckedData",
    "Cosine",
    "DataFacts",
    "DetectionScores",
    "FoldRuns",
    "InstanceScores",
    "NonFiniteLossError",
    "OneCycle",
    "TrainingLength",
    "Poly",
    "Progress",
    "RateSearch",
    "Run",
    "RunRecord",
    "TensorBoard",
    "TimeFrame",
    "TrainConfig",
    "TrainingPlan",
    "augmented",
    "build_model",
    "compile_for",
    "deterministic",
    "find_learning_rate",
    "instance_targets",
    "open_checked",
    "open_like",
    "open_readers",
    "plan",
    "plan_training",
    "train",
    "train_folds",
]
