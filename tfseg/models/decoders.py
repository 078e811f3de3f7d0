"""What the decoders have in common: how a network begins and ends, and the blocks between."""

import math

import keras
from keras import layers, ops
from keras.src import backend

from tfseg import checks
from tfseg.models.batch_norm import BatchNorm
from tfseg.models.blocks import CropToImage
from tfseg.models.encoders import encode


def image_input(owner, num_classes, input_shape):
    """Return the input layer "image" once the arguments that every builder takes are checked."""
    checks.positive_int(owner, "num_classes", num_classes)
    if len(input_shape) != 3 or input_shape[-1] is None:
        raise ValueError(
            f"{owner}: input_shape={input_shape} must be (H, W, C) with C known, e.g. (None, None, 3)."
        )
    return keras.Input(input_shape, name="image")


def skip_features(
    owner, image, encoder, weights, normalization, strides, output_stride=32, optional=()
):
    """Return the encoder's features where the decoder needs them.

    Args:
        owner: builder's name, for errors.
        image: (B, H, W, C) of `image_input`.
        encoder: a name of `list_encoders()`.
        weights: None, "imagenet" or the path of a `.weights.h5`.
        normalization: (mean, deviation) of the images, or "image" for those of each; None for what the encoder was
            trained with.
        strides: of the features wanted, of 2, 4, 8, 16, 32. Beyond `output_stride` features keep that stride.
        output_stride: 32, 16 or 8.
        optional: strides of features to give too, None where there are none.

    Returns:
        list of tensors, one a stride, the optional ones first.

    Raises:
        ValueError: the encoder has no features at one of the strides.
    """
    features, _ = encode(image, encoder, weights, output_stride, normalization, owner)
    there = {2 ** (level + 1): x for level, x in enumerate(features) if x is not None}
    missing = [stride for stride in strides if stride not in there]
    if missing:
        raise ValueError(
            f"{owner}: encoder={encoder!r} has no features at stride {', '.join(map(str, missing))}, only at "
            f"{', '.join(map(str, there))}. Choose an encoder that has them, or another network."
        )
    return [*map(there.get, optional), *(there[stride] for stride in strides)]


def segmentation_head(x, image, num_classes, stride, name, dropout=0.0):
    """Return the model that ends in a 1 x 1 convolution and bilinear upsampling: float32 logits of the image's size.

    Args:
        x: (B, H' / stride, W' / stride, C), of the image padded to (H', W').
        image: the input layer's tensor (B, H, W, C).
        num_classes: channels of the logits.
        stride: of `x`, 1 or more.
        name: of the model.
        dropout: rate before the last convolution.
    """
    if dropout:
        x = layers.Dropout(dropout, name="decoder_dropout")(x)
    logits = layers.Conv2D(num_classes, 1, name="classes")(x)
    if stride > 1:
        logits = upsample(logits, stride, "decoder_upsample", dtype="float32")
    return keras.Model(image, CropToImage(name="logits")(logits, image), name=name)


def upsample(x, factor, name, dtype=None):
    """Bilinear, with half-pixel centers: (B, H, W, C) -> (B, factor H, factor W, C); a factor of 1 returns `x`."""
    if factor == 1:
        return x
    return Upsample(factor, dtype=dtype, name=name)(x)


def conv_bn(x, width, kernel, name, dilation=1, batch_norm=True, relu=True):
    """Convolution, (batch normalization), (ReLU): (B, H, W, C) -> (B, H, W, width)."""
    options = {"padding": "same", "dilation_rate": dilation, "kernel_initializer": "he_normal"}
    x = layers.Conv2D(width, kernel, use_bias=not batch_norm, name=f"{name}_conv", **options)(x)
    return _bn_relu(x, name, batch_norm, relu)


def separable_conv_bn(x, width, name, dilation=1):
    """3 x 3 convolution a channel, then 1 x 1 across them, each with batch normalization and ReLU."""
    options = {"padding": "same", "dilation_rate": dilation, "depthwise_initializer": "he_normal"}
    x = layers.DepthwiseConv2D(3, use_bias=False, name=f"{name}_depthwise", **options)(x)
    x = _bn_relu(x, f"{name}_depthwise")
    return conv_bn(x, width, 1, name)


def _bn_relu(x, name, batch_norm=True, relu=True):
    if batch_norm:
        x = BatchNorm(name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def conv_gn(x, width, name):
    """3 x 3 convolution, group normalization (32 groups, or what divides the width), ReLU."""
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


def global_mean(x, name):
    """(B, H, W, C) -> (B, 1, 1, C); in float32, as a half-precision sum of many pixels overflows."""
    return layers.GlobalAveragePooling2D(keepdims=True, dtype="float32", name=name)(x)


def pooling_branch(x, bins, width, name):
    """Means over bins x bins parts, a 1 x 1 convolution, ReLU, and back to the size of `x`: (B, H, W, width).

    The convolution has a bias and no batch normalization: with one bin it would see a single value an image, and
    at small batches normalize it to nothing.
    """
    y = global_mean(x, f"{name}_pool") if bins == 1 else PoolToBins(bins, name=f"{name}_pool")(x)
    y = conv_bn(y, width, 1, name, batch_norm=False)
    return ResizeLike(name=f"{name}_resize")(y, x)


def pyramid(x, bins, width, name):
    """Pyramid pooling (arXiv:1612.01105): `x` beside its means over bins x bins parts, (B, H, W, C + width * bins)."""
    parts = [pooling_branch(x, count, width, f"{name}_bins{count}") for count in bins]
    return layers.Concatenate(name=f"{name}_concat")([x, *parts])


def check_bins(owner, bins):
    """Raise a ValueError unless `bins` are one or more whole numbers, none twice."""
    counts = checks.positive_ints(owner, "bins", bins)
    if not counts or len(set(counts)) < len(counts):
        raise ValueError(
            f"{owner}: bins={tuple(bins)} must name one or more numbers, none twice, e.g. (1, 2, 3, 6)."
        )


@keras.saving.register_keras_serializable(package="tfseg")
class PoolToBins(layers.Layer):
    """Means over `bins` x `bins` parts of a map of any size: (B, H, W, C) -> (B, bins, bins, C) float32.

    Part i covers rows floor(i H / bins) to ceil((i + 1) H / bins), so parts overlap where the size does not divide,
    and repeat where it is smaller than `bins`.
    """

    def __init__(self, bins, **kwargs):
        kwargs["dtype"] = "float32"  # the shares 1 / n do not fit half precision
        super().__init__(**kwargs)
        self.bins = bins

    def call(self, x):
        """Return (B, bins, bins, C)."""
        rows, columns = (_shares(size, self.bins) for size in ops.shape(x)[1:3])
        return ops.einsum("ih,bhjc->bijc", rows, ops.einsum("jw,bhwc->bhjc", columns, x))

    def compute_output_shape(self, shape):
        """Return the shape with `bins` rows and columns."""
        return (shape[0], self.bins, self.bins, shape[3])

    def get_config(self):
        """Return the arguments, for `.keras` files."""
        return {**super().get_config(), "bins": self.bins}


def _shares(size, bins):
    """(bins, size) float32: the weight of each position in each bin's mean."""
    part = ops.arange(bins, dtype="int32")[:, None]
    position = ops.arange(size, dtype="int32")[None]
    first, end = part * size // bins, ((part + 1) * size + bins - 1) // bins
    inside = ops.cast((position >= first) & (position < end), "float32")
    return inside / ops.sum(inside, axis=1, keepdims=True)


@keras.saving.register_keras_serializable(package="tfseg")
class ResizeLike(layers.Layer):
    """Bilinear resize with half-pixel centers to another map's size: (B, h, w, C), (B, H, W, D) -> (B, H, W, C)."""

    def call(self, x, like):
        """Return `x` at the size of `like`."""
        return _bilinear(x, *ops.shape(like)[1:3])

    def compute_output_shape(self, x_shape, like_shape):
        """Return the size of `like` with the channels of `x`."""
        return (*like_shape[:3], x_shape[3])


@keras.saving.register_keras_serializable(package="tfseg")
class Upsample(layers.Layer):
    """Bilinear upsampling with half-pixel centers: (B, H, W, C) -> (B, factor H, factor W, C)."""

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        """Return (B, factor H, factor W, C)."""
        height, width = ops.shape(x)[1:3]
        return _bilinear(x, height * self.factor, width * self.factor)

    def compute_output_shape(self, shape):
        """Return the shape with H and W multiplied; None stays None."""
        size = [None if side is None else side * self.factor for side in shape[1:3]]
        return (shape[0], *size, shape[3])

    def get_config(self):
        """Return the arguments, for `.keras` files."""
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable(package="tfseg")
class PixelShuffle(layers.Layer):
    """Channels become pixels (arXiv:1609.05158): (B, H, W, factor^2 C) -> (B, factor H, factor W, C).

    Raises:
        ValueError: the channels are no multiple of factor^2.
    """

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        """Return (B, factor H, factor W, C); pixel (i, j) of a block is from channels (i factor + j) C onwards."""
        height, width = ops.shape(x)[1:3]
        factor, channels = self.factor, self.compute_output_shape(x.shape)[3]
        x = ops.reshape(x, (-1, height, width, factor, factor * channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4))
        return ops.reshape(x, (-1, height * factor, width * factor, channels))

    def compute_output_shape(self, shape):
        """Return the shape with H and W multiplied; None stays None."""
        if shape[3] % self.factor**2:
            raise ValueError(
                f"PixelShuffle: {shape[3]} channels came, expected a multiple of {self.factor**2}."
            )
        size = [None if side is None else side * self.factor for side in shape[1:3]]
        return (shape[0], *size, shape[3] // self.factor**2)

    def get_config(self):
        """Return the arguments, for `.keras` files."""
        return {**super().get_config(), "factor": self.factor}


def _bilinear(x, height, width):
    # `keras.ops.image.resize`, and `UpSampling2D` with it, compare the size with 0, which a size that is known only
    # when the graph runs, such as a SavedModel's, does not allow.
    return backend.image.resize(x, (height, width), interpolation="bilinear")
