"""PSPNet."""

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
    num_classes,
    encoder="efficientnet_lite0",
    input_shape=(None, None, 3),
    weights=None,
    output_stride=8,
    bins=(1, 2, 3, 6),
    width=512,
    dropout=0.1,
    normalization=None,
):
    """PSPNet (arXiv:1612.01105): (B, H, W, C) in 0..255 -> (B, H, W, num_classes) float32 logits.

    The deepest features beside their means over 1, 4, 9 and 36 parts of the image, whatever its size. The pooled
    branches have a bias where the paper normalizes by batch, and there is no auxiliary loss.

    Args:
        num_classes: channels of the output; 1 for a single sigmoid.
        encoder: a name of `list_encoders()` that can be dilated to `output_stride`.
        input_shape: (H, W, C); H and W may be None.
        weights: of the encoder: None, "imagenet" or the path of a `.weights.h5`.
        output_stride: 8 as in the paper, 16 or 32 for less arithmetic.
        bins: the image is cut into bins x bins parts, for each of these numbers.
        width: channels of the convolution after the pyramid.
        dropout: rate before the last convolution.
        normalization: (mean, deviation) of the images, or "image" for those of each; None for what the encoder was
            trained with.

    Returns:
        keras.Model named "pspnet".

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.
    """
    checks.positive_int("pspnet", "width", width)
    checks.fraction("pspnet", "dropout", dropout)
    checks.one_of("pspnet", "output_stride", output_stride, (8, 16, 32))
    check_bins("pspnet", bins)
    image = image_input("pspnet", num_classes, input_shape)
    (x,) = skip_features("pspnet", image, encoder, weights, normalization, (32,), output_stride)
    # As in the paper, all pooled branches together are as wide as the features.
    x = pyramid(x, bins, max(1, x.shape[-1] // len(bins)), "decoder")
    x = conv_bn(x, width, 3, "decoder_fuse")
    return segmentation_head(x, image, num_classes, output_stride, "pspnet", dropout)
