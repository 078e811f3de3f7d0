"""Batched resampling: all geometry as one map an image, one gather a neighbor, so that XLA fuses it into one kernel.

Points are (x, y) in pixels; a pixel's middle lies at whole numbers, as in OpenCV.
"""

import numpy as np
from keras import ops


def window_matrices(size, center, scale, angle, shear, flip_x, flip_y, perspective=None):
    """Matrices that take output pixels to source pixels; the output's middle lands on `center`.

    Args:
        size: (height, width) of the output.
        center: (B, 2) float, source (y, x) of the output's middle.
        scale: (B,) magnification; 2.0 shows the source twice as large.
        angle: (B,) radians, counter-clockwise as seen on the screen.
        shear: (B,) radians by which vertical lines lean, their upper ends to the right.
        flip_x, flip_y: (B,) +1.0, or -1.0 to mirror left-right, top-bottom.
        perspective: (B, 2) share of its distance, in x and y, by which the output's right and lower border lies farther
            away (below 0: nearer) than its middle; None for none.

    Returns:
        (B, 2, 3) float32, rows (x, y), to be applied to (x, y, 1); (B, 3, 3) with `perspective`.
    """
    cos, sin, lean = ops.cos(angle) / scale, ops.sin(angle) / scale, ops.tan(shear)
    a, b = cos * flip_x, (cos * lean - sin) * flip_y
    c, d = sin * flip_x, (sin * lean + cos) * flip_y
    middle_y, middle_x = (size[0] - 1) / 2, (size[1] - 1) / 2
    if perspective is None:
        g = h = w = 0.0
    else:
        g, h = -perspective[:, 0] / max(middle_x, 1), -perspective[:, 1] / max(middle_y, 1)
        w = 1 - g * middle_x - h * middle_y
    # Row by row: the map about the middle, moved to the center.
    x, y = center[:, 1], center[:, 0]
    shift_x = x * (w if perspective is not None else 1.0) - a * middle_x - b * middle_y
    shift_y = y * (w if perspective is not None else 1.0) - c * middle_x - d * middle_y
    rows = [[a + x * g, b + x * h, shift_x], [c + y * g, d + y * h, shift_y]]
    if perspective is not None:
        rows.append([g, h, w])
    return ops.stack([ops.stack(row, axis=-1) for row in rows], axis=1)


def apply_matrices(matrices, x, y):
    """Take points (B, ...) through (B, 2, 3) or (B, 3, 3) matrices; return their x and y."""
    ones = (1,) * (len(x.shape) - 1)
    entry = lambda row, column: ops.reshape(matrices[:, row, column], (-1, *ones))
    moved = [
        entry(row, 0) * x + entry(row, 1) * y + entry(row, 2) for row in range(matrices.shape[1])
    ]
    return moved if len(moved) == 2 else (moved[0] / moved[2], moved[1] / moved[2])


def source_points(matrices, size, displacement=None):
    """Return x and y (B, height, width): where in the source each output pixel looks.

    Args:
        matrices: (B, 2, 3) or (B, 3, 3), of `window_matrices`.
        size: (height, width) of the output.
        displacement: (B, height, width, 2), added to the output's (x, y) first; None for none.
    """
    x = ops.cast(ops.arange(size[1]), "float32")[None, None, :]
    y = ops.cast(ops.arange(size[0]), "float32")[None, :, None]
    if displacement is not None:
        x, y = x + displacement[..., 0], y + displacement[..., 1]
    return apply_matrices(ops.cast(matrices, "float32"), x, y)


def smooth_field(coarse, size):
    """Cubic B-spline surface through a lattice of coefficients: (B, rows, columns, K) -> (B, height, width, K).

    At least 4 rows and columns; the outermost of them lie outside of the surface.
    """
    down, across = (
        _spline_weights(length, count)
        for length, count in zip(size, coarse.shape[1:3], strict=True)
    )
    return ops.einsum("yr,brck,xc->byxk", down, ops.cast(coarse, "float32"), across)


def _spline_weights(length, count):
    """(length, count) weights of the uniform cubic B-spline's coefficients."""
    place = np.linspace(1, count - 2, length)[:, None] - np.arange(count)
    near = np.abs(place)
    inner, outer = 2 / 3 - near**2 + near**3 / 2, (2 - np.minimum(near, 2)) ** 3 / 6
    return np.where(near < 1, inner, outer).astype("float32")


def resample(
    images, x, y, interpolation="bilinear", fill=0, extents=None, levels=None, origin=None
):
    """Read a batch of images at points of their own.

    Matches OpenCV's `remap` with BORDER_CONSTANT, without its fixed-point rounding; bicubic with OpenCV's a = -0.75.

    Args:
        images: (B, H, W, C), any dtype.
        x, y: (B, height, width) float.
        interpolation: "bilinear" or "bicubic" (return float32), or "nearest" (keeps the dtype, for masks).
        fill: the value outside the image, a number or one a channel.
        extents: (B, 2) the images' own heights and widths, at the top left of (H, W); None for all of it.
        levels: ((B,) int32, largest): how often each image is to be averaged down by 2 before it is read, and the
            largest of these numbers; None for never. Points stay those of the image as it came. H and W must be known
            when this is traced.
        origin: (B, 2) whole float (y, x), multiples of 2 ** largest, that the points count from; None for (0, 0). What
            is read near it is the same to the bit wherever it lies in the images.

    Returns:
        (B, height, width, C).
    """
    source = _Source(images, extents, levels, origin)
    x, y = source.at_level(x), source.at_level(y)
    if interpolation == "nearest":
        pixels, inside = source.at(ops.floor(y + 0.5), ops.floor(x + 0.5))
        return ops.where(inside[..., None], pixels, ops.cast(fill, images.dtype))
    taps = _cubic_taps if interpolation == "bicubic" else _linear_taps
    # Weights that are zero outside, instead of a select a neighbor: XLA makes code of this that is 3x faster.
    result, covered = 0.0, 0.0
    for row, weight_y in taps(y):
        for column, weight_x in taps(x):
            pixels, inside = source.at(row, column)
            weight = ops.where(inside, weight_y * weight_x, 0.0)[..., None]
            result = result + weight * ops.cast(pixels, "float32")
            covered = covered + weight
    fill = np.asarray(fill, "float32")
    return result + fill * (1 - covered) if fill.any() else result


def _linear_taps(place):
    first = ops.floor(place)
    share = place - first
    return (first, 1 - share), (first + 1, share)


def _cubic_taps(place, a=-0.75):
    first = ops.floor(place)
    t = place - first
    outer = lambda u: ((a * (u + 1) - 5 * a) * (u + 1) + 8 * a) * (u + 1) - 4 * a
    inner = lambda u: ((a + 2) * u - (a + 3)) * u * u + 1
    return (
        (first - 1, outer(t)),
        (first, inner(t)),
        (first + 1, inner(1 - t)),
        (first + 2, outer(1 - t)),
    )


class _Source:
    """A batch of images, and those averaged down where asked, as one flat row of pixels."""

    def __init__(self, images, extents, levels, origin):
        batch, height, width, channels = ops.shape(images)
        level, largest = levels or (None, 0)
        pyramid = [images]
        for done in range(largest):
            sides = None if extents is None else ops.ceil(ops.cast(extents, "float32") / 2**done)
            pyramid.append(_halved(pyramid[-1], sides))
        ends = (
            np.cumsum([x.shape[1] * x.shape[2] for x in pyramid]) if largest else [height * width]
        )
        self.flat = ops.reshape(
            ops.concatenate([ops.reshape(x, (batch, -1, channels)) for x in pyramid], axis=1),
            (-1, channels),
        )
        pick = lambda values: (
            values[0] if level is None else _column(ops.take(ops.array(values), level))
        )
        self.first = _column(ops.arange(batch, dtype="int32") * ends[-1]) + pick(
            [0, *map(int, ends[:-1])]
        )
        self.width = pick([x.shape[2] for x in pyramid])
        self.shrink = pick([float(2**i) for i in range(len(pyramid))])
        self.origin = (
            (0, 0)
            if origin is None
            else [_column(origin[:, axis]) / self.shrink for axis in (0, 1)]
        )
        if extents is not None:
            height, width = (_column(ops.cast(extents[:, axis], "float32")) for axis in (0, 1))
        self.bottom, self.right = (
            ops.ceil(ops.cast(side, "float32") / self.shrink) - 1 for side in (height, width)
        )

    def at_level(self, place):
        """Coordinates of the image as it came -> those of the level that is read."""
        return place if isinstance(self.shrink, float) else (place + 0.5) / self.shrink - 0.5

    def at(self, y, x):
        """Pixels at whole (B, h, w) coordinates, clamped to the image, and which lay inside."""
        y, x = y + self.origin[0], x + self.origin[1]
        inside = (y >= 0) & (y <= self.bottom) & (x >= 0) & (x <= self.right)
        row = ops.cast(ops.clip(y, 0, self.bottom), "int32")
        column = ops.cast(ops.clip(x, 0, self.right), "int32")
        # One flat gather compiles to much faster code than a batched one.
        index = ops.reshape(self.first + row * self.width + column, (-1,))
        pixels = ops.take(self.flat, index, axis=0)
        return ops.reshape(pixels, (*ops.shape(row), self.flat.shape[-1])), inside


def _column(values):
    return ops.reshape(values, (-1, 1, 1))


def _halved(images, sides):
    """Means of 2 x 2 pixels, of the images' dtype, within (B, 2) `sides`; a last odd row or column counts twice."""
    is_float = "float" in ops.dtype(images)
    x = images if is_float else ops.cast(images, "int32")
    for axis in (1, 2):
        if x.shape[axis] % 2:
            x = ops.pad(x, [[0, int(i == axis)] for i in range(4)], mode="symmetric")
        first, second = (x[:, i::2] if axis == 1 else x[:, :, i::2] for i in (0, 1))
        if sides is not None:  # beyond them lies what the image was filled up with
            place = ops.cast(ops.arange(1, x.shape[axis], 2), "float32")
            inside = place < sides[:, axis - 1, None]
            second = ops.where(
                inside[:, :, None, None] if axis == 1 else inside[:, None, :, None], second, first
            )
        x = first + second
    return ops.cast(x / 4 if is_float else (x + 2) // 4, images.dtype)
