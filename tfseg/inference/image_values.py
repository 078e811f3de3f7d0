"""What is wrong with the values of an image that a model is about to predict."""

import warnings

import keras
import numpy as np

from tfseg.data.value_range import DEFAULT_RANGE, UNIT_MAX, range_warning, value_range
from tfseg.models.blocks import Standardize

# A model whose normalization has mean and std in these limits was trained on 0..255.
MEANS_OF_8_BIT, STDS_OF_8_BIT = (10, 245), (2, 160)
STDS_AROUND_MEAN = 5  # nearly all values of the training images
UNUSUAL_STDS = 50  # a bright spot in a dark image may be as many stds above the mean


def fill_not_finite(image, owner: str):
    """Replace NaN and infinite values by the mean of their channel's other values.

    Args:
        image: (H, W, C).
        owner: who warns, and about which image.

    Returns:
        The image itself if all values are finite, else a copy.

    Warns:
        UserWarning: not all values are finite.
    """
    if not warn_of_not_finite(image, owner):
        return image
    image = np.array(image)
    for channel in range(image.shape[-1]):
        values = image[..., channel]
        finite = np.isfinite(values)
        values[~finite] = values[finite].mean(dtype=np.float64) if finite.any() else 0
    return image


def warn_of_not_finite(image, owner: str) -> bool:
    """Return whether an image has values that are not finite, and warn of them."""
    if image.dtype.kind != "f":
        return False
    count = image.size - np.count_nonzero(np.isfinite(image))
    if count:
        warnings.warn(
            f"{owner}: {count} of {image.size} values are NaN or infinite. They are treated as the "
            "mean of their channel. Check how the image was made.",
            stacklevel=2,
        )
    return bool(count)


def warn_of_range(image, model, owner: str, trained: tuple | None = None) -> None:
    """Warn if an image has other values than the model was trained on.

    A model with normalization="image" takes any range. Nothing is known about models without a
    normalization of their own, unless `trained` is given.

    Args:
        image: (H, W, C).
        model: a model of `tfseg.models`.
        owner: who warns, and about which image.
        trained: (lowest, highest) value of the training images; None for what the model's
            normalization tells.
    """
    layer = next((part for part in getattr(model, "layers", ()) if part.name == "normalize"), None)
    if isinstance(layer, Standardize):
        return
    found = value_range(image)
    if found is None:
        return
    if trained is None:
        if not isinstance(layer, keras.layers.Rescaling) or _is_usual(found[1], layer):
            return
        trained = _range_of_normalization(layer)
    if image.dtype == np.uint8 and _is_8_bit(trained):  # a single image may be dark
        return
    text = range_warning(*found, trained, owner)
    if text is not None:
        warnings.warn(text, stacklevel=2)


def _is_8_bit(trained):
    return trained is None or (trained[0] >= 0 and UNIT_MAX < trained[1] <= DEFAULT_RANGE[1])


def _is_usual(high, layer):
    """Whether the highest value of an image fits a normalization by the statistics of its data."""
    means, stds = _means_and_stds(layer)
    is_default = _range_of_normalization(layer) is None
    return not is_default and np.min(means) <= high <= np.max(means + UNUSUAL_STDS * stds)


def _means_and_stds(layer):
    scale, offset = np.asarray(layer.scale, float), np.asarray(layer.offset, float)
    # Rescaling computes x * scale + offset, and normalization (x - mean) / std
    return -offset / scale, 1 / np.abs(scale)


def _range_of_normalization(layer):
    """Return the (lowest, highest) value that a normalization is for; None for 0..255."""
    means, stds = _means_and_stds(layer)
    if _is_within(means, MEANS_OF_8_BIT) and _is_within(stds, STDS_OF_8_BIT):
        return None
    low = float(np.min(means - STDS_AROUND_MEAN * stds))
    high = float(np.max(means + STDS_AROUND_MEAN * stds))
    if np.all(np.abs(means) + stds <= UNIT_MAX):
        high = min(high, UNIT_MAX)
    return max(0.0, low) if np.all(means > stds) else low, high


def _is_within(values, limits):
    return limits[0] <= np.min(values) and np.max(values) <= limits[1]
