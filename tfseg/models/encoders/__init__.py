"""Encoders: networks that turn an image into features at strides 2 to 32."""

import numpy as np

from tfseg import checks
from tfseg.models.blocks import PadToStride, normalize
from tfseg.models.encoders import applications as _applications
from tfseg.models.encoders import efficientnet_lite as _lite
from tfseg.models.encoders import mit as _mit
from tfseg.models.encoders.efficientnet_lite import efficientnet_lite
from tfseg.models.encoders.freezing import freeze, stage_of, unfreeze
from tfseg.models.encoders.kernels import copy_weights
from tfseg.models.encoders.mit import ReducedAttention, mit
from tfseg.models.encoders.rebuild import graft

ENCODERS = {**_lite.ENCODERS, **_mit.ENCODERS, **_applications.ENCODERS}

__all__ = [
    "ENCODERS",
    "ReducedAttention",
    "efficientnet_lite",
    "encode",
    "freeze",
    "list_encoders",
    "mit",
    "stage_of",
    "unfreeze",
]


def list_encoders():
    """Return the names `encode` knows."""
    return list(ENCODERS)


def encode(image, encoder, weights=None, output_stride=32, normalization=None, owner="encode"):
    """Turn an image into five features, in one flat graph; layers are named "encoder<stage>_<name>".

    Stage k gives the feature of stride 2^k. The image is cast, normalized and zero-padded at the bottom and right to
    a multiple of `output_stride`; features are those of the padded image.

    Weights trained on RGB serve any number of channels: the first kernel is shared out among them (`fit_kernel`) such
    that an image alike in all its channels gives what it gave in gray RGB.

    Args:
        image: KerasTensor (B, H, W, C) in 0..255, H and W may be None.
        encoder: one of `list_encoders()`.
        weights: None for random ones; "imagenet"; or the path of a file with the weights of the bare network: the
            `.weights.h5` that `save_weights` of the keras.applications model with `include_top=False` writes, or the
            `..._notop.h5` of keras.applications.
        output_stride: 32, or 16 or 8: the late stages then keep this stride and dilate their kernels instead. The
            weights are the same.
        normalization: (mean, deviation), each one number or one a channel, or "image" for those of each; None: as the
            encoder was trained (for C other than 3, its mean over red, green and blue).
        owner: who asks, for errors.

    Returns:
        (features, stride): five KerasTensors at strides 2, 4, 8, 16 and 32, no stride above `output_stride`; None
        where the network has none. `stride` is `output_stride`.

    Raises:
        ValueError: an unknown encoder, or one that cannot dilate; weights that do not fit, all or nothing.
        ImportError: the package with the weights is not installed.
        OSError: the weights cannot be read or downloaded.
    """
    known = ENCODERS[checks.one_of(owner, "encoder", encoder, ENCODERS)]
    checks.one_of(owner, "output_stride", output_stride, (8, 16, 32))
    if output_stride < 32 and not known.dilates:
        able = ", ".join(name for name, entry in ENCODERS.items() if entry.dilates)
        raise ValueError(
            f"{owner}: encoder={encoder!r} cannot have output_stride={output_stride}. Choose one of {able}; "
            "or output_stride=32, where the network takes it; or a network that takes no such, as unet, fpn, segformer."
        )
    network = known.build(weights, owner)
    if normalization is None:
        normalization = _trained(known.normalization, image.shape[-1])
    x = PadToStride(output_stride, name="pad")(normalize(image, normalization))
    features, pairs = graft(network, x, known.taps, output_stride)
    if weights is not None:
        copy_weights(pairs, image.shape[-1], known.bgr)
    return features, output_stride


def _trained(normalization, channels):
    return (
        normalization
        if channels == 3
        else tuple(float(np.mean(values)) for values in normalization)
    )
