"""The calls a model makes at a given image size, found without computing anything."""

from typing import NamedTuple

import keras


class Call(NamedTuple):
    """One call of a layer or operation.

    Attributes:
        operation: keras.Layer or keras.Operation.
        inputs: list of KerasTensor, and of constants if there are any.
        outputs: list of KerasTensor.
    """

    operation: keras.Operation
    inputs: list
    outputs: list

    def shapes(self) -> tuple[list, list]:
        """Return the shapes of inputs and outputs as two lists of tuples."""
        return [tuple(x.shape) for x in self.inputs], [tuple(x.shape) for x in self.outputs]


class Trace(NamedTuple):
    """The calls of a model in the order of computation.

    Attributes:
        calls: list of Call.
        inputs: list of KerasTensor.
        outputs: list of KerasTensor.
    """

    calls: list
    inputs: list
    outputs: list


class RecordingOp(keras.Operation):
    """Replaces a layer in a clone of the model and records the layer's calls.

    The layer itself is only asked for shapes, so it gets no new node.
    """

    def __init__(self, operation, calls):
        super().__init__(name=operation.name)
        self.operation, self.calls = operation, calls

    def call(self, *args, **kwargs):
        """Raise: there is nothing to compute."""
        raise NotImplementedError("RecordingOp works on symbolic tensors only")

    def compute_output_spec(self, *args, **kwargs):
        """Record the call and return the layer's symbolic outputs."""
        if isinstance(self.operation, keras.layers.EinsumDense):
            outputs = _einsum_dense(self.operation, *args)
        else:
            outputs = self.operation.compute_output_spec(*args, **kwargs)
        self.calls.append(Call(self.operation, _tensors((args, kwargs)), _tensors(outputs)))
        return outputs


def _tensors(structure):
    return [x for x in keras.tree.flatten(structure) if hasattr(x, "shape")]


def _einsum_dense(layer, x):
    # `EinsumDense.compute_output_spec` returns the shape the layer was built with, where sizes may
    # have been unknown.
    kernel = keras.KerasTensor(layer.kernel.shape, x.dtype)
    return keras.KerasTensor(keras.ops.einsum(layer.equation, x, kernel).shape, layer.compute_dtype)


def trace(model: keras.Model, shapes: list) -> Trace:
    """Trace a functional model.

    Args:
        model: functional keras.Model.
        shapes: one shape per input, with the batch size.
    """
    calls = []
    inputs = [
        keras.Input(batch_shape=shape, dtype=x.dtype, name=x.name)
        for shape, x in zip(shapes, model.inputs, strict=True)
    ]
    # a bare copy without loss and optimizer, which `clone_model` would copy too
    bare = keras.Model(list(model.inputs), list(model.outputs))
    clone = keras.models.clone_model(
        bare, inputs, clone_function=lambda operation: RecordingOp(operation, calls)
    )
    return Trace(calls, inputs, list(clone.outputs))


def trace_layer(call: Call) -> Trace | None:
    """Trace the operations inside one call of a layer.

    Returns:
        Trace; None if the operation cannot be traced.
    """
    operation = call.operation
    shapes = [x.shape for x in call.inputs]
    if isinstance(operation, keras.Model):
        return trace(operation, shapes)
    if not isinstance(operation, keras.Layer):
        return None
    inputs = [
        keras.Input(batch_shape=shape, dtype=x.dtype)
        for shape, x in zip(shapes, call.inputs, strict=True)
    ]
    try:
        model = keras.Model(inputs, keras.tree.flatten(operation.call(*inputs)))
    except Exception:  # a layer that needs real numbers can raise anything
        return None
    return trace(model, shapes)
