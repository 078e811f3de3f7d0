"""What is wrong with the values of an image that a model is about to predict."""

import warnings

import keras
import numpy as np

from tfseg.data.value_range import (
    DEFAULT_RANGE,
    UNIT_MAX,
    is_8_bit_normalization,
    range_warning,
    value_range,
)
from tfseg.models import normalization_of

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
    normalization = normalization_of(model) if isinstance(model, keras.Model) else None
    if isinstance(normalization, str):  # "image"
        return
    found = value_range(image)
    if found is None:
        return
    if trained is None:
        if normalization is None or _is_usual(found[1], *normalization):
            return
        trained = _range_of_normalization(*normalization)
    if image.dtype == np.uint8 and _is_8_bit(trained):  # a single image may be dark
        return
    text = range_warning(*found, trained, owner)
    if text is not None:
        warnings.warn(text, stacklevel=2)


def _is_8_bit(trained):
    return trained is None or (trained[0] >= 0 and UNIT_MAX < trained[1] <= DEFAULT_RANGE[1])


def _is_usual(high, means, stds):
    """Whether the highest value of an image fits a normalization by the statistics of its data."""
    is_8_bit = is_8_bit_normalization(means, stds)
    return not is_8_bit and np.min(means) <= high <= np.max(means + UNUSUAL_STDS * stds)


def _range_of_normalization(means, stds):
    """Return the (lowest, highest) value that a normalization is for; None for 0..255."""
    if is_8_bit_normalization(means, stds):
        return None
    low = float(np.min(means - STDS_AROUND_MEAN * stds))
    high = float(np.max(means + STDS_AROUND_MEAN * stds))
    if np.all(np.abs(means) + stds <= UNIT_MAX):
        high = min(high, UNIT_MAX)
    return max(0.0, low) if np.all(means > stds) else low, high
