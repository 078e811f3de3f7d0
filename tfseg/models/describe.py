"""What a model costs, and how large its receptive field is."""

from dataclasses import dataclass
from math import prod

import keras
import numpy as np

from tfseg import checks
from tfseg.models.activation_memory import tensor_bytes
from tfseg.models.arithmetic import multiply_adds
from tfseg.models.receptive_field import Extent, propagate
from tfseg.models.trace import trace

LARGEST_SIDE = 16384  # receptive fields are searched in images of at most this size


@dataclass(frozen=True)
class Description:
    """Size, cost and receptive field of a model.

    Attributes:
        name: name of the model.
        size: (H, W) of the images.
        batch_size: number of images in `activation_bytes`.
        trainable: number of trainable parameters.
        frozen: number of other parameters, such as the running means of batch normalization.
        gflops: 1e9 floating-point operations for one image, forward; a multiply-add counts as two
            (see `arithmetic.multiply_adds`).
        activation_bytes: bytes of the outputs of all layers for the whole batch. Training keeps
            them for the backward pass; prediction needs only the largest few.
        receptive_field: side in pixels of the square of the image that an output pixel depends on
            through convolutions, pooling and resizing; None if there is no such path.
        whole_image: whether an output pixel also depends on the whole image, through global
            pooling, attention or group normalization.
        output_stride: stride of the coarsest map.
    """

    name: str
    size: tuple[int, int]
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
        megabytes = self.activation_bytes / 2**20
        rows = [
            ("parameters", f"{self.trainable + self.frozen:,}"),
            ("  trainable", f"{self.trainable:,}"),
            ("GFLOPs per image", f"{self.gflops:.3g}"),
            ("activations", f"{megabytes:,.1f} MiB at batch size {self.batch_size}"),
            ("receptive field", self._receptive_field_text()),
            ("output stride", str(self.output_stride)),
        ]
        lines = [f"{self.name} at {height} x {width}"]
        lines += [f"  {label:17}{value}" for label, value in rows]
        return "\n".join(lines)

    def _receptive_field_text(self):
        parts = []
        if self.receptive_field is not None:
            parts.append(f"{self.receptive_field:,} pixels")
        if self.whole_image:
            parts.append("the whole image")
        return " and ".join(parts)


def describe(
    model: keras.Model, size: tuple[int, int] = (512, 512), batch_size: int = 1
) -> Description:
    """Describe a functional model with one image input.

    Args:
        model: a model of `tfseg.models`, or any functional model that takes (B, H, W, C).
        size: (H, W) of the images.
        batch_size: number of images in a batch, for the memory.

    Returns:
        Description; its `repr` is a table.

    Raises:
        ValueError: the model is not functional, has several inputs, or does not take this size.

    Example:
        >>> import tfseg
        >>> facts = tfseg.models.describe(tfseg.models.tiny_unet(2), size=(64, 64))
        >>> facts.receptive_field, facts.output_stride, facts.whole_image
        (8, 2, False)
    """
    height, width = checks.positive_ints("describe", "size", size)
    checks.positive_int("describe", "batch_size", batch_size)
    _check_model(model, (height, width))
    calls = trace(model, [(1, height, width, model.input_shape[-1])]).calls
    trainable = sum(prod(weight.shape) for weight in model.trainable_weights)
    receptive_field, whole_image, output_stride = _receptive_field(model)
    return Description(
        name=model.name,
        size=(height, width),
        batch_size=batch_size,
        trainable=trainable,
        frozen=model.count_params() - trainable,
        gflops=2 * sum(map(multiply_adds, calls)) / 1e9,
        activation_bytes=batch_size * sum(tensor_bytes(x) for call in calls for x in call.outputs),
        receptive_field=receptive_field,
        whole_image=whole_image,
        output_stride=output_stride,
    )


def _check_model(model, size):
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or not hasattr(model, "operations"):
        raise ValueError(
            f"describe: model={model!r} must be a functional keras.Model with one input "
            "(B, H, W, C)."
        )
    if any(side not in (None, wanted) for side, wanted in zip(shape[1:3], size, strict=True)):
        raise ValueError(
            f"describe: {model.name!r} takes images of size {shape[1:3]}, not {size}. "
            f"Pass size={shape[1:3]}."
        )


def _receptive_field(model, side=1024):
    """Return (receptive field or None, whether the whole image counts, output stride).

    The model is traced for a side x side image. If the receptive field reaches its border, the
    side is doubled.
    """
    fixed_size = False
    try:
        extent, stride = _output_extent(model, side, side)
    except ValueError:  # some layer only works at the model's own image size
        fixed_size = True
        extent, stride = _output_extent(model, *model.input_shape[1:3])
    if extent.first is None:
        return None, extent.whole, stride
    # The middle quarter is far from the borders and contains at least one period of all strides.
    count = len(extent.first)
    middle = slice(count * 3 // 8, count * 5 // 8 + 1)
    first, last = extent.first[middle], extent.last[middle]
    reaches_border = first.min() == 0 or last.max() == side - 1
    if reaches_border and not fixed_size and side < LARGEST_SIDE:
        return _receptive_field(model, 2 * side)
    return int((last - first).max()) + 1, extent.whole, stride


def _output_extent(model, height, width):
    rows = np.arange(height, dtype=np.int64)
    traced = trace(model, [(1, height, width, model.input_shape[-1])])
    extents, stride = propagate(traced, [Extent(rows, rows)])
    return extents[0], stride
