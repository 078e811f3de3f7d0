"""Semantic FPN."""

from keras import layers

from tfseg import checks
from tfseg.models.decoders import conv_gn, image_input, segmentation_head, skip_features, upsample


def fpn(
    num_classes,
    encoder="efficientnet_lite0",
    input_shape=(None, None, 3),
    weights=None,
    pyramid_width=256,
    width=128,
    dropout=0.0,
    normalization=None,
):
    """Semantic FPN (arXiv:1901.02446): (B, H, W, C) in 0..255 -> (B, H, W, num_classes) float32 logits.

    A feature pyramid (arXiv:1612.03144); each of its levels is brought to stride 4 by convolutions with group
    normalization and bilinear doublings, and their sum decides.

    Args:
        num_classes: channels of the output; 1 for a single sigmoid.
        encoder: a name of `list_encoders()`, with features at strides 4 to 32.
        input_shape: (H, W, C); H and W may be None.
        weights: of the encoder: None, "imagenet" or the path of a `.weights.h5`.
        pyramid_width: channels of the pyramid.
        width: channels of the branches that are added.
        dropout: rate before the last convolution.
        normalization: (mean, deviation) of the images, or "image" for those of each; None for what the encoder was
            trained with.

    Returns:
        keras.Model named "fpn".

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.
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


def feature_pyramid(features, width):
    """Feature pyramid (arXiv:1612.03144): a list of maps, finest first, each half the last -> all `width` wide."""
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
    for step in range(max(1, doublings)):
        name = f"decoder_branch{doublings}_{step}"
        x = conv_gn(x, width, name)
        x = upsample(x, 2 if doublings else 1, f"{name}_double")
    return x
