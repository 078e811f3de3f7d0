"""What the registry knows of a network."""

from collections.abc import Callable
from dataclasses import dataclass

# (mean, deviation) of images in 0..255, red, green, blue, as the weights were trained
CAFFE = ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0))
PLUS_MINUS_ONE = ((127.5,) * 3, (127.5,) * 3)
IMAGENET = (
    (123.675, 116.28, 103.53),
    (58.395, 57.12, 57.375),
)  # (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Encoder:
    """A network, where its features lie, and how its images are normalized.

    Attributes:
        build: (weights, owner) -> `keras.Model` of normalized RGB (B, H, W, 3); weights: None, "imagenet" or a path.
        taps: for strides 2, 4, 8, 16 and 32 the name of a layer of `graft.read_nodes`, or its beginning: the last such
            layer in the order of the graph gives the feature. None where the network has no such stride.
        normalization: (mean, deviation) of images in 0..255, in the order red, green, blue.
        bgr: whether its first convolution takes blue, green, red.
        dilates: whether its late strides can be traded for dilation.
    """

    build: Callable
    taps: tuple
    normalization: tuple = PLUS_MINUS_ONE
    bgr: bool = False
    dilates: bool = True
