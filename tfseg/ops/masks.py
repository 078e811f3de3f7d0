"""Reading of training targets: integer labels or per-class values, and which pixels count."""

import keras
import numpy as np
from keras import ops

from tfseg.checks import IGNORE_INDEX, ignore_index_for


def read_target(owner: str, y_true, y_pred, ignore_index=255, multi_label: bool = False):
    """Determine the kind of a target and, outside compiled functions, check its values.

    Args:
        owner: name for error messages.
        y_true: integer labels (B, ...) or (B, ..., 1), or per-class values (B, ..., C).
        y_pred: (B, ..., C).
        ignore_index, multi_label: as in losses and metrics.

    Returns:
        (y_true, "labels" or "dense"). Floating values (B, ...) for a single channel are
        probabilities: dense, returned as (B, ..., 1). A target whose rank TensorFlow does not
        know is returned as labels (B, ...).

    Raises:
        ValueError: the shapes do not match or, outside compiled functions, labels are fractional
            or per-class values are not probabilities.
    """
    if getattr(y_true.shape, "rank", 0) is None:
        # From tf.numpy_function without set_shape. Per-class values do not fit and are an error.
        y_true = ops.reshape(y_true, ops.shape(y_pred)[:-1])
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
        invalid = values != np.round(values)  # also True for NaN
        expected = "whole numbers, or per-class values (B, ..., C)"
    else:
        invalid = ops.convert_to_numpy(split_dense(y_true, ignore_index)[2])
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
    if len(pred_shape) >= 3 and shapes_agree(true_shape, pred_shape[:-1]):
        return "labels"
    if len(pred_shape) >= 3 and shapes_agree(true_shape[:-1], pred_shape[:-1]):
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


def shapes_agree(first, second) -> bool:
    """Whether two static shapes can be equal; an unknown dimension (None) matches any size."""
    return len(first) == len(second) and all(
        a is None or b is None or a == b for a, b in zip(first, second, strict=True)
    )


def split_labels(labels, rank: int, num_classes: int, ignore_index: int | None = 255):
    """Separate labels from ignored and from invalid pixels.

    Args:
        labels: integers (B, ...) or (B, ..., 1), any integer (or whole-valued floating) dtype.
        rank: the number of dimensions of (B, ...).
        num_classes: C.
        ignore_index: the label that is ignored, also if it is in [0, C); None for no such label.
            255 means 65535 for more than 255 classes, since 255 is then a class.

    Returns:
        (labels, valid, invalid), each (B, ...): int32 with 0 where not valid; bool, whether the
        pixel counts; bool, whether its label is neither a class nor ignored: outside [0, C),
        fractional or NaN.
    """
    if len(labels.shape) == rank + 1:
        labels = ops.squeeze(labels, -1)
    is_float = "float" in ops.dtype(labels)
    can_be_negative = not ops.dtype(labels).startswith(("uint8", "uint16", "bool"))
    labels = ops.cast(labels, _comparable(ops.dtype(labels)))
    is_class = labels < num_classes  # False for NaN
    if can_be_negative:
        is_class = ops.logical_and(is_class, labels >= 0)
    if is_float:
        is_class = ops.logical_and(is_class, labels == ops.floor(labels))
    valid, known = is_class, is_class
    if ignore_index is not None:
        ignored = labels == _ignored_label(ignore_index, num_classes)
        valid = ops.logical_and(is_class, ops.logical_not(ignored))
        known = ops.logical_or(is_class, ignored)
    return ops.where(valid, ops.cast(labels, "int32"), 0), valid, ops.logical_not(known)


def _comparable(dtype):
    """Return a dtype in which every label of `dtype` keeps its value."""
    if "float" in dtype:
        return "float64" if dtype == "float64" else "float32"
    # Cast to int32, the int64 label 2**32 would become class 0. JAX has no int64 by default.
    is_wide = dtype in ("int64", "uint32", "uint64") and keras.backend.backend() == "tensorflow"
    return "int64" if is_wide else "int32"


def _ignored_label(ignore_index, num_classes):
    """Return the label of ignored pixels: the default changes if 255 is a class."""
    return ignore_index_for(num_classes) if ignore_index == IGNORE_INDEX else ignore_index


def split_dense(dense, ignore_index: int | None = 255, exclusive: bool = True):
    """Separate per-class values from ignored and from invalid pixels.

    Args:
        dense: (B, ..., C), any dtype; one-hot, soft or multi-label.
        ignore_index: if it is a class, the pixels of that class are ignored; otherwise the pixels
            with this value in all channels. None ignores neither. 255 means 65535 for more than
            255 classes.
        exclusive: whether a pixel has one class (C > 1). A pixel of all zeros is then ignored, and
            the sum of a pixel is at most 1.

    Returns:
        (dense, valid, invalid): float32 (B, ..., C) with 0 where not valid; bool (B, ...), whether
        the pixel counts; bool (B, ...), whether it is not ignored and contains values that are not
        probabilities: below 0, above 1, or NaN, or, if `exclusive`, with a sum above 1.
    """
    # Rounding of soft targets: the sum of 19 probabilities in bfloat16 can be 1.004.
    tolerance = 0.01 if ops.dtype(dense) == "bfloat16" else 0.001
    dense = ops.cast(dense, "float32")
    classes = dense.shape[-1]
    exclusive = exclusive and classes > 1
    largest = ops.sum(dense, axis=-1) if exclusive else ops.max(dense, axis=-1)
    known = ops.logical_and(ops.all(dense >= -tolerance, axis=-1), largest <= 1 + tolerance)
    valid = known
    if exclusive:
        valid = ops.logical_and(valid, ops.any(dense != 0, axis=-1))
    if ignore_index is not None:
        label = _ignored_label(ignore_index, classes)
        if classes > 1 and 0 <= label < classes:
            ignored = dense[..., label] > 0.5
        else:
            ignored = ops.all(dense == float(label), axis=-1)
            known = ops.logical_or(known, ignored)
        valid = ops.logical_and(valid, ops.logical_not(ignored))
    return ops.where(valid[..., None], dense, 0.0), valid, ops.logical_not(known)


def nan_where(flags, dtype: str):
    """Return 0, or NaN where `flags` is True.

    NaN is computed, not a constant: `tf.debugging.enable_check_numerics` reports constants, too.
    """
    return ops.sqrt(-ops.cast(flags, dtype))
