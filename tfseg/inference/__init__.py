"""Use of a trained model: predictions for pictures, exact evaluation of a data set."""

from tfseg.inference import refine
from tfseg.inference.baseline import baseline
from tfseg.inference.comparison import compare, scores_table
from tfseg.inference.evaluation import Evaluation, evaluate
from tfseg.inference.predictor import predict, predict_logits, top_ids
from tfseg.inference.report import report

__all__ = [
    "Evaluation",
    "baseline",
    "compare",
    "evaluate",
    "predict",
    "predict_logits",
    "refine",
    "report",
    "scores_table",
    "top_ids",
]
