"""UPerNet."""

from pathlib import Path

import keras
from keras import layers

from tfseg import checks
from tfseg.models.decoders import (
    check_bins,
    conv_bn,
    image_input,
    pyramid,
    segmentation_head,
    skip_features,
    upsample,
)


def upernet(
    num_classes: int,
    encoder: str = "efficientnet_lite0",
    input_shape: tuple = (None, None, 3),
    weights: str | Path | None = None,
    bins: tuple = (1, 2, 3, 6),
    width: int = 512,
    dropout: float = 0.1,
    normalization: tuple | str | None = None,
) -> keras.Model:
    """UPerNet (arXiv:1807.10221): images in 0..255 -> (B, H, W, num_classes) float32 logits.

    A feature pyramid on top of pyramid pooling; all levels are concatenated at stride 4. The
    pooling branches have a bias where the paper has batch normalization.

    Args:
        num_classes: number of output channels; 1 for a single sigmoid.
        encoder: a name from `list_encoders()` with features at strides 4 to 32.
        input_shape: (H, W, C) of the images; H and W may be None.
        weights: encoder weights: None (random), "imagenet" or the path of a `.weights.h5` file.
        bins: the deepest features are pooled to bins x bins, for each of these numbers.
        width: channels of the decoder.
        dropout: dropout rate before the last convolution.
        normalization: (mean, std) of the images, or "image" to standardize each image; None for the
            statistics the encoder was trained with.

    Returns:
        keras.Model named "upernet". Its output is logits: compile it with a loss of
        `tfseg.losses`, or a Keras loss with from_logits=True. Keras' losses by name, such as
        "sparse_categorical_crossentropy", expect probabilities.

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.

    Example:
        >>> import tfseg
        >>> tfseg.models.upernet(2, encoder="mobilenet_v2", width=32).output_shape
        (None, None, None, 2)
    """
    checks.positive_int("upernet", "width", width)
    checks.fraction("upernet", "dropout", dropout)
    check_bins("upernet", bins)
    image = image_input("upernet", num_classes, input_shape)
    *features, top = skip_features(
        "upernet", image, encoder, weights, normalization, (4, 8, 16, 32)
    )
    top = conv_bn(pyramid(top, bins, width, "decoder_pool"), width, 3, "decoder_top")
    levels = _top_down(features, top, width)
    joined = [upsample(x, 2**level, f"decoder_upsample{level}") for level, x in enumerate(levels)]
    x = conv_bn(layers.Concatenate(name="decoder_join")(joined), width, 3, "decoder_fuse")
    return segmentation_head(x, image, num_classes, 4, "upernet", dropout)


def _top_down(features, top, width):
    """Return the levels of the pyramid, finest first; `top` is the coarsest one."""
    levels, above = [top], top
    for level, x in reversed(list(enumerate(features))):
        above = upsample(above, 2, f"decoder_double{level}")
        x = conv_bn(x, width, 1, f"decoder_lateral{level}")
        above = layers.Add(name=f"decoder_topdown{level}")([x, above])
        levels.append(conv_bn(above, width, 3, f"decoder_pyramid{level}"))
    return levels[::-1]
