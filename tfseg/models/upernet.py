"""UPerNet."""

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
    num_classes,
    encoder="efficientnet_lite0",
    input_shape=(None, None, 3),
    weights=None,
    bins=(1, 2, 3, 6),
    width=512,
    dropout=0.1,
    normalization=None,
):
    """UPerNet (arXiv:1807.10221): (B, H, W, C) in 0..255 -> (B, H, W, num_classes) float32 logits.

    A feature pyramid over pyramid pooling, all its levels joined at stride 4. The pooled branches have a bias where
    the paper normalizes by batch.

    Args:
        num_classes: channels of the output; 1 for a single sigmoid.
        encoder: a name of `list_encoders()`, with features at strides 4 to 32.
        input_shape: (H, W, C); H and W may be None.
        weights: of the encoder: None, "imagenet" or the path of a `.weights.h5`.
        bins: the image is cut into bins x bins parts, for each of these numbers.
        width: channels of the decoder.
        dropout: rate before the last convolution.
        normalization: (mean, deviation) of the images, or "image" for those of each; None for what the encoder was
            trained with.

    Returns:
        keras.Model named "upernet".

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.
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
    """Return the pyramid's levels, finest first; `top` is its coarsest."""
    levels, above = [top], top
    for level, x in reversed(list(enumerate(features))):
        above = upsample(above, 2, f"decoder_double{level}")
        x = conv_bn(x, width, 1, f"decoder_lateral{level}")
        above = layers.Add(name=f"decoder_topdown{level}")([x, above])
        levels.append(conv_bn(above, width, 3, f"decoder_pyramid{level}"))
    return levels[::-1]
