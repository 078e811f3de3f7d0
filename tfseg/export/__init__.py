"""Export a trained model to SavedModel, LiteRT, ONNX or OpenVINO, and compare the results."""

from tfseg.export.calling_examples import CallingExample, calling_examples
from tfseg.export.detection_parity import DetectionParity
from tfseg.export.folding import fold_batch_norm
from tfseg.export.formats import FORMATS
from tfseg.export.litert import litert, litert_runner
from tfseg.export.metadata import inspect
from tfseg.export.onnx import onnx, onnx_runner
from tfseg.export.openvino import openvino, openvino_runner
from tfseg.export.parity import (
    Parity,
    keras_runner,
    parity,
    parity_table,
    read_parity,
    saved_model_runner,
)
from tfseg.export.saved_model import saved_model, serve_command

__all__ = [
    "FORMATS",
    "CallingExample",
    "DetectionParity",
    "Parity",
    "calling_examples",
    "fold_batch_norm",
    "inspect",
    "keras_runner",
    "litert",
    "litert_runner",
    "onnx",
    "onnx_runner",
    "openvino",
    "openvino_runner",
    "parity",
    "parity_table",
    "read_parity",
    "saved_model",
    "saved_model_runner",
    "serve_command",
]
