"""Images of any kind as uint8 RGB, for display."""

import math

import numpy as np

BAND_PIXELS = 2**18  # processed at once
CLIPPED = 0.5  # percent of the values at each end that may be clipped for display


def as_rgb(image):
    """Convert an image to uint8 RGB.

    uint8 values are kept. Other values are kept if they are in 0..255 with a maximum above 1;
    otherwise they are scaled linearly so that they span 0..255. Values that are not finite and the
    lowest and highest 0.5 % do not count for that, so single hot pixels do not darken the image.

    Args:
        image: (H, W) or (H, W, C). One or two channels: the first is shown in gray. Three or more:
            the first three are red, green and blue. NaN becomes black.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: the image has another shape.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> tfseg.viz.as_rgb(np.array([[0.0, 0.5, 1.0]])).tolist()
        [[[0, 0, 0], [127, 127, 127], [255, 255, 255]]]
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or not image.shape[-1]:
        raise ValueError(
            f"as_rgb: got an image of shape {image.shape}, expected (H, W) or (H, W, C). Pass one "
            "image of a batch."
        )
    image = image[..., :3] if image.shape[-1] >= 3 else image[..., :1]
    if image.dtype != np.uint8:
        image = _to_uint8(image)
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image


def _to_uint8(image):
    low, scale = _display_range(image)
    result = np.empty(image.shape, np.uint8)
    for rows in row_bands(image.shape):
        scaled = (image[rows].astype(np.float64) - low) * scale
        result[rows] = np.nan_to_num(np.clip(scaled, 0, 255))
    return result


def _display_range(image):
    """Return (low, scale): a value v is displayed as (v - low) * scale."""
    step = max(1, math.isqrt(image.shape[0] * image.shape[1] // BAND_PIXELS))
    values = image[::step, ::step].astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, (CLIPPED, 100 - CLIPPED), method="nearest")
    if low == high:  # a few pixels on an empty background
        low, high = values.min(), values.max()
    if low >= 0 and 1 < high <= 255:
        return 0.0, 1.0
    return low, 255 / max(high - low, 1e-9)


def row_bands(shape):
    """Yield slices of rows, for functions that need much memory per pixel.

    Args:
        shape: (height, width, ...).
    """
    rows = max(1, BAND_PIXELS // max(1, shape[1]))
    for start in range(0, shape[0], rows):
        yield slice(start, start + rows)
