"""How a target is read: integer labels or one value a class, and which of its pixels count."""

import numpy as np
from keras import ops


def read_target(owner, y_true, y_pred, ignore_index=255, multi_label=False):
    """Tell what kind of target came.

    Args:
        owner: name for error messages.
        y_true: integer labels (B, ...) or (B, ..., 1), or one value a class (B, ..., C).
        y_pred: (B, ..., C).
        ignore_index, multi_label: as for losses and metrics.

    Returns:
        (y_true, "labels" or "dense"). Floating values (B, ...) for a single channel are probabilities: dense, and
        returned as (B, ..., 1).

    Raises:
        ValueError: the shapes do not fit and, outside compiled functions, values that are neither labels nor shares
            of classes.
    """
    rank, is_float = len(y_pred.shape), "float" in str(y_true.dtype)
    if y_pred.shape[-1] == 1 and is_float and len(y_true.shape) == rank - 1:
        y_true = y_true[..., None]
    kind = target_kind(owner, y_true, y_pred)
    several = kind == "dense" and y_pred.shape[-1] > 1 and not multi_label
    if several or (kind == "labels" and is_float):
        _require_readable(owner, y_true, kind, ignore_index)
    return y_true, kind


def _require_readable(owner, y_true, kind, ignore_index):
    """Look at the values where that is possible: a compiled function has none yet."""
    values = _values(y_true)
    if values is None:
        return
    if kind == "labels":
        wrong, expected = (
            values != np.round(values),
            "whole numbers, or one value a class (B, ..., C)",
        )
    else:
        by_class = ignore_index is None or 0 <= ignore_index < values.shape[-1]
        shares = values if by_class else values[np.all(values != ignore_index, axis=-1)]
        wrong = (np.abs(shares).sum(axis=-1) > 1.001) | np.any(shares < 0, axis=-1)
        expected = (
            "one-hot or shares that add up to 1; multi_label=True takes several classes a pixel"
        )
    if np.any(wrong):
        raise ValueError(
            f"{owner}: y_true of shape {tuple(y_true.shape)} and dtype {ops.dtype(y_true)} has "
            f"{int(np.sum(wrong))} pixels with other values than expected: {expected}."
        )


def _values(x):
    """Return x as float64 NumPy values, or None in a function that is being compiled."""
    try:
        return np.asarray(ops.convert_to_numpy(x), "float64")
    except (NotImplementedError, TypeError):  # TensorFlow's and JAX' words for that
        return None


def target_kind(owner, y_true, y_pred):
    """Return "labels" for integer targets (B, ...) or (B, ..., 1), "dense" for one value a class (B, ..., C).

    Targets are told apart by shape. With C == 1 a (B, ..., 1) target is "dense" when its dtype is floating.

    Raises:
        ValueError: the shape fits neither.
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
        f"{owner}: y_true of shape {true_shape} does not fit y_pred of shape {pred_shape}. Expected integer "
        f"labels {pred_shape[:-1]} or {(*pred_shape[:-1], 1)}, or one value a class {pred_shape}."
    )


def _agree(first, second):
    """Whether two static shapes can be equal; an unknown dimension (None) agrees with all."""
    return len(first) == len(second) and all(
        a is None or b is None or a == b for a, b in zip(first, second, strict=True)
    )


def split_labels(labels, rank, num_classes, ignore_index=255):
    """Separate labels from the pixels that do not count.

    Args:
        labels: integers (B, ...) or (B, ..., 1), any integer (or whole-valued floating) dtype.
        rank: the number of dimensions to return, that of (B, ...).
        num_classes: C. Labels outside [0, C) count as ignored.
        ignore_index: the label that is ignored even when it lies inside [0, C); None for no such label.

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


def split_dense(dense, ignore_index=255, exclusive=True):
    """Separate targets of one value a class from the pixels that do not count.

    Args:
        dense: (B, ..., C), any dtype; one-hot or soft, or several classes a pixel.
        ignore_index: ignored are the pixels of class `ignore_index`, or, where there is no such class, those
            with a channel that holds this number. None for neither.
        exclusive: whether a pixel of all zeros has no class and so is ignored (C > 1).

    Returns:
        (dense, valid): float32 (B, ..., C) with 0 where ignored, and bool (B, ...). With C == 1 values outside
        [0, 1] are ignored, like labels outside [0, C).
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
