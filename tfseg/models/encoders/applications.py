"""The networks of keras.applications as encoders."""

import re
import warnings

import keras

from tfseg.models.encoders.encoder import CAFFE, IMAGENET, PLUS_MINUS_ONE, Encoder
from tfseg.models.encoders.weight_files import load_file


def _encoder(function, feature_layers, normalization, bgr=False, dilates=True, **options):
    def build(weights, owner):
        return _build(function, weights, owner, options)

    return Encoder(build, feature_layers, normalization, bgr, dilates)


def _build(function, weights, owner, options):
    """Build the network without its classifier, for images of any size."""
    make = getattr(keras.applications, function)
    pretrained = "imagenet" if weights == "imagenet" else None
    with warnings.catch_warnings():
        # Keras warns that the weights are those of 224 x 224 images.
        warnings.filterwarnings("ignore", "`input_shape` is undefined")
        try:
            network = make(
                include_top=False, weights=pretrained, input_shape=(None, None, 3), **options
            )
        except Exception as error:
            if pretrained is None:
                raise
            raise _weights_error(function, owner, error) from error
    if weights not in (None, "imagenet"):
        load_file(network, weights, owner)
    return network


def _weights_error(function, owner, error):
    """Return an OSError that says where to put the file if it cannot be downloaded."""
    url = re.search(r"https?://[^\s:]+", str(error))
    if url is None:  # for example a damaged file in Keras' cache
        return OSError(f"{owner}: cannot load the ImageNet weights of {function}: {error}")
    name = url[0].rsplit("/", 1)[1]
    return OSError(
        f"{owner}: cannot download the ImageNet weights of {function} ({error}). Download {url[0]} "
        f"on another machine and save it as ~/.keras/models/{name} ($KERAS_HOME/models/{name} if "
        "that is set), or pass its path as weights=."
    )


RESNET_LAYERS = ("conv1_relu", "conv2_", "conv3_", "conv4_", "conv5_")
DENSENET_LAYERS = ("conv1_relu", "pool2_relu", "pool3_relu", "pool4_relu", "relu")
EFFICIENTNET_LAYERS = ("block1", "block2", "block3", "block5", "top_activation")
XCEPTION_LAYERS = (
    "block1_conv2_act",
    "block3_sepconv1_act",
    "block4_sepconv1_act",
    "block13_sepconv1_act",
    "block14_sepconv2_act",
)
MOBILENET_LAYERS = (
    "conv_pw_1_relu",
    "conv_pw_3_relu",
    "conv_pw_5_relu",
    "conv_pw_11_relu",
    "conv_pw_13_relu",
)
MOBILENET_V2_LAYERS = ("expanded_conv_", "block_2_", "block_5_", "block_12_", "out_relu")
MOBILENET_V3_SMALL_LAYERS = (
    "conv_bn_activation",
    "expanded_conv_project_bn",
    "expanded_conv_2_",
    "expanded_conv_7_",
    "conv_1_",
)
MOBILENET_V3_LARGE_LAYERS = (
    "expanded_conv_add",
    "expanded_conv_2_",
    "expanded_conv_5_",
    "expanded_conv_11_",
    "conv_1_",
)


def _resnet_v2_layers(blocks):
    # Each group but the last strides in its last block, so its features are the normalized input of
    # that block.
    groups = [
        f"conv{group}_block{count}_preact_relu"
        for group, count in zip((2, 3, 4), blocks, strict=True)
    ]
    return ("conv1_conv", *groups, "post_relu")


def _vgg_layers(convolutions):
    # Blocks 2 to 5 end with a convolution at the stride of the pooling before them.
    blocks = [
        f"block{block}_conv{count}" for block, count in zip((2, 3, 4, 5), convolutions, strict=True)
    ]
    return (*blocks, "block5_pool")


def _convnext_layers(size):
    return (None, *(f"convnext_{size}_stage_{stage}_" for stage in range(4)))


def _efficientnet(size):
    return _encoder(f"EfficientNetB{size}", EFFICIENTNET_LAYERS, IMAGENET)


def _efficientnet_v2_b(size):
    return _encoder(
        f"EfficientNetV2B{size}", EFFICIENTNET_LAYERS, IMAGENET, include_preprocessing=False
    )


def _efficientnet_v2(size):
    return _encoder(
        f"EfficientNetV2{size.upper()}",
        EFFICIENTNET_LAYERS,
        ((128.0,) * 3, (128.0,) * 3),
        include_preprocessing=False,
    )


def _convnext(size):
    return _encoder(
        f"ConvNeXt{size.title()}",
        _convnext_layers(size),
        IMAGENET,
        dilates=False,
        include_preprocessing=False,
    )


# The normalization is that of keras.applications' preprocess_input, or of the preprocessing layers
# that some networks contain.
ENCODERS = {
    "resnet50": _encoder("ResNet50", RESNET_LAYERS, CAFFE, bgr=True),
    "resnet101": _encoder("ResNet101", RESNET_LAYERS, CAFFE, bgr=True),
    "resnet152": _encoder("ResNet152", RESNET_LAYERS, CAFFE, bgr=True),
    "resnet50_v2": _encoder("ResNet50V2", _resnet_v2_layers((3, 4, 6)), PLUS_MINUS_ONE),
    "resnet101_v2": _encoder("ResNet101V2", _resnet_v2_layers((3, 4, 23)), PLUS_MINUS_ONE),
    "resnet152_v2": _encoder("ResNet152V2", _resnet_v2_layers((3, 8, 36)), PLUS_MINUS_ONE),
    "densenet121": _encoder("DenseNet121", DENSENET_LAYERS, IMAGENET),
    "densenet169": _encoder("DenseNet169", DENSENET_LAYERS, IMAGENET),
    "densenet201": _encoder("DenseNet201", DENSENET_LAYERS, IMAGENET),
    "vgg16": _encoder("VGG16", _vgg_layers((2, 3, 3, 3)), CAFFE, bgr=True, dilates=False),
    "vgg19": _encoder("VGG19", _vgg_layers((2, 4, 4, 4)), CAFFE, bgr=True, dilates=False),
    "xception": _encoder("Xception", XCEPTION_LAYERS, PLUS_MINUS_ONE),
    "mobilenet": _encoder("MobileNet", MOBILENET_LAYERS, PLUS_MINUS_ONE),
    "mobilenet_v2": _encoder("MobileNetV2", MOBILENET_V2_LAYERS, PLUS_MINUS_ONE),
    "mobilenet_v3_small": _encoder(
        "MobileNetV3Small", MOBILENET_V3_SMALL_LAYERS, PLUS_MINUS_ONE, include_preprocessing=False
    ),
    "mobilenet_v3_large": _encoder(
        "MobileNetV3Large", MOBILENET_V3_LARGE_LAYERS, PLUS_MINUS_ONE, include_preprocessing=False
    ),
    **{f"efficientnet_b{size}": _efficientnet(size) for size in range(8)},
    **{f"efficientnet_v2_b{size}": _efficientnet_v2_b(size) for size in range(4)},
    **{f"efficientnet_v2_{size}": _efficientnet_v2(size) for size in "sml"},
    **{f"convnext_{size}": _convnext(size) for size in ("tiny", "small", "base", "large")},
}
