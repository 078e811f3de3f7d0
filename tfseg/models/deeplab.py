"""DeepLab v3 and v3+."""

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

# of the 3 x 3 convolutions, at output stride 16 (arXiv:1706.05587); at half the stride twice as wide apart
RATES = (6, 12, 18)


def deeplab_v3(
    num_classes,
    encoder="efficientnet_lite0",
    input_shape=(None, None, 3),
    weights=None,
    output_stride=16,
    width=256,
    dropout=0.1,
    normalization=None,
):
    """DeepLab v3 (arXiv:1706.05587): (B, H, W, C) in 0..255 -> (B, H, W, num_classes) float32 logits.

    Atrous spatial pyramid pooling over the deepest features, then bilinear upsampling.

    Args:
        num_classes: channels of the output; 1 for a single sigmoid.
        encoder: a name of `list_encoders()` that can be dilated to `output_stride`.
        input_shape: (H, W, C); H and W may be None.
        weights: of the encoder: None, "imagenet" or the path of a `.weights.h5`.
        output_stride: 16, with rates 6, 12, 18; or 8, with rates 12, 24, 36.
        width: channels of every branch.
        dropout: rate before the last convolution.
        normalization: (mean, deviation) of the images, or "image" for those of each; None for what the encoder was
            trained with.

    Returns:
        keras.Model named "deeplab_v3".

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.
    """
    _check("deeplab_v3", output_stride, width, dropout)
    image = image_input("deeplab_v3", num_classes, input_shape)
    (x,) = skip_features("deeplab_v3", image, encoder, weights, normalization, (32,), output_stride)
    x = aspp(x, width, output_stride, conv_bn_3x3)
    return segmentation_head(x, image, num_classes, output_stride, "deeplab_v3", dropout)


def deeplab_v3_plus(
    num_classes,
    encoder="efficientnet_lite0",
    input_shape=(None, None, 3),
    weights=None,
    output_stride=16,
    width=256,
    low_width=48,
    dropout=0.1,
    normalization=None,
):
    """DeepLab v3+ (arXiv:1802.02611): (B, H, W, C) in 0..255 -> (B, H, W, num_classes) float32 logits.

    Atrous spatial pyramid pooling, and a decoder that joins it at stride 4 with the encoder's features; all 3 x 3
    convolutions are depthwise separable.

    Args:
        num_classes: channels of the output; 1 for a single sigmoid.
        encoder: a name of `list_encoders()` that can be dilated to `output_stride`, with features at stride 4.
        input_shape: (H, W, C); H and W may be None.
        weights: of the encoder: None, "imagenet" or the path of a `.weights.h5`.
        output_stride: 16, with rates 6, 12, 18; or 8, with rates 12, 24, 36.
        width: channels of every branch and of the decoder.
        low_width: channels to which the features at stride 4 are narrowed.
        dropout: rate before the last convolution.
        normalization: (mean, deviation) of the images, or "image" for those of each; None for what the encoder was
            trained with.

    Returns:
        keras.Model named "deeplab_v3_plus".

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.
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


def conv_bn_3x3(x, width, name, dilation):
    """3 x 3 convolution, batch normalization, ReLU."""
    return conv_bn(x, width, 3, name, dilation)


def aspp(x, width, output_stride, conv):
    """Atrous spatial pyramid pooling: a 1 x 1 and three dilated 3 x 3 convolutions and the image's mean, side by side.

    Args:
        x: (B, H, W, C) at `output_stride`.
        width: channels of each branch and of the result.
        output_stride: 16 or 8.
        conv: function of x, width, name and dilation.

    Returns:
        (B, H, W, width).
    """
    branches = [conv_bn(x, width, 1, "decoder_aspp0")]
    for branch, rate in enumerate(RATES, 1):
        branches.append(
            conv(x, width, f"decoder_aspp{branch}", dilation=rate * 16 // output_stride)
        )
    branches.append(pooling_branch(x, 1, width, "decoder_aspp_image"))
    return conv_bn(
        layers.Concatenate(name="decoder_aspp_concat")(branches), width, 1, "decoder_aspp_project"
    )
