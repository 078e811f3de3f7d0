"""Multiply-adds of layers, computed from their shapes."""

from math import prod

from keras import layers

from tfseg.models.decoders import PoolToBins, ResizeLike
from tfseg.models.trace import trace_layer

# Layers where each output value is one sum over the kernel's other axes ...
_BY_OUTPUT = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.Dense,
)
# ... and where each input value is multiplied by the kernel's other axes.
_BY_INPUT = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)


def multiply_adds(call) -> int:
    """Return the multiply-adds of one traced call.

    Convolutions, dense layers, matrix products and attention count. Normalization, activations,
    pooling, resizing and sums count as 0.

    Args:
        call: `trace.Call`.
    """
    operation = call.operation
    inputs, outputs = call.shapes()
    if isinstance(operation, PoolToBins | ResizeLike):
        return 0
    if isinstance(operation, _BY_INPUT):
        return prod(inputs[0][:-1]) * prod(operation.kernel.shape)
    if isinstance(operation, layers.SeparableConv2D):
        per_position = prod(operation.depthwise_kernel.shape) + prod(
            operation.pointwise_kernel.shape
        )
        return prod(outputs[0][:-1]) * per_position
    if isinstance(operation, _BY_OUTPUT):
        return prod(outputs[0][:-1]) * prod(operation.kernel.shape)
    if isinstance(operation, layers.EinsumDense):
        return _einsum(operation.equation, [inputs[0], tuple(operation.kernel.shape)])
    kind = type(operation).__name__
    if kind == "Einsum":
        return _einsum(operation.subscripts, inputs)
    if kind == "Matmul":
        return prod(outputs[0]) * inputs[0][-1]
    if kind == "DotProductAttention":  # query, key, value: (B, T, N, H)
        return 2 * prod(inputs[0]) * inputs[1][1]
    traced = trace_layer(call)
    return sum(map(multiply_adds, traced.calls)) if traced else 0


def _einsum(equation, shapes):
    """Return the product of the sizes of all letters.

    "ij,jk->ik" with shapes (2, 3) and (3, 5): i = 2, j = 3, k = 5, so 30. The axes behind "..."
    count once, by the operand where they are largest.
    """
    sizes, ellipsis = {}, 1
    operands = equation.replace(" ", "").split("->")[0].split(",")
    for letters, shape in zip(operands, shapes, strict=True):
        before, found, after = letters.partition("...")
        if found:
            # "b...c" with shape (2, 5, 7, 3): before is "b", after is "c", between are 5 and 7
            end = len(shape) - len(after)
            ellipsis = max(ellipsis, prod(shape[len(before) : end]))
            shape = (*shape[: len(before)], *shape[end:])
        sizes.update(zip(before + after, shape, strict=True))
    return ellipsis * prod(sizes.values())
