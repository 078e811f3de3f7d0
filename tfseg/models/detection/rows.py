"""Rows of a batch of tables, chosen per image."""

from keras import ops


def take_rows(values, indices):
    """Return the rows of (B, N, ...) at (B, K) indices: (B, K, ...)."""
    shape = ops.shape(values)
    batch, count = shape[0], shape[1]
    flat = ops.reshape(values, (batch * count, *shape[2:]))
    first = ops.arange(batch, dtype="int32")[:, None] * count
    return ops.take(flat, ops.cast(indices, "int32") + first, axis=0)
