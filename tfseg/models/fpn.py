"""Semantic FPN."""

from pathlib import Path

import keras
from keras import layers

from tfseg import checks
from tfseg.models.decoders import conv_gn, image_input, segmentation_head, skip_features, upsample


def fpn(
    num_classes: int,
    encoder: str = "efficientnet_lite0",
    input_shape: tuple = (None, None, 3),
    weights: str | Path | None = None,
    pyramid_width: int = 256,
    width: int = 128,
    dropout: float = 0.0,
    normalization: tuple | str | None = None,
) -> keras.Model:
    """Semantic FPN (arXiv:1901.02446): images in 0..255 -> (B, H, W, num_classes) float32 logits.

    A feature pyramid (arXiv:1612.03144) over the encoder. Convolutions with group normalization
    and bilinear upsampling bring each level to stride 4; the levels are summed and classified.

    Args:
        num_classes: number of output channels; 1 for a single sigmoid.
        encoder: a name from `list_encoders()` with features at strides 4 to 32.
        input_shape: (H, W, C) of the images; H and W may be None.
        weights: encoder weights: None (random), "imagenet" or the path of a `.weights.h5` file.
        pyramid_width: channels of the feature pyramid.
        width: channels of the branches that are summed.
        dropout: dropout rate before the last convolution.
        normalization: (mean, std) of the images, or "image" to standardize each image; None for the
            statistics the encoder was trained with.

    Returns:
        keras.Model named "fpn". Its output is logits: compile it with a loss of
        `tfseg.losses`, or a Keras loss with from_logits=True. Keras' losses by name, such as
        "sparse_categorical_crossentropy", expect probabilities.

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.

    Example:
        >>> import tfseg
        >>> tfseg.models.fpn(11, encoder="mobilenet_v2").output_shape
        (None, None, None, 11)
    """
    checks.positive_int("fpn", "pyramid_width", pyramid_width)
    checks.positive_int("fpn", "width", width)
    checks.fraction("fpn", "dropout", dropout)
    image = image_input("fpn", num_classes, input_shape)
    features = skip_features("fpn", image, encoder, weights, normalization, (4, 8, 16, 32))
    levels = feature_pyramid(features, pyramid_width)
    branches = [_branch(x, doublings, width) for doublings, x in enumerate(levels)]
    x = layers.Add(name="decoder_sum")(branches)
    return segmentation_head(x, image, num_classes, 4, "fpn", dropout)


def feature_pyramid(features: list, width: int) -> list:
    """Feature pyramid (arXiv:1612.03144).

    Args:
        features: list of maps, finest first, each half the size of the one before.
        width: channels of all levels.

    Returns:
        list of maps (B, H, W, width) of the same sizes.
    """
    levels, above = [], None
    for level, x in reversed(list(enumerate(features))):
        x = layers.Conv2D(width, 1, name=f"decoder_lateral{level}")(x)
        if above is not None:
            above = layers.UpSampling2D(2, name=f"decoder_double{level}")(above)
            x = layers.Add(name=f"decoder_topdown{level}")([x, above])
        above = x
        levels.append(layers.Conv2D(width, 3, padding="same", name=f"decoder_pyramid{level}")(x))
    return levels[::-1]


def _branch(x, doublings, width):
    """Bring a pyramid level to stride 4; level 0 has one convolution and no upsampling."""
    factor = 2 if doublings else 1
    for step in range(max(1, doublings)):
        name = f"decoder_branch{doublings}_{step}"
        x = conv_gn(x, width, name)
        x = upsample(x, factor, f"{name}_double")
    return x
