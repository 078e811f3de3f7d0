"""OpenVINO's form of a model, for Intel's and other processors."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tfseg import checks
from tfseg.export.folding import as_constants, fold_batch_norm
from tfseg.export.verify import beside, check_export, require_same_answers

PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


def openvino(model, file):
    """Write a model as OpenVINO's intermediate representation: `<name>.xml`, and beside it `<name>.bin`.

    Input and outputs are those of `onnx`; weights stay float32. Both files are written beside, compared with the model
    on an image of odd size, and only then renamed, the .xml last.

    The package openvino tells its makers over the network that it was imported, unless `opt_in_out --opt_out`, which
    comes with it, has been run or the environment has CI=true.

    Args:
        model: a model of `tfseg.models`; it stays as it is.
        file: ends in ".xml"; its folder is made if need be, and files of these names replaced.

    Returns:
        pathlib.Path of the .xml.

    Raises:
        ValueError: the model has several outputs or what OpenVINO cannot convert, or the name ends otherwise.
        ImportError: openvino is not installed; the message names the extra `openvino`.
        RuntimeError: what was written gives other answers than the model.
    """
    check_export("openvino", model, file, ".xml")
    package = checks.require_package("openvino", "openvino")
    with beside(file) as path:
        package.save_model(
            _converted(package, model, path.parent / "model"), str(path), compress_to_fp16=False
        )
        require_same_answers(model, openvino_runner(path), path)
        Path(file).unlink(missing_ok=True)  # so that no .xml ever lies beside another's weights
        path.with_suffix(".bin").replace(Path(file).with_suffix(".bin"))
        return path.replace(file)


def openvino_runner(file, threads=2, dtype="float32"):
    """Return the function of (B, H, W, C) images that gives the answers of OpenVINO's form of a model, on the CPU.

    Args:
        file: the .xml that `openvino` has written.
        threads: of the processor.
        dtype: "float32" or "bfloat16", in which to compute; processors that do not know the latter take float32.

    Returns:
        function of an array (B, H, W, C) -> {"class_ids": (B, H, W), "probabilities": (B, H, W, classes)}; a ValueError
        where there is no pixel.
    """
    options = {
        "INFERENCE_NUM_THREADS": checks.positive_int("openvino_runner", "threads", threads),
        "INFERENCE_PRECISION_HINT": PRECISIONS[
            checks.one_of("openvino_runner", "dtype", dtype, tuple(PRECISIONS))
        ],
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = (
        checks.require_package("openvino", "openvino")
        .Core()
        .compile_model(str(file), "CPU", options)
    )

    def run(images):
        images = np.asarray(images, np.float32)
        if not images.size:  # OpenVINO would crash, or give the answers of the call before
            raise ValueError(
                f"openvino_runner: images of shape {images.shape} came, expected at least one pixel."
            )
        answers = compiled({"image": images})
        return {name: answers[name] for name in ("class_ids", "probabilities")}

    return run


def _converted(package, model, folder):
    """Return the openvino.Model, its logits read from a SavedModel that is written into the folder.

    Of the ONNX file OpenVINO reads some networks only: it stumbles over the sizes to which tf2onnx lets features be
    resized.
    """
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # it would tell of a folder that is about to be removed
    try:
        tf.saved_model.save(tf.Module(), str(folder), _serving(model))
    finally:
        logger.setLevel(level)
    try:
        read = package.Core().read_model(str(folder))
    except RuntimeError as error:
        # the summary is the last of the lines that begin so
        *_, told = (
            str(error),
            *(line[3:] for line in str(error).splitlines() if line.startswith("-- ")),
        )
        raise ValueError(
            f"openvino: OpenVINO cannot convert the model {model.name!r}. It says: {told}. Build the model of other "
            "layers, or export a SavedModel."
        ) from error
    return package.Model(
        _answers(read.outputs[0].node.input_value(0), model.output_shape), read.get_parameters()
    )


def _serving(model):
    spec = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="image")
    return tf.function(as_constants(fold_batch_norm(model)), input_signature=[spec], autograph=False)


def _answers(logits, shape):
    """Return the nodes of `answer`. Classes come second, as in its convolutions: last, they cost a tenth more."""
    from openvino import opset13 as ops

    last, classes = len(shape) - 1, shape[-1]
    axis = ops.constant(np.int64(1))
    logits = ops.transpose(logits, ops.constant(np.array([0, last, *range(1, last)])))
    if classes == 1:
        ids, probabilities = ops.greater(logits, ops.constant(np.float32(0))), ops.sigmoid(logits)
    else:
        ids = ops.topk(logits, ops.constant(np.int64(1)), 1, "max", "none", "i32").output(1)
        probabilities = ops.softmax(logits, 1)
    ids = ops.squeeze(ops.convert(ids, "u8" if classes <= 256 else "u16"), axis)
    probabilities = ops.transpose(
        probabilities, ops.constant(np.array([0, *range(2, last + 1), 1]))
    )
    for name, node in (("class_ids", ids), ("probabilities", probabilities)):
        node.output(0).set_names({name})
    return [ids, probabilities]
