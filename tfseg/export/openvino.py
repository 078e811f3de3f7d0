"""OpenVINO files, for processors of Intel and others."""

import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfseg import checks
from tfseg.export.detection_outputs import has_detections
from tfseg.export.folding import as_constants, fold_batch_norm, image_spec
from tfseg.export.parity import run_one_by_one
from tfseg.export.saving import save_quietly
from tfseg.export.trained_range import checked_range
from tfseg.export.verify import check_export, checked_size, require_model_outputs

PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


def openvino(
    model: keras.Model,
    file: str | Path,
    size: tuple[int, int] | None = None,
    value_range: tuple[float, float] | None = None,
) -> Path:
    """Write a model as OpenVINO intermediate representation: `<name>.xml` and `<name>.bin`.

    Input and outputs are those of `onnx`; both outputs stay with `size`. Weights stay float32. Both
    files appear only after they were compared with the model on noise, the .xml last.

    The openvino package sends telemetry whenever it is imported. To prevent it, run
    `opt_in_out --opt_out`, which the package installs, or set the environment variable CI=true.

    Args:
        model: a model of `tfseg.models`. It is not changed.
        file: path that ends in ".xml". The folder is created; existing files are replaced.
        size: (H, W) of the images, for files that take one image (1, H, W, C) at a time and in
            which all shapes are known; None for any size.
        value_range: (low, high), the smallest and largest value in the images that the model was
            trained on, for the comparison; None for 0..255.

    Returns:
        pathlib.Path of the .xml file.

    Raises:
        ValueError: the model has several outputs or operations that OpenVINO cannot convert, or the
            file name has another ending.
        ImportError: openvino is not installed: install the extra `openvino`.
        RuntimeError: the files give other outputs than the model.

    Example:
        >>> import tfseg
        >>> file = tfseg.export.openvino(tfseg.models.unet(2, filters=(2, 4)), "leaves.xml")
        >>> run = tfseg.export.openvino_runner(file)
        >>> run([[[[0, 0, 0]] * 6] * 5])["class_ids"].shape
        (1, 5, 6)
    """
    check_export("openvino", model, file, ".xml")
    _require_no_detector(model)
    size = checked_size("openvino", model, size)
    value_range = checked_range("openvino", value_range)
    package = checks.require_package("openvino", "openvino")
    file = Path(file)
    weights = file.with_suffix(".bin")
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=file.parent) as temporary_folder:
        path = Path(temporary_folder) / file.name
        converted = _convert(package, model, size, Path(temporary_folder) / "model")
        package.save_model(converted, str(path), compress_to_fp16=False)
        require_model_outputs(model, openvino_runner(path), path, size, value_range)
        file.unlink(missing_ok=True)  # an .xml must never be next to the weights of another model
        path.with_suffix(".bin").replace(weights)
        return path.replace(file)


def openvino_runner(file: str | Path, threads: int = 2, dtype: str = "float32"):
    """Return a function of images (B, H, W, C) that runs an OpenVINO file on the CPU.

    Args:
        file: the .xml file that `openvino` wrote.
        threads: number of CPU threads.
        dtype: "float32" or "bfloat16", of the computation. Processors without bfloat16 use float32.

    Returns:
        function of an array (B, H, W, C) -> dict with "class_ids" (B, H, W) and "probabilities"
        (B, H, W, classes). It raises a ValueError if the array is empty.
    """
    threads = checks.positive_int("openvino_runner", "threads", threads)
    checks.one_of("openvino_runner", "dtype", dtype, tuple(PRECISIONS))
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": PRECISIONS[dtype],
        "PERFORMANCE_HINT": "LATENCY",
    }
    core = checks.require_package("openvino", "openvino").Core()
    compiled = core.compile_model(str(file), "CPU", options)
    is_static = compiled.input(0).partial_shape.is_static

    def run(images):
        images = np.asarray(images, np.float32)
        if not images.size:  # OpenVINO would crash, or return the outputs of the previous call
            raise ValueError(
                f"openvino_runner: got images of shape {images.shape}, expected at least one pixel."
            )
        return run_one_by_one(run_batch, images) if is_static else run_batch(images)

    def run_batch(images):
        outputs = compiled({"image": images})
        return {name: outputs[name] for name in ("class_ids", "probabilities")}

    return run


def _require_no_detector(model):
    """Raise a ValueError for a detector: OpenVINO 2026 selects wrong values of its candidates.

    Its processor plugin gives 0 for some of the scores that are gathered by index.
    """
    if has_detections(model):
        raise ValueError(
            f"openvino: got the detector {model.name!r}. OpenVINO would give it wrong scores. "
            "Export it as ONNX or LiteRT."
        )


def _convert(package, model, size, folder):
    """Return an openvino.Model, read from a SavedModel of the logits in `folder`.

    OpenVINO cannot read some networks from ONNX files: it fails on the resizing that tf2onnx
    writes.
    """
    save_quietly(folder, _logits_function(model, size))
    try:
        read = package.Core().read_model(str(folder))
    except RuntimeError as error:
        raise ValueError(
            f"openvino: OpenVINO cannot convert the model {model.name!r}. It reports: "
            f"{_summary(str(error))}. Build the model of other layers, or export a SavedModel."
        ) from error
    logits = read.outputs[0].node.input_value(0)
    return package.Model(_postprocess(logits, model.output_shape), read.get_parameters())


def _summary(text):
    """Return the last line of an OpenVINO error that starts with "-- ", or the whole text."""
    lines = [line[3:] for line in text.splitlines() if line.startswith("-- ")]
    return lines[-1] if lines else text


def _logits_function(model, size):
    folded_model = fold_batch_norm(model, size=size)
    spec = image_spec(folded_model.input_shape)
    return tf.function(as_constants(folded_model), input_signature=[spec], autograph=False)


def _postprocess(logits, shape):
    """Return `tfseg.export.postprocess` as OpenVINO nodes.

    It works with channels first, as the convolutions do; channels last costs a tenth more time.
    """
    from openvino import opset13 as ops

    last = len(shape) - 1
    channels_first = ops.constant(np.array([0, last, *range(1, last)]))
    channels_last = ops.constant(np.array([0, *range(2, last + 1), 1]))
    axis = ops.constant(np.int64(1))
    logits = ops.transpose(logits, channels_first)
    if shape[-1] == 1:
        ids = ops.greater(logits, ops.constant(np.float32(0)))
        probabilities = ops.sigmoid(logits)
    else:
        one = ops.constant(np.int64(1))
        ids = ops.topk(logits, one, 1, "max", "none", "i32").output(1)
        probabilities = ops.softmax(logits, 1)
    dtype = "u8" if shape[-1] <= 256 else "u16"
    ids = ops.squeeze(ops.convert(ids, dtype), axis)
    probabilities = ops.transpose(probabilities, channels_last)
    ids.output(0).set_names({"class_ids"})
    probabilities.output(0).set_names({"probabilities"})
    return [ids, probabilities]
