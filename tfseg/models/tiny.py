"""The smallest network that is a U-Net."""

from keras import layers

from tfseg import checks
from tfseg.models.blocks import PadToStride, normalize
from tfseg.models.decoders import image_input, segmentation_head


def tiny_unet(num_classes, input_shape=(None, None, 3), filters=16, normalization=None):
    """A U-Net of two convolutions, one pooling and one transposed convolution, for a first look and for tests.

    (B, H, W, C) in 0..255 -> (B, H, W, num_classes) float32 logits.

    Args:
        num_classes: channels of the output; 1 for a single sigmoid.
        input_shape: (H, W, C); H and W may be None.
        filters: channels at full resolution; twice as many at half of it.
        normalization: (mean, deviation) of the images, each one number or one a channel, or "image" for those of
            each; None for 0..255.

    Returns:
        keras.Model named "tiny_unet".

    Raises:
        ValueError: an argument is out of its range.
    """
    checks.positive_int("tiny_unet", "filters", filters)
    image = image_input("tiny_unet", num_classes, input_shape)
    x = PadToStride(2, name="pad")(normalize(image, normalization))
    options = {"padding": "same", "activation": "relu", "kernel_initializer": "he_normal"}
    skip = layers.Conv2D(filters, 3, name="down0", **options)(x)
    x = layers.Conv2D(2 * filters, 3, name="down1", **options)(
        layers.MaxPooling2D(name="pool1")(skip)
    )
    x = layers.Conv2DTranspose(
        filters, 2, strides=2, activation="relu", kernel_initializer="he_normal", name="up0"
    )(x)
    x = layers.Concatenate(name="skip0")([skip, x])
    return segmentation_head(x, image, num_classes, 1, "tiny_unet")
