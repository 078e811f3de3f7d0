"""Resize images into a canvas of fixed size without changing their proportions."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="tfseg")
class Letterbox(layers.Layer):
    """Resize images bilinearly into the upper left of a canvas: (B, H, W, C) -> (B, *size, C).

    The proportions are kept, and the rest of the canvas is 0. Pixels have half-pixel centers.

    Args:
        size: (height, width) of the canvas in pixels.

    Example:
        >>> import keras
        >>> from tfseg.models.letterbox import Letterbox
        >>> canvas = Letterbox((4, 4))(keras.ops.ones((1, 4, 8, 1)))
        >>> keras.ops.convert_to_numpy(canvas)[0, :, 0, 0].tolist()
        [1.0, 1.0, 0.0, 0.0]
    """

    def __init__(self, size: tuple[int, int], **kwargs):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.size = tuple(size)

    def call(self, x):
        """Return (B, *size, C) float32."""
        x = ops.cast(x, "float32")
        height, width = ops.shape(x)[1:3]
        rows, columns = size_in_canvas(height, width, self.size)
        x = _resize_axis(x, 1, height, rows, self.size[0])
        return _resize_axis(x, 2, width, columns, self.size[1])

    def compute_output_shape(self, shape):
        """Return the shape with the size of the canvas."""
        return (shape[0], *self.size, shape[3])

    def get_config(self):
        """Return the arguments for `.keras` files."""
        return {**super().get_config(), "size": self.size}


def size_in_canvas(height, width, size: tuple[int, int] | None):
    """Return the (height, width) that an image has in a canvas.

    Args:
        height, width: size of the image in pixels, ints or scalar tensors.
        size: (height, width) of the canvas; None if images are not resized.

    Returns:
        two ints or scalar int tensors, at least 1.
    """
    if size is None:
        return height, width
    # In integers, so that all devices agree; 2 a + b // 2 b rounds a / b to the nearest.
    rows = (2 * height * size[1] + width) // (2 * width)
    columns = (2 * width * size[0] + height) // (2 * height)
    return _bounded(rows, size[0]), _bounded(columns, size[1])


def _bounded(value, most):
    if isinstance(value, int):
        return min(max(value, 1), most)
    return ops.clip(value, 1, most)


def _resize_axis(x, axis, length, new_length, canvas):
    """Resize one axis to `new_length` and fill it with 0 up to `canvas`, a static size."""
    index = ops.arange(canvas, dtype="int32")
    scale = ops.cast(length, "float32") / ops.cast(new_length, "float32")
    source = (ops.cast(index, "float32") + 0.5) * scale - 0.5
    source = ops.clip(source, 0, ops.cast(length, "float32") - 1)
    before = ops.cast(ops.floor(source), "int32")
    after = ops.minimum(before + 1, ops.cast(length, "int32") - 1)
    inside = ops.cast(index < new_length, "float32")
    weight = source - ops.floor(source)
    shape = [1, 1, 1, 1]
    shape[axis] = canvas
    first = ops.reshape((1 - weight) * inside, shape)
    second = ops.reshape(weight * inside, shape)
    return ops.take(x, before, axis=axis) * first + ops.take(x, after, axis=axis) * second
