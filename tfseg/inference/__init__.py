"""Use a trained model: predict images, evaluate datasets, tune and refine predictions."""

from tfseg.inference import refine
from tfseg.inference.baseline import baseline
from tfseg.inference.comparison import compare, scores_table
from tfseg.inference.detection_file import DetectionFile
from tfseg.inference.evaluation import Evaluation, evaluate
from tfseg.inference.fold_report import report_folds
from tfseg.inference.image_scores import ImageScores
from tfseg.inference.instance_evaluation import InstanceEvaluation, evaluate_instances
from tfseg.inference.instance_files import ObjectTables
from tfseg.inference.instance_predictor import predict_instances
from tfseg.inference.instance_report import report_instances
from tfseg.inference.instance_tuning import InstanceTuning, tune_instances
from tfseg.inference.object_evaluation import ObjectEvaluation, evaluate_objects
from tfseg.inference.object_predictor import detect
from tfseg.inference.object_report import report_objects
from tfseg.inference.object_table import object_table
from tfseg.inference.outlines import outlines
from tfseg.inference.predictor import predict, predict_logits
from tfseg.inference.report import report
from tfseg.inference.run_tuning import tune_run
from tfseg.inference.tuning import Tuning, tune_offsets, with_offsets
from tfseg.ops import top_ids

__all__ = [
    "DetectionFile",
    "Evaluation",
    "ImageScores",
    "InstanceEvaluation",
    "InstanceTuning",
    "ObjectEvaluation",
    "ObjectTables",
    "Tuning",
    "baseline",
    "compare",
    "detect",
    "evaluate",
    "evaluate_instances",
    "evaluate_objects",
    "object_table",
    "outlines",
    "predict",
    "predict_instances",
    "predict_logits",
    "refine",
    "report",
    "report_folds",
    "report_instances",
    "report_objects",
    "scores_table",
    "top_ids",
    "tune_instances",
    "tune_offsets",
    "tune_run",
    "with_offsets",
]
