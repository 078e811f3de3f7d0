"""Rebuild a network's layers on another tensor: flat in its graph, under stable names, with another output stride.

A strided convolution or pooling beyond the output stride keeps every position instead (stride 1), and kernels after
it are spread (dilated) by what was not strided, so that each weight still meets the pixels it was trained on
(arXiv:1412.7062). Pooling windows cannot be spread in Keras and stay as they are.
"""

import re
from dataclasses import dataclass

import keras
from keras import layers

from tfseg.models.batch_norm import BatchNorm

IMAGE = "image"
PREPROCESSING = (layers.Rescaling, layers.Normalization)  # ours stands before the padding


class Source(str):
    """In a call's arguments: the output of the node of that name."""


@dataclass
class Node:
    """One call of one layer or operation."""

    name: str
    operation: object
    args: object
    kwargs: object
    grid: int = 1  # the stride of its input in the network as it was

    @property
    def sources(self):
        """Names of the nodes it reads."""
        return [
            leaf
            for leaf in keras.tree.flatten((self.args, self.kwargs))
            if isinstance(leaf, Source)
        ]


def graft(network, image, taps, output_stride=32):
    """Call copies of the layers of `network` on `image`, under the names "encoder<stage>_<name>".

    Args:
        network: functional `keras.Model` of one input, each layer called once.
        image: KerasTensor (B, H, W, C), H and W multiples of `output_stride`.
        taps: see `Encoder`.
        output_stride: 8, 16 or 32.

    Returns:
        (features, pairs): the five features, None where there is no tap; (layer, its copy) of every layer with
        weights, in the order of the graph.
    """
    nodes = {node.name: node for node in read_nodes(network)}
    ends = [tap and _last(nodes, tap) for tap in taps]
    stages = _stages(nodes, ends)
    readers = {source: node for node in nodes.values() for source in node.sources}
    outputs, pairs = {IMAGE: image}, []
    for name, stage in stages.items():
        node = nodes[name]
        config = _adapted(node, nodes, readers.get(name), output_stride)
        if config is None:
            outputs[name] = outputs[node.sources[0]]
            continue
        copy = _kind(node.operation).from_config(config | {"name": f"encoder{stage}_{name}"})
        outputs[name] = copy(*_fill(node.args, outputs), **_fill(node.kwargs, outputs))
        if getattr(node.operation, "weights", None):
            pairs.append((node.operation, copy))
    return [end and outputs[end] for end in ends], pairs


def read_nodes(network):
    """Return the nodes of a functional model in the order of the graph, those of nested `Sequential`s among them.

    A layer that Keras had to name ("conv2d_17", whose number is one of the process) is named after its latest source
    ("block1_conv2_act_conv2d"), so that names are the same in every process.
    """
    operations = {operation.name: operation for operation in network.operations}
    nodes, names = {}, {}
    for entry in network.get_config()["layers"]:
        operation, calls = operations[entry["name"]], entry["inbound_nodes"]
        if not calls:
            names[entry["name"]] = IMAGE
            continue
        args, kwargs = _point(calls[0]["args"], names), _point(calls[0]["kwargs"], names)
        steps = [operation]
        if isinstance(operation, keras.Sequential):
            steps, kwargs = operation.layers, {}
        for step in steps:
            node = Node("", step, args, kwargs)
            node.name = _stable_name(step, [IMAGE, *nodes], node.sources)
            sources = [nodes[source] for source in node.sources if source != IMAGE]
            node.grid = max(
                [source.grid * _size(source, "strides") for source in sources], default=1
            )
            nodes[node.name] = node
            args, kwargs = [Source(node.name)], {}
        names[entry["name"]] = node.name
    return list(nodes.values())


def _stable_name(operation, order, sources):
    kind = type(operation).__name__.lower()
    unnamed = re.sub(r"_\d+$", "", operation.name).replace("_", "") == kind
    return f"{max(sources, key=order.index)}_{kind}" if unnamed else operation.name


def _point(value, names):
    """Replace the tensors of serialized arguments by the `Source`s they come from."""
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            return Source(names[value["config"]["keras_history"][0]])
        return {key: _point(item, names) for key, item in value.items()}
    return [_point(item, names) for item in value] if isinstance(value, list | tuple) else value


def _fill(value, outputs):
    return keras.tree.map_structure(
        lambda leaf: outputs[leaf] if isinstance(leaf, Source) else leaf, value
    )


def _last(nodes, beginning):
    if beginning in nodes:
        return beginning
    return [name for name in nodes if name.startswith(beginning)][-1]


def _stages(nodes, ends):
    """{name: number of the first tap that needs it}, in the order of the graph; nodes that none needs are left out."""
    needed = {}
    for stage, end in enumerate(ends, start=1):
        waiting = [end] if end else []
        while waiting:
            name = waiting.pop()
            if name != IMAGE and name not in needed:
                needed[name] = stage
                waiting += nodes[name].sources
    return {name: needed[name] for name in nodes if name in needed}


def _adapted(node, nodes, reader, output_stride):
    """The config of a node's copy; None where its input is to be passed on."""
    operation = node.operation
    if isinstance(operation, PREPROCESSING):
        return None
    if isinstance(operation, layers.ZeroPadding2D) and _is_held(reader, output_stride):
        return None  # what reads it pads by itself
    config = operation.get_config()
    if isinstance(operation, layers.BatchNormalization):
        config["momentum"] = (
            0.9  # of 0.99 to 0.999, for trainings of many more steps than a fine-tuning has
        )
    if _is_held(node, output_stride):
        config["strides"] = 1
        if "dilation_rate" in config and _window(node) > 1:
            config["dilation_rate"] = max(1, node.grid // output_stride)
        config["padding"] = "same"
    elif _shrinks(node) and not _is_padded(nodes.get(node.sources[0])):
        config["padding"] = "same"  # Xception: a feature of stride s is to be H / s high
    return config


def _kind(operation):
    return BatchNorm if type(operation) is layers.BatchNormalization else type(operation)


def _is_held(node, output_stride):
    """Whether a node would stride beyond the output stride, or has a window and comes after one that would."""
    stride = _size(node, "strides")
    return (stride > 1 and node.grid * stride > output_stride) or (
        node.grid > output_stride and _window(node) > 1
    )


def _is_padded(source):
    return source is not None and isinstance(source.operation, layers.ZeroPadding2D)


def _shrinks(node):
    padding = getattr(node.operation, "padding", None)
    return padding == "valid" and _window(node) > max(1, _size(node, "strides"))


def _window(node):
    return max(_size(node, "kernel_size"), _size(node, "pool_size"))


def _size(node, attribute):
    value = getattr(node.operation, attribute, 1)
    return max(value) if isinstance(value, list | tuple) else value
