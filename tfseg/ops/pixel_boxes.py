"""The smallest boxes around the pixels of numbered objects."""

from keras import ops


def pixel_boxes(instances, count):
    """Return the smallest box around the pixels of each object.

    Args:
        instances: (B, H, W) integers: 0 for no object, k in 1..count on the pixels of object k.
        count: number N of objects per image, an integer or a scalar tensor.

    Returns:
        (B, N, 4) float32 x_min, y_min, x_max, y_max in pixels; 0, 0, 0, 0 for objects without
        pixels.

    Example:
        >>> from keras import ops
        >>> from tfseg.ops import pixel_boxes
        >>> boxes = pixel_boxes([[[0, 0, 2], [0, 2, 2]]], 2)
        >>> ops.convert_to_numpy(boxes).tolist()
        [[[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 3.0, 2.0]]]
    """
    instances = ops.cast(instances, "int32")
    batch, height, width = ops.shape(instances)
    # One segment per image and number: number 3 of image 1 is segment 1 * (count + 1) + 3.
    number = ops.where(instances <= count, instances, 0)
    segment = number + ops.arange(batch, dtype="int32")[:, None, None] * (count + 1)
    y = ops.broadcast_to(ops.arange(height, dtype="int32")[:, None], ops.shape(instances))
    x = ops.broadcast_to(ops.arange(width, dtype="int32"), ops.shape(instances))

    def largest(values):
        flat, ids = ops.reshape(values, (-1,)), ops.reshape(segment, (-1,))
        found = ops.segment_max(flat, ids, num_segments=batch * (count + 1))
        return ops.reshape(found, (batch, count + 1))[:, 1:]

    right, bottom = largest(x), largest(y)
    boxes = ops.stack([-largest(-x), -largest(-y), right + 1, bottom + 1], axis=-1)
    # The largest of no values is the lowest integer.
    return ops.where((right >= 0)[..., None], ops.cast(boxes, "float32"), 0.0)
