"""What the readers of GeoTIFF scenes and of NIfTI volumes share."""

import numpy as np


def common_dtype(dtypes):
    """Return the dtype that all files have, if it has at most 32 bit, else float32."""
    first = np.dtype(dtypes[0])
    is_shared = set(dtypes) == {first}
    if is_shared and first.itemsize <= 4 and first.kind in "iuf":
        return first
    return np.dtype(np.float32)


def whole_numbers(values, where):
    """Return a mask's values as integers. Files may store them as floating point numbers.

    Raises:
        ValueError: values that are not whole numbers.
    """
    if values.dtype.kind in "iu":
        return values
    with np.errstate(invalid="ignore"):  # NaN
        whole = values.astype(np.int64)
    if (whole != values).any():
        raise ValueError(
            f"{where} contains values that are not whole numbers, expected class ids. Save one "
            "class id per pixel."
        )
    return whole
