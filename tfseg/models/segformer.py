"""SegFormer."""

from keras import layers

from tfseg import checks
from tfseg.models.decoders import conv_bn, image_input, segmentation_head, skip_features, upsample


def segformer(
    num_classes,
    encoder="mit_b0",
    input_shape=(None, None, 3),
    weights=None,
    width=256,
    dropout=0.1,
    normalization=None,
):
    """SegFormer (arXiv:2105.15203): (B, H, W, C) in 0..255 -> (B, H, W, num_classes) float32 logits.

    The decoder is nothing but linear layers: each level to `width`, upsampled to stride 4, joined, and mixed.

    Args:
        num_classes: channels of the output; 1 for a single sigmoid.
        encoder: a name of `list_encoders()`, with features at strides 4 to 32; "mit_b0", 1 and 2 are the paper's.
        input_shape: (H, W, C); H and W may be None.
        weights: of the encoder: None, "imagenet" or the path of a `.weights.h5`.
        width: channels of the decoder; in the paper 256 for b0 and b1, 768 for the others.
        dropout: rate before the last layer.
        normalization: (mean, deviation) of the images, or "image" for those of each; None for what the encoder was
            trained with.

    Returns:
        keras.Model named "segformer".

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.
    """
    checks.positive_int("segformer", "width", width)
    checks.fraction("segformer", "dropout", dropout)
    image = image_input("segformer", num_classes, input_shape)
    levels = skip_features("segformer", image, encoder, weights, normalization, (4, 8, 16, 32))
    joined = []
    for level, x in enumerate(levels):
        x = layers.Conv2D(width, 1, name=f"decoder_linear{level}")(x)
        joined.append(upsample(x, 2**level, f"decoder_upsample{level}"))
    x = layers.Concatenate(name="decoder_join")(joined)
    x = conv_bn(x, width, 1, "decoder_fuse")
    return segmentation_head(x, image, num_classes, 4, "segformer", dropout)
