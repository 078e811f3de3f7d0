"""ONNX files, for ONNX Runtime and other programs that read the format."""

import json
from pathlib import Path

import keras
import numpy as np

from tfseg import checks
from tfseg.export.folding import fold_batch_norm, inference_function
from tfseg.export.metadata import class_names_of
from tfseg.export.parity import run_one_by_one
from tfseg.export.postprocess import with_class_ids
from tfseg.export.trained_range import checked_range
from tfseg.export.verify import check_export, checked_file_size, require_model_outputs
from tfseg.files import atomic_write

OPSET = 17  # from 2022, so that older runtimes can read the files
AXES = ("batch", "height", "width")


def onnx(
    model: keras.Model,
    file: str | Path,
    size: tuple[int, int] | None = None,
    class_names=None,
    value_range: tuple[float, float] | None = None,
) -> Path:
    """Write a model as ONNX.

    The input is `image` (B, H, W, C) float32 in the range the model was trained on (0..255), with
    any B, H and W that the model takes. The outputs are `class_ids` (B, H, W) uint8, or uint16 with
    more than 256 classes, and `probabilities` (B, H, W, classes) float32. Decode files before: no
    ONNX runtime loads a graph that does.

    With `size` the file takes one image (1, H, W, C) at a time, all shapes in it are known, and its
    only output is `probabilities`: for programs such as OpenCV that lack other shapes.

    A detector needs `size`. Its outputs are `boxes` (1, M, 4) in pixels, `scores` (1, M), `classes`
    (1, M) int32, -1 for padding, `num_detections` (1,) int32 and, with masks, `masks` (1, M, S, S).

    The file appears only after it was checked and compared with the model on an odd-sized image.

    Args:
        model: a model of `tfseg.models`. It is not changed.
        file: path that ends in ".onnx". The folder is created; an existing file is replaced.
        size: (H, W) of the images; None for any size.
        class_names: names of the classes, which the file contains as "class_names" in its metadata
            properties, a list in JSON; numbers if None.
        value_range: (low, high), the smallest and largest value in the images that the model was
            trained on, for the comparison; None for 0..255.

    Returns:
        pathlib.Path of the file.

    Raises:
        ValueError: the model has several outputs or an operation that ONNX lacks, or the file name
            has another ending.
        ImportError: tf2onnx, onnx or onnxruntime is not installed: install the extra `onnx`.
        RuntimeError: the file gives other outputs than the model.

    Example:
        >>> import tfseg
        >>> file = tfseg.export.onnx(tfseg.models.unet(2, filters=(2, 4)), "leaves.onnx")
        >>> run = tfseg.export.onnx_runner(file)
        >>> run([[[[0, 0, 0]] * 6] * 5])["class_ids"].shape
        (1, 5, 6)
    """
    check_export("onnx", model, file, ".onnx")
    size = checked_file_size("onnx", model, size)
    value_range = checked_range("onnx", value_range)
    properties = {"class_names": json.dumps(class_names_of("onnx", model, class_names))}
    format_onnx = checks.require_package("onnx", "onnx")
    checks.require_package("onnxruntime", "onnx")
    checks.require_package("tf2onnx", "onnx")
    with atomic_write(file) as path:
        proto = _convert(model, size)
        format_onnx.helper.set_model_props(proto, properties)
        path.write_bytes(proto.SerializeToString())
        if size is not None:
            _fold_constants(path)
        format_onnx.checker.check_model(str(path), full_check=True)
        require_model_outputs(model, onnx_runner(path), path, size, value_range)
    return Path(file)


def onnx_runner(file: str | Path, threads: int = 2):
    """Return a function of images (B, H, W, C) that runs an ONNX file with ONNX Runtime on the CPU.

    Args:
        file: a file that `onnx` wrote.
        threads: number of CPU threads.

    Returns:
        function of an array (B, H, W, C) -> dict with "class_ids" (B, H, W) and "probabilities"
        (B, H, W, classes), or with the outputs of a detector.
    """
    runtime = checks.require_package("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = checks.positive_int("onnx_runner", "threads", threads)
    session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    is_static = session.get_inputs()[0].shape[0] == 1

    def run(images):
        images = np.asarray(images, np.float32)
        return run_one_by_one(run_batch, images) if is_static else run_batch(images)

    def run_batch(images):
        outputs = dict(zip(names, session.run(names, {"image": images}), strict=True))
        return with_class_ids(outputs)

    return run


def _convert(model, size):
    """Return the model with class ids and probabilities as an onnx.ModelProto."""
    import onnx
    import tf2onnx

    serve = inference_function(fold_batch_norm(model, size=size))
    proto, _ = tf2onnx.convert.from_function(
        serve, serve.input_signature, opset=OPSET, custom_op_handlers={"Erfc": (_erfc, [])}
    )
    _require_known_operations(model, proto.graph, onnx.defs)
    _move_softmax_last(proto.graph, onnx.helper)
    _name_axes(proto.graph)
    return proto


def _fold_constants(file):
    """Replace what is computed of shapes, which are known, by its result.

    OpenCV reads no `Shape` of a constant, for example.
    """
    import onnxruntime

    folded = file.with_name(f"{file.name}.folded")
    options = onnxruntime.SessionOptions()
    # the basic level keeps to operations of the ONNX standard
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    folded.replace(file)


def _erfc(graph, node, *_):
    """Write erfc, which GELU uses and tf2onnx lacks, as 1 - erf."""
    shapes, dtypes = node.output_shapes, node.output_dtypes
    graph.remove_node(node.name)
    one = graph.make_const(f"{node.name}_one", np.float32(1))
    erf = graph.make_node("Erf", node.input, shapes=shapes, dtypes=dtypes)
    inputs = [one.output[0], erf.output[0]]
    graph.make_node("Sub", inputs, outputs=node.output, shapes=shapes, dtypes=dtypes)


def _require_known_operations(model, graph, definitions):
    # tf2onnx only logs operations it cannot convert, and leaves them in the graph
    operations = {(node.op_type, node.domain) for node in graph.node}
    unknown = sorted(
        name for name, domain in operations if not definitions.has(name, OPSET, domain)
    )
    if unknown:
        raise ValueError(
            f"onnx: the model {model.name!r} uses the TensorFlow operation {', '.join(unknown)}, "
            "which ONNX does not have. Build it of other layers, or export a SavedModel."
        )


def _move_softmax_last(graph, helper):
    """Move the softmax behind the transposition to channels last.

    tf2onnx writes softmax over axis 1, then transposes. ONNX Runtime computes a softmax over the
    last axis six times as fast.
    """
    producers = {name: node for node in graph.node for name in node.output}
    if "probabilities" not in producers:  # a detector
        return
    transpose = producers["probabilities"]
    softmax = producers.get(transpose.input[0])
    if transpose.op_type != "Transpose" or softmax is None or softmax.op_type != "Softmax":
        return
    order = helper.get_node_attr_value(transpose, "perm")
    first = helper.make_node("Transpose", softmax.input, softmax.output, softmax.name, perm=order)
    second = helper.make_node("Softmax", transpose.input, transpose.output, transpose.name, axis=-1)
    softmax.CopyFrom(first)
    transpose.CopyFrom(second)


def _name_axes(graph):
    """Name the axes of variable size, so that viewers of the file show what they are."""
    for value in (*graph.input, *graph.output):
        for axis, name in zip(value.type.tensor_type.shape.dim, AXES, strict=False):
            if not axis.HasField("dim_value"):
                axis.dim_param = name
