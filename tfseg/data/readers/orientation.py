"""EXIF and TIFF orientations: how the stored rows and columns lie in the upright image."""

import numpy as np

ORIENTATION_TAG = 0x0112  # of EXIF and of TIFF
UPRIGHT = 1
# Orientations whose rows, or columns, are in reverse order once they are rows and columns.
ROWS_REVERSED = (3, 4, 7, 8)
COLUMNS_REVERSED = (2, 3, 6, 7)


def valid_orientation(value) -> int:
    """Return an orientation from a file's metadata if it is 1 to 8, else 1 (upright).

    Cameras and editors also write 0, 9, 255, bytes and text, which viewers ignore.
    """
    is_integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return int(value) if is_integer and 1 <= value <= 8 else UPRIGHT


def is_sideways(orientation: int) -> bool:
    """Return whether the stored rows are columns of the upright image."""
    return orientation >= 5


def upright(array, orientation: int):
    """Return stored pixels (H, W, ...) as the upright image shows them.

    Args:
        array: pixels as stored.
        orientation: 1 to 8.

    Returns:
        a view of `array`; (W, H, ...) for orientations 5 to 8.

    Example:
        >>> import numpy as np
        >>> upright(np.array([[1, 2, 3], [4, 5, 6]]), 6).tolist()  # a clockwise quarter turn
        [[4, 1], [5, 2], [6, 3]]
    """
    if is_sideways(orientation):
        array = np.swapaxes(array, 0, 1)
    if orientation in ROWS_REVERSED:
        array = array[::-1]
    if orientation in COLUMNS_REVERSED:
        array = array[:, ::-1]
    return array


def stored_part(rows, columns, size, orientation: int):
    """Return where a part of the upright image is stored.

    Args:
        rows, columns: (first, end) of the part in the upright image.
        size: (height, width) of the upright image.
        orientation: 1 to 8.

    Returns:
        (first, end) of the stored rows, and of the stored columns.
    """
    if orientation in ROWS_REVERSED:
        rows = size[0] - rows[1], size[0] - rows[0]
    if orientation in COLUMNS_REVERSED:
        columns = size[1] - columns[1], size[1] - columns[0]
    return (columns, rows) if is_sideways(orientation) else (rows, columns)
