"""How far an output pixel sees: the receptive field, followed along one axis of the image."""

from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from tfseg.models.blocks import CropToImage, PadToStride
from tfseg.models.decoders import PixelShuffle, PoolToBins, ResizeLike, Upsample
from tfseg.models.trace import inside

FAR = 1 << 40
_POOLS = (layers.MaxPooling2D, layers.AveragePooling2D)
_GLOBAL = (
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
    PoolToBins,
    layers.MultiHeadAttention,
)
_SAME_PLACE = (
    CropToImage,
    PadToStride,
)  # the image's size is chosen so that they neither cut nor pad


class Reach(NamedTuple):
    """What each position of a map sees of the image.

    Attributes:
        first, last: (n,) int64, the first and last image pixel that reaches it through windows; None if there is no
            such way.
        whole: whether the whole image reaches it by pooling, attention or group normalization.
    """

    first: np.ndarray | None
    last: np.ndarray | None
    whole: bool = False


EVERYTHING = Reach(None, None, True)
NOTHING = Reach(None, None, False)


def follow(calls, inputs, outputs, reaches):
    """Follow reaches through the calls of `trace`.

    Args:
        calls, inputs, outputs: of `trace`.
        reaches: list of Reach, one an input.

    Returns:
        (list of Reach, one an output; greatest stride of a map that is seen through windows).
    """
    known = {id(x): reach for x, reach in zip(inputs, reaches, strict=True)}
    size, coarsest = max((len(r.first) for r in reaches if r.first is not None), default=1), 1
    for call in calls:
        result = _through(call, [known.get(id(x), NOTHING) for x in call.inputs])
        known.update((id(x), result) for x in call.outputs)
        if result.first is not None and len(result.first):
            coarsest = max(coarsest, size // len(result.first))
    return [known[id(x)] for x in outputs], coarsest


def _through(call, reaches):
    operation, (inputs, outputs) = call.operation, call.shapes()
    if not reaches or isinstance(operation, _GLOBAL):
        return EVERYTHING
    if isinstance(operation, _SAME_PLACE):
        return reaches[0]
    if isinstance(operation, ResizeLike):
        x, like = reaches
        return (
            _moved(x, _bilinear, len(like.first))
            if x.first is not None and like.first is not None
            else EVERYTHING
        )
    if moved := _windowed(operation):
        return _moved(reaches[0], *moved)
    ours = isinstance(operation, keras.Model) or type(operation).__module__.startswith("tfseg.")
    if ours and (within := inside(call)):
        return follow(*within, reaches)[0][0]
    joined = _joined(reaches, inputs, outputs[0])
    return (
        joined._replace(whole=True) if isinstance(operation, layers.GroupNormalization) else joined
    )


def _windowed(operation):
    """Return the function of positions, and its arguments, for a layer with windows; None for others."""
    if isinstance(operation, layers.Conv2DTranspose):
        return _spread, operation.kernel_size[0], operation.strides[0], operation.padding
    if isinstance(operation, layers.Conv2D | layers.DepthwiseConv2D | layers.SeparableConv2D):
        return (
            _window,
            operation.kernel_size[0],
            operation.strides[0],
            operation.padding,
            operation.dilation_rate[0],
        )
    if isinstance(operation, _POOLS):
        return _window, operation.pool_size[0], operation.strides[0], operation.padding
    if isinstance(operation, layers.ZeroPadding2D):
        return _padded, operation.padding[0]
    if isinstance(operation, layers.Cropping2D):
        return _cropped, operation.cropping[0]
    if isinstance(operation, Upsample):
        return _doubled, operation.factor
    if isinstance(operation, PixelShuffle):
        return _repeated, operation.factor
    if isinstance(operation, layers.UpSampling2D):
        return (_repeated if operation.interpolation == "nearest" else _doubled), operation.size[0]
    return None


def _moved(reach, function, *options):
    if reach.first is None:
        return reach
    last = -function(
        -reach.last, *options
    )  # the greatest is the negative of the least of negatives
    return Reach(function(reach.first, *options), last, reach.whole)


def _joined(reaches, inputs, output):
    """Reach through an operation that works place by place; one that changes the map's size may do anything."""
    whole = any(reach.whole for reach in reaches)
    windows = [
        r
        for r, s in zip(reaches, inputs, strict=True)
        if r.first is not None and s[1:3] == output[1:3]
    ]
    if len(output) != 4 or not windows:
        return EVERYTHING
    first = np.min([reach.first for reach in windows], axis=0)
    return Reach(first, np.max([reach.last for reach in windows], axis=0), whole)


# Each of these takes `least` (n,), the least pixel seen by each position, and gives it behind a layer.


def _window(least, kernel, stride, padding, dilation=1):
    n, span = len(least), (kernel - 1) * dilation + 1
    if padding == "same":
        count = -(-n // stride)
        before = max((count - 1) * stride + span - n, 0) // 2
    else:
        count, before = (n - span) // stride + 1, 0
    padded = np.concatenate([np.full(before, FAR), least, np.full(span + stride, FAR)])
    taps = [padded[tap * dilation :][: count * stride : stride][:count] for tap in range(kernel)]
    return np.min(taps, axis=0)


def _spread(least, kernel, stride, padding):
    n = len(least)
    full = np.full(n * stride + max(kernel - stride, 0), FAR)
    for tap in range(kernel):
        places = full[tap:][: n * stride : stride]
        places[:] = np.minimum(places, least)
    before = max(kernel - stride, 0) // 2
    return full[before:][: n * stride] if padding == "same" else full


def _padded(least, sides):
    return np.pad(least, sides, constant_values=FAR)


def _cropped(least, sides):
    return least[sides[0] : len(least) - sides[1]]


def _repeated(least, factor):
    return np.repeat(least, factor)


def _doubled(least, factor):
    return _bilinear(least, factor * len(least))


def _bilinear(least, count):
    source = (np.arange(count) + 0.5) * len(least) / count - 0.5
    below, above = (np.clip(f(source).astype(int), 0, len(least) - 1) for f in (np.floor, np.ceil))
    return np.minimum(least[below], least[above])
