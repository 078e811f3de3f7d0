"""How many bytes the tensors of a network take at once: in a train step, and in prediction."""

from collections import Counter, defaultdict
from math import prod

import numpy as np
from keras import layers

from tfseg.models.blocks import CropToImage, PadToStride
from tfseg.models.decoders import PixelShuffle, PoolToBins, ResizeLike, Upsample
from tfseg.models.trace import Trace, trace_layer

# What the gradient of a layer needs: the weights' gradients and products need the inputs ...
_NEEDS_INPUTS = (
    *(layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose, layers.SeparableConv2D),
    *(layers.Dense, layers.EinsumDense, layers.BatchNormalization, layers.Multiply),
)
# ... some activations the outputs, maximum pooling both, and sums and copies nothing.
_NEEDS_OUTPUTS = (layers.ReLU, layers.Softmax, layers.Dropout)
_NEEDS_BOTH = (layers.MaxPooling2D,)
_NEEDS_NOTHING = (
    *(layers.Add, layers.Concatenate, layers.Average, layers.Rescaling, layers.Reshape),
    *(layers.ZeroPadding2D, layers.Cropping2D, layers.UpSampling2D, layers.AveragePooling2D),
    *(layers.GlobalAveragePooling2D, PadToStride, CropToImage, Upsample),
    *(ResizeLike, PixelShuffle, PoolToBins),
)
# What prediction computes in the memory of its input, if nothing else takes that.
_IN_PLACE = (
    *(layers.BatchNormalization, layers.ReLU, layers.Activation, layers.Dropout, CropToImage),
)
# Activations whose gradient needs the output alone.
_BY_OUTPUT = ("linear", "relu", "relu6", "sigmoid", "softmax", "tanh")


def tensor_bytes(x) -> int:
    """Return the bytes of a tensor with a known shape."""
    itemsize = 2 if x.dtype == "bfloat16" else np.dtype(x.dtype).itemsize  # unknown to NumPy
    return prod(x.shape) * itemsize


def training_bytes(traced: Trace, loss_bytes: int = 0) -> int:
    """Return the largest number of bytes that the tensors of a train step take at once.

    The forward pass keeps what the gradients need (see `needed_by_gradient`). The backward pass
    goes through the calls in reverse order: the gradients of a layer's inputs and weights are
    added, then the gradients of its outputs and what no earlier layer needs are freed.

    Args:
        traced: `trace` of a model, with the batch size.
        loss_bytes: what the loss keeps and computes on top of it.
    """
    last_use = {}  # of the backward pass: the first call whose gradient needs the tensor
    sizes, inside = {}, []
    for position, call in enumerate(traced.calls):
        tensors, internal = needed_by_gradient(call)
        inside.append(internal)
        for x in tensors:
            sizes[id(x)] = tensor_bytes(x)
            last_use.setdefault(id(x), position)
    freed = defaultdict(int)
    for name, position in last_use.items():
        freed[position] += sizes[name]
    gradients = Counter({id(x): tensor_bytes(x) for x in traced.outputs})
    images = {id(x) for x in traced.inputs}
    kept, of_weights = sum(sizes.values()) + sum(inside), 0
    peak = kept + gradients.total() + loss_bytes
    for position in reversed(range(len(traced.calls))):
        call = traced.calls[position]
        inputs = [x for x in call.inputs if id(x) not in images]
        of_weights += _weight_bytes(call.operation)
        new = 0 if isinstance(call.operation, layers.Add) else sum(map(tensor_bytes, inputs))
        peak = max(peak, kept + gradients.total() + new + of_weights)
        for x in call.outputs:
            gradients.pop(id(x), None)
        for x in inputs:
            gradients[id(x)] += tensor_bytes(x)
        kept -= freed[position] + inside[position]
    return peak


def needed_by_gradient(call) -> tuple[list, int]:
    """Return the tensors that the gradient of a call needs, and bytes of those inside the layer.

    Args:
        call: `trace.Call`.

    Returns:
        (list of KerasTensor, bytes): a layer of several operations, such as attention, keeps the
        results of all of them.
    """
    operation = call.operation
    if isinstance(operation, _NEEDS_NOTHING):
        return [], 0
    if isinstance(operation, _NEEDS_OUTPUTS):
        return call.outputs, 0
    if isinstance(operation, _NEEDS_BOTH):
        return [*call.inputs, *call.outputs], 0
    name = getattr(getattr(operation, "activation", None), "__name__", "linear")
    if isinstance(operation, layers.Activation):
        return (call.outputs if name in _BY_OUTPUT else [*call.inputs, *call.outputs]), 0
    if isinstance(operation, _NEEDS_INPUTS):
        return call.inputs + (call.outputs if name != "linear" else []), 0
    traced = trace_layer(call)
    if traced is None:
        return [*call.inputs, *call.outputs], 0
    return call.inputs, sum(tensor_bytes(x) for part in traced.calls for x in part.outputs)


def prediction_bytes(traced: Trace, loss_bytes: int = 0) -> int:
    """Return the largest number of bytes that the tensors of a prediction take at once.

    A tensor is freed after the last call that takes it. Activations and batch normalization, which
    TensorFlow merges into the convolution, replace their input.

    Args:
        traced: `trace` of a model, with the batch size.
        loss_bytes: what a loss computes in addition to the outputs; 0 without a loss.
    """
    last_use = {id(x): position for position, call in enumerate(traced.calls) for x in call.inputs}
    last_use |= {id(x): len(traced.calls) for x in traced.outputs}
    live = {id(x): tensor_bytes(x) for x in traced.inputs}
    peak = loss_bytes + sum(map(tensor_bytes, traced.outputs))
    for position, call in enumerate(traced.calls):
        done = [id(x) for x in call.inputs if last_use[id(x)] == position]
        if isinstance(call.operation, _IN_PLACE) and done:
            live.pop(done[0], None)
        live |= {id(x): tensor_bytes(x) for x in call.outputs}
        peak = max(peak, sum(live.values()))
        for name in done:
            live.pop(name, None)
    return peak


def _weight_bytes(operation):
    return sum(4 * prod(weight.shape) for weight in getattr(operation, "trainable_weights", []))
