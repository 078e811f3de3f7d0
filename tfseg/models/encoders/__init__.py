"""Encoders: networks that turn an image into features at strides 2 to 32."""

from pathlib import Path

import numpy as np

from tfseg import checks
from tfseg.models.blocks import PadToStride, normalize
from tfseg.models.encoders import applications as _applications
from tfseg.models.encoders import efficientnet_lite as _lite
from tfseg.models.encoders import mit as _mit
from tfseg.models.encoders import resnet as _resnet
from tfseg.models.encoders.efficientnet_lite import efficientnet_lite
from tfseg.models.encoders.encoder import no_imagenet_weights
from tfseg.models.encoders.freezing import freeze, stage_of, unfreeze
from tfseg.models.encoders.kernels import copy_weights
from tfseg.models.encoders.mit import ReducedAttention, mit
from tfseg.models.encoders.rebuild import dilated_copy
from tfseg.models.letterbox import Letterbox

ENCODERS = {
    **_lite.ENCODERS,
    **_mit.ENCODERS,
    **_resnet.ENCODERS,
    **_applications.ENCODERS,
}

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


def list_encoders() -> list[str]:
    """Return the names that `encode` and the `encoder` argument of the networks accept.

    Example:
        >>> import tfseg
        >>> tfseg.models.list_encoders()[:4]
        ['efficientnet_lite0', 'efficientnet_lite1', 'efficientnet_lite2', 'mit_b0']
    """
    return list(ENCODERS)


def check_weights(encoder: str, weights) -> None:
    """Raise a ValueError if an encoder has no such weights; nothing is loaded."""
    if weights == "imagenet" and not ENCODERS[encoder].has_imagenet:
        raise no_imagenet_weights(encoder)


def require_weights(encoder: str, weights) -> None:
    """Check that weights can be loaded later, which is cheap.

    Args:
        encoder: a name from `list_encoders()`.
        weights: None, "imagenet" or the path of a file.

    Raises:
        FileNotFoundError: the file does not exist.
        ImportError: the package with the weights is not installed.
    """
    package = ENCODERS[encoder].package
    if weights == "imagenet":
        if package is not None:
            checks.require_package(package, "pretrained")
    elif weights is not None and not Path(weights).is_file():
        raise FileNotFoundError(f"{encoder}: there is no weights file '{weights}'.")


def encode(
    image,
    encoder: str,
    weights: str | Path | None = None,
    output_stride: int = 32,
    normalization: tuple | str | None = None,
    owner: str = "encode",
    size: tuple[int, int] | None = None,
) -> list:
    """Turn an image into five feature maps, in one flat graph with layers "encoder<stage>_<name>".

    Stage k ends with the features at stride 2^k. The image is cast, normalized and zero-padded at
    the bottom and right to a multiple of `output_stride`; features have the size of the padded
    image.

    Weights trained on RGB work for any number of channels: the first kernel is distributed over
    them (see `kernels.fit_kernel`), so that an image with equal channels gives the same features
    as it would in RGB.

    Args:
        image: KerasTensor (B, H, W, C) in 0..255; H and W may be None.
        encoder: a name from `list_encoders()`.
        weights: None for random weights; "imagenet"; or the path of a file with the weights of the
            bare network: the `.weights.h5` that `save_weights` of the keras.applications model with
            `include_top=False` writes, or a `..._notop.h5` of keras.applications; for
            "resnet50_v1_5" also a `.pth` of torchvision's `resnet50`.
        output_stride: 32, 16 or 8. Below 32, the late stages keep this stride and dilate their
            kernels instead, with the same weights.
        normalization: (mean, std), each one number or one per channel, or "image" to standardize
            each image. None for the statistics the encoder was trained with (for other than three
            channels, their mean over red, green and blue).
        owner: name of the caller, for error messages.
        size: (height, width) to resize the normalized image into, see `Letterbox`; None to take it
            as it is.

    Returns:
        list of five KerasTensors at strides 2, 4, 8, 16 and 32, or `output_stride` if that is
        smaller; None where the encoder has no features at that stride.

    Raises:
        ValueError: unknown encoder, an encoder that cannot be dilated, or weights that do not fit;
            then none are loaded.
        ImportError: the package with the weights is not installed.
        OSError: the weights cannot be read or downloaded.

    Example:
        >>> import keras, tfseg
        >>> features = tfseg.models.encode(keras.Input((64, 64, 3)), "mobilenet_v3_small")
        >>> [x.shape[1:3] for x in features]
        [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]
    """
    entry = ENCODERS[checks.one_of(owner, "encoder", encoder, ENCODERS)]
    checks.one_of(owner, "output_stride", output_stride, (8, 16, 32))
    if output_stride < 32 and not entry.dilates:
        able = ", ".join(name for name, other in ENCODERS.items() if other.dilates)
        raise ValueError(
            f"{owner}: encoder={encoder!r} does not support output_stride={output_stride}. Choose "
            f"one of {able}; or output_stride=32, if the network takes it; or a network without "
            "dilation, such as unet, fpn or segformer."
        )
    network = entry.build(weights, owner)
    if normalization is None:
        normalization = _fit_normalization(entry.normalization, image.shape[-1])
    x = normalize(image, normalization)
    if size is not None:
        x = Letterbox(size, name="letterbox")(x)
    x = PadToStride(output_stride, name="pad")(x)
    features, pairs = dilated_copy(network, x, entry.feature_layers, output_stride)
    if weights is not None:
        copy_weights(pairs, image.shape[-1], entry.bgr)
    return features


def _fit_normalization(normalization, channels):
    """Return the RGB statistics, or their mean over the channels for other than three channels."""
    if channels == 3:
        return normalization
    return tuple(float(np.mean(values)) for values in normalization)
