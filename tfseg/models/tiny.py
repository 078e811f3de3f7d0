"""The smallest U-Net."""

import keras
from keras import layers

from tfseg import checks
from tfseg.models.blocks import PadToStride, normalize
from tfseg.models.decoders import image_input, segmentation_head


def tiny_unet(
    num_classes: int,
    input_shape: tuple = (None, None, 3),
    filters: int = 16,
    normalization: tuple | str | None = None,
) -> keras.Model:
    """A U-Net with one pooling layer and four convolutions, for a first try and for tests.

    Images (B, H, W, C) in 0..255 -> (B, H, W, num_classes) float32 logits.

    Args:
        num_classes: number of output channels; 1 for a single sigmoid.
        input_shape: (H, W, C) of the images; H and W may be None.
        filters: channels at full resolution; twice as many at half resolution.
        normalization: (mean, std) of the images, each one number or one per channel, or "image" to
            standardize each image; None to map 0..255 to -1..1.

    Returns:
        keras.Model named "tiny_unet". Its output is logits: compile it with a loss of
        `tfseg.losses`, or a Keras loss with from_logits=True. Keras' losses by name, such as
        "sparse_categorical_crossentropy", expect probabilities.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> import tfseg
        >>> tfseg.models.tiny_unet(3, filters=4).count_params()
        567
    """
    checks.positive_int("tiny_unet", "filters", filters)
    image = image_input("tiny_unet", num_classes, input_shape)
    x = PadToStride(2, name="pad")(normalize(image, normalization))
    options = {"activation": "relu", "kernel_initializer": "he_normal"}
    skip = layers.Conv2D(filters, 3, padding="same", name="down0", **options)(x)
    x = layers.MaxPooling2D(name="pool1")(skip)
    x = layers.Conv2D(2 * filters, 3, padding="same", name="down1", **options)(x)
    x = layers.Conv2DTranspose(filters, 2, strides=2, name="up0", **options)(x)
    x = layers.Concatenate(name="skip0")([skip, x])
    return segmentation_head(x, image, num_classes, 1, "tiny_unet")
