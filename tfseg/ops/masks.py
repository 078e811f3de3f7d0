"""How a target is read: integer labels or one value a class, and which of its pixels count."""

from keras import ops


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
    labels = ops.cast(labels, "int32")
    valid = ops.logical_and(labels >= 0, labels < num_classes)
    if ignore_index is not None:
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
