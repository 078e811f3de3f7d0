"""U-Net, and its variants with an encoder, attention gates, residual blocks and deep supervision."""

from functools import partial

import keras
from keras import layers

from tfseg import checks
from tfseg.models.blocks import CropToImage, PadToStride, conv_block, normalize
from tfseg.models.decoders import conv_bn, global_mean, image_input, skip_features, upsample

PLAIN = (32, 64, 128, 256, 512)
BEHIND_AN_ENCODER = (16, 32, 64, 128, 256)


def unet(
    num_classes,
    input_shape=(None, None, 3),
    filters=None,
    batch_norm=True,
    dropout=0.0,
    normalization=None,
    encoder=None,
    weights=None,
    attention=False,
    residual=False,
    squeeze_excite=False,
    deep_supervision=False,
):
    """U-Net (arXiv:1505.04597): (B, H, W, C) in 0..255 -> (B, H, W, num_classes) float32 logits.

    The paper's network is `filters=(64, 128, 256, 512, 1024), batch_norm=False, dropout=0.5`; the default is
    half as wide, a quarter of the arithmetic. Convolutions are padded ("same"), so that any H x W comes out as
    it went in; the paper's lose 92 pixels on each side.

    With `deep_supervision` the model has several outputs: "logits" at full resolution, "logits2" at half of it,
    "logits4" at a quarter (rounded up), so many as there are levels above the deepest. Train it with the mask once
    an output, and serve its first one:

        model.compile("adam", tfseg.losses.deep_supervision(CrossEntropy(), weights=(1, 0.5, 0.25)))
        model.fit(batches.map(lambda image, mask: (image, (mask,) * 3)))
        model = keras.Model(model.input, model.outputs[0])

    Args:
        num_classes: channels of the output; 1 for a single sigmoid.
        input_shape: (H, W, C); H and W may be None.
        filters: width of each level, finest first. Their number is the depth: each level but the last halves the
            image. None for (32, 64, 128, 256, 512). With an encoder: of the five levels of the decoder, at strides
            1 to 16; None for (16, 32, 64, 128, 256).
        batch_norm: batch normalization after every 3 x 3 convolution.
        dropout: rate at the end of the contracting path, on its two deepest levels as in the paper; 0 for none.
        normalization: (mean, deviation) of the images, each one number or one a channel, or "image" for those of
            each, which suits microscopes; None for 0..255, or with an encoder for what that was trained with.
        encoder: None, or a name of `list_encoders()` to stand in place of the contracting path.
        weights: of the encoder: None, "imagenet" or the path of a `.weights.h5`.
        attention: attention gates on the skips (arXiv:1804.03999).
        residual: a shortcut around each pair of convolutions (arXiv:1512.03385).
        squeeze_excite: each pair's channels weighed by their means over the image (arXiv:1709.01507).
        deep_supervision: outputs at lower resolutions too, see above.

    Returns:
        keras.Model named "unet".

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.
    """
    checks.fraction("unet", "dropout", dropout)
    if weights is not None and encoder is None:
        raise ValueError(
            f"unet: weights={weights!r} are those of an encoder, and there is none. Name an `encoder`."
        )
    filters = _filters(filters, encoder)
    image = image_input("unet", num_classes, input_shape)
    block = partial(_block, batch_norm=batch_norm, residual=residual, squeeze_excite=squeeze_excite)
    if encoder is None:
        features = contracting_path("unet", image, filters, normalization, block, dropout)
    else:
        *upper, low, deepest = encoder_path("unet", image, encoder, weights, normalization)
        features = [*upper, *(_dropout(x, dropout, level) for level, x in ((4, low), (5, deepest)))]
    levels = _expanding_path(
        features, filters, block, attention, "" if encoder is None else "decoder_"
    )
    outputs = [_output(x, image, num_classes, level) for level, x in enumerate(levels[:3])]
    return keras.Model(image, outputs if deep_supervision else outputs[0], name="unet")


def _filters(filters, encoder):
    filters = filters or (PLAIN if encoder is None else BEHIND_AN_ENCODER)
    filters = checks.positive_ints("unet", "filters", filters)
    if len(filters) < 2:
        raise ValueError(f"unet: filters={tuple(filters)} must name at least two levels.")
    if encoder is not None and len(filters) != 5:
        raise ValueError(
            f"unet: filters={tuple(filters)} must name the five levels of a decoder behind an encoder, at strides "
            "1, 2, 4, 8 and 16."
        )
    return filters


def contracting_path(owner, image, filters, normalization, block, dropout=0.0):
    """The contracting path of a U-Net: image (B, H, W, C) -> list of features at strides 1, 2, 4 ..., padded.

    Args:
        owner: builder's name, for errors.
        image: input tensor, in 0..255.
        filters: width of each level.
        normalization: see `unet`.
        block: function of x, width and name.
        dropout: rate on the two deepest levels.
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


def encoder_path(owner, image, encoder, weights, normalization):
    """An encoder's features as a contracting path: [None, stride 2 or None, stride 4, 8, 16, 32]."""
    *features, x = skip_features(
        owner, image, encoder, weights, normalization, (4, 8, 16, 32), optional=(2,)
    )
    return [None, *features, x]


def _dropout(x, rate, level):
    return layers.Dropout(rate, name=f"dropout{level}")(x) if rate else x


def _expanding_path(features, filters, block, attention, prefix):
    """Return the decoder's levels, finest first; where `features` has None there is no skip."""
    x, levels = features[-1], []
    for level in reversed(range(len(features) - 1)):
        skip, width = features[level], filters[level]
        if attention and skip is not None:
            skip = attention_gate(skip, x, max(1, width // 2), f"{prefix}gate{level}")
        options = {"strides": 2, "kernel_initializer": "he_normal"}
        x = layers.Conv2DTranspose(width, 2, name=f"{prefix}up{level}", **options)(x)
        if skip is not None:
            x = layers.Concatenate(name=f"{prefix}skip{level}")([skip, x])
        x = block(x, width, name=f"{prefix}merge{level}")
        levels.append(x)
    return levels[::-1]


def _output(x, image, num_classes, level):
    stride = "" if level == 0 else 2**level
    logits = layers.Conv2D(num_classes, 1, name=f"classes{stride}")(x)
    return CropToImage(2**level, name=f"logits{stride}")(logits, image)


def attention_gate(skip, signal, width, name):
    """Attention gate (arXiv:1804.03999): `skip`, each of its pixels weighed by a factor of 0 to 1.

    Args:
        skip: (B, 2 H, 2 W, C).
        signal: (B, H, W, D), the coarser level, which says where to look.
        width: channels in which the two are compared.
        name: prefix of the layers.

    Returns:
        (B, 2 H, 2 W, C).
    """
    seen = layers.Conv2D(width, 2, strides=2, use_bias=False, name=f"{name}_skip")(skip)
    wanted = layers.Conv2D(width, 1, name=f"{name}_signal")(signal)
    both = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([seen, wanted]))
    factor = layers.Conv2D(1, 1, activation="sigmoid", name=f"{name}_factor")(both)
    return layers.Multiply(name=f"{name}_weigh")([skip, upsample(factor, 2, f"{name}_double")])


def _block(x, width, batch_norm, residual, squeeze_excite, name):
    """Two 3 x 3 convolutions with what the options add: (B, H, W, C) -> (B, H, W, width)."""
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
    """Squeeze and excitation (arXiv:1709.01507), reduced by 16 as in the paper: (B, H, W, C) -> (B, H, W, C)."""
    width = x.shape[-1]
    y = global_mean(x, f"{name}_squeeze")
    y = layers.Conv2D(max(1, width // 16), 1, activation="relu", name=f"{name}_excite1")(y)
    y = layers.Conv2D(width, 1, activation="sigmoid", name=f"{name}_excite2")(y)
    return layers.Multiply(name=f"{name}_weigh")([x, y])
