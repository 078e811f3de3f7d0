"""ONNX: a model for ONNX Runtime, and for whatever else reads that format."""

import numpy as np

from tfseg import checks
from tfseg.export.folding import fold_batch_norm
from tfseg.export.verify import answering, beside, check_export, require_same_answers

OPSET = 17  # of 2022, so that runtimes of years ago read it too
AXES = ("batch", "height", "width")


def onnx(model, file):
    """Write a model as ONNX.

    Its input is `image` (B, H, W, C) float32, in the values the model was trained on (0..255), any B, H and W that the
    model takes. Its outputs are `class_ids` (B, H, W) uint8, or uint16 of more than 256 classes, and `probabilities`
    (B, H, W, classes) float32. Images are decoded before: a graph that does it loads in no ONNX runtime.

    The file is written beside, checked, compared with the model on an image of odd size, and only then renamed.

    Args:
        model: a model of `tfseg.models`; it stays as it is.
        file: ends in ".onnx"; its folder is made if need be, and a file of that name replaced.

    Returns:
        pathlib.Path of the file.

    Raises:
        ValueError: the model has several outputs or an operation that ONNX has not, or the name ends otherwise.
        ImportError: tf2onnx, onnx or onnxruntime is not installed; the message names the extra `onnx`.
        RuntimeError: what was written gives other answers than the model.
    """
    check_export("onnx", model, file, ".onnx")
    format_onnx, *_ = (
        checks.require_package(package, "onnx") for package in ("onnx", "onnxruntime", "tf2onnx")
    )
    with beside(file) as path:
        proto = _convert(model)
        path.write_bytes(proto.SerializeToString())
        format_onnx.checker.check_model(str(path), full_check=True)
        require_same_answers(model, onnx_runner(path), path)
        return path.replace(file)


def onnx_runner(file, threads=2):
    """Return the function of (B, H, W, C) images that gives the answers of an ONNX file, by ONNX Runtime on the CPU.

    Args:
        file: what `onnx` has written.
        threads: of the processor.

    Returns:
        function of an array (B, H, W, C) -> {"class_ids": (B, H, W), "probabilities": (B, H, W, classes)}.
    """
    runtime = checks.require_package("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = checks.positive_int("onnx_runner", "threads", threads)
    session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(
        zip(names, session.run(names, {"image": np.asarray(images, np.float32)}), strict=True)
    )


def _convert(model):
    """Return the model and its answers as an onnx.ModelProto."""
    import onnx
    import tf2onnx

    serve = answering(fold_batch_norm(model))
    handlers = {"Erfc": (_erfc, [])}
    proto, _ = tf2onnx.convert.from_function(
        serve, serve.input_signature, opset=OPSET, custom_op_handlers=handlers
    )
    _require_known(model, proto.graph, onnx.defs)
    _softmax_last(proto.graph, onnx.helper)
    _name_axes(proto.graph)
    return proto


def _erfc(graph, node, *_):
    """Write erfc, which GELU is made of and tf2onnx does not know, as 1 - erf."""
    shapes, dtypes = node.output_shapes, node.output_dtypes
    graph.remove_node(node.name)
    one = graph.make_const(f"{node.name}_one", np.float32(1))
    erf = graph.make_node("Erf", node.input, shapes=shapes, dtypes=dtypes)
    graph.make_node(
        "Sub", [one.output[0], erf.output[0]], outputs=node.output, shapes=shapes, dtypes=dtypes
    )


def _require_known(model, graph, definitions):
    # What tf2onnx cannot convert it logs, and leaves in the graph under TensorFlow's name.
    unknown = sorted(
        {
            node.op_type
            for node in graph.node
            if not definitions.has(node.op_type, OPSET, node.domain)
        }
    )
    if unknown:
        raise ValueError(
            f"onnx: the model {model.name!r} uses {', '.join(unknown)} of TensorFlow, which ONNX does not have. "
            "Build it of other layers, or export a SavedModel."
        )


def _softmax_last(graph, helper):
    """Let the softmax follow the transposition to channels last, where ONNX Runtime's is six times as fast."""
    makers = {name: node for node in graph.node for name in node.output}
    turn = makers["probabilities"]
    softmax = makers.get(turn.input[0])
    if turn.op_type == "Transpose" and softmax is not None and softmax.op_type == "Softmax":
        order = helper.get_node_attr_value(turn, "perm")
        softmax.CopyFrom(
            helper.make_node("Transpose", softmax.input, softmax.output, softmax.name, perm=order)
        )
        turn.CopyFrom(helper.make_node("Softmax", turn.input, turn.output, turn.name, axis=-1))


def _name_axes(graph):
    """Name the axes that may have any size, so that a look at the file tells what they are."""
    for value in (*graph.input, *graph.output):
        for axis, name in zip(value.type.tensor_type.shape.dim, AXES, strict=False):
            if not axis.HasField("dim_value"):
                axis.dim_param = name
