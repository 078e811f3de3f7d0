"""Geometric transforms of batches of images: one map per image and one lookup per neighbor pixel.

XLA fuses a whole transform into one kernel. Points are (x, y) in pixels; pixel centers are at whole
numbers, as in OpenCV.
"""

import numpy as np
from keras import ops


def crop_matrices(size, center, scale, angle, shear, flip_x, flip_y, perspective=None):
    """Return matrices from output pixels to source pixels; the output's center maps to `center`.

    Example: with size (3, 3), center (5, 7), scale 2 and no other change, the output columns
    0, 1, 2 map to x = 6.5, 7, 7.5: x_source = 0.5 x + 6.5.

    Args:
        size: (height, width) of the output.
        center: (B, 2) float, source (y, x) of the output's center.
        scale: (B,) magnification; 2.0 shows the source twice as large.
        angle: (B,) radians, counter-clockwise on the screen.
        shear: (B,) radians by which vertical lines lean, with their upper ends to the right.
        flip_x, flip_y: (B,) +1.0, or -1.0 to flip left-right or top-bottom.
        perspective: (B, 2) in x and y, how much farther away than its center the output's right and
            lower border is, as a fraction of the distance (negative: nearer); None for none.

    Returns:
        (B, 2, 3) float32, rows (x, y), applied to (x, y, 1); (B, 3, 3) with `perspective`.
    """
    cos, sin, lean = ops.cos(angle) / scale, ops.sin(angle) / scale, ops.tan(shear)
    a, b = cos * flip_x, (cos * lean - sin) * flip_y
    c, d = sin * flip_x, (sin * lean + cos) * flip_y
    mid_y, mid_x = (size[0] - 1) / 2, (size[1] - 1) / 2
    x, y = center[:, 1], center[:, 0]
    # Each row first moves the output's center to (0, 0), and in the end (0, 0) to `center`.
    if perspective is None:
        rows = [
            [a, b, x - a * mid_x - b * mid_y],
            [c, d, y - c * mid_x - d * mid_y],
        ]
    else:
        g, h = -perspective[:, 0] / max(mid_x, 1), -perspective[:, 1] / max(mid_y, 1)
        w = 1 - g * mid_x - h * mid_y  # the third coordinate is 1 at the output's center
        rows = [
            [a + x * g, b + x * h, x * w - a * mid_x - b * mid_y],
            [c + y * g, d + y * h, y * w - c * mid_x - d * mid_y],
            [g, h, w],
        ]
    return ops.stack([ops.stack(row, axis=-1) for row in rows], axis=1)


def apply_matrices(matrices, x, y):
    """Transform points (B, ...) by (B, 2, 3) or (B, 3, 3) matrices; return their x and y."""
    shape = (-1, *(1,) * (len(x.shape) - 1))

    def transformed(row):
        x_factor = ops.reshape(matrices[:, row, 0], shape)
        y_factor = ops.reshape(matrices[:, row, 1], shape)
        shift = ops.reshape(matrices[:, row, 2], shape)
        return x_factor * x + y_factor * y + shift

    if matrices.shape[1] == 2:
        return transformed(0), transformed(1)
    depth = transformed(2)
    return transformed(0) / depth, transformed(1) / depth


def source_points(matrices, size, displacement=None):
    """Return the source position of each output pixel.

    Args:
        matrices: (B, 2, 3) or (B, 3, 3), from `crop_matrices`.
        size: (height, width) of the output.
        displacement: (B, height, width, 2), added to the output's (x, y) first; None for none.

    Returns:
        x and y (B, height, width) float32.
    """
    x = ops.cast(ops.arange(size[1]), "float32")[None, None, :]
    y = ops.cast(ops.arange(size[0]), "float32")[None, :, None]
    if displacement is not None:
        x, y = x + displacement[..., 0], y + displacement[..., 1]
    return apply_matrices(ops.cast(matrices, "float32"), x, y)


def smooth_field(coarse, size):
    """Return a cubic B-spline surface of the given size from a lattice of coefficients.

    Args:
        coarse: (B, rows, columns, K), at least 4 rows and columns. The outermost ones are outside
            of the surface.
        size: (height, width) of the result.

    Returns:
        (B, height, width, K) float32.
    """
    vertical = _spline_weights(size[0], coarse.shape[1])
    horizontal = _spline_weights(size[1], coarse.shape[2])
    return ops.einsum("yr,brck,xc->byxk", vertical, ops.cast(coarse, "float32"), horizontal)


def _spline_weights(length, count):
    """Return (length, count) weights of the uniform cubic B-spline's coefficients.

    Example: at a coefficient's position its weight is 2/3 and that of its two neighbors 1/6.
    """
    position = np.linspace(1, count - 2, length)[:, None] - np.arange(count)
    near = np.abs(position)
    inner, outer = 2 / 3 - near**2 + near**3 / 2, (2 - np.minimum(near, 2)) ** 3 / 6
    return np.where(near < 1, inner, outer).astype("float32")


def resample(
    images, x, y, interpolation="bilinear", fill=0, extents=None, levels=None, origin=None
):
    """Sample a batch of images at given points.

    Matches OpenCV's `remap` with BORDER_CONSTANT, without its fixed-point rounding; bicubic with
    OpenCV's a = -0.75.

    Args:
        images: (B, H, W, C), any dtype.
        x, y: (B, height, width) float.
        interpolation: "bilinear" or "bicubic" (return float32), or "nearest" (keeps the dtype, for
            masks).
        fill: the value outside of the image, a number or one per channel.
        extents: (B, 2) height and width of each image inside (H, W), from the top left; None for
            all of (H, W).
        levels: ((B,) int32, largest): how many times each image is downsampled by 2 before it is
            sampled, and the largest of these numbers; None for no downsampling. Points still refer
            to the full image. H and W must be static.
        origin: (B, 2) whole float (y, x), multiples of 2**largest, to which the points are
            relative; None for (0, 0). Results near it are the same to the bit wherever it is.

    Returns:
        (B, height, width, C).
    """
    source = _Source(images, extents, levels, origin)
    x, y = source.at_level(x), source.at_level(y)
    if interpolation == "nearest":
        pixels, inside = source.at(ops.floor(y + 0.5), ops.floor(x + 0.5))
        return ops.where(inside[..., None], pixels, ops.cast(fill, images.dtype))
    neighbors = _cubic_neighbors if interpolation == "bicubic" else _linear_neighbors
    # Neighbors outside get weight 0. A select per neighbor instead would be 3x slower under XLA.
    result, covered = 0.0, 0.0
    for row, weight_y in neighbors(y):
        for column, weight_x in neighbors(x):
            pixels, inside = source.at(row, column)
            weight = ops.where(inside, weight_y * weight_x, 0.0)[..., None]
            result = result + weight * ops.cast(pixels, "float32")
            covered = covered + weight
    fill = np.asarray(fill, "float32")
    if not fill.any():
        return result
    return result + fill * (1 - covered)


def _linear_neighbors(position):
    """Return the two neighbors of each position and their weights: 3.25 is 0.75 of 3, 0.25 of 4."""
    first = ops.floor(position)
    t = position - first
    return (first, 1 - t), (first + 1, t)


def _cubic_neighbors(position):
    """Return the four neighbors of each position and their weights (Keys 1981).

    Example: 3.5 gets -0.09375 of 2 and 5, and 0.59375 of 3 and 4.
    """
    first = ops.floor(position)
    t = position - first
    return (
        (first - 1, _outer_weight(t)),
        (first, _inner_weight(t)),
        (first + 1, _inner_weight(1 - t)),
        (first + 2, _outer_weight(1 - t)),
    )


CUBIC = -0.75  # OpenCV's coefficient, the slope of the kernel at distance 1


def _inner_weight(t):
    """Return the cubic weight at distance t in [0, 1]."""
    return ((CUBIC + 2) * t - (CUBIC + 3)) * t * t + 1


def _outer_weight(t):
    """Return the cubic weight at distance 1 + t, for t in [0, 1]."""
    return ((CUBIC * (t + 1) - 5 * CUBIC) * (t + 1) + 8 * CUBIC) * (t + 1) - 4 * CUBIC


class _Source:
    """A batch of images and their downsampled versions as one flat array of pixels.

    Example: images of 8 x 8 with two further levels have 64 + 16 + 4 = 84 pixels each, so level 1
    of image 3 starts at pixel 3 * 84 + 64.
    """

    def __init__(self, images, extents, levels, origin):
        batch, height, width, channels = ops.shape(images)
        self._level, largest = levels or (None, 0)
        pyramid = _pyramid(images, extents, largest)
        flat = [ops.reshape(x, (batch, -1, channels)) for x in pyramid]
        self._flat = ops.reshape(ops.concatenate(flat, axis=1), (-1, channels))
        starts, image_pixels = [0], height * width
        if largest:
            ends = np.cumsum([x.shape[1] * x.shape[2] for x in pyramid])
            starts, image_pixels = [0, *map(int, ends[:-1])], ends[-1]
        first = _per_image(ops.arange(batch, dtype="int32") * image_pixels)
        self._first = first + self._of_level(starts)
        self._width = self._of_level([x.shape[2] for x in pyramid])
        self._shrink = self._of_level([float(2**i) for i in range(len(pyramid))])
        if extents is not None:
            height = _per_image(ops.cast(extents[:, 0], "float32"))
            width = _per_image(ops.cast(extents[:, 1], "float32"))
        self._bottom = ops.ceil(ops.cast(height, "float32") / self._shrink) - 1
        self._right = ops.ceil(ops.cast(width, "float32") / self._shrink) - 1
        self._origin_y = self._origin_x = 0
        if origin is not None:
            self._origin_y = _per_image(origin[:, 0]) / self._shrink
            self._origin_x = _per_image(origin[:, 1]) / self._shrink

    def _of_level(self, values):
        """Return the entry of `values` at each image's level; the first if there are no levels."""
        if self._level is None:
            return values[0]
        return _per_image(ops.take(ops.array(values), self._level))

    def at_level(self, position):
        """Convert positions in the full image to positions at the sampled level.

        Example: at level 1, pixel 0 covers pixels 0 and 1 of the image, so 0.5 becomes 0.
        """
        if self._level is None:
            return position
        return (position + 0.5) / self._shrink - 0.5

    def at(self, y, x):
        """Return the pixels at whole (B, h, w) positions, clamped, and whether they were inside."""
        y, x = y + self._origin_y, x + self._origin_x
        inside = (y >= 0) & (y <= self._bottom) & (x >= 0) & (x <= self._right)
        row = ops.cast(ops.clip(y, 0, self._bottom), "int32")
        column = ops.cast(ops.clip(x, 0, self._right), "int32")
        # One flat gather compiles to much faster code than a batched one.
        index = ops.reshape(self._first + row * self._width + column, (-1,))
        pixels = ops.take(self._flat, index, axis=0)
        return ops.reshape(pixels, (*ops.shape(row), self._flat.shape[-1])), inside


def _per_image(values):
    """Return (B,) values as (B, 1, 1)."""
    return ops.reshape(values, (-1, 1, 1))


def _pyramid(images, extents, largest):
    """Return the images and their versions downsampled by 2, 4, ..., 2**largest."""
    pyramid = [images]
    for level in range(largest):
        sides = None if extents is None else ops.ceil(ops.cast(extents, "float32") / 2**level)
        pyramid.append(_halved(pyramid[-1], sides))
    return pyramid


def _halved(images, sides):
    """Return means of 2 x 2 pixels, in the images' dtype.

    A last odd row or column within the (B, 2) `sides` counts twice: 1 2 5 becomes 1.5 5.
    """
    is_float = "float" in ops.dtype(images)
    x = images if is_float else ops.cast(images, "int32")
    for axis in (1, 2):
        if x.shape[axis] % 2:
            x = ops.pad(x, [[0, int(i == axis)] for i in range(4)], mode="symmetric")
        first, second = (x[:, 0::2], x[:, 1::2]) if axis == 1 else (x[:, :, 0::2], x[:, :, 1::2])
        if sides is not None:  # pixels beyond them are padding
            position = ops.cast(ops.arange(1, x.shape[axis], 2), "float32")
            inside = position < sides[:, axis - 1, None]
            inside = inside[:, :, None, None] if axis == 1 else inside[:, None, :, None]
            second = ops.where(inside, second, first)
        x = first + second
    return ops.cast(x / 4 if is_float else (x + 2) // 4, images.dtype)
