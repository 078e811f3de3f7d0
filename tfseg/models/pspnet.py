"""PSPNet."""

from pathlib import Path

import keras

from tfseg import checks
from tfseg.models.decoders import (
    check_bins,
    conv_bn,
    image_input,
    pyramid,
    segmentation_head,
    skip_features,
)


def pspnet(
    num_classes: int,
    encoder: str = "efficientnet_lite0",
    input_shape: tuple = (None, None, 3),
    weights: str | Path | None = None,
    output_stride: int = 8,
    bins: tuple = (1, 2, 3, 6),
    width: int = 512,
    dropout: float = 0.1,
    normalization: tuple | str | None = None,
) -> keras.Model:
    """PSPNet (arXiv:1612.01105): images in 0..255 -> (B, H, W, num_classes) float32 logits.

    The deepest features are concatenated with their means over 1 x 1, 2 x 2, 3 x 3 and 6 x 6 bins
    of the image. Two differences from the paper: the pooling branches have a bias instead of batch
    normalization, and there is no auxiliary loss.

    Args:
        num_classes: number of output channels; 1 for a single sigmoid.
        encoder: a name from `list_encoders()` that supports `output_stride`.
        input_shape: (H, W, C) of the images; H and W may be None.
        weights: encoder weights: None (random), "imagenet" or the path of a `.weights.h5` file.
        output_stride: 8 as in the paper; 16 or 32 for less computation.
        bins: the features are pooled to bins x bins, for each of these numbers.
        width: channels of the convolution after the pyramid.
        dropout: dropout rate before the last convolution.
        normalization: (mean, std) of the images, or "image" to standardize each image; None for the
            statistics the encoder was trained with.

    Returns:
        keras.Model named "pspnet". Its output is logits: compile it with a loss of
        `tfseg.losses`, or a Keras loss with from_logits=True. Keras' losses by name, such as
        "sparse_categorical_crossentropy", expect probabilities.

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.

    Example:
        >>> import tfseg
        >>> tfseg.models.pspnet(2, encoder="mobilenet_v2", output_stride=16).output_shape
        (None, None, None, 2)
    """
    checks.positive_int("pspnet", "width", width)
    checks.fraction("pspnet", "dropout", dropout)
    checks.one_of("pspnet", "output_stride", output_stride, (8, 16, 32))
    check_bins("pspnet", bins)
    image = image_input("pspnet", num_classes, input_shape)
    (x,) = skip_features("pspnet", image, encoder, weights, normalization, (32,), output_stride)
    # As in the paper, all pooling branches together have as many channels as the features.
    x = pyramid(x, bins, max(1, x.shape[-1] // len(bins)), "decoder")
    x = conv_bn(x, width, 3, "decoder_fuse")
    return segmentation_head(x, image, num_classes, output_stride, "pspnet", dropout)
