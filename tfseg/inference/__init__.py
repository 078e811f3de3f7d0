"""Use of a trained model: predictions for pictures, exact evaluation of a data set."""

from tfseg.inference.evaluation import Evaluation, evaluate
from tfseg.inference.predictor import predict, predict_logits
from tfseg.inference.report import report

__all__ = ["Evaluation", "evaluate", "predict", "predict_logits", "report"]
