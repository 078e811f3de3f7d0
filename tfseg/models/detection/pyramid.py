"""Feature pyramids and region proposal networks of the detectors."""

from keras import initializers, layers

from tfseg.models.batch_norm import BatchNorm

# Layouts: "v1" is that of torchvision's *_resnet50_fpn, "v2" that of *_resnet50_fpn_v2, and "light"
# has depthwise convolutions.
LAYOUTS = ("light", "v1", "v2")
FINEST = 2  # the finest level has stride 2**2
EPSILON = 1e-5  # of batch normalization, as in torchvision


def detection_pyramid(features: list, width: int, layout: str) -> list:
    """Feature pyramid (arXiv:1612.03144) with one coarser level on top.

    Args:
        features: list of maps at strides 4, 8, 16 and 32.
        width: channels of all levels.
        layout: one of `LAYOUTS`; "v1" has no normalization, the others have batch normalization.

    Returns:
        list of five maps (B, h, w, width) at strides 4 to 64.
    """
    levels, above = [], None
    for level, x in reversed(list(enumerate(features, FINEST))):
        x = _lateral(x, width, layout, f"fpn_lateral{level}")
        if above is not None:
            above = layers.UpSampling2D(2, name=f"fpn_double{level + 1}")(above)
            x = layers.Add(name=f"fpn_topdown{level}")([x, above])
        above = x
        levels.insert(0, _output(x, width, layout, f"fpn_output{level}"))
    coarsest = layers.MaxPooling2D(1, strides=2, name="fpn_pool6")(levels[-1])
    return [*levels, coarsest]


def _lateral(x, width, layout, name):
    return _conv(x, width, 1, layout != "v1", name)


def _output(x, width, layout, name):
    if layout != "light":
        return _conv(x, width, 3, layout == "v2", name)
    x = depthwise(x, f"{name}_depthwise", use_bias=False)
    return _conv(x, width, 1, True, name)


def _conv(x, width, kernel, has_norm, name):
    """Convolution and (batch normalization), without an activation."""
    x = layers.Conv2D(
        width,
        kernel,
        padding="same",
        use_bias=not has_norm,
        kernel_initializer="lecun_uniform",
        name=name,
    )(x)
    return BatchNorm(epsilon=EPSILON, name=f"{name}_bn")(x) if has_norm else x


def depthwise(x, name: str, use_bias: bool = True):
    """3 x 3 depthwise convolution that keeps the variance.

    Keras' initializers count the other channels as inputs too, so their kernels are too small.
    """
    return layers.DepthwiseConv2D(
        3,
        padding="same",
        use_bias=use_bias,
        depthwise_initializer=initializers.RandomNormal(stddev=1 / 3),
        name=name,
    )(x)


def proposal_network(levels: list, anchors_per_cell: int, layout: str) -> tuple[list, list]:
    """Region proposal network (arXiv:1506.01497): the same small network on all levels.

    Args:
        levels: list of (B, h, w, C) maps.
        anchors_per_cell: A.
        layout: one of `LAYOUTS`.

    Returns:
        objectness: list of (B, h, w, A) float32 logits; and deltas: list of (B, h, w, 4 A) float32,
        see `ops.encode_boxes`.
    """
    hidden = _hidden_layers(levels[0].shape[-1], layout)
    options = {"kernel_initializer": _small(), "dtype": "float32"}
    score = layers.Conv2D(anchors_per_cell, 1, name="rpn_objectness", **options)
    regress = layers.Conv2D(4 * anchors_per_cell, 1, name="rpn_deltas", **options)
    objectness, deltas = [], []
    for x in levels:
        for layer in hidden:
            x = layer(x)
        objectness.append(score(x))
        deltas.append(regress(x))
    return objectness, deltas


def _hidden_layers(width, layout):
    if layout == "light":
        depth = layers.DepthwiseConv2D(
            3,
            padding="same",
            depthwise_initializer=initializers.RandomNormal(stddev=1 / 3),
            name="rpn_depthwise",
        )
        point = layers.Conv2D(
            width, 1, activation="relu", kernel_initializer="he_normal", name="rpn_conv1"
        )
        return [depth, point]
    count = 2 if layout == "v2" else 1
    return [
        layers.Conv2D(
            width,
            3,
            padding="same",
            activation="relu",
            kernel_initializer=_small(),
            name=f"rpn_conv{index}",
        )
        for index in range(1, count + 1)
    ]


def _small():
    return initializers.RandomNormal(stddev=0.01)
