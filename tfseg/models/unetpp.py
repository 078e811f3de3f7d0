"""U-Net++."""

from functools import partial

import keras
from keras import layers

from tfseg import checks
from tfseg.models.blocks import CropToImage, conv_block
from tfseg.models.decoders import image_input, upsample
from tfseg.models.unet import contracting_path, encoder_path

PLAIN = (32, 64, 128, 256, 512)
BEHIND_AN_ENCODER = (32, 64, 128, 256)


def unetpp(
    num_classes,
    encoder="efficientnet_lite0",
    input_shape=(None, None, 3),
    weights=None,
    filters=None,
    batch_norm=True,
    deep_supervision=False,
    normalization=None,
):
    """U-Net++ (arXiv:1807.10165): (B, H, W, C) in 0..255 -> (B, H, W, num_classes) float32 logits.

    Between contracting and expanding path lie nodes: the node of level i and column j joins all nodes of its level
    before it with the upsampled node of level i + 1 and column j - 1. The paper's network is `encoder=None`.

    With `deep_supervision` every column gives logits, all at full resolution, the last column (the deepest network)
    first: "logits", then "logits1" ... See `unet` for how to train them; the weights are then one a column, e.g.
    `tfseg.losses.deep_supervision(CrossEntropy(), weights=(1, 1, 1, 1))`. `keras.Model(model.input,
    model.outputs[k])` is the network pruned to its first columns, smaller and faster.

    Args:
        num_classes: channels of the output; 1 for a single sigmoid.
        encoder: a name of `list_encoders()`, with features at strides 4 to 32; or None for the paper's convolutions.
        input_shape: (H, W, C); H and W may be None.
        weights: of the encoder: None, "imagenet" or the path of a `.weights.h5`.
        filters: width of each level, finest first. With an encoder: of the nodes at strides 2, 4, 8 and 16, None for
            (32, 64, 128, 256). Without: of all levels, as in `unet`, None for (32, 64, 128, 256, 512).
        batch_norm: batch normalization after every 3 x 3 convolution.
        deep_supervision: logits of every column, see above.
        normalization: (mean, deviation) of the images, or "image" for those of each; None for what the encoder was
            trained with, or 0..255.

    Returns:
        keras.Model named "unetpp".

    Raises:
        ValueError: an argument is out of its range, or does not fit the encoder.
    """
    if weights is not None and encoder is None:
        raise ValueError(
            f"unetpp: weights={weights!r} are those of an encoder, and there is none. Name an `encoder`."
        )
    filters = _filters(filters, encoder)
    image = image_input("unetpp", num_classes, input_shape)
    block = partial(conv_block, batch_norm=batch_norm)
    if encoder is None:
        features, stride = contracting_path("unetpp", image, filters, normalization, block), 1
    else:
        features, stride = encoder_path("unetpp", image, encoder, weights, normalization)[1:], 2
    if features[0] is None:  # some encoders begin at stride 4
        features, filters, stride = features[1:], filters[1:], 4
    columns = _columns(features, filters, block)
    outputs = [
        _output(x, image, num_classes, stride, column) for column, x in enumerate(reversed(columns))
    ]
    return keras.Model(image, outputs if deep_supervision else outputs[0], name="unetpp")


def _filters(filters, encoder):
    filters = filters or (PLAIN if encoder is None else BEHIND_AN_ENCODER)
    filters = checks.positive_ints("unetpp", "filters", filters)
    if encoder is None and len(filters) < 2:
        raise ValueError(f"unetpp: filters={tuple(filters)} must name at least two levels.")
    if encoder is not None and len(filters) != 4:
        raise ValueError(
            f"unetpp: filters={tuple(filters)} must name the four levels of nodes behind an encoder, at strides 2, 4, "
            "8 and 16."
        )
    return filters


def _columns(features, filters, block):
    """Return the nodes of the finest level, one a column, the contracting path's own left out."""
    rows, tops = [[x] for x in features], []
    for column in range(1, len(features)):
        for level in range(len(features) - column):
            name = f"decoder_{level}_{column}"
            options = {"strides": 2, "kernel_initializer": "he_normal"}
            up = layers.Conv2DTranspose(filters[level], 2, name=f"{name}_up", **options)(
                rows[level + 1][-1]
            )
            x = layers.Concatenate(name=f"{name}_join")([*rows[level], up])
            # rows[level + 1][-1] must still be the node of the column before when the next finer level reads it
            rows[level].append(block(x, filters[level], name=name))
        tops.append(rows[0][-1])
    return tops


def _output(x, image, num_classes, stride, column):
    number = column or ""
    logits = layers.Conv2D(num_classes, 1, name=f"classes{number}")(x)
    logits = upsample(logits, stride, f"decoder_upsample{number}", dtype="float32")
    return CropToImage(name=f"logits{number}")(logits, image)
