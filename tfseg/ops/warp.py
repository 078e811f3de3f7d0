"""Batched affine resampling: one gather a neighbour, so that XLA fuses a whole augmentation into one kernel."""

from keras import ops


def affine_matrices(size, centre, scale, angle, flip_x, flip_y):
    """Matrices that take output pixels to source pixels: rotate, scale and mirror about a source point.

    The output's middle lands on `centre`. Pixel (0, 0) has its own middle at (0, 0), as in OpenCV.

    Args:
        size: (height, width) of the output.
        centre: (B, 2) float, source (y, x) of the output's middle.
        scale: (B,) magnification; 2.0 shows the source twice as large.
        angle: (B,) radians, counter-clockwise as seen on the screen.
        flip_x, flip_y: (B,) +1.0, or -1.0 to mirror left-right, top-bottom.

    Returns:
        (B, 2, 3) float32, rows (x, y), to be applied to (x, y, 1).
    """
    cos, sin = ops.cos(angle) / scale, ops.sin(angle) / scale
    a, b = cos * flip_x, -sin * flip_y
    c, d = sin * flip_x, cos * flip_y
    middle_y, middle_x = (size[0] - 1) / 2, (size[1] - 1) / 2
    shift_x = centre[:, 1] - a * middle_x - b * middle_y
    shift_y = centre[:, 0] - c * middle_x - d * middle_y
    return ops.stack([ops.stack([a, b, shift_x], -1), ops.stack([c, d, shift_y], -1)], 1)


def affine_warp(images, matrices, size, interpolation="bilinear", fill=0):
    """Resample a batch through one affine map an image.

    Matches `cv2.warpAffine` with WARP_INVERSE_MAP and BORDER_CONSTANT, without its fixed-point rounding.

    Args:
        images: (B, H, W, C), any dtype.
        matrices: (B, 2, 3), output (x, y, 1) -> source (x, y) in pixels.
        size: (height, width) of the output.
        interpolation: "bilinear" (returns float32) or "nearest" (keeps the dtype, for masks).
        fill: the value outside the source.

    Returns:
        (B, height, width, C).
    """
    x = ops.cast(ops.arange(size[1]), "float32")[None, None, :]
    y = ops.cast(ops.arange(size[0]), "float32")[None, :, None]
    m = ops.cast(matrices, "float32")[:, :, :, None, None]
    source_x = m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2]
    source_y = m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2]
    if interpolation == "nearest":
        pixels, inside = _gather(images, ops.floor(source_y + 0.5), ops.floor(source_x + 0.5))
        return ops.where(inside[..., None], pixels, ops.cast(fill, images.dtype))
    top, left = ops.floor(source_y), ops.floor(source_x)
    down, right = source_y - top, source_x - left
    # Weights that are zero outside, instead of a select a corner: XLA makes code of this that is 3x faster.
    result, covered = 0.0, 0.0
    for dy, weight_y in ((0, 1 - down), (1, down)):
        for dx, weight_x in ((0, 1 - right), (1, right)):
            pixels, inside = _gather(images, top + dy, left + dx)
            weight = ops.where(inside, weight_y * weight_x, 0.0)[..., None]
            result = result + weight * ops.cast(pixels, "float32")
            covered = covered + weight
    return result + fill * (1 - covered) if fill else result


def _gather(images, y, x):
    """Pixels of (B, H, W, C) at whole (B, h, w) coordinates, clamped to the image, and which lay inside."""
    batch, height, width, channels = ops.shape(images)
    inside = (y >= 0) & (y <= height - 1) & (x >= 0) & (x <= width - 1)
    row = ops.cast(ops.clip(y, 0, height - 1), "int32")
    column = ops.cast(ops.clip(x, 0, width - 1), "int32")
    first = ops.arange(batch, dtype="int32")[:, None, None] * (height * width)
    # One flat gather compiles to much faster code than a batched one.
    index = ops.reshape(first + row * width + column, (-1,))
    pixels = ops.take(ops.reshape(images, (-1, channels)), index, axis=0)
    return ops.reshape(pixels, (batch, *y.shape[1:], channels)), inside
