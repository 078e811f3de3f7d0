"""Lite R-ASPP."""

from keras import layers

from tfseg import checks
from tfseg.models.decoders import (
    conv_bn,
    global_mean,
    image_input,
    segmentation_head,
    skip_features,
    upsample,
)


def lraspp(
    num_classes,
    encoder="efficientnet_lite0",
    input_shape=(None, None, 3),
    weights=None,
    width=128,
    normalization=None,
):
    """Lite R-ASPP (arXiv:1905.02244): (B, H, W, C) in 0..255 -> (B, H, W, num_classes) float32 logits.

    Features at stride 16, weighed by the image's mean, and those at stride 8 each give logits, which are added. The
    mean is over the whole image, where the paper's 49 x 49 window fits one input size.

    Args:
        num_classes: channels of the output; 1 for a single sigmoid.
        encoder: a name of `list_encoders()` that can be dilated to stride 16, with features at stride 8.
        input_shape: (H, W, C); H and W may be None.
        weights: of the encoder: None, "imagenet" or the path of a `.weights.h5`.
        width: channels of the branch at stride 16.
        normalization: (mean, deviation) of the images, or "image" for those of each; None for what the encoder was
            trained with.

    Returns:
        keras.Model named "lraspp".

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.
    """
    checks.positive_int("lraspp", "width", width)
    image = image_input("lraspp", num_classes, input_shape)
    low, x = skip_features(
        "lraspp", image, encoder, weights, normalization, (8, 32), output_stride=16
    )
    factors = layers.Conv2D(width, 1, use_bias=False, activation="sigmoid", name="decoder_factors")
    scale = factors(global_mean(x, "decoder_mean"))
    x = layers.Multiply(name="decoder_scaled")([conv_bn(x, width, 1, "decoder_high"), scale])
    x = upsample(x, 2, "decoder_double")
    # A sum of two 1 x 1 convolutions is one convolution of both inputs side by side.
    x = layers.Concatenate(name="decoder_join")([x, low])
    return segmentation_head(x, image, num_classes, 8, "lraspp")
