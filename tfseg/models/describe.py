"""What a model costs and how far it sees."""

from dataclasses import dataclass
from math import prod

import numpy as np

from tfseg import checks
from tfseg.models.arithmetic import multiply_adds
from tfseg.models.receptive_field import Reach, follow
from tfseg.models.trace import trace


@dataclass(frozen=True)
class Description:
    """Figures of a model.

    Attributes:
        name: of the model.
        size: (H, W) of the images.
        batch_size: number of images in `activation_bytes`.
        trainable: number of parameters that training changes.
        frozen: number of other parameters, such as the means of batch normalization.
        gflops: 1e9 operations for one image forward, two a multiply-add, see `arithmetic.multiply_adds`.
        activation_bytes: outputs of all layers for the whole batch, which training keeps for the way back; prediction
            needs the few largest of them.
        receptive_field: side of the square of the image, in pixels, that one output pixel sees through convolutions,
            poolings and resizing; None if there is no such way.
        whole_image: whether it sees the whole image besides, by global pooling, attention or group normalization.
        output_stride: pixels of the image a pixel of the coarsest map.
    """

    name: str
    size: tuple
    batch_size: int
    trainable: int
    frozen: int
    gflops: float
    activation_bytes: int
    receptive_field: int | None
    whole_image: bool
    output_stride: int

    def __repr__(self):
        height, width = self.size
        rows = [
            ("parameters", f"{self.trainable + self.frozen:,}"),
            ("  trainable", f"{self.trainable:,}"),
            ("GFLOPs an image", f"{self.gflops:.3g}"),
            (
                "activations",
                f"{self.activation_bytes / 2**20:,.1f} MiB at batch size {self.batch_size}",
            ),
            ("receptive field", self._sight()),
            ("output stride", str(self.output_stride)),
        ]
        lines = [
            f"{self.name} at {height} x {width}",
            *(f"  {label:17}{value}" for label, value in rows),
        ]
        return "\n".join(lines)

    def _sight(self):
        window = "" if self.receptive_field is None else f"{self.receptive_field:,} pixels"
        whole = "the whole image" if self.whole_image else ""
        return " and ".join(filter(None, (window, whole)))


def describe(model, size=(512, 512), batch_size=1):
    """Describe a functional model of one image input.

    Args:
        model: keras.Model of `tfseg.models`, or any functional model that takes (B, H, W, C).
        size: (H, W) of the images.
        batch_size: images in a batch, for the memory.

    Returns:
        Description. Its `repr` is a table.

    Raises:
        ValueError: the model is not functional, has several inputs, or does not take images of this size.
    """
    height, width = (checks.positive_int("describe", "size", side) for side in size)
    checks.positive_int("describe", "batch_size", batch_size)
    _check(model, (height, width))
    calls, *_ = trace(model, [(1, height, width, model.input_shape[-1])])
    trainable = sum(prod(weight.shape) for weight in model.trainable_weights)
    receptive_field, whole_image, stride = _sight(model)
    return Description(
        name=model.name,
        size=(height, width),
        batch_size=batch_size,
        trainable=trainable,
        frozen=model.count_params() - trainable,
        gflops=2 * sum(map(multiply_adds, calls)) / 1e9,
        activation_bytes=batch_size * sum(_bytes(x) for call in calls for x in call.outputs),
        receptive_field=receptive_field,
        whole_image=whole_image,
        output_stride=stride,
    )


def _check(model, size):
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or not hasattr(model, "operations"):
        raise ValueError(
            f"describe: model={model!r} must be a functional keras.Model with one input (B, H, W, C)."
        )
    if any(side not in (None, wanted) for side, wanted in zip(shape[1:3], size, strict=True)):
        raise ValueError(
            f"describe: {model.name!r} takes images of {shape[1:3]}, not {size}; pass size={shape[1:3]}."
        )


def _bytes(x):
    bits = {"bool": 8, "bfloat16": 16}.get(x.dtype) or 8 * np.dtype(x.dtype).itemsize
    return prod(x.shape) * bits // 8


def _sight(model, side=1024):
    """Return (receptive field or None, whether the whole image is seen, output stride)."""
    try:
        reach, stride = _reach(model, side, side)
    except (
        ValueError
    ):  # some layer is tied to the model's own size, and its borders cut what is seen
        reach, stride = _reach(model, *model.input_shape[1:3])
        side = 0
    first, last, whole = reach
    if first is None:
        return None, whole, stride
    middle = slice(
        len(first) * 3 // 8, len(first) * 5 // 8 + 1
    )  # a period of all strides, far from the borders
    first, last = first[middle], last[middle]
    if (first.min() == 0 or last.max() == side - 1) and 0 < side < 16384:
        return _sight(model, 2 * side)
    return int((last - first).max()) + 1, whole, stride


def _reach(model, height, width):
    rows = np.arange(height, dtype=np.int64)
    traced = trace(model, [(1, height, width, model.input_shape[-1])])
    reaches, stride = follow(*traced, [Reach(rows, rows)])
    return reaches[0], stride
