"""Which pixels of a mask count, and whether all others are meant to be ignored."""

import numpy as np

from tfseg.data.readers.problems import first_few


def labeled_pixels(owner: str, mask, num_classes: int, ignore_index: int):
    """Return (H, W) bool: the pixels of a mask that have a class.

    Args:
        owner: the beginning of the error.
        mask: (H, W) integer class ids.
        num_classes: number of classes.
        ignore_index: label of the pixels that are ignored.

    Raises:
        ValueError: there are labels that are neither classes nor ignored.
    """
    is_class = (mask >= 0) & (mask < num_classes)
    invalid = np.unique(mask[~is_class & (mask != ignore_index)])
    if invalid.size:
        raise ValueError(
            f"{owner}: the mask contains labels that are not classes: "
            f"{first_few(invalid.tolist())}. Expected 0 to {num_classes - 1}, or {ignore_index} to "
            "ignore a pixel. Check the masks with `tfseg doctor`."
        )
    return is_class
