"""Changes of a batch's colors, (B, H, W, C) float32 each: one affine map of the channels, and what is not affine."""

import numpy as np
from keras import ops

from tfseg.ops.random import random_bits

# ITU-R BT.601, as JPEG has it: luma, and the blue and red differences
LUMA = np.array([0.299, 0.587, 0.114], "float32")
YCBCR = np.array([LUMA, [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], "float32")
# The example tables of the JPEG standard (ITU-T T.81, annex K), for a quality of 50.
LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)


def color_matrices(brightness, contrast, saturation, hue, pivot):
    """All of an image's color changes as one affine map of RGB: contrast, then saturation and hue, then brightness.

    Args:
        brightness: (B,) added to every channel.
        contrast: (B,) factor of the distance to `pivot`, the same in all channels.
        saturation: (B,) factor of the distance to gray of the same luma; 0 is gray.
        hue: (B,) radians by which colors turn about the gray axis, at constant luma.
        pivot: the value that contrast leaves alone.

    Returns:
        (B, 3, 3) and (B, 3), float32: new = old @ matrix + offset.
    """
    cos, sin = saturation * ops.cos(hue), saturation * ops.sin(hue)
    zero = ops.zeros_like(cos)
    # only what differs from the identity passes through YCbCr, so that what changes nothing does so to the bit
    rows = [zero, zero, zero], [zero, cos - 1, -sin], [zero, sin, cos - 1]
    turn = ops.stack([ops.stack(row, -1) for row in rows], 1)
    turned = ops.matmul(np.linalg.inv(YCBCR), ops.matmul(turn, YCBCR)) + np.eye(3, dtype="float32")
    matrix = turned * contrast[:, None, None]
    # gray stays gray: the offset needs no turn
    offset = pivot * (1 - contrast) + brightness
    return ops.swapaxes(matrix, 1, 2), ops.repeat(offset[:, None], 3, axis=1)


def apply_color(images, matrices, offsets):
    """Take (B, H, W, 3) through `color_matrices`; those that the map leaves as they are come out to the bit."""
    # A matrix product: XLA would fuse sums of products with what made the images, and make that once a channel.
    mapped = ops.matmul(images, matrices[:, None]) + offsets[:, None, None]
    changes = ops.any(matrices != np.eye(3, dtype="float32"), axis=(1, 2)) | ops.any(
        offsets != 0, axis=1
    )
    return ops.where(
        changes[:, None, None, None], mapped, images
    )  # on GPUs products may be rounded (TF32)


def blur(images, sigma):
    """Gaussian blur, each image by its own (B,) sigma in pixels; 0 changes nothing.

    The border is mirrored once, as much as a sigma of up to a third of the image's sides sees.
    """
    for axis, rule in ((1, "bij,bjwc->biwc"), (2, "bij,bwjc->bwic")):
        images = ops.einsum(rule, _gaussian_matrices(sigma, images.shape[axis]), images)
    return images


def _gaussian_matrices(sigma, length):
    """(B, length, length): each row the weights of all pixels in one blurred pixel."""
    place = np.arange(length, dtype="float32")
    first, second = place[:, None], place[None, :]
    # the pixel itself, and its images in the mirrors before the first and after the last pixel
    distances = first - second, first + second + 1, 2 * length - 1 - first - second
    spread = 2 * ops.square(ops.maximum(sigma, 1e-3))[:, None, None]
    weights = sum(ops.exp(-np.square(distance) / spread) for distance in distances)
    return weights / ops.sum(weights, axis=2, keepdims=True)


def noise(images, sigma, keys):
    """Add near-Gaussian noise of standard deviation (B,) sigma, drawn by hash from the (B, K) integer keys.

    The sum of the four bytes of one hash a value: it reaches 3.45 deviations and no farther. Its streams are counted
    down from the last, so that it may share its keys with `uniform`.
    """
    size = int(np.prod(images.shape[1:]))
    bits = random_bits(keys, -1 - ops.arange(size, dtype="int32"))
    byte = lambda shift: ops.bitwise_and(
        ops.right_shift(bits, ops.cast(shift, "uint32")), ops.cast(255, "uint32")
    )
    total = ops.cast(byte(0) + byte(8) + byte(16) + byte(24), "float32")
    deviation = np.sqrt(4 * (256**2 - 1) / 12)
    drawn = ops.reshape((total - 510) * (1 / deviation), (-1, *images.shape[1:]))
    return images + sigma[:, None, None, None] * drawn


def jpeg(images, quality):
    """What JPEG compression leaves of (B, H, W, 1 or 3) values in 0..255, each image at its own (B,) quality, 1..100.

    Blocks of 8 x 8, the tables of ITU-T T.81 annex K scaled as libjpeg does, color at full resolution.
    """
    height, width, channels = images.shape[1:]
    x = images
    for axis, side in ((1, height), (2, width)):
        if side % 8:  # libjpeg repeats the last row and column
            last = x[:, -1:] if axis == 1 else x[:, :, -1:]
            x = ops.concatenate([x, ops.repeat(last, -side % 8, axis=axis)], axis=axis)
    if channels == 3:
        x = ops.matmul(x, YCBCR.T)
    shift = np.array([128.0, 0, 0][:channels], "float32")
    # rounded before the transform, as files hold whole numbers: it decides where quantization falls
    blocks = ops.reshape(
        ops.round(x) - shift, (-1, x.shape[1] // 8, 8, x.shape[2] // 8, 8, channels)
    )
    table = _tables(quality, channels)
    dct = _dct_matrix()
    frequencies = ops.einsum("uy,bhywxc,vx->bhuwvc", dct, blocks, dct)
    frequencies = ops.round(frequencies / table) * table
    x = ops.reshape(ops.einsum("uy,bhuwvc,vx->bhywxc", dct, frequencies, dct), ops.shape(x)) + shift
    if channels == 3:
        x = ops.matmul(x, np.linalg.inv(YCBCR).T)
    return ops.clip(x, 0, 255)[:, :height, :width]


def _tables(quality, channels):
    """(B, 1, 8, 1, 8, C) quantization steps."""
    scale = ops.floor(ops.where(quality < 50, 5000 / ops.maximum(quality, 1), 200 - 2 * quality))
    tables = np.stack([LUMA_TABLE, CHROMA_TABLE, CHROMA_TABLE][:channels], axis=-1).astype(
        "float32"
    )
    steps = ops.floor((scale[:, None, None, None] * tables + 50) / 100)
    return ops.clip(steps, 1, 255)[:, None, :, None]


def _dct_matrix():
    """The orthonormal discrete cosine transform of length 8 (type II)."""
    k, n = np.mgrid[:8, :8]
    matrix = np.cos(np.pi * (2 * n + 1) * k / 16) / 2
    matrix[0] /= np.sqrt(2)
    return matrix.astype("float32")
