"""Exact Euclidean distance transforms inside compiled functions."""

from keras import ops

# Offsets per loop iteration; XLA fuses them into one pass over the pixels.
_STRIDE = 8
# Larger than any distance, and finite when squared: `tf.debugging.enable_check_numerics` reports
# infinite values, also those that are replaced later.
_FAR = 1e18


def squared_distance(mask, axes, spacing=None, empty: float = float("inf")):
    """Return the squared distance from every pixel center to the nearest True pixel.

    Exact, with one pass per axis (Saito and Toriwaki 1994): the first in steps of powers of two,
    each of the others as the lower envelope over offsets 0, 1, 2, ..., up to the first that cannot
    matter any more. The time grows with the largest distance.

    Args:
        mask: bool, any shape.
        axes: the spatial axes; all others are batch axes.
        spacing: pixel size along each of the axes; 1 by default.
        empty: the result where there is no True pixel along the axes.

    Returns:
        float32 of the mask's shape, in squared units of `spacing`. Without `spacing` whole numbers,
        rounded to float32, for sides of up to 4096 pixels.
    """
    sizes = [1.0] * len(axes) if spacing is None else [float(size) for size in spacing]
    missing = ops.logical_not(ops.any(mask, axis=tuple(axes), keepdims=True))
    # An image without a True pixel would keep the loops running to their end for nothing.
    result = ops.where(ops.logical_or(mask, missing), 0.0, _FAR)
    result = ops.square(_along_first(result, axes[0]) * sizes[0])
    for axis, size in zip(axes[1:], sizes[1:], strict=True):
        result = _along_next(result, axis, size)
    return ops.where(missing, empty, result)


def _along_first(distance, axis):
    """Return the distance in pixels to the nearest 0 along one axis; other values are _FAR.

    Example, - for _FAR:        0 - - - - - -
    after looking 1 pixel away: 0 1 - - - - -
    2 pixels:                   0 1 2 3 - - -
    4 pixels:                   0 1 2 3 4 5 6
    """
    distance = ops.moveaxis(distance, axis, 0)
    length = ops.shape(distance)[0]

    def keep_going(step, _):
        return step < length

    def double(step, best):
        shifted = _shifter(best, length)
        nearest = ops.minimum(shifted(step), shifted(-step))
        return 2 * step, ops.minimum(best, nearest + ops.cast(step, "float32"))

    start = (ops.convert_to_tensor(1, "int32"), distance)
    return ops.moveaxis(ops.while_loop(keep_going, double, start)[1], 0, axis)


def _along_next(squared, axis, size):
    """Return the lower envelope of squared + (offset * size)**2 along an axis.

    Example, size 1: in a column with squared distances 9, 0, 9 along the rows, the result is
    min(9, 0 + 1) = 1, 0, 1.
    """
    squared = ops.moveaxis(squared, axis, 0)
    length = ops.shape(squared)[0]
    shifted = _shifter(squared, length + _STRIDE)

    def can_improve(offset, best):
        return (offset < length) & (ops.square(ops.cast(offset, "float32") * size) < ops.max(best))

    def widen(offset, best):
        for by in range(_STRIDE):
            nearest = ops.minimum(shifted(offset + by), shifted(-offset - by))
            best = ops.minimum(best, nearest + ops.square(ops.cast(offset + by, "float32") * size))
        return offset + _STRIDE, best

    start = (ops.convert_to_tensor(1, "int32"), squared)
    return ops.moveaxis(ops.while_loop(can_improve, widen, start)[1], 0, axis)


def _shifter(x, margin):
    """Return a function of an offset: `x` shifted along axis 0, filled with _FAR.

    `x` is padded once by `margin`, the largest offset, so that a shift is a slice and XLA copies
    nothing.
    """
    shape = ops.shape(x)
    rest = len(shape) - 1
    padded = ops.pad(x, [[margin, margin]] + [[0, 0]] * rest, constant_values=_FAR)

    def shifted(offset):
        return ops.slice(padded, [margin + offset] + [0] * rest, shape)

    return shifted
