"""U-Net."""

import keras
from keras import layers

from tfseg import checks
from tfseg.models.blocks import CropToImage, PadToStride, conv_block, normalize


def unet(
    num_classes,
    input_shape=(None, None, 3),
    filters=(32, 64, 128, 256, 512),
    batch_norm=True,
    dropout=0.0,
    normalization=None,
):
    """U-Net (arXiv:1505.04597): (B, H, W, C) in 0..255 -> (B, H, W, num_classes) float32 logits.

    The paper's network is `filters=(64, 128, 256, 512, 1024), batch_norm=False, dropout=0.5`; the default is
    half as wide, a quarter of the arithmetic. Convolutions are padded ("same"), so that any H x W comes out as
    it went in; the paper's lose 92 pixels on each side.

    Args:
        num_classes: channels of the output; 1 for a single sigmoid.
        input_shape: (H, W, C); H and W may be None.
        filters: width of each level. Their number is the depth: each level but the last halves the image.
        batch_norm: batch normalisation after every 3 x 3 convolution.
        dropout: rate at the end of the contracting path, on its two deepest levels as in the paper; 0 for none.
        normalization: (mean, deviation) of the images, each one number or one a channel; None for 0..255.

    Returns:
        keras.Model named "unet".

    Raises:
        ValueError: an argument is out of its range.
    """
    checks.positive_int("unet", "num_classes", num_classes)
    checks.fraction("unet", "dropout", dropout)
    filters = [checks.positive_int("unet", "filters", width) for width in filters]
    if len(filters) < 2:
        raise ValueError(f"unet: filters={tuple(filters)} must name at least two levels.")
    if len(input_shape) != 3 or input_shape[-1] is None:
        raise ValueError(f"unet: input_shape={input_shape} must be (H, W, C) with C known, e.g. (None, None, 3).")

    image = keras.Input(input_shape, name="image")
    x = PadToStride(2 ** (len(filters) - 1), name="pad")(normalize(image, normalization))
    skips = []
    for level, width in enumerate(filters):
        if level:
            x = layers.MaxPooling2D(name=f"pool{level}")(x)
        x = conv_block(x, width, batch_norm, name=f"down{level}")
        if dropout and level >= len(filters) - 2:
            x = layers.Dropout(dropout, name=f"dropout{level}")(x)
        skips.append(x)
    for level in reversed(range(len(filters) - 1)):
        width = filters[level]
        x = layers.Conv2DTranspose(width, 2, strides=2, kernel_initializer="he_normal", name=f"up{level}")(x)
        x = layers.Concatenate(name=f"skip{level}")([skips[level], x])
        x = conv_block(x, width, batch_norm, name=f"merge{level}")
    logits = layers.Conv2D(num_classes, 1, name="classes")(x)
    return keras.Model(image, CropToImage(name="logits")(logits, image), name="unet")
