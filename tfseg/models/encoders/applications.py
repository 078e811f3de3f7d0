"""The networks of keras.applications as encoders."""

import re
import warnings

import keras

from tfseg.models.encoders.encoder import CAFFE, IMAGENET, PLUS_MINUS_ONE, Encoder
from tfseg.models.encoders.weight_files import load_file

RESNET_TAPS = ("conv1_relu", "conv2_", "conv3_", "conv4_", "conv5_")
DENSENET_TAPS = ("conv1_relu", "pool2_relu", "pool3_relu", "pool4_relu", "relu")
EFFICIENTNET_TAPS = ("block1", "block2", "block3", "block5", "top_activation")


def _encoder(function, taps, normalization, bgr=False, dilates=True, **options):
    def build(weights, owner):
        return _build(function, weights, owner, options)

    return Encoder(build, taps, normalization, bgr, dilates)


def _build(function, weights, owner, options):
    """The network without its classifier, for images of any size."""
    with warnings.catch_warnings():
        # "`input_shape` is undefined or non-square": the weights are those of 224 x 224, as is said everywhere
        warnings.filterwarnings("ignore", "`input_shape` is undefined")
        make = getattr(keras.applications, function)
        named = "imagenet" if weights == "imagenet" else None
        try:
            network = make(include_top=False, weights=named, input_shape=(None, None, 3), **options)
        except Exception as error:
            if named is None:
                raise
            raise _not_downloaded(function, owner, error) from error
    if weights not in (None, "imagenet"):
        load_file(network, weights, owner)
    return network


def _not_downloaded(function, owner, error):
    url = re.search(r"https?://[^\s:]+", str(error))
    if url is None:  # a damaged file in Keras's folder, say
        return OSError(f"{owner}: the ImageNet weights of {function} cannot be loaded: {error}")
    name = url[0].rsplit("/", 1)[1]
    return OSError(
        f"{owner}: the ImageNet weights of {function} cannot be downloaded ({error}). Fetch {url[0]} elsewhere and "
        f"put it into Keras's folder as ~/.keras/models/{name} ($KERAS_HOME/models/{name} if that is set), "
        "or pass its path as weights=."
    )


def _resnet_v2(blocks):
    # each group but the last strides in its last block, so that its features are that block's normalized input
    taps = [
        f"conv{group}_block{count}_preact_relu"
        for group, count in zip((2, 3, 4), blocks, strict=True)
    ]
    return ("conv1_conv", *taps, "post_relu")


def _vgg(*last):
    return (
        *(f"block{block}_conv{conv}" for block, conv in zip((2, 3, 4, 5), last, strict=True)),
        "block5_pool",
    )


def _convnext(size):
    return (None, *(f"convnext_{size}_stage_{stage}_" for stage in range(4)))


# the normalization of keras.applications' preprocess_input, or of the layers some have built in
ENCODERS = {
    "resnet50": _encoder("ResNet50", RESNET_TAPS, CAFFE, bgr=True),
    "resnet101": _encoder("ResNet101", RESNET_TAPS, CAFFE, bgr=True),
    "resnet152": _encoder("ResNet152", RESNET_TAPS, CAFFE, bgr=True),
    "resnet50_v2": _encoder("ResNet50V2", _resnet_v2((3, 4, 6)), PLUS_MINUS_ONE),
    "resnet101_v2": _encoder("ResNet101V2", _resnet_v2((3, 4, 23)), PLUS_MINUS_ONE),
    "resnet152_v2": _encoder("ResNet152V2", _resnet_v2((3, 8, 36)), PLUS_MINUS_ONE),
    "densenet121": _encoder("DenseNet121", DENSENET_TAPS, IMAGENET),
    "densenet169": _encoder("DenseNet169", DENSENET_TAPS, IMAGENET),
    "densenet201": _encoder("DenseNet201", DENSENET_TAPS, IMAGENET),
    "vgg16": _encoder("VGG16", _vgg(2, 3, 3, 3), CAFFE, bgr=True, dilates=False),
    "vgg19": _encoder("VGG19", _vgg(2, 4, 4, 4), CAFFE, bgr=True, dilates=False),
    "xception": _encoder(
        "Xception",
        (
            "block1_conv2_act",
            *(f"block{block}_sepconv1_act" for block in (3, 4, 13)),
            "block14_sepconv2_act",
        ),
        PLUS_MINUS_ONE,
    ),
    "mobilenet": _encoder(
        "MobileNet", tuple(f"conv_pw_{index}_relu" for index in (1, 3, 5, 11, 13)), PLUS_MINUS_ONE
    ),
    "mobilenet_v2": _encoder(
        "MobileNetV2",
        ("expanded_conv_", "block_2_", "block_5_", "block_12_", "out_relu"),
        PLUS_MINUS_ONE,
    ),
    "mobilenet_v3_small": _encoder(
        "MobileNetV3Small",
        (
            "conv_bn_activation",
            "expanded_conv_project_bn",
            "expanded_conv_2_",
            "expanded_conv_7_",
            "conv_1_",
        ),
        PLUS_MINUS_ONE,
        include_preprocessing=False,
    ),
    "mobilenet_v3_large": _encoder(
        "MobileNetV3Large",
        (
            "expanded_conv_add",
            "expanded_conv_2_",
            "expanded_conv_5_",
            "expanded_conv_11_",
            "conv_1_",
        ),
        PLUS_MINUS_ONE,
        include_preprocessing=False,
    ),
    **{
        f"efficientnet_b{size}": _encoder(f"EfficientNetB{size}", EFFICIENTNET_TAPS, IMAGENET)
        for size in range(8)
    },
    **{
        f"efficientnet_v2_b{size}": _encoder(
            f"EfficientNetV2B{size}", EFFICIENTNET_TAPS, IMAGENET, include_preprocessing=False
        )
        for size in range(4)
    },
    **{
        f"efficientnet_v2_{size}": _encoder(
            f"EfficientNetV2{size.upper()}",
            EFFICIENTNET_TAPS,
            ((128.0,) * 3, (128.0,) * 3),
            include_preprocessing=False,
        )
        for size in "sml"
    },
    **{
        f"convnext_{size}": _encoder(
            f"ConvNeXt{size.title()}",
            _convnext(size),
            IMAGENET,
            dilates=False,
            include_preprocessing=False,
        )
        for size in ("tiny", "small", "base", "large")
    },
}
