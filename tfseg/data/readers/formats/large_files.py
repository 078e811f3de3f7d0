"""What the readers of scenes and of volumes share: one dtype, and whole numbers."""

import numpy as np


def common_dtype(dtypes):
    """Return the dtype of all files if they have one and it is of at most 32 bit, else float32."""
    first = np.dtype(dtypes[0])
    return (
        first
        if set(dtypes) == {first} and first.itemsize <= 4 and first.kind in "iuf"
        else np.dtype(np.float32)
    )


def whole_numbers(values, where):
    """Return a mask's values as integers, though the file may hold them as floating numbers.

    Raises:
        ValueError: they are not whole.
    """
    if values.dtype.kind in "iu":
        return values
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int64)
    if (whole != values).any():
        raise ValueError(
            f"{where} holds numbers that are not whole, so no class ids. Save one class id a pixel."
        )
    return whole
