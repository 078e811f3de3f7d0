"""What networks are built from."""

import keras
from keras import layers, ops

from tfseg import checks
from tfseg.models.batch_norm import BatchNorm

ROUNDING = 1e-7  # share of a mean by which float32 rounds: no deviation
TINY = 1e-12  # against 0 / 0


@keras.saving.register_keras_serializable(package="tfseg")
class PadToStride(layers.Layer):
    """Zero-pad (B, H, W, C) at the bottom and right until H and W are multiples of `stride`."""

    def __init__(self, stride, **kwargs):
        super().__init__(**kwargs)
        self.stride = stride

    def call(self, x):
        """Return (B, ceil(H / stride) * stride, ceil(W / stride) * stride, C)."""
        if all(size is not None and size % self.stride == 0 for size in x.shape[1:3]):
            return x
        height, width = ops.shape(x)[1:3]
        # `ops.pad` takes no tensors: pad by the most there can be, then cut.
        spare = self.stride - 1
        x = ops.pad(x, ((0, 0), (0, spare), (0, spare), (0, 0)))
        return x[:, : self._multiple(height), : self._multiple(width), :]

    def compute_output_shape(self, shape):
        """Return the padded shape; None stays None."""
        padded = [None if size is None else self._multiple(size) for size in shape[1:3]]
        return (shape[0], *padded, shape[3])

    def _multiple(self, size):
        return (size + self.stride - 1) // self.stride * self.stride

    def get_config(self):
        """Return the arguments, for `.keras` files."""
        return {**super().get_config(), "stride": self.stride}


@keras.saving.register_keras_serializable(package="tfseg")
class CropToImage(layers.Layer):
    """Cut (B, H', W', K) back to the (H, W) of the image, and give float32 whatever the precision.

    Args:
        stride: of the logits; they are cut to ceil(H / stride) x ceil(W / stride).
    """

    def __init__(self, stride=1, **kwargs):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.stride = stride

    def call(self, logits, image):
        """Return (B, ceil(H / stride), ceil(W / stride), K) float32."""
        size = self.compute_output_shape(logits.shape, image.shape)[1:3]
        if None not in size and size == tuple(logits.shape[1:3]):
            return logits  # a slice of the whole would be copied, forward and back
        height, width = (self._parts(size) for size in ops.shape(image)[1:3])
        return logits[:, :height, :width, :]

    def compute_output_shape(self, logits_shape, image_shape):
        """Return the image's size, divided by the stride, with the logits' channels."""
        size = [None if size is None else self._parts(size) for size in image_shape[1:3]]
        return (image_shape[0], *size, logits_shape[3])

    def _parts(self, size):
        return (size + self.stride - 1) // self.stride

    def get_config(self):
        """Return the arguments, for `.keras` files."""
        return {**super().get_config(), "stride": self.stride}


def normalize(image, normalization=None):
    """Subtract the mean and divide by the deviation, a channel, in float32.

    Args:
        image: (B, H, W, C) tensor.
        normalization: (mean, deviation), each one number or C numbers; "image" for those of each image, see
            `Standardize`; None takes 0..255 to -1..1.
    """
    if isinstance(normalization, str):
        checks.one_of("normalization", "normalization", normalization, ("image",))
        return Standardize(name="normalize")(image)
    mean, deviation = (127.5, 127.5) if normalization is None else normalization
    channels = image.shape[-1]
    means, deviations = (_per_channel(value, channels) for value in (mean, deviation))
    if not all(deviation > 0 for deviation in deviations):  # nor NaN
        raise ValueError(f"normalization: every deviation must be above zero; {deviations} came.")
    scale = [1 / deviation for deviation in deviations]
    offset = [-mean / deviation for mean, deviation in zip(means, deviations, strict=True)]
    return layers.Rescaling(scale, offset, dtype="float32", name="normalize")(image)


@keras.saving.register_keras_serializable(package="tfseg")
class Standardize(layers.Layer):
    """Subtract each channel's mean over an image and divide by its deviation there, in float32: (B, H, W, C) -> same.

    So neither brightness nor contrast matter: what makes microscopes' images differ most. A channel of one value
    becomes 0. All pixels count, also those of what was never seen: an image with one NaN becomes NaN, and a window of
    an image has the window's mean and deviation.
    """

    def __init__(self, **kwargs):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)

    def call(self, image):
        """Return (B, H, W, C) float32."""
        image = ops.cast(image, "float32")
        mean = _mean_over_places(image)
        centered = image - mean
        centered = centered - _mean_over_places(centered)  # float32 has rounded the first mean
        deviation = ops.sqrt(_mean_over_places(ops.square(centered)))
        return centered / (deviation + ROUNDING * ops.abs(mean) + TINY)


def _mean_over_places(x):
    # one axis after the other: TensorFlow's sum of all at once is off by a thousandth for 500 x 300 equal pixels
    return ops.mean(ops.mean(x, 2, keepdims=True), 1, keepdims=True)


def _per_channel(value, channels):
    values = [float(v) for v in value] if hasattr(value, "__len__") else [float(value)] * channels
    if len(values) != channels:
        raise ValueError(
            f"normalization: {len(values)} numbers came for an image of {channels} channels."
        )
    return values


def conv_block(x, width, batch_norm=True, name=None):
    """Two 3 x 3 convolutions, each with (batch normalization and) ReLU: (B, H, W, C) -> (B, H, W, width)."""
    for i in (1, 2):
        x = layers.Conv2D(
            width,
            3,
            padding="same",
            use_bias=not batch_norm,
            kernel_initializer="he_normal",
            name=f"{name}_conv{i}",
        )(x)
        if batch_norm:
            x = BatchNorm(name=f"{name}_bn{i}")(x)
        x = layers.ReLU(name=f"{name}_relu{i}")(x)
    return x
