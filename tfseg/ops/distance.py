"""Exact Euclidean distance transforms, in the graph."""

from keras import ops

# Offsets looked at in one turn of a loop, which XLA makes one pass over the pixels of.
_STRIDE = 8


def squared_distance(mask, axes, spacing=None):
    """Squared distance from every pixel's middle to that of the nearest True pixel.

    Exact, by one pass an axis (Saito and Toriwaki 1994): the first in steps of powers of two, each further one as
    the lower envelope over offsets 0, 1, 2 ... that stops as soon as no larger offset can matter. So the time grows
    with the distance of the farthest pixel.

    Args:
        mask: bool, any shape.
        axes: the axes of space; all others are a batch.
        spacing: the pixel's size along each of the axes; 1 by default.

    Returns:
        float32 of the mask's shape, in squared units of `spacing`; infinite where there is no True pixel. Without
        `spacing` the whole number itself, rounded to float32, for sides of up to 4096 pixels.
    """
    sizes = [1.0] * len(axes) if spacing is None else [float(size) for size in spacing]
    missing = ops.logical_not(ops.any(mask, axis=tuple(axes), keepdims=True))
    # An image without a True pixel would keep the loops running to their end for nothing.
    result = ops.where(ops.logical_or(mask, missing), 0.0, float("inf"))
    result = ops.square(_along_first(result, axes[0]) * sizes[0])
    for axis, size in zip(axes[1:], sizes[1:], strict=True):
        result = _along_next(result, axis, size)
    return ops.where(missing, float("inf"), result)


def _along_first(distance, axis):
    """Distance in pixels to the nearest 0 along one axis, where others are infinite."""
    distance = ops.moveaxis(distance, axis, 0)
    length = ops.shape(distance)[0]

    def double(step, best):
        shifted = _shifter(best, length)
        return 2 * step, ops.minimum(
            best, ops.minimum(shifted(step), shifted(-step)) + ops.cast(step, "float32")
        )

    start = (ops.convert_to_tensor(1, "int32"), distance)
    return ops.moveaxis(ops.while_loop(lambda step, _: step < length, double, start)[1], 0, axis)


def _along_next(squared, axis, size):
    """Lower envelope of squared + (offset * size)**2 along an axis."""
    squared = ops.moveaxis(squared, axis, 0)
    length = ops.shape(squared)[0]
    shifted = _shifter(squared, length + _STRIDE)

    def matters(offset, best):
        return (offset < length) & (ops.square(ops.cast(offset, "float32") * size) < ops.max(best))

    def widen(offset, best):
        for by in range(_STRIDE):
            nearest = ops.minimum(shifted(offset + by), shifted(-offset - by))
            best = ops.minimum(best, nearest + ops.square(ops.cast(offset + by, "float32") * size))
        return offset + _STRIDE, best

    start = (ops.convert_to_tensor(1, "int32"), squared)
    return ops.moveaxis(ops.while_loop(matters, widen, start)[1], 0, axis)


def _shifter(x, reach):
    """Function of an offset within `reach`: `x` moved along axis 0 (no copy, there), infinite where nothing was."""
    shape = ops.shape(x)
    padded = ops.pad(
        x, [[reach, reach]] + [[0, 0]] * (len(shape) - 1), constant_values=float("inf")
    )
    return lambda offset: ops.slice(padded, [reach + offset] + [0] * (len(shape) - 1), shape)
