"""Whether the values of images are in the range that a model expects."""

import numpy as np

from tfseg import checks

DEFAULT_RANGE = (0.0, 255.0)  # of uint8 images, which models expect unless built for another range
UNIT_MAX = 1.5  # largest value of images divided by 255; resampling may go a little beyond 1
NORMALIZED_MAX = 10.0  # images from which a mean was subtracted have a few stds around 0
DEPTHS = (UNIT_MAX, 255, 4095, 65535)  # largest values of 0..1, 8-bit, 12-bit and 16-bit images
# A model whose normalization has mean and std in these limits was trained on 0..255.
MEANS_OF_8_BIT, STDS_OF_8_BIT = (10, 245), (2, 160)
MAX_CLIPPED = 0.01  # how far values may exceed `Augment.value_range`, as a fraction of its span
MAX_DARKER = 6  # images as dark as that, with fewer bits than those of the training, are reported


def value_range(values) -> tuple[float, float] | None:
    """Return the lowest and the highest finite value of an array, or None if there is none.

    Args:
        values: array of any shape and real dtype.

    Example:
        >>> import numpy as np
        >>> value_range(np.array([3.0, np.nan, 7.0]))
        (3.0, 7.0)
    """
    values = np.asarray(values)
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    if np.isfinite(low) and np.isfinite(high):
        return low, high
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else None


def check_range(owner: str, bounds) -> None:
    """Raise a ValueError unless `bounds`, an argument `value_range`, is (lowest, highest)."""
    numbers = checks.numbers(owner, "value_range", bounds)
    if len(numbers) != 2 or not -np.inf < numbers[0] < numbers[1] < np.inf:
        raise ValueError(
            f"{owner}: value_range={bounds!r} must be (lowest, highest), such as (0, 255)."
        )


def accepted_bounds(bounds) -> tuple[float, float]:
    """Return the lowest and the highest value that color operations may clip to (low, high).

    Example:
        >>> accepted_bounds((0, 200))
        (-2.0, 202.0)
    """
    low, high = bounds
    margin = MAX_CLIPPED * (high - low)
    return low - margin, high + margin


def can_be_clipped(dtype, bounds) -> bool:
    """Return whether images of a dtype can have values that color operations clip to (low, high).

    Example:
        >>> can_be_clipped("uint8", (0, 255)), can_be_clipped("uint8", (0, 1))
        (False, True)
    """
    low, high = bounds
    return np.dtype(dtype) != np.uint8 or low > DEFAULT_RANGE[0] or high < DEFAULT_RANGE[1]


def refuse_clipping(where: str, image, bounds) -> None:
    """Raise a ValueError if color operations, which clip to (low, high), would change an image.

    Args:
        where: name of the image.
        image: array of any shape and real dtype.
        bounds: (low, high).
    """
    found = value_range(image) if can_be_clipped(image.dtype, bounds) else None
    lowest, highest = accepted_bounds(bounds)
    if found is not None and not (lowest <= found[0] and found[1] <= highest):
        raise ValueError(f"{where} is in {found[0]:.6g}..{found[1]:.6g}: {clipped_text(bounds)}")


def clipped_text(bounds) -> str:
    """Return the sentences about an image with values that color operations would clip.

    Args:
        bounds: (low, high) that they clip to.
    """
    return (
        f"the image has values outside of {bounds[0]:.6g}..{bounds[1]:.6g}, to which the color "
        "operations would clip them. Pass the range of the images as `value_range` to Augment."
    )


def range_warning(
    low: float, high: float, trained: tuple[float, float] | None, owner: str
) -> str | None:
    """Return a warning about images that are not in the range a model expects, or None.

    A single uint8 image may well be dark or blank: check images of other dtypes, or the range of
    a whole dataset.

    Args:
        low: lowest value of the images.
        high: highest value of the images.
        trained: (lowest, highest) value of the images that the model was trained on; None for
            0..255. For uint8 images use 0..255, not the values that happen to occur.
        owner: who warns, and about which image: "predict: photos/a.tif".

    Returns:
        One or two sentences that begin with the owner, or None if the images are in the range, or
        are blank.

    Example:
        >>> range_warning(0.0, 1.0, None, "predict")
        'predict: the image values are in 0..1, but the model expects 0..255. Do not divide images \
by 255: the model normalizes them itself.'
        >>> range_warning(0, 4000, (0, 4095), "predict")
    """
    expected_low, expected_high = DEFAULT_RANGE if trained is None else map(float, trained)
    is_8_bit = expected_low >= 0 and UNIT_MAX < expected_high <= DEFAULT_RANGE[1]
    if is_8_bit:  # a dark training set makes no bright image an error
        expected_low, expected_high = DEFAULT_RANGE
    if low == high == 0:
        return None
    remedy = _remedy(low, high, expected_low, expected_high)
    if remedy is None:
        return None
    if trained is None or is_8_bit:
        expected = f"the model expects {_interval(*DEFAULT_RANGE)}"
    else:
        expected = f"the model was trained on {_interval(expected_low, expected_high)}"
    return f"{owner}: the image values are in {_interval(low, high)}, but {expected}. {remedy}"


def is_8_bit_normalization(means, stds) -> bool:
    """Whether a model that computes (image - mean) / std takes images of 0..255.

    Args:
        means, stds: numbers, or one per channel.

    Example:
        >>> is_8_bit_normalization(127.5, 127.5), is_8_bit_normalization(300, 120)
        (True, False)
    """
    maps_to_0_1 = np.all(np.equal(means, 0)) and np.allclose(stds, DEFAULT_RANGE[1])
    fits = _is_within(means, MEANS_OF_8_BIT) and _is_within(stds, STDS_OF_8_BIT)
    return bool(maps_to_0_1 or fits)


def _is_within(values, limits):
    return limits[0] <= np.min(values) and np.max(values) <= limits[1]


def _remedy(low, high, expected_low, expected_high):
    """Return what to do about images in low..high, or None if they are as expected."""
    span = expected_high - expected_low
    if expected_high > UNIT_MAX and high <= UNIT_MAX and low >= 0:
        if expected_high == DEFAULT_RANGE[1]:
            return "Do not divide images by 255: the model normalizes them itself."
        return "Do not scale images to 0..1: the model normalizes them itself."
    if expected_low >= 0 and expected_high > UNIT_MAX and low < 0 and high <= NORMALIZED_MAX:
        return "Do not normalize images: the model does it itself."
    is_darker = _depth(high) < _depth(expected_high) and high * MAX_DARKER <= expected_high
    is_outside = high > expected_high + span or low < expected_low - span / 2
    if is_darker or is_outside:
        return "Convert the images to the range of the training images."
    return None


def _depth(high):
    """Return the number of the first of `DEPTHS` that contains a value."""
    return int(np.searchsorted(DEPTHS, high))


def _interval(low, high):
    return f"{low:.4g}..{high:.4g}" if abs(high) < 1e4 else f"{low:.0f}..{high:.0f}"
