"""The calls that a model makes at a given image size, found without computing anything."""

from typing import NamedTuple

import keras


class Call(NamedTuple):
    """One call of a layer or operation.

    Attributes:
        operation: keras.Layer or keras.Operation.
        inputs: list of KerasTensor, and constants if there are any.
        outputs: list of KerasTensor.
    """

    operation: object
    inputs: list
    outputs: list

    def shapes(self):
        """Return the shapes of inputs and outputs, two lists of tuples."""
        return [tuple(x.shape) for x in self.inputs], [tuple(x.shape) for x in self.outputs]


class _Probe(keras.Operation):
    """Stands in the place of a layer and notes with what it is called; the layer itself gets no new node."""

    def __init__(self, operation, calls):
        super().__init__(name=operation.name)
        self.operation, self.calls = operation, calls

    def call(self, *args, **kwargs):
        raise NotImplementedError("a probe is called with symbolic tensors only")

    def compute_output_spec(self, *args, **kwargs):
        if isinstance(self.operation, keras.layers.EinsumDense):
            outputs = _einsum_dense(self.operation, *args)
        else:
            outputs = self.operation.compute_output_spec(*args, **kwargs)
        tensors = [
            [x for x in keras.tree.flatten(values) if hasattr(x, "shape")]
            for values in ((args, kwargs), outputs)
        ]
        self.calls.append(Call(self.operation, *tensors))
        return outputs


def _einsum_dense(layer, x):
    # By itself it tells the shape for which it was built, where all sizes may have been unknown.
    kernel = keras.KerasTensor(layer.kernel.shape, x.dtype)
    return keras.KerasTensor(keras.ops.einsum(layer.equation, x, kernel).shape, layer.compute_dtype)


def trace(model, shapes):
    """Trace a functional model.

    Args:
        model: functional keras.Model.
        shapes: list of shapes with the batch, one an input.

    Returns:
        (calls, inputs, outputs): list of Call in the order of computation, and two lists of KerasTensor.
    """
    calls = []
    inputs = [
        keras.Input(batch_shape=shape, dtype=x.dtype, name=x.name)
        for shape, x in zip(shapes, model.inputs, strict=True)
    ]
    plain = keras.Model(
        list(model.inputs), list(model.outputs)
    )  # without loss and optimizer, which would be copied
    clone = keras.models.clone_model(
        plain, inputs, clone_function=lambda operation: _Probe(operation, calls)
    )
    return calls, inputs, list(clone.outputs)


def inside(call):
    """Trace what a layer does within one call.

    Returns:
        (calls, inputs, outputs) as `trace`, or None for what cannot be looked into.
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
    except Exception:  # whatever a layer may raise that wants real numbers
        return None
    return trace(model, shapes)
