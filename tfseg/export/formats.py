"""The forms of a model beside its SavedModel, proven to give the same answers."""

from pathlib import Path
from typing import NamedTuple

from tfseg import checks
from tfseg.export.litert import litert, litert_runner
from tfseg.export.metadata import PARITY
from tfseg.export.onnx import onnx, onnx_runner
from tfseg.export.openvino import openvino, openvino_runner
from tfseg.export.parity import (
    bytes_of,
    keras_runner,
    parity,
    require_parity,
    saved_model_runner,
    write_parity,
)

FOLDER = "assets.extra"  # TensorFlow keeps it for what is not its own
LEAST = 0.99  # share of pixels on which a form agrees with the model


class Format(NamedTuple):
    """How a form is written and asked.

    Attributes:
        file: its name.
        write: function of the model, the file and images.
        runner: function of the file -> function of (B, H, W, C) -> dict of answers.
    """

    file: str
    write: object
    runner: object


def _litert(quantize):
    return lambda model, file, images: litert(model, file, quantize, images)


FORMATS = {
    "litert": Format("model.tflite", _litert(None), litert_runner),
    "litert_float16": Format("model_float16.tflite", _litert("float16"), litert_runner),
    "litert_dynamic": Format("model_dynamic.tflite", _litert("dynamic"), litert_runner),
    "litert_int8": Format("model_int8.tflite", _litert("int8"), litert_runner),
    "onnx": Format("model.onnx", lambda model, file, images: onnx(model, file), onnx_runner),
    "openvino": Format(
        "openvino/model.xml", lambda model, file, images: openvino(model, file), openvino_runner
    ),
}


def check_formats(formats, images):
    """Raise a ValueError if a format is unknown, or there are no images to compare on."""
    for name in formats:
        checks.one_of("saved_model", "formats", name, tuple(FORMATS))
    if formats and not len(images):
        raise ValueError(
            f"saved_model: formats={tuple(formats)} came without images. Every form is compared with the model: pass "
            "`images`, about ten real images (H, W, C)."
        )


def write_formats(version, model, formats, images, class_names):
    """Write a model's other forms into a version's folder, and `parity.json`; raise a RuntimeError if one is off."""
    folder = Path(version) / FOLDER
    runners, sizes = {"Keras": keras_runner(model), "SavedModel": saved_model_runner(version)}, {}
    sizes["SavedModel"] = bytes_of(Path(version) / "saved_model.pb")
    for name in formats:
        form, file = FORMATS[name], folder / FORMATS[name].file
        file.parent.mkdir(parents=True, exist_ok=True)
        form.write(model, file, images)
        runners[name] = form.runner(file)
        sizes[name] = bytes_of(file.parent if file.parent != folder else file)
    rows = parity(runners, images, sizes)
    write_parity(Path(version) / PARITY, rows)
    require_parity(rows, LEAST, class_names)
