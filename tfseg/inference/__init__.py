"""Use a trained model: predict images, evaluate datasets, tune and refine predictions."""

from tfseg.inference import refine
from tfseg.inference.baseline import baseline
from tfseg.inference.comparison import compare, scores_table
from tfseg.inference.evaluation import Evaluation, evaluate
from tfseg.inference.predictor import predict, predict_logits
from tfseg.inference.report import report
from tfseg.inference.tuning import Tuning, tune_offsets, tune_run, with_offsets
from tfseg.ops import top_ids

__all__ = [
    "Evaluation",
    "Tuning",
    "baseline",
    "compare",
    "evaluate",
    "predict",
    "predict_logits",
    "refine",
    "report",
    "scores_table",
    "top_ids",
    "tune_offsets",
    "tune_run",
    "with_offsets",
]
