"""Rebuild a network on another tensor: a flat graph, stable names, another output stride.

A strided convolution or pooling that would exceed the output stride gets stride 1 instead. The
kernels after it are dilated by the strides that were removed, so each weight still meets the pixels
it was trained on (arXiv:1412.7062). Keras has no dilated pooling; pooling windows are unchanged.

Example: 3 x 3 convolutions at output stride 8.

    original                      copy
    input stride 8,  stride 2     stride 1, dilation 1
    input stride 16, stride 1     stride 1, dilation 2
    input stride 16, stride 2     stride 1, dilation 2
    input stride 32, stride 1     stride 1, dilation 4
"""

import re
from dataclasses import dataclass

import keras
from keras import layers

from tfseg.models.batch_norm import BatchNorm

IMAGE = "image"
# `encode` normalizes the image itself, before padding
PREPROCESSING = (layers.Rescaling, layers.Normalization)


class NodeRef(str):
    """A reference to the output of the node of this name, in the arguments of a call."""


@dataclass
class Node:
    """One call of a layer or operation.

    Attributes:
        name: name of the node, the same in every process.
        operation: keras.Layer or keras.Operation.
        args, kwargs: arguments of the call, with a NodeRef in the place of each tensor.
        input_stride: stride of the node's input in the original network.
    """

    name: str
    operation: keras.Operation
    args: list
    kwargs: dict
    input_stride: int = 1

    @property
    def sources(self) -> list[str]:
        """Names of the nodes that this node reads."""
        leaves = keras.tree.flatten((self.args, self.kwargs))
        return [leaf for leaf in leaves if isinstance(leaf, NodeRef)]


def dilated_copy(
    network: keras.Model, image, feature_layers: tuple, output_stride: int = 32
) -> tuple[list, list]:
    """Call copies of the layers of `network` on `image`; copies are named "encoder<stage>_<name>".

    Args:
        network: functional `keras.Model` with one input, each layer called once.
        image: KerasTensor (B, H, W, C), H and W multiples of `output_stride`.
        feature_layers: see `Encoder`.
        output_stride: 8, 16 or 32.

    Returns:
        (features, pairs): the five features, None where `feature_layers` has None; and a
        (layer, copy) tuple for every layer with weights, in the order of the graph.
    """
    nodes = {node.name: node for node in read_nodes(network)}
    ends = [_last_match(nodes, prefix) for prefix in feature_layers]
    stages = _stages(nodes, ends)
    consumers = {source: node for node in nodes.values() for source in node.sources}
    outputs, pairs = {IMAGE: image}, []
    for name, stage in stages.items():
        node = nodes[name]
        if _is_skipped(node, consumers.get(name), output_stride):
            outputs[name] = outputs[node.sources[0]]
            continue
        config = _copy_config(node, nodes, output_stride) | {"name": f"encoder{stage}_{name}"}
        copy = _copy_class(node.operation).from_config(config)
        outputs[name] = copy(*_substitute(node.args, outputs), **_substitute(node.kwargs, outputs))
        if getattr(node.operation, "weights", None):
            pairs.append((node.operation, copy))
    features = [None if end is None else outputs[end] for end in ends]
    return features, pairs


def read_nodes(network: keras.Model) -> list[Node]:
    """Return the nodes of a functional model in the order of the graph.

    Layers of nested `Sequential` models become nodes of their own. A layer without a name of its
    own ("conv2d_17", where Keras counts the layers of the process) is named after its latest source
    ("block1_conv2_act_conv2d"), so that names are the same in every process.
    """
    operations = {operation.name: operation for operation in network.operations}
    nodes, names = {}, {}
    for entry in network.get_config()["layers"]:
        operation, calls = operations[entry["name"]], entry["inbound_nodes"]
        if not calls:  # the input layer
            names[entry["name"]] = IMAGE
            continue
        args = _replace_tensors(calls[0]["args"], names)
        kwargs = _replace_tensors(calls[0]["kwargs"], names)
        steps = [operation]
        if isinstance(operation, keras.Sequential):
            steps, kwargs = operation.layers, {}
        for step in steps:
            node = _make_node(step, args, kwargs, nodes)
            nodes[node.name] = node
            args, kwargs = [NodeRef(node.name)], {}
        names[entry["name"]] = node.name
    return list(nodes.values())


def _make_node(operation, args, kwargs, nodes):
    node = Node("", operation, args, kwargs)
    node.name = _stable_name(operation, [IMAGE, *nodes], node.sources)
    for name in node.sources:
        if name != IMAGE:
            source = nodes[name]
            output_stride = source.input_stride * _largest(source, "strides")
            node.input_stride = max(node.input_stride, output_stride)
    return node


def _stable_name(operation, order, sources):
    kind = type(operation).__name__.lower()
    # "conv2d_17" and "batch_normalization_3" -> "conv2d" and "batchnormalization"
    base = re.sub(r"_\d+$", "", operation.name).replace("_", "")
    if base != kind:
        return operation.name
    return f"{max(sources, key=order.index)}_{kind}"


def _replace_tensors(value, names):
    """Replace each serialized tensor in the arguments of a call by a NodeRef."""
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            return NodeRef(names[value["config"]["keras_history"][0]])
        return {key: _replace_tensors(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_tensors(item, names) for item in value]
    return value


def _substitute(value, outputs):
    """Replace each NodeRef by the tensor it refers to."""

    def tensor(leaf):
        return outputs[leaf] if isinstance(leaf, NodeRef) else leaf

    return keras.tree.map_structure(tensor, value)


def _last_match(nodes, prefix):
    """Return the node of this name, or else the last one whose name starts with it."""
    if prefix is None or prefix in nodes:
        return prefix
    return [name for name in nodes if name.startswith(prefix)][-1]


def _stages(nodes, ends):
    """Return {name: stage} in the order of the graph.

    The stage is the number of the first feature that depends on the node. Nodes that no feature
    depends on are left out.
    """
    needed = {}
    for stage, end in enumerate(ends, start=1):
        waiting = [] if end is None else [end]
        while waiting:
            name = waiting.pop()
            if name != IMAGE and name not in needed:
                needed[name] = stage
                waiting += nodes[name].sources
    return {name: needed[name] for name in nodes if name in needed}


def _is_skipped(node, consumer, output_stride):
    """Whether the copy leaves a node out and passes its input on."""
    if isinstance(node.operation, PREPROCESSING):
        return True
    # Explicit padding belongs to a strided layer; the copy of that layer pads by itself ("same").
    is_padding = isinstance(node.operation, layers.ZeroPadding2D)
    return is_padding and _keeps_stride(consumer, output_stride)


def _copy_config(node, nodes, output_stride):
    """Return the config of a node's copy."""
    config = node.operation.get_config()
    if isinstance(node.operation, layers.BatchNormalization):
        # published networks have 0.99 to 0.999, for many more steps than fine-tuning has
        config["momentum"] = 0.9
    if _keeps_stride(node, output_stride):
        config["strides"] = 1
        if "dilation_rate" in config and _window(node) > 1:
            config["dilation_rate"] = max(1, node.input_stride // output_stride)
        config["padding"] = "same"
    elif _loses_border(node) and not _is_padding(nodes.get(node.sources[0])):
        config["padding"] = "same"  # Xception: features at stride s must have H / s rows
    return config


def _copy_class(operation):
    return BatchNorm if type(operation) is layers.BatchNormalization else type(operation)


def _keeps_stride(node, output_stride):
    """Whether the copy of a node must keep the stride of its input.

    True for a node whose stride would exceed the output stride, and for a node with a window behind
    such a node.
    """
    stride = _largest(node, "strides")
    exceeds = stride > 1 and node.input_stride * stride > output_stride
    is_behind = node.input_stride > output_stride and _window(node) > 1
    return exceeds or is_behind


def _is_padding(node):
    return node is not None and isinstance(node.operation, layers.ZeroPadding2D)


def _loses_border(node):
    padding = getattr(node.operation, "padding", None)
    return padding == "valid" and _window(node) > max(1, _largest(node, "strides"))


def _window(node):
    return max(_largest(node, "kernel_size"), _largest(node, "pool_size"))


def _largest(node, attribute):
    """Return the largest entry of an attribute such as `strides`; 1 for layers without it."""
    value = getattr(node.operation, attribute, 1)
    return max(value) if isinstance(value, list | tuple) else value
