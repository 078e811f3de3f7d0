"""What the readers of GeoTIFF scenes and of NIfTI volumes share."""

import numpy as np


def common_dtype(dtypes):
    """Return the dtype that all files have, if it has at most 32 bit, else float32."""
    first = np.dtype(dtypes[0])
    is_shared = set(dtypes) == {first}
    if is_shared and first.itemsize <= 4 and first.kind in "iuf":
        return first
    return np.dtype(np.float32)
