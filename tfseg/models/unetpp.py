"""U-Net++."""

from functools import partial
from pathlib import Path

import keras
from keras import layers

from tfseg import checks
from tfseg.models.blocks import CropToImage, conv_block
from tfseg.models.decoders import image_input, upsample
from tfseg.models.unet import contracting_path, encoder_path, require_encoder

FILTERS = (32, 64, 128, 256, 512)
FILTERS_WITH_ENCODER = (32, 64, 128, 256)


def unetpp(
    num_classes: int,
    encoder: str | None = "efficientnet_lite0",
    input_shape: tuple = (None, None, 3),
    weights: str | Path | None = None,
    filters: tuple | None = None,
    batch_norm: bool = True,
    deep_supervision: bool = False,
    normalization: tuple | str | None = None,
) -> keras.Model:
    """U-Net++ (arXiv:1807.10165): images in 0..255 -> (B, H, W, num_classes) float32 logits.

    Nested nodes connect the contracting and the expanding path. The node of level i and column j
    concatenates all earlier nodes of level i and the upsampled node of level i + 1, column j - 1.
    The paper's network is `encoder=None`.

    With `deep_supervision` every column gives logits at full resolution, the last column (the
    deepest network) first: "logits", "logits1", ... Train it as shown in `unet`, with one weight
    per column: `tfseg.losses.deep_supervision(CrossEntropy(), weights=(1, 1, 1, 1))`.
    `keras.Model(model.input, model.outputs[k])` is the network without its last k columns, which is
    smaller and faster.

    Args:
        num_classes: number of output channels; 1 for a single sigmoid.
        encoder: a name from `list_encoders()` with features at strides 4 to 32; None for the
            paper's contracting path.
        input_shape: (H, W, C) of the images; H and W may be None.
        weights: encoder weights: None (random), "imagenet" or the path of a `.weights.h5` file.
        filters: channels of each level, finest first. With an encoder: of the nodes at strides 2,
            4, 8 and 16, None for (32, 64, 128, 256). Without: of all levels, as in `unet`, None
            for (32, 64, 128, 256, 512).
        batch_norm: batch normalization after every 3 x 3 convolution.
        deep_supervision: return the logits of every column, see above.
        normalization: (mean, std) of the images, or "image" to standardize each image. None for
            the statistics the encoder was trained with, or without an encoder to map 0..255 to
            -1..1.

    Returns:
        keras.Model named "unetpp". Its output is logits: compile it with a loss of
        `tfseg.losses`, or a Keras loss with from_logits=True. Keras' losses by name, such as
        "sparse_categorical_crossentropy", expect probabilities.

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.

    Example:
        >>> import tfseg
        >>> tfseg.models.unetpp(2, encoder=None, filters=(4, 8, 16)).output_shape
        (None, None, None, 2)
    """
    require_encoder("unetpp", encoder, weights)
    filters = check_filters(filters, encoder)
    image = image_input("unetpp", num_classes, input_shape)
    block = partial(conv_block, batch_norm=batch_norm)
    if encoder is None:
        features, stride = contracting_path(image, filters, normalization, block), 1
    else:
        features, stride = encoder_path("unetpp", image, encoder, weights, normalization)[1:], 2
    if features[0] is None:  # some encoders have no features at stride 2
        features, filters, stride = features[1:], filters[1:], 4
    columns = _columns(features, filters, block)
    outputs = [
        _output(x, image, num_classes, stride, column) for column, x in enumerate(reversed(columns))
    ]
    return keras.Model(image, outputs if deep_supervision else outputs[0], name="unetpp")


def check_filters(filters, encoder: str | None) -> list[int]:
    """Return the filters of a U-Net++, or its default; raise a ValueError if they do not fit."""
    if not filters:
        filters = FILTERS if encoder is None else FILTERS_WITH_ENCODER
    filters = checks.positive_ints("unetpp", "filters", filters)
    if encoder is None and len(filters) < 2:
        raise ValueError(f"unetpp: filters={tuple(filters)} must have at least two levels.")
    if encoder is not None and len(filters) != 4:
        raise ValueError(
            f"unetpp: filters={tuple(filters)} must have four levels if there is an encoder, for "
            "the nodes at strides 2, 4, 8 and 16."
        )
    return filters


def _columns(features, filters, block):
    """Return the nodes of the finest level from column 1 on."""
    rows = [[x] for x in features]  # rows[level]: the nodes of a level so far
    finest = []
    for column in range(1, len(features)):
        for level in range(len(features) - column):
            name = f"decoder_{level}_{column}"
            # Levels run from fine to coarse, so the next level still ends with column - 1.
            below = rows[level + 1][-1]
            up = layers.Conv2DTranspose(
                filters[level], 2, strides=2, kernel_initializer="he_normal", name=f"{name}_up"
            )(below)
            x = layers.Concatenate(name=f"{name}_join")([*rows[level], up])
            rows[level].append(block(x, filters[level], name=name))
        finest.append(rows[0][-1])
    return finest


def _output(x, image, num_classes, stride, column):
    suffix = column or ""
    logits = layers.Conv2D(num_classes, 1, name=f"classes{suffix}")(x)
    logits = upsample(logits, stride, f"decoder_upsample{suffix}", dtype="float32")
    return CropToImage(name=f"logits{suffix}")(logits, image)
