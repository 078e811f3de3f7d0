"""How the layers of a functional model are connected.

Keras has no public names for this, so its private attributes are read only here.
"""

from collections.abc import Callable

import keras
from keras import layers

from tfseg.models.blocks import CropToImage

OUTPUT_ACTIVATIONS = ("softmax", "sigmoid")
# layers behind which an output has the values of before, or mixtures of them
KEEP_VALUES = (CropToImage, layers.Resizing, layers.UpSampling2D, layers.Cropping2D, layers.Reshape)


def is_used_once(layer) -> bool:
    """Whether a layer is called at a single place."""
    return len(layer._inbound_nodes) == 1


def consumers(layer) -> list:
    """Return the layers that take the output of `layer`."""
    return [node.operation for node in layer._outbound_nodes]


def input_tensors(layer) -> list:
    """Return the tensors that a layer takes where it is called first."""
    return layer._inbound_nodes[0].input_tensors


def producer(tensor):
    """Return the layer whose output a symbolic tensor is."""
    return tensor._keras_history.operation


def is_graph(model) -> bool:
    """Whether a model is functional or Sequential, so that its layers and tensors are known."""
    return _graph(model) is not None


def all_layers(model) -> list:
    """Return the layers of a model, with those of the models inside it in place of these."""
    found = []
    for layer in model.layers:
        found.extend(all_layers(layer) if isinstance(layer, keras.Model) else [layer])
    return found


def first_operation(model):
    """Return the layer or operation that takes the image of a model, also inside another model."""
    graph = _graph(model)
    steps = model.layers if graph is None else graph.operations
    first = next((step for step in steps if not isinstance(step, layers.InputLayer)), None)
    return first_operation(first) if isinstance(first, keras.Model) else first


def run_graph(model, image, call_layer: Callable):
    """Compute a functional or Sequential model from other layers or with other arguments.

    Args:
        model: a model of one input, see `is_graph`.
        image: tensor, or KerasTensor to build another model.
        call_layer: function of a layer (or another operation) -> function to call in its place.

    Returns:
        the output, or the list of outputs.
    """
    return _graph(model)._run_through_graph([image], operation_fn=call_layer)


def output_activation(model) -> str | None:
    """Return "softmax" or "sigmoid" if a model ends in it, or None if its output can be logits.

    Layers that only crop, resize or reshape are looked through, and models inside the model are
    looked into. The last layers of a subclass of `keras.Model` are unknown: None.

    Args:
        model: keras.Model; of several outputs the first counts.

    Example:
        >>> import keras, tfseg
        >>> model = tfseg.models.tiny_unet(2)
        >>> tfseg.models.output_activation(model) is None
        True
        >>> probabilities = keras.layers.Softmax()(model.output)
        >>> tfseg.models.output_activation(keras.Model(model.input, probabilities))
        'softmax'
    """
    graph = _graph(model)
    return None if graph is None else _activation_of(graph.outputs[0])


def _activation_of(tensor):
    operation = producer(tensor)
    if isinstance(operation, keras.Model):
        return output_activation(operation)
    # both the layers and the operations of `keras.ops` have these names
    name = type(operation).__name__.lower()
    if name in OUTPUT_ACTIVATIONS:
        return name
    activation = getattr(operation, "activation", None)
    name = getattr(activation, "__name__", None)
    if name in OUTPUT_ACTIVATIONS:
        return name
    is_linear = isinstance(operation, layers.Activation) and name == "linear"
    if is_linear or isinstance(operation, KEEP_VALUES):
        return _activation_of(input_tensors(operation)[0])
    return None


def _graph(model):
    """Return the functional model behind a model, or None for a subclass without one."""
    if isinstance(model, keras.Sequential):
        return model._functional
    return model if hasattr(model, "_run_through_graph") else None
