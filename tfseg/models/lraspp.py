"""Lite R-ASPP."""

from pathlib import Path

import keras
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
    num_classes: int,
    encoder: str = "efficientnet_lite0",
    input_shape: tuple = (None, None, 3),
    weights: str | Path | None = None,
    width: int = 128,
    normalization: tuple | str | None = None,
) -> keras.Model:
    """Lite R-ASPP (arXiv:1905.02244): images in 0..255 -> (B, H, W, num_classes) float32 logits.

    Features at stride 16, weighted per channel by their mean over the image, and features at
    stride 8 each give logits, which are summed. The mean covers the whole image, whereas the
    paper's 49 x 49 window fits one input size.

    Args:
        num_classes: number of output channels; 1 for a single sigmoid.
        encoder: a name from `list_encoders()` that supports output stride 16, with features at
            stride 8.
        input_shape: (H, W, C) of the images; H and W may be None.
        weights: encoder weights: None (random), "imagenet" or the path of a `.weights.h5` file.
        width: channels of the branch at stride 16.
        normalization: (mean, std) of the images, or "image" to standardize each image; None for the
            statistics the encoder was trained with.

    Returns:
        keras.Model named "lraspp". Its output is logits: compile it with a loss of
        `tfseg.losses`, or a Keras loss with from_logits=True. Keras' losses by name, such as
        "sparse_categorical_crossentropy", expect probabilities.

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.

    Example:
        >>> import tfseg
        >>> tfseg.models.lraspp(2, encoder="mobilenet_v3_small").output_shape
        (None, None, None, 2)
    """
    checks.positive_int("lraspp", "width", width)
    image = image_input("lraspp", num_classes, input_shape)
    low, x = skip_features(
        "lraspp", image, encoder, weights, normalization, (8, 32), output_stride=16
    )
    weigh = layers.Conv2D(width, 1, use_bias=False, activation="sigmoid", name="decoder_factors")
    scale = weigh(global_mean(x, "decoder_mean"))
    x = layers.Multiply(name="decoder_scaled")([conv_bn(x, width, 1, "decoder_high"), scale])
    x = upsample(x, 2, "decoder_double")
    # The sum of two 1 x 1 convolutions is one 1 x 1 convolution of the concatenated inputs.
    x = layers.Concatenate(name="decoder_join")([x, low])
    return segmentation_head(x, image, num_classes, 8, "lraspp")
