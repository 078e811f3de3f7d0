"""Check the class ids that are drawn."""

import numpy as np


def class_ids(owner: str, labels, size=None):
    """Return class ids as a (H, W) array of integers.

    Args:
        owner: name of the function, for error messages.
        labels: (H, W) or (H, W, 1): integers, booleans, or whole floating point numbers.
        size: (height, width) that they must have; None for any.

    Raises:
        ValueError: another shape or size, or numbers that are not whole.
    """
    labels = np.asarray(labels)
    if labels.ndim == 3 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if labels.ndim != 2 or (size is not None and labels.shape != tuple(size)):
        expected = "(H, W)" if size is None else f"{tuple(size)} as the image has"
        hint = " Pass labels.argmax(-1) of one channel per class." if labels.ndim == 3 else ""
        raise ValueError(
            f"{owner}: got labels of shape {labels.shape}, expected class ids of shape "
            f"{expected}.{hint}"
        )
    if labels.dtype == bool:
        return labels.astype(np.uint8)
    if labels.dtype.kind not in "iu":
        return _whole_numbers(owner, labels)
    return labels


def _whole_numbers(owner, labels):
    if labels.dtype.kind != "f" or not (labels == np.rint(labels)).all():  # also catches NaN
        raise ValueError(
            f"{owner}: got labels of {labels.dtype} that are not whole numbers, expected class "
            "ids. Pass the ids of `tfseg.inference.predict`, or `tfseg.inference.top_ids(logits)`."
        )
    return labels.astype(np.int64)
