"""DeepLab v3 and v3+."""

from collections.abc import Callable
from pathlib import Path

import keras
from keras import layers

from tfseg import checks
from tfseg.models.decoders import (
    conv_bn,
    image_input,
    pooling_branch,
    segmentation_head,
    separable_conv_bn,
    skip_features,
    upsample,
)

# dilation rates of the 3 x 3 convolutions at output stride 16 (arXiv:1706.05587); doubled at 8
RATES = (6, 12, 18)


def deeplab_v3(
    num_classes: int,
    encoder: str = "efficientnet_lite0",
    input_shape: tuple = (None, None, 3),
    weights: str | Path | None = None,
    output_stride: int = 16,
    width: int = 256,
    dropout: float = 0.1,
    normalization: tuple | str | None = None,
) -> keras.Model:
    """DeepLab v3 (arXiv:1706.05587): images in 0..255 -> (B, H, W, num_classes) float32 logits.

    Atrous spatial pyramid pooling over the deepest features, then bilinear upsampling.

    Args:
        num_classes: number of output channels; 1 for a single sigmoid.
        encoder: a name from `list_encoders()` that supports `output_stride`.
        input_shape: (H, W, C) of the images; H and W may be None.
        weights: encoder weights: None (random), "imagenet" or the path of a `.weights.h5` file.
        output_stride: 16, with dilation rates 6, 12, 18; or 8, with rates 12, 24, 36.
        width: channels of every branch.
        dropout: dropout rate before the last convolution.
        normalization: (mean, std) of the images, or "image" to standardize each image; None for the
            statistics the encoder was trained with.

    Returns:
        keras.Model named "deeplab_v3". Its output is logits: compile it with a loss of
        `tfseg.losses`, or a Keras loss with from_logits=True. Keras' losses by name, such as
        "sparse_categorical_crossentropy", expect probabilities.

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.

    Example:
        >>> import tfseg
        >>> tfseg.models.deeplab_v3(21, encoder="mobilenet_v2").output_shape
        (None, None, None, 21)
    """
    _check("deeplab_v3", output_stride, width, dropout)
    image = image_input("deeplab_v3", num_classes, input_shape)
    (x,) = skip_features("deeplab_v3", image, encoder, weights, normalization, (32,), output_stride)
    x = aspp(x, width, output_stride, conv_bn_3x3)
    return segmentation_head(x, image, num_classes, output_stride, "deeplab_v3", dropout)


def deeplab_v3_plus(
    num_classes: int,
    encoder: str = "efficientnet_lite0",
    input_shape: tuple = (None, None, 3),
    weights: str | Path | None = None,
    output_stride: int = 16,
    width: int = 256,
    low_width: int = 48,
    dropout: float = 0.1,
    normalization: tuple | str | None = None,
) -> keras.Model:
    """DeepLab v3+ (arXiv:1802.02611): images in 0..255 -> (B, H, W, num_classes) float32 logits.

    Atrous spatial pyramid pooling, and a decoder that concatenates it with the encoder's features
    at stride 4. All 3 x 3 convolutions are depthwise separable.

    Args:
        num_classes: number of output channels; 1 for a single sigmoid.
        encoder: a name from `list_encoders()` that supports `output_stride`, with features at
            stride 4.
        input_shape: (H, W, C) of the images; H and W may be None.
        weights: encoder weights: None (random), "imagenet" or the path of a `.weights.h5` file.
        output_stride: 16, with dilation rates 6, 12, 18; or 8, with rates 12, 24, 36.
        width: channels of every branch and of the decoder.
        low_width: channels to which the features at stride 4 are reduced.
        dropout: dropout rate before the last convolution.
        normalization: (mean, std) of the images, or "image" to standardize each image; None for the
            statistics the encoder was trained with.

    Returns:
        keras.Model named "deeplab_v3_plus". Its output is logits: compile it with a loss of
        `tfseg.losses`, or a Keras loss with from_logits=True. Keras' losses by name, such as
        "sparse_categorical_crossentropy", expect probabilities.

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.

    Example:
        >>> import tfseg
        >>> tfseg.models.deeplab_v3_plus(21, encoder="mobilenet_v2").output_shape
        (None, None, None, 21)
    """
    _check("deeplab_v3_plus", output_stride, width, dropout)
    checks.positive_int("deeplab_v3_plus", "low_width", low_width)
    image = image_input("deeplab_v3_plus", num_classes, input_shape)
    low, x = skip_features(
        "deeplab_v3_plus", image, encoder, weights, normalization, (4, 32), output_stride
    )
    x = aspp(x, width, output_stride, separable_conv_bn)
    x = upsample(x, output_stride // 4, "decoder_aspp_upsample")
    low = conv_bn(low, low_width, 1, "decoder_low")
    x = layers.Concatenate(name="decoder_join")([x, low])
    x = separable_conv_bn(x, width, "decoder_merge1")
    x = separable_conv_bn(x, width, "decoder_merge2")
    return segmentation_head(x, image, num_classes, 4, "deeplab_v3_plus", dropout)


def _check(owner, output_stride, width, dropout):
    checks.one_of(owner, "output_stride", output_stride, (8, 16))
    checks.positive_int(owner, "width", width)
    checks.fraction(owner, "dropout", dropout)


def conv_bn_3x3(x, width: int, name: str, dilation: int):
    """3 x 3 convolution, batch normalization, ReLU: the `conv` of `aspp` in DeepLab v3."""
    return conv_bn(x, width, 3, name, dilation)


def aspp(x, width: int, output_stride: int, conv: Callable):
    """Atrous spatial pyramid pooling: one 1 x 1 and three dilated 3 x 3 convolutions and the mean.

    Args:
        x: (B, H, W, C) features at `output_stride`.
        width: channels of each branch and of the result.
        output_stride: 16 or 8.
        conv: function of x, width, name and dilation; `conv_bn_3x3` or `separable_conv_bn`.

    Returns:
        (B, H, W, width).
    """
    branches = [conv_bn(x, width, 1, "decoder_aspp0")]
    for branch, rate in enumerate(RATES, 1):
        dilation = rate * 16 // output_stride
        branches.append(conv(x, width, f"decoder_aspp{branch}", dilation=dilation))
    branches.append(pooling_branch(x, 1, width, "decoder_aspp_image"))
    x = layers.Concatenate(name="decoder_aspp_concat")(branches)
    return conv_bn(x, width, 1, "decoder_aspp_project")
