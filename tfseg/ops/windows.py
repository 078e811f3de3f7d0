"""Placement and blend weights of windows that slide over an image (NumPy)."""

import numpy as np

from tfseg import checks


def window_corners(extent, size, overlap: float = 0.0) -> list[tuple[int, int]]:
    """Return the top left corners of evenly spaced windows that cover an image.

    No window reaches over the border unless the image is smaller than the window.

    Args:
        extent: (height, width) of the image in pixels.
        size: side of a square window, or (height, width), in pixels.
        overlap: minimum fraction of a window that the next window covers again, in [0, 1).

    Returns:
        list of (y, x), row by row.

    Raises:
        ValueError: `size` is not positive, or `overlap` is outside [0, 1).

    Example:
        >>> window_corners((4, 10), (4, 6), overlap=0.5)
        [(0, 0), (0, 2), (0, 4)]
    """
    sides = (size, size) if np.ndim(size) == 0 else size
    for side in sides:
        checks.positive_int("window_corners", "size", side)
    checks.fraction("window_corners", "overlap", overlap)
    rows = _starts(int(extent[0]), sides[0], overlap)
    columns = _starts(int(extent[1]), sides[1], overlap)
    return [(y, x) for y in rows for x in columns]


def window_count(spare, size: int, overlap: float):
    """Return the number of windows along one axis.

    A side of 10 pixels has 4 spare pixels for windows of 6. With overlap 0.5 the windows are at
    most 3 pixels apart: two steps, so three windows.

    Args:
        spare: pixels of the image's side beyond one window, at least 0: an int or integer tensor.
        size: side of the window in pixels.
        overlap: minimum fraction of a window that the next window covers again, in [0, 1).

    Returns:
        Same type as `spare`.
    """
    step = max(1, int(size * (1 - overlap)))
    return -(-spare // step) + 1  # -(-a // b) rounds up


def blend_weights(length: int):
    """Return (length,) float32 weights that fall linearly from the center and never reach 0.

    Example:
        >>> blend_weights(3).tolist()
        [0.5, 1.0, 0.5]
    """
    return 1 - np.abs(np.linspace(-1, 1, length + 2, dtype=np.float32)[1:-1])


def _starts(length, size, overlap):
    """Return where windows start along one axis, evenly spaced and rounded half to even."""
    spare = max(0, length - size)
    count = window_count(spare, size, overlap)
    return [round(i * spare / max(count - 1, 1)) for i in range(count)]
