"""Predict large images in windows that slide over them."""

from functools import partial
from weakref import WeakKeyDictionary

import keras
import numpy as np

from tfseg.models import normalization_of, output_stride, split_standardize
from tfseg.models.blocks import ROUNDING, TINY
from tfseg.ops import blend_weights, window_corners

# model -> its `split_standardize`, kept since its parts are compiled
_SPLIT_MODELS = WeakKeyDictionary()
BAND_ROWS = 256  # rows of an image that are converted to float64 at once


def predict_whole(model, image):
    """Return the logits of an image, (H, W, C) -> (H, W, K)."""
    return keras.ops.convert_to_numpy(model.predict_on_batch(image[None]))[0]


def predict_windows(model, image, size: tuple[int, int], overlap: float):
    """Return the weighted mean of the windows' logits.

    Windows begin on multiples of the model's stride, so that its features lie on the same grids as
    those of the whole image. A model with normalization="image" normalizes by the mean and std of
    the whole image.

    Example: a pixel with weight 0.4 in one window and 0.8 in the next gets
    (0.4 * first + 0.8 * second) / (0.4 + 0.8).
    """
    extent = image.shape[:2]
    stride = output_stride(model) if isinstance(model, keras.Model) else 1
    corners = window_corners(extent, size, overlap, stride)
    if len(corners) == 1:
        return predict_whole(model, image)
    model, prepare = for_windows(model, image)
    height, width = np.minimum(size, extent).tolist()
    weights = blend_weights(height)[:, None, None] * blend_weights(width)[None, :, None]
    weighted_sum = None
    weight_sum = np.zeros((*extent, 1), np.float32)
    for y, x in corners:
        window = np.s_[y : y + height, x : x + width]
        logits = predict_whole(model, prepare(image[window]))
        if weighted_sum is None:
            weighted_sum = np.zeros((*extent, logits.shape[-1]), np.float32)
        weight = weights[: logits.shape[0], : logits.shape[1]]  # cut at the border of the image
        weighted_sum[window] += weight * logits
        weight_sum[window] += weight
    return weighted_sum / weight_sum


def for_windows(model, image):
    """Return the model for windows of an image, and the function to apply to each of them before.

    A model with normalization="image" is split behind its normalization, which takes the mean and
    std of the whole image.
    """
    if not is_standardized(model):
        return model, _unchanged
    return _split(model).rest, partial(_standardized, *channel_statistics(image))


def is_standardized(model) -> bool:
    """Whether a model has normalization="image"."""
    return isinstance(model, keras.Model) and normalization_of(model) == "image"


def _split(model):
    # not an attribute of the model, which Keras would save
    if model not in _SPLIT_MODELS:
        _SPLIT_MODELS[model] = split_standardize(model)
    return _SPLIT_MODELS[model]


def _unchanged(window):
    return window


def _standardized(mean, divisor, window):
    """Return a window as `tfseg.models.blocks.Standardize` has it for the whole image."""
    window = ((window - mean) / divisor).astype(np.float32)
    return np.where(np.isfinite(window), window, np.float32(0))


def channel_statistics(image):
    """Return the mean and the divisor by which `Standardize` normalizes each channel.

    Computed here in bands of rows, since the layer takes five times the memory of the image.

    Args:
        image: (H, W, C). Values that are not finite do not count.

    Returns:
        (mean, divisor): (C,) float64 each.
    """
    mean = _finite_mean(image, center=0.0, power=1)
    variance = _finite_mean(image, center=mean, power=2)
    return mean, np.sqrt(variance) + ROUNDING * np.abs(mean) + TINY


def _finite_mean(image, center, power):
    """Return the (C,) means of (value - center) ** power over the finite values."""
    total, count = np.zeros(image.shape[-1]), np.zeros(image.shape[-1])
    for start in range(0, image.shape[0], BAND_ROWS):
        values = image[start : start + BAND_ROWS].astype(np.float64) - center
        finite = np.isfinite(values)
        total += (np.where(finite, values, 0) ** power).sum((0, 1))
        count += finite.sum((0, 1))
    return total / np.maximum(count, 1)
