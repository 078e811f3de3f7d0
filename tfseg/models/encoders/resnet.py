"""ResNet-50 v1.5, the network of torchvision's detectors.

It differs from ResNet-50 of keras.applications (arXiv:1512.03385): a block that halves the size
does so in its 3 x 3 convolution instead of its first 1 x 1, strided layers pad both sides alike,
convolutions have no bias, and batch normalization has epsilon 1e-5.
"""

from pathlib import Path

import keras
from keras import layers

from tfseg.models.batch_norm import BatchNorm
from tfseg.models.encoders.checkpoints import read_checkpoint
from tfseg.models.encoders.encoder import IMAGENET, Encoder, no_imagenet_weights
from tfseg.models.encoders.torch_layers import COUNTER, assign_state_dict, torch_tensors
from tfseg.models.encoders.weight_files import load_file

EXPANSION = 4  # channels of a block's output / width of its 3 x 3 convolution
WIDTHS = (64, 128, 256, 512)
EPSILON = 1e-5
SIZES = {"resnet50_v1_5": (3, 4, 6, 3)}  # number of blocks of each group
CHECKPOINTS = (".pth", ".pt")
CLASSIFIER = ("fc.weight", "fc.bias")  # in torchvision's files
ADVICE = "Use a state dict of torchvision's resnet50, with or without `fc`."


def resnet(name: str, weights: str | Path | None = None) -> keras.Model:
    """Build ResNet-50 v1.5: normalized RGB (B, H, W, 3) -> (B, H / 32, W / 32, 2048).

    H and W must be multiples of 32. Images in 0..1 are normalized with mean (0.485, 0.456, 0.406)
    and std (0.229, 0.224, 0.225).

    Args:
        name: "resnet50_v1_5".
        weights: None for random weights; the path of a `.weights.h5` file of this network; or the
            path of a `.pth` or `.pt` file with the state dict of torchvision's `resnet50`, whose
            classifier is left out.

    Raises:
        ValueError: `weights` is "imagenet", for which no package exists, or the weights in the file
            do not fit; then none are loaded.
    """
    if weights == "imagenet":
        raise no_imagenet_weights(name)
    image = keras.Input((None, None, 3), name="image")
    x = _conv_bn(image, WIDTHS[0], 7, 2, "stem")
    x = layers.ReLU(name="stem_relu")(x)
    # features after ReLU are not negative, so zeros cannot change a maximum
    x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="stem_pool")(x)
    for group, (width, repeats) in enumerate(zip(WIDTHS, SIZES[name], strict=True), start=1):
        for block in range(repeats):
            stride = 2 if group > 1 and block == 0 else 1
            x = _block(x, width, stride, f"group{group}_block{block}")
    network = keras.Model(image, x, name=name)
    if weights is not None and Path(weights).suffix in CHECKPOINTS:
        _load_published(network, weights)
    elif weights is not None:
        load_file(network, weights, name)
    return network


def published_name(layer: str) -> str:
    """Return the name of a layer in torchvision: "group2_block0_conv1" -> "layer2.0.conv1"."""
    names = {"stem_conv": "conv1", "stem_bn": "bn1"}
    if layer in names:
        return names[layer]
    group, block, part = layer.split("_", 2)
    parts = {"shortcut_conv": "downsample.0", "shortcut_bn": "downsample.1"}
    # "1_conv" is "conv1"
    number, _, kind = part.partition("_")
    return f"layer{group[5:]}.{block[5:]}.{parts.get(part, kind + number)}"


def _block(x, width, stride, name):
    """Bottleneck block: 1 x 1, 3 x 3 with the stride, 1 x 1, plus the input."""
    shortcut = x
    if stride > 1 or x.shape[-1] != EXPANSION * width:
        shortcut = _conv_bn(x, EXPANSION * width, 1, stride, f"{name}_shortcut")
    for number, (channels, kernel) in enumerate(((width, 1), (width, 3)), start=1):
        x = _conv_bn(x, channels, kernel, stride if kernel == 3 else 1, f"{name}_{number}")
        x = layers.ReLU(name=f"{name}_{number}_relu")(x)
    x = _conv_bn(x, EXPANSION * width, 1, 1, f"{name}_3")
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_relu")(x)


def _conv_bn(x, width, kernel, stride, name):
    padding = "same"
    if stride > 1 and kernel > 1:  # "same" would pad one pixel less at the top and left
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
        padding = "valid"
    x = layers.Conv2D(
        width,
        kernel,
        stride,
        padding,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return BatchNorm(epsilon=EPSILON, name=f"{name}_bn")(x)


def _load_published(network, path):
    """Assign the tensors of torchvision's file to the network's variables: all or none."""
    targets = {}
    for layer in network.layers:
        if layer.weights:
            targets |= torch_tensors(layer, published_name(layer.name))
    tensors = {
        name: tensor
        for name, tensor in read_checkpoint(path).items()
        if name not in CLASSIFIER and not name.endswith(COUNTER)
    }
    assign_state_dict(network.name, path, targets, tensors, ADVICE)


def _encoder(name):
    feature_layers = ("stem_relu", *(f"group{group}_" for group in (1, 2, 3, 4)))

    def build(weights, owner):
        return resnet(name, weights)

    return Encoder(build, feature_layers, IMAGENET, has_imagenet=False)


ENCODERS = {name: _encoder(name) for name in SIZES}
