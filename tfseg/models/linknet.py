"""LinkNet."""

from keras import layers

from tfseg import checks
from tfseg.models.batch_norm import BatchNorm
from tfseg.models.decoders import conv_bn, image_input, segmentation_head, skip_features


def linknet(
    num_classes,
    encoder="efficientnet_lite0",
    input_shape=(None, None, 3),
    weights=None,
    width=64,
    normalization=None,
):
    """LinkNet (arXiv:1707.03718): (B, H, W, C) in 0..255 -> (B, H, W, num_classes) float32 logits.

    Each decoder narrows to a quarter, doubles the resolution and adds the encoder's features, as wide as they are.

    Args:
        num_classes: channels of the output; 1 for a single sigmoid.
        encoder: a name of `list_encoders()`, with features at strides 4 to 32.
        input_shape: (H, W, C); H and W may be None.
        weights: of the encoder: None, "imagenet" or the path of a `.weights.h5`.
        width: of the last decoder; the final block has half of it.
        normalization: (mean, deviation) of the images, or "image" for those of each; None for what the encoder was
            trained with.

    Returns:
        keras.Model named "linknet".

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.
    """
    checks.positive_int("linknet", "width", width)
    image = image_input("linknet", num_classes, input_shape)
    *skips, x = skip_features("linknet", image, encoder, weights, normalization, (4, 8, 16, 32))
    for level in reversed(range(3)):
        x = _decoder(x, skips[level].shape[-1], 2, f"decoder{level + 2}")
        x = layers.Add(name=f"decoder{level + 2}_skip")([x, skips[level]])
    x = _decoder(x, width, 1, "decoder1")
    half = max(1, width // 2)
    x = _transposed(x, half, 3, 2, "decoder_final1")
    x = conv_bn(x, half, 3, "decoder_final2")
    # The paper ends in a 2 x 2 transposed convolution to the classes: here to features, with "classes" behind it.
    x = _transposed(x, half, 2, 2, "decoder_final3")
    return segmentation_head(x, image, num_classes, 1, "linknet")


def _decoder(x, width, stride, name):
    """Narrow to a quarter, (B, H, W, C) -> (B, stride H, stride W, C / 4), and widen: (..., width)."""
    narrow = max(1, x.shape[-1] // 4)
    x = conv_bn(x, narrow, 1, f"{name}_narrow")
    x = _transposed(x, narrow, 3, stride, f"{name}_up")
    return conv_bn(x, width, 1, f"{name}_widen")


def _transposed(x, width, kernel, stride, name):
    options = {
        "strides": stride,
        "padding": "same",
        "use_bias": False,
        "kernel_initializer": "he_normal",
    }
    x = layers.Conv2DTranspose(width, kernel, name=f"{name}_conv", **options)(x)
    x = BatchNorm(name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
