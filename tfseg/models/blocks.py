"""Layers and blocks shared by all networks: padding, cropping, normalization, convolutions."""

import keras
from keras import layers, ops

from tfseg import checks
from tfseg.models.batch_norm import BatchNorm

ROUNDING = 1e-7  # relative error of a float32 mean: a smaller std is rounding noise
TINY = 1e-12  # avoids 0 / 0


@keras.saving.register_keras_serializable(package="tfseg")
class PadToStride(layers.Layer):
    """Zero-pad (B, H, W, C) at the bottom and right until H and W are multiples of `stride`.

    Example:
        >>> import keras, tfseg
        >>> tuple(tfseg.models.PadToStride(8)(keras.ops.ones((1, 9, 16, 3))).shape)
        (1, 16, 16, 3)
    """

    def __init__(self, stride: int, **kwargs):
        super().__init__(**kwargs)
        self.stride = stride

    def call(self, x):
        """Return (B, ceil(H / stride) * stride, ceil(W / stride) * stride, C)."""
        if all(size is not None and size % self.stride == 0 for size in x.shape[1:3]):
            return x
        height, width = ops.shape(x)[1:3]
        # `ops.pad` does not accept tensors as pad widths: pad by the maximum, then crop.
        most = self.stride - 1
        x = ops.pad(x, ((0, 0), (0, most), (0, most), (0, 0)))
        return x[:, : self._multiple(height), : self._multiple(width), :]

    def compute_output_shape(self, shape):
        """Return the padded shape; None stays None."""
        padded = [None if size is None else self._multiple(size) for size in shape[1:3]]
        return (shape[0], *padded, shape[3])

    def _multiple(self, size):
        # 9 at stride 8: (9 + 7) // 8 * 8 = 16
        return (size + self.stride - 1) // self.stride * self.stride

    def get_config(self):
        """Return the arguments for `.keras` files."""
        return {**super().get_config(), "stride": self.stride}


@keras.saving.register_keras_serializable(package="tfseg")
class CropToImage(layers.Layer):
    """Crop logits (B, H', W', K) of a padded image to the image's (H, W), and cast to float32.

    Args:
        stride: stride of the logits; they are cropped to ceil(H / stride) x ceil(W / stride).

    Example:
        >>> import keras, tfseg
        >>> logits, image = keras.ops.ones((1, 16, 16, 2)), keras.ops.ones((1, 9, 16, 3))
        >>> tuple(tfseg.models.CropToImage()(logits, image).shape)
        (1, 9, 16, 2)
    """

    def __init__(self, stride: int = 1, **kwargs):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.stride = stride

    def call(self, logits, image):
        """Return (B, ceil(H / stride), ceil(W / stride), K) float32."""
        size = self.compute_output_shape(logits.shape, image.shape)[1:3]
        if None not in size and size == tuple(logits.shape[1:3]):
            return logits  # slicing the full tensor would copy it, forward and backward
        height, width = ops.shape(image)[1:3]
        return logits[:, : self._divided(height), : self._divided(width), :]

    def compute_output_shape(self, logits_shape, image_shape):
        """Return the image's size divided by the stride, with the channels of the logits."""
        size = [None if size is None else self._divided(size) for size in image_shape[1:3]]
        return (image_shape[0], *size, logits_shape[3])

    def _divided(self, size):
        return (size + self.stride - 1) // self.stride

    def get_config(self):
        """Return the arguments for `.keras` files."""
        return {**super().get_config(), "stride": self.stride}


def normalize(image, normalization: tuple | str | None = None):
    """Subtract the mean and divide by the standard deviation of each channel, in float32.

    Args:
        image: (B, H, W, C) tensor.
        normalization: (mean, std), each one number or C numbers; "image" to standardize each image
            by its own mean and std (see `Standardize`); None to map 0..255 to -1..1.

    Raises:
        ValueError: unknown `normalization`, wrong number of channels, or a std that is not
            positive.
    """
    if isinstance(normalization, str):
        checks.one_of("normalization", "normalization", normalization, ("image",))
        return Standardize(name="normalize")(image)
    mean, std = (127.5, 127.5) if normalization is None else normalization
    means = _per_channel(mean, image.shape[-1])
    stds = _per_channel(std, image.shape[-1])
    if not all(std > 0 for std in stds):  # also catches NaN
        raise ValueError(f"normalization: every std must be above zero, got {stds}.")
    scale = [1 / std for std in stds]
    offset = [-mean / std for mean, std in zip(means, stds, strict=True)]
    return layers.Rescaling(scale, offset, dtype="float32", name="normalize")(image)


@keras.saving.register_keras_serializable(package="tfseg")
class Standardize(layers.Layer):
    """Standardize each channel of each image to mean 0 and std 1, in float32: (B, H, W, C) -> same.

    This removes differences in brightness and contrast, which vary most between microscopy images.
    A constant channel becomes 0. Values that are not finite do not count, and become 0 as well. All
    other pixels count, including ignored ones. To process an image in windows, apply this layer to
    the whole image first, since a window has another mean and std.
    """

    def __init__(self, **kwargs):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)

    def call(self, image):
        """Return (B, H, W, C) float32."""
        image = ops.cast(image, "float32")
        finite = ops.equal(image - image, 0)  # NaN - NaN and inf - inf are NaN
        image = ops.where(finite, image, 0.0)
        weight = ops.cast(finite, "float32")
        fraction = ops.maximum(_spatial_mean(weight), TINY)
        mean = _spatial_mean(image) / fraction
        centered = (image - mean) * weight
        rounding = _spatial_mean(centered) / fraction  # of the first mean
        centered = (centered - rounding) * weight
        std = ops.sqrt(_spatial_mean(ops.square(centered)) / fraction)
        return centered / (std + ROUNDING * ops.abs(mean) + TINY)


def _spatial_mean(x):
    # One axis at a time: TensorFlow's sum over both axes at once has a relative error of 1e-3 for
    # 500 x 300 equal pixels.
    return ops.mean(ops.mean(x, 2, keepdims=True), 1, keepdims=True)


def _per_channel(value, channels):
    """Return a list of `channels` floats."""
    if not hasattr(value, "__len__"):
        return [float(value)] * channels
    if len(value) != channels:
        raise ValueError(
            f"normalization: got {len(value)} numbers for an image of {channels} channels. "
            "Pass one number, or one number per channel."
        )
    return [float(number) for number in value]


def conv_block(x, width: int, batch_norm: bool = True, name: str | None = None):
    """Two 3 x 3 convolutions, (batch normalization) and ReLU: (B, H, W, C) -> (B, H, W, width)."""
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
