"""SegFormer."""

from pathlib import Path

import keras
from keras import layers

from tfseg import checks
from tfseg.models.decoders import conv_bn, image_input, segmentation_head, skip_features, upsample


def segformer(
    num_classes: int,
    encoder: str = "mit_b0",
    input_shape: tuple = (None, None, 3),
    weights: str | Path | None = None,
    width: int = 256,
    dropout: float = 0.1,
    normalization: tuple | str | None = None,
) -> keras.Model:
    """SegFormer (arXiv:2105.15203): images in 0..255 -> (B, H, W, num_classes) float32 logits.

    The decoder has only linear layers: each level is projected to `width`, upsampled to stride 4,
    concatenated and fused.

    Args:
        num_classes: number of output channels; 1 for a single sigmoid.
        encoder: a name from `list_encoders()` with features at strides 4 to 32. The paper's
            encoders are "mit_b0", "mit_b1" and "mit_b2".
        input_shape: (H, W, C) of the images; H and W may be None.
        weights: encoder weights: None (random), "imagenet" or the path of a `.weights.h5` file.
        width: channels of the decoder; the paper has 256 for b0 and b1, and 768 for the others.
        dropout: dropout rate before the last convolution.
        normalization: (mean, std) of the images, or "image" to standardize each image; None for the
            statistics the encoder was trained with.

    Returns:
        keras.Model named "segformer". Its output is logits: compile it with a loss of
        `tfseg.losses`, or a Keras loss with from_logits=True. Keras' losses by name, such as
        "sparse_categorical_crossentropy", expect probabilities.

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.

    Example:
        >>> import tfseg
        >>> tfseg.models.segformer(19).output_shape
        (None, None, None, 19)
    """
    checks.positive_int("segformer", "width", width)
    checks.fraction("segformer", "dropout", dropout)
    image = image_input("segformer", num_classes, input_shape)
    levels = skip_features("segformer", image, encoder, weights, normalization, (4, 8, 16, 32))
    projected = []
    for level, x in enumerate(levels):
        x = layers.Conv2D(width, 1, name=f"decoder_linear{level}")(x)
        projected.append(upsample(x, 2**level, f"decoder_upsample{level}"))
    x = layers.Concatenate(name="decoder_join")(projected)
    x = conv_bn(x, width, 1, "decoder_fuse")
    return segmentation_head(x, image, num_classes, 4, "segformer", dropout)
