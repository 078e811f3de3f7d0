"""U-Net, with an optional encoder, attention gates, residual blocks and deep supervision."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
from keras import layers

from tfseg import checks
from tfseg.models.blocks import CropToImage, PadToStride, conv_block, normalize
from tfseg.models.decoders import conv_bn, global_mean, image_input, skip_features, upsample

FILTERS = (32, 64, 128, 256, 512)
FILTERS_WITH_ENCODER = (16, 32, 64, 128, 256)


def unet(
    num_classes: int,
    input_shape: tuple = (None, None, 3),
    filters: tuple | None = None,
    batch_norm: bool = True,
    dropout: float = 0.0,
    normalization: tuple | str | None = None,
    encoder: str | None = None,
    weights: str | Path | None = None,
    attention: bool = False,
    residual: bool = False,
    squeeze_excite: bool = False,
    deep_supervision: bool = False,
) -> keras.Model:
    """U-Net (arXiv:1505.04597): images in 0..255 -> (B, H, W, num_classes) float32 logits.

    The paper's network is `filters=(64, 128, 256, 512, 1024), batch_norm=False, dropout=0.5`; the
    default has half the width and a quarter of the computation. Convolutions are padded ("same"),
    so the logits have the size of the image; the paper's lose 92 pixels on each side.

    With `deep_supervision` the model has several outputs, one per level above the deepest, at most
    three: "logits" at full resolution, "logits2" at half and "logits4" at a quarter (rounded up).
    Train it with the mask once per output, and deploy only its first output:

        model.compile("adam", tfseg.losses.deep_supervision(CrossEntropy(), weights=(1, 0.5, 0.25)))
        model.fit(batches.map(lambda image, mask: (image, (mask,) * 3)))
        model = keras.Model(model.input, model.outputs[0])

    Args:
        num_classes: number of output channels; 1 for a single sigmoid.
        input_shape: (H, W, C) of the images; H and W may be None.
        filters: channels of each level, finest first. Their number is the depth: each level but the
            last halves the resolution. None for (32, 64, 128, 256, 512). With an encoder: channels
            of the five decoder levels, at strides 1 to 16; None for (16, 32, 64, 128, 256).
        batch_norm: batch normalization after every 3 x 3 convolution.
        dropout: dropout rate on the two deepest levels of the contracting path, as in the paper.
        normalization: (mean, std) of the images, each one number or one per channel, or "image" to
            standardize each image, which suits microscopy. None to map 0..255 to -1..1, or with an
            encoder for the statistics the encoder was trained with.
        encoder: None, or a name from `list_encoders()` that replaces the contracting path.
        weights: encoder weights: None (random), "imagenet" or the path of a `.weights.h5` file.
        attention: attention gates on the skip connections (arXiv:1804.03999).
        residual: residual connections around each pair of convolutions (arXiv:1512.03385).
        squeeze_excite: squeeze-and-excitation after each pair of convolutions (arXiv:1709.01507).
        deep_supervision: add outputs at lower resolutions, see above.

    Returns:
        keras.Model named "unet". Its output is logits: compile it with a loss of
        `tfseg.losses`, or a Keras loss with from_logits=True. Keras' losses by name, such as
        "sparse_categorical_crossentropy", expect probabilities.

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.

    Example:
        >>> import tfseg
        >>> tfseg.models.unet(2, filters=(4, 8, 16)).output_shape
        (None, None, None, 2)
    """
    checks.fraction("unet", "dropout", dropout)
    require_encoder("unet", encoder, weights)
    filters = check_filters(filters, encoder)
    image = image_input("unet", num_classes, input_shape)
    block = partial(_block, batch_norm=batch_norm, residual=residual, squeeze_excite=squeeze_excite)
    if encoder is None:
        features = contracting_path(image, filters, normalization, block, dropout)
        prefix = ""
    else:
        features = encoder_path("unet", image, encoder, weights, normalization)
        features[-2] = _dropout(features[-2], dropout, 4)
        features[-1] = _dropout(features[-1], dropout, 5)
        prefix = "decoder_"
    levels = _expanding_path(features, filters, block, attention, prefix)
    outputs = [_output(x, image, num_classes, level) for level, x in enumerate(levels[:3])]
    return keras.Model(image, outputs if deep_supervision else outputs[0], name="unet")


def require_encoder(owner: str, encoder: str | None, weights) -> None:
    """Raise a ValueError if there are `weights` but no encoder that takes them."""
    if weights is not None and encoder is None:
        raise ValueError(
            f"{owner}: weights={weights!r} are encoder weights, but encoder is None. "
            "Pass an `encoder`."
        )


def check_filters(filters, encoder: str | None) -> list[int]:
    """Return the filters of a U-Net, or its default; raise a ValueError if they do not fit."""
    if not filters:
        filters = FILTERS if encoder is None else FILTERS_WITH_ENCODER
    filters = checks.positive_ints("unet", "filters", filters)
    if len(filters) < 2:
        raise ValueError(f"unet: filters={tuple(filters)} must have at least two levels.")
    if encoder is not None and len(filters) != 5:
        raise ValueError(
            f"unet: filters={tuple(filters)} must have five levels if there is an encoder, for "
            "the decoder at strides 1, 2, 4, 8 and 16."
        )
    return filters


def contracting_path(
    image, filters: tuple, normalization, block: Callable, dropout: float = 0.0
) -> list:
    """The contracting path of a U-Net: features of the padded image at strides 1, 2, 4 ...

    Args:
        image: input tensor (B, H, W, C) in 0..255.
        filters: channels of each level.
        normalization: see `unet`.
        block: function of x, width and name.
        dropout: dropout rate on the two deepest levels.
    """
    x = PadToStride(2 ** (len(filters) - 1), name="pad")(normalize(image, normalization))
    features = []
    for level, width in enumerate(filters):
        if level:
            x = layers.MaxPooling2D(name=f"pool{level}")(x)
        x = block(x, width, name=f"down{level}")
        if level >= len(filters) - 2:
            x = _dropout(x, dropout, level)
        features.append(x)
    return features


def encoder_path(owner: str, image, encoder: str, weights, normalization) -> list:
    """An encoder as contracting path: [None, stride 2 or None, stride 4, 8, 16, 32]."""
    features = skip_features(
        owner, image, encoder, weights, normalization, (4, 8, 16, 32), optional=(2,)
    )
    return [None, *features]


def _dropout(x, rate, level):
    return layers.Dropout(rate, name=f"dropout{level}")(x) if rate else x


def _expanding_path(features, filters, block, attention, prefix):
    """Return the levels of the decoder, finest first; no skip where a feature is None."""
    x, levels = features[-1], []
    for level in reversed(range(len(features) - 1)):
        skip, width = features[level], filters[level]
        if attention and skip is not None:
            skip = attention_gate(skip, x, max(1, width // 2), f"{prefix}gate{level}")
        x = layers.Conv2DTranspose(
            width, 2, strides=2, kernel_initializer="he_normal", name=f"{prefix}up{level}"
        )(x)
        if skip is not None:
            x = layers.Concatenate(name=f"{prefix}skip{level}")([skip, x])
        x = block(x, width, name=f"{prefix}merge{level}")
        levels.append(x)
    return levels[::-1]


def _output(x, image, num_classes, level):
    stride = 2**level
    suffix = "" if level == 0 else str(stride)
    logits = layers.Conv2D(num_classes, 1, name=f"classes{suffix}")(x)
    return CropToImage(stride, name=f"logits{suffix}")(logits, image)


def attention_gate(skip, signal, width: int, name: str):
    """Attention gate (arXiv:1804.03999): multiply each pixel of `skip` by a weight in 0..1.

    Args:
        skip: (B, 2 H, 2 W, C) skip features.
        signal: (B, H, W, D) gating signal, the features of the next coarser level.
        width: channels of the intermediate features.
        name: prefix of the layer names.

    Returns:
        (B, 2 H, 2 W, C).
    """
    theta = layers.Conv2D(width, 2, strides=2, use_bias=False, name=f"{name}_skip")(skip)
    phi = layers.Conv2D(width, 1, name=f"{name}_signal")(signal)
    x = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([theta, phi]))
    weight = layers.Conv2D(1, 1, activation="sigmoid", name=f"{name}_factor")(x)
    return layers.Multiply(name=f"{name}_weigh")([skip, upsample(weight, 2, f"{name}_double")])


def _block(x, width, batch_norm, residual, squeeze_excite, name):
    """Two 3 x 3 convolutions with the selected options: (B, H, W, C) -> (B, H, W, width)."""
    if not residual:
        y = conv_block(x, width, batch_norm, name=name)
        return _squeeze_excite(y, name) if squeeze_excite else y
    y = conv_bn(x, width, 3, f"{name}_1", batch_norm=batch_norm)
    y = conv_bn(y, width, 3, f"{name}_2", batch_norm=batch_norm, relu=False)
    if squeeze_excite:
        y = _squeeze_excite(y, name)
    if x.shape[-1] != width:
        x = conv_bn(x, width, 1, f"{name}_shortcut", batch_norm=batch_norm, relu=False)
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))


def _squeeze_excite(x, name):
    """Squeeze-and-excitation (arXiv:1709.01507) with reduction 16, as in the paper."""
    width = x.shape[-1]
    y = global_mean(x, f"{name}_squeeze")
    y = layers.Conv2D(max(1, width // 16), 1, activation="relu", name=f"{name}_excite1")(y)
    y = layers.Conv2D(width, 1, activation="sigmoid", name=f"{name}_excite2")(y)
    return layers.Multiply(name=f"{name}_weigh")([x, y])
