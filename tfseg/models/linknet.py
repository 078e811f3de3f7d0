"""LinkNet."""

from pathlib import Path

import keras
from keras import layers

from tfseg import checks
from tfseg.models.batch_norm import BatchNorm
from tfseg.models.decoders import conv_bn, image_input, segmentation_head, skip_features


def linknet(
    num_classes: int,
    encoder: str = "efficientnet_lite0",
    input_shape: tuple = (None, None, 3),
    weights: str | Path | None = None,
    width: int = 64,
    normalization: tuple | str | None = None,
) -> keras.Model:
    """LinkNet (arXiv:1707.03718): images in 0..255 -> (B, H, W, num_classes) float32 logits.

    Each decoder block reduces the channels to a quarter, doubles the resolution, expands to the
    width of the encoder's features at that stride, and adds them.

    Args:
        num_classes: number of output channels; 1 for a single sigmoid.
        encoder: a name from `list_encoders()` with features at strides 4 to 32.
        input_shape: (H, W, C) of the images; H and W may be None.
        weights: encoder weights: None (random), "imagenet" or the path of a `.weights.h5` file.
        width: channels of the last decoder block; the final block has half as many.
        normalization: (mean, std) of the images, or "image" to standardize each image; None for the
            statistics the encoder was trained with.

    Returns:
        keras.Model named "linknet". Its output is logits: compile it with a loss of
        `tfseg.losses`, or a Keras loss with from_logits=True. Keras' losses by name, such as
        "sparse_categorical_crossentropy", expect probabilities.

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.

    Example:
        >>> import tfseg
        >>> tfseg.models.linknet(2, encoder="mobilenet_v2", input_shape=(64, 64, 1)).output_shape
        (None, 64, 64, 2)
    """
    checks.positive_int("linknet", "width", width)
    image = image_input("linknet", num_classes, input_shape)
    *skips, x = skip_features("linknet", image, encoder, weights, normalization, (4, 8, 16, 32))
    for level in reversed(range(3)):
        x = _decoder(x, skips[level].shape[-1], 2, f"decoder{level + 2}")
        x = layers.Add(name=f"decoder{level + 2}_skip")([x, skips[level]])
    x = _decoder(x, width, 1, "decoder1")
    half = max(1, width // 2)
    x = _transposed_conv_bn(x, half, 3, 2, "decoder_final1")
    x = conv_bn(x, half, 3, "decoder_final2")
    # The paper's last 2 x 2 transposed convolution gives the classes. Here it gives features, and
    # the layer "classes" follows, as in all other networks.
    x = _transposed_conv_bn(x, half, 2, 2, "decoder_final3")
    return segmentation_head(x, image, num_classes, 1, "linknet")


def _decoder(x, width, stride, name):
    """Decoder block: (B, H, W, C) -> (B, stride H, stride W, width), with C / 4 channels inside."""
    narrow = max(1, x.shape[-1] // 4)
    x = conv_bn(x, narrow, 1, f"{name}_narrow")
    x = _transposed_conv_bn(x, narrow, 3, stride, f"{name}_up")
    return conv_bn(x, width, 1, f"{name}_widen")


def _transposed_conv_bn(x, width, kernel, stride, name):
    x = layers.Conv2DTranspose(
        width,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = BatchNorm(name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
