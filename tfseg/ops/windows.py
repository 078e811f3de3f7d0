"""Placement and blend weights of windows that slide over an image (NumPy)."""

import numpy as np

from tfseg import checks


def window_corners(extent, size, overlap: float = 0.0, stride: int = 1) -> list[tuple[int, int]]:
    """Return the top left corners of evenly spaced windows that cover an image.

    With a stride of 1, no window reaches over the border unless the image is smaller than the
    window.

    Args:
        extent: (height, width) of the image in pixels.
        size: side of a square window, or (height, width), in pixels.
        overlap: minimum fraction of a window that the next window covers again, in [0, 1). A
            stride above `size * (1 - overlap)` leaves less.
        stride: windows begin at multiples of it, such as the output stride of a network: its grids
            are then those of the whole image. The last window may reach up to `stride - 1` pixels
            over the border, where it has to be cut. Windows smaller than the stride begin anywhere.

    Returns:
        list of (y, x), row by row.

    Raises:
        ValueError: `size` or `stride` is not positive, or `overlap` is outside [0, 1).

    Example:
        >>> window_corners((4, 10), (4, 6), overlap=0.5)
        [(0, 0), (0, 2), (0, 4)]
        >>> window_corners((4, 17), (4, 8), overlap=0.25, stride=4)
        [(0, 0), (0, 4), (0, 8), (0, 12)]
    """
    sides = (size, size) if np.ndim(size) == 0 else size
    for side in sides:
        checks.positive_int("window_corners", "size", side)
    checks.positive_int("window_corners", "stride", stride)
    checks.fraction("window_corners", "overlap", overlap)
    rows = _starts(int(extent[0]), sides[0], overlap, stride)
    columns = _starts(int(extent[1]), sides[1], overlap, stride)
    return [(y, x) for y in rows for x in columns]


def window_count(spare, size: int, overlap: float, stride: int = 1):
    """Return the number of windows along one axis.

    A side of 10 pixels has 4 spare pixels for windows of 6. With overlap 0.5 the windows are at
    most 3 pixels apart: two steps, so three windows.

    Args:
        spare: pixels of the image's side beyond one window, at least 0: an int or integer tensor.
        size: side of the window in pixels.
        overlap, stride: see `window_corners`.

    Returns:
        Same type as `spare`.
    """
    stride = window_stride(size, stride)
    step = max(stride, int(size * (1 - overlap)) // stride * stride)
    units = -(-spare // stride)  # -(-a // b) rounds up
    return -(-(units * stride) // step) + 1


def window_stride(size: int, stride: int) -> int:
    """Return the stride at which windows begin: 1 if they are smaller than `stride`."""
    return stride if size >= stride else 1


def blend_weights(length: int):
    """Return (length,) float32 weights that fall linearly from the center and never reach 0.

    Example:
        >>> blend_weights(3).tolist()
        [0.5, 1.0, 0.5]
    """
    return 1 - np.abs(np.linspace(-1, 1, length + 2, dtype=np.float32)[1:-1])


def _starts(length, size, overlap, stride):
    """Return where windows start along one axis: evenly spaced, in units of the stride.

    Rounded half to even. Example: length 17, windows of 8, stride 4, overlap 0.25: 9 spare pixels
    are 3 units, windows are one unit apart.
    """
    stride = window_stride(size, stride)
    spare = max(0, length - size)
    units = -(-spare // stride)
    count = window_count(spare, size, overlap, stride)
    return [stride * round(i * units / max(count - 1, 1)) for i in range(count)]
