"""Plan a training: what to train, on crops of which size, for how long, with the reasons."""

from tfseg.training.planning.plan import plan, plan_training
from tfseg.training.planning.training_plan import TrainingPlan

__all__ = ["TrainingPlan", "plan", "plan_training"]
