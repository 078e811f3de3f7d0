"""What all decoders share: the input, the skip features, the segmentation head and the blocks."""

import math

import keras
from keras import layers, ops
from keras.src import backend

from tfseg import checks
from tfseg.models.batch_norm import BatchNorm
from tfseg.models.blocks import CropToImage
from tfseg.models.encoders import encode


def image_input(owner: str, num_classes: int, input_shape: tuple):
    """Check `num_classes` and `input_shape`, and return the input layer's tensor, named "image"."""
    checks.positive_int(owner, "num_classes", num_classes)
    if len(input_shape) != 3 or input_shape[-1] is None:
        raise ValueError(
            f"{owner}: input_shape={input_shape} must be (H, W, C) with C known, "
            "for example (None, None, 3)."
        )
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            f"{owner}: Keras is set to image_data_format='channels_first' (in keras.json or by "
            "set_image_data_format), but models of tfseg take (B, H, W, C). Call "
            "keras.config.set_image_data_format('channels_last') first."
        )
    return keras.Input(input_shape, name="image")


def skip_features(
    owner: str,
    image,
    encoder: str,
    weights,
    normalization,
    strides: tuple,
    output_stride: int = 32,
    optional: tuple = (),
    size: tuple | None = None,
) -> list:
    """Return the encoder's features at the given strides.

    Args:
        owner: name of the network, for error messages.
        image: (B, H, W, C) tensor from `image_input`.
        encoder: a name from `list_encoders()`.
        weights: encoder weights: None (random), "imagenet" or the path of a weights file.
        normalization: (mean, std) of the images, "image" to standardize each image, or None for
            the statistics the encoder was trained with.
        strides: the required strides, out of 2, 4, 8, 16 and 32. These are the strides of the
            encoder without dilation: with `output_stride=8`, the features named 32 have stride 8.
        output_stride: 32, 16 or 8.
        optional: further strides to return; the feature is None where the encoder has none.
        size: (height, width) to resize images into, see `Letterbox`; None to take them as they are.

    Returns:
        list of tensors: the features at the `optional` strides, then those at `strides`.

    Raises:
        ValueError: the encoder has no features at one of `strides`.
    """
    features = encode(image, encoder, weights, output_stride, normalization, owner, size)
    by_stride = {2 ** (level + 1): x for level, x in enumerate(features) if x is not None}
    missing = [stride for stride in strides if stride not in by_stride]
    if missing:
        raise ValueError(
            f"{owner}: encoder={encoder!r} has no features at stride "
            f"{', '.join(map(str, missing))}, only at {', '.join(map(str, by_stride))}. "
            "Choose an encoder that has them, or another network."
        )
    return [by_stride.get(stride) for stride in (*optional, *strides)]


def segmentation_head(
    x, image, num_classes: int, stride: int, name: str, dropout: float = 0.0
) -> keras.Model:
    """Return the model that ends with a 1 x 1 convolution and bilinear upsampling to logits.

    Args:
        x: (B, H' / stride, W' / stride, C) features of the image, padded to (H', W').
        image: the input layer's tensor (B, H, W, C).
        num_classes: number of output channels.
        stride: stride of `x`, 1 or more.
        name: name of the model.
        dropout: dropout rate before the convolution.

    Returns:
        keras.Model: `image` -> (B, H, W, num_classes) float32 logits.
    """
    if dropout:
        x = layers.Dropout(dropout, name="decoder_dropout")(x)
    logits = layers.Conv2D(num_classes, 1, name="classes")(x)
    if stride > 1:
        logits = upsample(logits, stride, "decoder_upsample", dtype="float32")
    return keras.Model(image, CropToImage(name="logits")(logits, image), name=name)


def upsample(x, factor: int, name: str, dtype=None):
    """Bilinear upsampling with half-pixel centers: (B, H, W, C) -> (B, factor H, factor W, C)."""
    if factor == 1:
        return x
    return Upsample(factor, dtype=dtype, name=name)(x)


def conv_bn(
    x,
    width: int,
    kernel: int,
    name: str,
    dilation: int = 1,
    batch_norm: bool = True,
    relu: bool = True,
):
    """Convolution, (batch normalization), (ReLU): (B, H, W, C) -> (B, H, W, width)."""
    x = layers.Conv2D(
        width,
        kernel,
        padding="same",
        dilation_rate=dilation,
        use_bias=not batch_norm,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return _bn_relu(x, name, batch_norm, relu)


def separable_conv_bn(x, width: int, name: str, dilation: int = 1):
    """3 x 3 depthwise and 1 x 1 pointwise convolution, each with batch normalization and ReLU."""
    x = layers.DepthwiseConv2D(
        3,
        padding="same",
        dilation_rate=dilation,
        use_bias=False,
        depthwise_initializer="he_normal",
        name=f"{name}_depthwise",
    )(x)
    x = _bn_relu(x, f"{name}_depthwise")
    return conv_bn(x, width, 1, name)


def _bn_relu(x, name, batch_norm=True, relu=True):
    if batch_norm:
        x = BatchNorm(name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def conv_gn(x, width: int, name: str):
    """3 x 3 convolution, group normalization (gcd(32, width) groups), ReLU."""
    x = layers.Conv2D(
        width,
        3,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = layers.GroupNormalization(math.gcd(32, width), name=f"{name}_gn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def global_mean(x, name: str):
    """(B, H, W, C) -> (B, 1, 1, C), in float32 because half-precision sums overflow."""
    return layers.GlobalAveragePooling2D(keepdims=True, dtype="float32", name=name)(x)


def pooling_branch(x, bins: int, width: int, name: str):
    """Average-pool to bins x bins, 1 x 1 convolution, ReLU, resize to `x`: (B, H, W, width).

    The convolution has a bias and no batch normalization: with one bin there is a single value per
    image and channel, and at small batch sizes normalizing it would remove its information.
    """
    pool = f"{name}_pool"
    y = global_mean(x, pool) if bins == 1 else PoolToBins(bins, name=pool)(x)
    y = conv_bn(y, width, 1, name, batch_norm=False)
    return ResizeLike(name=f"{name}_resize")(y, x)


def pyramid(x, bins: tuple, width: int, name: str):
    """Pyramid pooling (arXiv:1612.01105): concatenate `x` and a pooling branch for each bin count.

    Returns:
        (B, H, W, C + width * len(bins)).
    """
    branches = [pooling_branch(x, count, width, f"{name}_bins{count}") for count in bins]
    return layers.Concatenate(name=f"{name}_concat")([x, *branches])


def check_bins(owner: str, bins: tuple) -> None:
    """Raise a ValueError unless `bins` contains one or more distinct positive integers."""
    counts = checks.positive_ints(owner, "bins", bins)
    if not counts or len(set(counts)) < len(counts):
        raise ValueError(
            f"{owner}: bins={tuple(bins)} must contain one or more distinct numbers, "
            "for example (1, 2, 3, 6)."
        )


@keras.saving.register_keras_serializable(package="tfseg")
class PoolToBins(layers.Layer):
    """Average-pool a map of any size: (B, H, W, C) -> (B, bins, bins, C) float32.

    Bin i covers rows floor(i H / bins) to ceil((i + 1) H / bins). So bins overlap where H is not a
    multiple of `bins`, and repeat where H is smaller than `bins`.
    """

    def __init__(self, bins: int, **kwargs):
        kwargs["dtype"] = "float32"  # the weights 1 / n are not exact enough in half precision
        super().__init__(**kwargs)
        self.bins = bins

    def call(self, x):
        """Return (B, bins, bins, C)."""
        height, width = ops.shape(x)[1:3]
        rows = _bin_weights(height, self.bins)
        columns = _bin_weights(width, self.bins)
        return ops.einsum("ih,bhjc->bijc", rows, ops.einsum("jw,bhwc->bhjc", columns, x))

    def compute_output_shape(self, shape):
        """Return the shape with `bins` rows and columns."""
        return (shape[0], self.bins, self.bins, shape[3])

    def get_config(self):
        """Return the arguments for `.keras` files."""
        return {**super().get_config(), "bins": self.bins}


def _bin_weights(size, bins):
    """Return (bins, size) float32: the weight of each position in each bin's mean.

    Size 5, 2 bins: bin 0 covers positions 0 to 2, bin 1 covers 2 to 4, so the rows are
    [1/3, 1/3, 1/3, 0, 0] and [0, 0, 1/3, 1/3, 1/3].
    """
    index = ops.arange(bins, dtype="int32")[:, None]
    position = ops.arange(size, dtype="int32")[None]
    first = index * size // bins
    end = ((index + 1) * size + bins - 1) // bins
    member = ops.cast((position >= first) & (position < end), "float32")
    return member / ops.sum(member, axis=1, keepdims=True)


@keras.saving.register_keras_serializable(package="tfseg")
class ResizeLike(layers.Layer):
    """Resize bilinearly to the size of another map: (B, h, w, C), (B, H, W, D) -> (B, H, W, C).

    Pixels have half-pixel centers.
    """

    def call(self, x, like):
        """Return `x` resized to the size of `like`."""
        height, width = ops.shape(like)[1:3]
        return _bilinear(x, height, width)

    def compute_output_shape(self, x_shape, like_shape):
        """Return the size of `like` with the channels of `x`."""
        return (*like_shape[:3], x_shape[3])


@keras.saving.register_keras_serializable(package="tfseg")
class Upsample(layers.Layer):
    """Bilinear upsampling with half-pixel centers: (B, H, W, C) -> (B, factor H, factor W, C)."""

    def __init__(self, factor: int, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        """Return (B, factor H, factor W, C)."""
        height, width = ops.shape(x)[1:3]
        return _bilinear(x, height * self.factor, width * self.factor)

    def compute_output_shape(self, shape):
        """Return the shape with H and W multiplied; None stays None."""
        return (shape[0], *_multiplied(shape[1:3], self.factor), shape[3])

    def get_config(self):
        """Return the arguments for `.keras` files."""
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable(package="tfseg")
class PixelShuffle(layers.Layer):
    """Rearrange channels into pixels (arXiv:1609.05158).

    (B, H, W, factor^2 C) -> (B, factor H, factor W, C)

    Raises:
        ValueError: the number of channels is not a multiple of factor^2.
    """

    def __init__(self, factor: int, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        """Return (B, factor H, factor W, C).

        Pixel (i, j) of a block gets the C channels from (i * factor + j) * C on.
        """
        height, width = ops.shape(x)[1:3]
        factor, channels = self.factor, self.compute_output_shape(x.shape)[3]
        # (H, W, i, j C) -> (H, i, W, j C): rows of a block become rows of the image
        x = ops.reshape(x, (-1, height, width, factor, factor * channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4))
        return ops.reshape(x, (-1, height * factor, width * factor, channels))

    def compute_output_shape(self, shape):
        """Return the shape with H and W multiplied; None stays None."""
        if shape[3] % self.factor**2:
            raise ValueError(
                f"PixelShuffle: got {shape[3]} channels, expected a multiple of {self.factor**2}."
            )
        channels = shape[3] // self.factor**2
        return (shape[0], *_multiplied(shape[1:3], self.factor), channels)

    def get_config(self):
        """Return the arguments for `.keras` files."""
        return {**super().get_config(), "factor": self.factor}


def _multiplied(size, factor):
    return [None if side is None else side * factor for side in size]


def _bilinear(x, height, width):
    # `keras.ops.image.resize` and `UpSampling2D` compare the size with 0. This fails for sizes that
    # are known only when the graph runs, as in a SavedModel, so call the backend directly.
    return backend.image.resize(x, (height, width), interpolation="bilinear")
