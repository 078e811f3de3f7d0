"""Which signatures and test images suit the values that a model was trained on."""

import math

import numpy as np

from tfseg.data.value_range import NORMALIZED_MAX
from tfseg.models.blocks import Standardize
from tfseg.models.layer_graph import all_layers

MAX_UINT8, MAX_UINT16 = 255, 65535


def checked_range(owner: str, value_range) -> list[float] | None:
    """Return (low, high) as a list of two floats; None for None.

    Raises:
        ValueError: it is not two finite numbers in ascending order.
    """
    if value_range is None:
        return None
    try:
        low, high = (float(value) for value in value_range)
        is_valid = low < high and math.isfinite(high - low)
    except (TypeError, ValueError):
        is_valid = False
    if not is_valid:
        raise ValueError(
            f"{owner}: value_range={value_range!r} must be (low, high), the smallest and the "
            "largest value in the training images, such as (0, 4095)."
        )
    return [low, high]


def range_to_serve(model, value_range) -> list[float] | None:
    """Return the range that decides on signatures: None, for any, with normalization="image"."""
    takes_any = any(isinstance(layer, Standardize) for layer in all_layers(model))
    return None if takes_any else value_range


def serves_uint8(value_range) -> bool:
    """Whether uint8 images have the values that a model was trained on."""
    return value_range is None or _are_integers(value_range, MAX_UINT8)


def serves_files(model, value_range) -> bool:
    """Whether PNG files have the channels and the values that a model was trained on."""
    if model.input_shape[-1] not in (1, 3):
        return False
    return value_range is None or _are_integers(value_range, MAX_UINT16)


def _are_integers(value_range, limit):
    """Whether images are whole numbers from 0 to `limit`, as far as their range tells.

    Their dtype does not tell: `Folder` reads 16-bit PNGs as float32. So both ends of the range must
    be whole numbers, as those of all integers are. Fractions such as reflectances rarely end in
    whole numbers unless they are clipped to small ones, so the highest must also be above 10.
    """
    low, high = map(float, value_range)
    is_whole = low.is_integer() and high.is_integer()
    return is_whole and low >= 0 and NORMALIZED_MAX < high <= limit


def image_dtype(value_range):
    """Return the smallest NumPy dtype of images with the values that a model was trained on."""
    if serves_uint8(value_range):
        return np.uint8
    return np.uint16 if _are_integers(value_range, MAX_UINT16) else np.float32


def noise(shape, value_range):
    """Return noise in the range that a model was trained on, of its `image_dtype`."""
    rng = np.random.default_rng(0)
    dtype = image_dtype(value_range)
    if dtype == np.uint8:
        return rng.integers(0, 256, shape, np.uint8)
    low, high = value_range
    if dtype == np.uint16:
        return rng.integers(int(low), int(high) + 1, shape, np.uint16)
    return rng.uniform(low, high, shape).astype(np.float32)
