"""The entries of the registry of encoders."""

from collections.abc import Callable
from dataclasses import dataclass

# (mean, std) of red, green and blue in 0..255 that published weights were trained with
CAFFE = ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0))
PLUS_MINUS_ONE = ((127.5,) * 3, (127.5,) * 3)
# 255 times (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225)
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


@dataclass(frozen=True)
class Encoder:
    """A network, the layers that give its features, and the normalization of its images.

    Attributes:
        build: (weights, owner) -> `keras.Model` of normalized RGB (B, H, W, 3); weights are None,
            "imagenet" or a path.
        feature_layers: for each of the strides 2, 4, 8, 16 and 32 the name of a layer, as in
            `rebuild.read_nodes`, or a prefix: then the last layer of that prefix gives the
            features. None where the network has no features at that stride.
        normalization: (mean, std) of images in 0..255, in the order red, green, blue.
        bgr: whether the first convolution expects blue, green, red.
        dilates: whether the late strides can be replaced by dilation.
        has_imagenet: whether weights="imagenet" is available.
        package: package with these weights, of the extra `pretrained`; None if Keras downloads
            them.
    """

    build: Callable
    feature_layers: tuple
    normalization: tuple = PLUS_MINUS_ONE
    bgr: bool = False
    dilates: bool = True
    has_imagenet: bool = True
    package: str | None = None


def no_imagenet_weights(name: str) -> ValueError:
    """Return the error for weights="imagenet" of an encoder that has none."""
    return ValueError(
        f"{name}: weights='imagenet' is not available: no package has ImageNet weights of this "
        "encoder. Pass weights=None (--weights none) for random weights, the path of a file, or "
        "an encoder that has them, such as 'efficientnet_lite0'."
    )
