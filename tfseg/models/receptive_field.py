"""The receptive field: which pixels of the image each position of a feature map depends on.

Extents are propagated along one axis, the image's rows. Only the first and the last pixel of a
position are kept, since windows have no holes that matter for the size of the receptive field.
"""

from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from tfseg.models.blocks import CropToImage, PadToStride
from tfseg.models.decoders import PixelShuffle, PoolToBins, ResizeLike, Upsample
from tfseg.models.trace import trace_layer

PADDING = 1 << 40  # the "first pixel" of zero padding: larger than any real pixel, so it loses
_POOLS = (layers.MaxPooling2D, layers.AveragePooling2D)
_GLOBAL = (
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
    PoolToBins,
    layers.MultiHeadAttention,
)
# These do nothing here: the traced image size is a multiple of every stride.
_IDENTITY = (CropToImage, PadToStride)


class Extent(NamedTuple):
    """The pixels that the positions of a map depend on.

    Attributes:
        first: (n,) int64, for each of n positions the first image pixel it depends on through
            windows; None if there is no such path.
        last: (n,) int64, the last one.
        whole: whether the map also depends on the whole image, through global pooling, attention
            or group normalization.
    """

    first: np.ndarray | None
    last: np.ndarray | None
    whole: bool = False


WHOLE_IMAGE = Extent(None, None, True)
CONSTANT = Extent(None, None, False)


def propagate(trace, extents: list) -> tuple[list, int]:
    """Propagate extents through the calls of a model.

    Args:
        trace: `trace.Trace` of the model.
        extents: one Extent per input.

    Returns:
        (one Extent per output, largest stride of a map that depends on the image through windows).
    """
    known = {id(x): extent for x, extent in zip(trace.inputs, extents, strict=True)}
    size = max((len(e.first) for e in extents if e.first is not None), default=1)
    output_stride = 1
    for call in trace.calls:
        result = _propagate_call(call, [known.get(id(x), CONSTANT) for x in call.inputs])
        known.update((id(x), result) for x in call.outputs)
        if result.first is not None and len(result.first):
            output_stride = max(output_stride, size // len(result.first))
    return [known[id(x)] for x in trace.outputs], output_stride


def _propagate_call(call, extents):
    operation = call.operation
    if not extents or isinstance(operation, _GLOBAL):
        return WHOLE_IMAGE
    if isinstance(operation, _IDENTITY):
        return extents[0]
    if isinstance(operation, ResizeLike):
        x, like = extents
        if x.first is None or like.first is None:
            return WHOLE_IMAGE
        return _transform(x, _resize_bilinear, len(like.first))
    if window := _window_function(operation):
        function, *options = window
        return _transform(extents[0], function, *options)
    if isinstance(operation, keras.Model) or type(operation).__module__.startswith("tfseg."):
        inner = trace_layer(call)
        if inner:
            return propagate(inner, extents)[0][0]
    inputs, outputs = call.shapes()
    joined = _join(extents, inputs, outputs[0])
    if isinstance(operation, layers.GroupNormalization):
        return joined._replace(whole=True)
    return joined


def _window_function(operation):
    """Return a function of `first` and its options for layers with windows; None for others."""
    if isinstance(operation, layers.Conv2DTranspose):
        return (
            _transposed_convolution,
            operation.kernel_size[0],
            operation.strides[0],
            operation.padding,
        )
    if isinstance(operation, layers.Conv2D | layers.DepthwiseConv2D | layers.SeparableConv2D):
        return (
            _convolution,
            operation.kernel_size[0],
            operation.strides[0],
            operation.padding,
            operation.dilation_rate[0],
        )
    if isinstance(operation, _POOLS):
        return _convolution, operation.pool_size[0], operation.strides[0], operation.padding
    if isinstance(operation, layers.ZeroPadding2D):
        return _pad, operation.padding[0]
    if isinstance(operation, layers.Cropping2D):
        return _crop, operation.cropping[0]
    if isinstance(operation, Upsample):
        return _upsample_bilinear, operation.factor
    if isinstance(operation, PixelShuffle):
        return _upsample_nearest, operation.factor
    if isinstance(operation, layers.UpSampling2D):
        nearest = operation.interpolation == "nearest"
        return (_upsample_nearest if nearest else _upsample_bilinear), operation.size[0]
    return None


def _transform(extent, function, *options):
    """Apply a function of `first` to both ends of an extent.

    The functions below compute minima. Maxima follow by negation: max(3, 7) = -min(-3, -7).
    """
    if extent.first is None:
        return extent
    first = function(extent.first, *options)
    last = -function(-extent.last, *options)
    return Extent(first, last, extent.whole)


def _join(extents, inputs, output):
    """Return the extent behind an operation on several inputs, such as a sum or concatenation.

    Inputs of the output's height and width are combined position by position. Any other operation,
    such as a reshape, can mix all positions: it depends on the whole image.
    """
    windows = [
        extent
        for extent, shape in zip(extents, inputs, strict=True)
        if extent.first is not None and shape[1:3] == output[1:3]
    ]
    if len(output) != 4 or not windows:
        return WHOLE_IMAGE
    first = np.min([extent.first for extent in windows], axis=0)
    last = np.max([extent.last for extent in windows], axis=0)
    return Extent(first, last, any(extent.whole for extent in extents))


# Each function below takes `first`, (n,) int64, and returns it for the output of a layer. The
# examples use the positions of the image itself, [0, 1, 2, ...].


def _convolution(first, kernel, stride, padding, dilation=1):
    """Minimum over the window of a convolution or pooling.

    Kernel 3, stride 2, padding "same" on [0, 1, 2, 3, 4]: three windows, one padded pixel (p) on
    the left. The kernel's elements read [p, 1, 3], [0, 2, 4] and [1, 3, p]; the minima are
    [0, 1, 3].
    """
    size = len(first)
    span = (kernel - 1) * dilation + 1
    if padding == "same":
        count = -(-size // stride)  # ceil(size / stride)
        before = max((count - 1) * stride + span - size, 0) // 2
    else:
        count = (size - span) // stride + 1
        before = 0
    padded = np.concatenate([np.full(before, PADDING), first, np.full(span + stride, PADDING)])
    starts = [element * dilation for element in range(kernel)]
    reads = [padded[start : start + count * stride : stride] for start in starts]
    return np.min(reads, axis=0)


def _transposed_convolution(first, kernel, stride, padding):
    """Minimum over the input positions that write to each output position.

    Kernel 3, stride 2 on [0, 1, 2]: position i writes to outputs 2 i, 2 i + 1 and 2 i + 2, so the
    seven outputs have the minima [0, 0, 0, 1, 1, 2, 2]; "same" keeps the first six.
    """
    size = len(first)
    overlap = max(kernel - stride, 0)
    full = np.full(size * stride + overlap, PADDING)
    for element in range(kernel):
        written = slice(element, element + size * stride, stride)
        full[written] = np.minimum(full[written], first)
    if padding == "same":
        before = overlap // 2
        return full[before : before + size * stride]
    return full


def _pad(first, sides):
    return np.pad(first, sides, constant_values=PADDING)


def _crop(first, sides):
    return first[sides[0] : len(first) - sides[1]]


def _upsample_nearest(first, factor):
    return np.repeat(first, factor)


def _upsample_bilinear(first, factor):
    return _resize_bilinear(first, factor * len(first))


def _resize_bilinear(first, size):
    """Minimum over the two positions between which each output position is interpolated.

    [0, 1] to size 4: output centers are at -0.25, 0.25, 0.75 and 1.25 of the input; they read the
    positions (0, 0), (0, 1), (0, 1) and (1, 1), clipped at the border. The minima are [0, 0, 0, 1].
    """
    center = (np.arange(size) + 0.5) * len(first) / size - 0.5
    below = np.clip(np.floor(center).astype(int), 0, len(first) - 1)
    above = np.clip(np.ceil(center).astype(int), 0, len(first) - 1)
    return np.minimum(first[below], first[above])
