"""Multiply-adds of layers, from their shapes."""

from math import prod

from keras import layers

from tfseg.models.decoders import PoolToBins, ResizeLike
from tfseg.models.trace import inside

# Layers whose every output value is one sum over the kernel's other axes.
_BY_OUTPUT = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.Dense,
)
_BY_INPUT = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)


def multiply_adds(call):
    """Return the multiply-adds of one call: convolutions, dense layers, matrix products and what attention is made of.

    Normalization, activations, pooling, resizing and sums count as nothing.
    """
    operation, (inputs, outputs) = call.operation, call.shapes()
    if isinstance(operation, PoolToBins | ResizeLike):
        return 0
    if isinstance(operation, _BY_INPUT):
        return prod(inputs[0][:-1]) * prod(operation.kernel.shape)
    if isinstance(operation, layers.SeparableConv2D):
        kernels = (operation.depthwise_kernel, operation.pointwise_kernel)
        return prod(outputs[0][:-1]) * sum(prod(kernel.shape) for kernel in kernels)
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
    within = inside(call)
    return sum(map(multiply_adds, within[0])) if within else 0


def _einsum(equation, shapes):
    """The product of the sizes of all letters."""
    sizes, dots = {}, 1
    for letters, shape in zip(
        equation.replace(" ", "").split("->")[0].split(","), shapes, strict=True
    ):
        before, found, after = letters.partition("...")
        if found:
            dots = max(dots, prod(shape[len(before) : len(shape) - len(after)]))
            shape = (*shape[: len(before)], *shape[len(shape) - len(after) :])
        sizes.update(zip(before + after, shape, strict=True))
    return dots * prod(sizes.values())
