"""Export formats besides SavedModel, each compared with the Keras model."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tfseg import checks
from tfseg.export.int8_images import resize_image, split_samples
from tfseg.export.litert import litert, litert_runner
from tfseg.export.metadata import PARITY_FILE
from tfseg.export.onnx import onnx, onnx_runner
from tfseg.export.openvino import openvino, openvino_runner
from tfseg.export.parity import (
    keras_runner,
    parity,
    require_parity,
    saved_model_runner,
    size_in_bytes,
    write_parity,
)
from tfseg.export.verify import checked_size

EXTRA_FOLDER = "assets.extra"  # TensorFlow reserves it for files of other programs
MIN_AGREEMENT = 0.99  # fraction of pixels with the class ids of the Keras model


class Format(NamedTuple):
    """How to write and run a model in one format.

    Attributes:
        file: name of the file, relative to `assets.extra`.
        write: function (model, file, images, size, class_names, value_range) that writes the file.
        runner: function (file) -> function of images (B, H, W, C) -> dict of outputs.
    """

    file: str
    write: Callable
    runner: Callable


def _write_litert(model, file, images, size, class_names, value_range, quantize):
    return litert(model, file, quantize, images, size, class_names, value_range)


def _write_onnx(model, file, images, size, class_names, value_range):
    return onnx(model, file, size, class_names, value_range)


def _write_openvino(model, file, images, size, class_names, value_range):
    return openvino(model, file, size, value_range)


def _litert_format(file, quantize):
    return Format(file, partial(_write_litert, quantize=quantize), litert_runner)


FORMATS = {
    "litert": _litert_format("model.tflite", None),
    "litert_float16": _litert_format("model_float16.tflite", "float16"),
    "litert_dynamic": _litert_format("model_dynamic.tflite", "dynamic"),
    "litert_int8": _litert_format("model_int8.tflite", "int8"),
    "onnx": Format("model.onnx", _write_onnx, onnx_runner),
    "openvino": Format("openvino/model.xml", _write_openvino, openvino_runner),
}


def check_formats(model, formats: Sequence[str], images, size) -> tuple[int, int] | None:
    """Return the checked (H, W) of the files in other formats, or None for any size.

    Raises:
        ValueError: a format is unknown, there are no images to compare on, or `size` does not fit
            the model or has no format to apply to.
    """
    for name in formats:
        checks.one_of("saved_model", "formats", name, tuple(FORMATS))
    if formats and not len(images):
        raise ValueError(
            f"saved_model: got formats={tuple(formats)} without `images`. Every format is compared "
            "with the Keras model: pass about ten real images (H, W, C)."
        )
    if size is not None and not formats:
        raise ValueError(
            f"saved_model: got size={size} without `formats`. The SavedModel takes any size. Pass "
            "formats such as 'litert', or remove `size`."
        )
    return checked_size("saved_model", model, size)


def write_formats(
    version,
    model,
    formats: Sequence[str],
    images,
    class_names,
    size: tuple[int, int] | None = None,
    value_range: tuple[float, float] | None = None,
) -> None:
    """Write a model in other formats into a version's folder, and compare all of them.

    Args:
        version: folder of the SavedModel. Files go to `assets.extra`, the comparison to
            `assets.extra/parity.json`.
        model: the Keras model.
        formats: keys of `FORMATS`.
        images: list of (H, W, C). With int8 formats some calibrate these, and all formats are
            compared on the others.
        class_names: list of str.
        size: (H, W) of the images that the files take; None for any size.
        value_range: (low, high) of the images that the model was trained on; None for 0..255.

    Raises:
        RuntimeError: a format agrees with the Keras model on too few pixels.
    """
    version = Path(version)
    folder = version / EXTRA_FOLDER
    if size is not None:
        images = [resize_image(image, size) for image in images]
    compared = split_samples(images)[1] if "litert_int8" in formats else images
    runners = {"Keras": keras_runner(model), "SavedModel": saved_model_runner(version)}
    sizes = {"SavedModel": size_in_bytes(version / "saved_model.pb")}
    for name in formats:
        file = folder / FORMATS[name].file
        file.parent.mkdir(parents=True, exist_ok=True)
        FORMATS[name].write(model, file, images, size, class_names, value_range)
        runners[name] = FORMATS[name].runner(file)
        # a format with a folder of its own consists of several files
        sizes[name] = size_in_bytes(file if file.parent == folder else file.parent)
    rows = parity(runners, compared, sizes)
    write_parity(version / PARITY_FILE, rows)
    require_parity(rows, MIN_AGREEMENT, class_names)
