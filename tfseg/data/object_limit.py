"""A fixed number of objects per image: the largest are kept."""

import numpy as np

from tfseg.data.readers.objects import BOX_FIELDS

PADDING = {"boxes": 0, "classes": -1, "crowd": False, "areas": 0}


def keep_largest(batch: dict, max_objects: int):
    """Pad the objects of a batch to a fixed number, or keep the largest of them.

    Kept objects stay in their order, before the padding; "instances" follow their new positions.

    Args:
        batch: dict of NumPy arrays "boxes" (B, N, 4) and "classes" (B, N), -1 for padding, and any
            of "crowd" (B, N), "areas" (B, N) and "instances" (B, H, W). Others stay as they are.
        max_objects: number of objects per image.

    Returns:
        batch: dict of the same names, with (B, max_objects, ...) objects.
        left_out: (B,) int numbers of the objects that are not kept.

    Example:
        >>> import numpy as np
        >>> boxes = np.array([[[0, 0, 1, 1], [0, 0, 5, 5], [2, 2, 5, 5]]], "float32")
        >>> kept, left_out = keep_largest({"boxes": boxes, "classes": np.array([[4, 5, 6]])}, 2)
        >>> kept["classes"].tolist(), left_out.tolist()
        ([[5, 6]], [1])
    """
    kept, is_object = _kept_rows(batch["boxes"], batch["classes"], max_objects)
    limited = dict(batch)
    missing = max(0, max_objects - kept.shape[1])
    for name in batch.keys() & set(BOX_FIELDS):
        values = batch[name]
        index = kept[..., None] if name == "boxes" else kept
        rows = np.take_along_axis(values, index, axis=1)
        padding = [(0, 0), (0, missing), (0, 0)][: values.ndim]
        limited[name] = np.pad(rows, padding, constant_values=PADDING[name])
    if "instances" in batch:
        limited["instances"] = _renumber(batch["instances"], kept, is_object, batch["classes"])
    left_out = (batch["classes"] >= 0).sum(axis=1) - is_object.sum(axis=1)
    return limited, left_out


def _kept_rows(boxes, classes, max_objects):
    """Return (B, K) indices of the rows to keep, and whether they are objects and not padding."""
    areas = np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1)
    largest_first = np.argsort(-np.where(classes < 0, -1, areas), axis=1, kind="stable")
    kept = np.sort(largest_first[:, :max_objects], axis=1)
    is_padding = np.take_along_axis(classes, kept, axis=1) < 0
    # Padding that lies between objects moves to the end.
    order = np.argsort(is_padding, axis=1, kind="stable")
    kept = np.take_along_axis(kept, order, axis=1)
    return kept, ~np.take_along_axis(is_padding, order, axis=1)


def _renumber(instances, kept, is_object, classes):
    """Return instances (B, H, W) with the new numbers of kept objects, 0 for the others."""
    count, rows = classes.shape
    if kept.shape[1] == rows and (kept == np.arange(rows)).all():
        return instances
    table = np.zeros((count, rows + 1), instances.dtype)
    numbers = np.where(is_object, np.arange(1, kept.shape[1] + 1), 0).astype(instances.dtype)
    np.put_along_axis(table, kept + 1, numbers, axis=1)
    flat = np.take_along_axis(table, instances.reshape(count, -1), axis=1)
    return flat.reshape(instances.shape)
