"""Reading of training targets: integer labels or per-class values, and which pixels count."""

import numpy as np
from keras import ops


def read_target(owner: str, y_true, y_pred, ignore_index=255, multi_label: bool = False):
    """Determine the kind of a target and, outside compiled functions, check its values.

    Args:
        owner: name for error messages.
        y_true: integer labels (B, ...) or (B, ..., 1), or per-class values (B, ..., C).
        y_pred: (B, ..., C).
        ignore_index, multi_label: as in losses and metrics.

    Returns:
        (y_true, "labels" or "dense"). Floating values (B, ...) for a single channel are
        probabilities: dense, returned as (B, ..., 1).

    Raises:
        ValueError: the shapes do not match or, outside compiled functions, values are neither
            labels nor class probabilities.
    """
    rank, is_float = len(y_pred.shape), "float" in str(y_true.dtype)
    if y_pred.shape[-1] == 1 and is_float and len(y_true.shape) == rank - 1:
        y_true = y_true[..., None]
    kind = target_kind(owner, y_true, y_pred)
    is_distribution = kind == "dense" and y_pred.shape[-1] > 1 and not multi_label
    if is_distribution or (kind == "labels" and is_float):
        _check_values(owner, y_true, kind, ignore_index)
    return y_true, kind


def _check_values(owner, y_true, kind, ignore_index):
    values = _values(y_true)
    if values is None:
        return
    if kind == "labels":
        invalid = values != np.round(values)
        expected = "whole numbers, or per-class values (B, ..., C)"
    else:
        is_class = ignore_index is None or 0 <= ignore_index < values.shape[-1]
        counted = values if is_class else values[np.all(values != ignore_index, axis=-1)]
        invalid = (np.abs(counted).sum(axis=-1) > 1.001) | np.any(counted < 0, axis=-1)
        expected = (
            "one-hot labels or probabilities that sum to 1. Set multi_label=True if a pixel can "
            "belong to several classes"
        )
    if np.any(invalid):
        raise ValueError(
            f"{owner}: y_true of shape {tuple(y_true.shape)} and dtype {ops.dtype(y_true)} has "
            f"{int(np.sum(invalid))} pixels with invalid values. Expected {expected}."
        )


def _values(x):
    """Return x as a float64 NumPy array, or None inside a function that is being compiled."""
    try:
        return np.asarray(ops.convert_to_numpy(x), "float64")
    except (NotImplementedError, TypeError):  # raised by TensorFlow and JAX for symbolic tensors
        return None


def target_kind(owner: str, y_true, y_pred) -> str:
    """Return "labels" for integer targets and "dense" for per-class values.

    The shape decides: (B, ...) or (B, ..., 1) are labels, (B, ..., C) is dense. With
    C == 1, a (B, ..., 1) target is dense if its dtype is floating.

    Raises:
        ValueError: the shape is neither.
    """
    true_shape, pred_shape = tuple(y_true.shape), tuple(y_pred.shape)
    classes = pred_shape[-1]
    if len(pred_shape) >= 3 and _agree(true_shape, pred_shape[:-1]):
        return "labels"
    if len(pred_shape) >= 3 and _agree(true_shape[:-1], pred_shape[:-1]):
        is_float = "float" in str(y_true.dtype)
        if true_shape[-1] == 1 and not (classes == 1 and is_float):
            return "labels"
        if true_shape[-1] == classes:
            return "dense"
    raise ValueError(
        f"{owner}: y_true of shape {true_shape} does not fit y_pred of shape {pred_shape}. "
        f"Expected integer labels {pred_shape[:-1]} or {(*pred_shape[:-1], 1)}, or per-class "
        f"values {pred_shape}."
    )


def _agree(first, second):
    """Whether two static shapes can be equal; an unknown dimension (None) matches any size."""
    return len(first) == len(second) and all(
        a is None or b is None or a == b for a, b in zip(first, second, strict=True)
    )


def split_labels(labels, rank: int, num_classes: int, ignore_index: int | None = 255):
    """Separate labels from ignored pixels.

    Args:
        labels: integers (B, ...) or (B, ..., 1), any integer (or whole-valued floating) dtype.
        rank: the number of dimensions of (B, ...).
        num_classes: C. Labels outside [0, C) are ignored.
        ignore_index: a label that is ignored even if it is in [0, C); None for no such label.

    Returns:
        (labels, valid): int32 with 0 where ignored, and bool, both (B, ...).
    """
    if len(labels.shape) == rank + 1:
        labels = ops.squeeze(labels, -1)
    can_be_negative = ops.dtype(labels) not in ("uint8", "uint16", "bool")
    labels = ops.cast(labels, "int32")
    valid = labels < num_classes
    if can_be_negative:
        valid = ops.logical_and(valid, labels >= 0)
    if ignore_index is not None and 0 <= ignore_index < num_classes:
        valid = ops.logical_and(valid, labels != ignore_index)
    return ops.where(valid, labels, 0), valid


def split_dense(dense, ignore_index: int | None = 255, exclusive: bool = True):
    """Separate per-class values from ignored pixels.

    Args:
        dense: (B, ..., C), any dtype; one-hot, soft or multi-label.
        ignore_index: if it is a class, the pixels of that class are ignored; otherwise the pixels
            with this value in any channel. None ignores neither.
        exclusive: whether a pixel of all zeros has no class and is ignored (C > 1).

    Returns:
        (dense, valid): float32 (B, ..., C) with 0 where ignored, and bool (B, ...). With C == 1,
        values outside [0, 1] are ignored, like labels outside [0, C).
    """
    dense = ops.cast(dense, "float32")
    classes = dense.shape[-1]
    if ignore_index is None:
        valid = ops.ones_like(dense[..., 0], dtype="bool")
    elif classes > 1 and 0 <= ignore_index < classes:
        valid = dense[..., ignore_index] <= 0.5
    else:
        valid = ops.all(dense != float(ignore_index), axis=-1)
    if classes == 1:
        valid = ops.logical_and(valid, ops.all(ops.logical_and(dense >= 0, dense <= 1), axis=-1))
    elif exclusive:
        valid = ops.logical_and(valid, ops.any(dense != 0, axis=-1))
    return ops.where(valid[..., None], dense, 0.0), valid
