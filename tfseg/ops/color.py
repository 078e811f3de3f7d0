"""Color changes of (B, H, W, C) float32 images: affine color maps, blur, noise and JPEG."""

import numpy as np
from keras import ops

from tfseg.ops.random import random_bits

# RGB to luma, blue difference and red difference (ITU-R BT.601, as in JPEG).
LUMA = np.array([0.299, 0.587, 0.114], "float32")
YCBCR = np.array([LUMA, [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], "float32")
# The example quantization tables of the JPEG standard (ITU-T T.81, annex K), for quality 50.
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


def color_matrices(brightness, contrast, saturation, hue, pivot: float):
    """Combine color changes into one affine RGB map: contrast, saturation and hue, brightness.

    Args:
        brightness: (B,) added to every channel.
        contrast: (B,) factor of the distance to `pivot`, the same for all channels.
        saturation: (B,) factor of the distance to gray of the same luma; 0 gives gray.
        hue: (B,) rotation around the gray axis at constant luma, in radians.
        pivot: the value that contrast does not change.

    Returns:
        (B, 3, 3) and (B, 3), float32: new = old @ matrix + offset.
    """
    cos, sin = saturation * ops.cos(hue), saturation * ops.sin(hue)
    zero = ops.zeros_like(cos)
    # In YCbCr, hue and saturation are a scaled rotation of (Cb, Cr). Only its difference from the
    # identity goes through YCbCr, so that saturation 1 and hue 0 give exactly the identity.
    rows = ([zero, zero, zero], [zero, cos - 1, -sin], [zero, sin, cos - 1])
    change = ops.stack([ops.stack(row, -1) for row in rows], 1)
    change = ops.matmul(np.linalg.inv(YCBCR), ops.matmul(change, YCBCR))
    matrix = (change + np.eye(3, dtype="float32")) * contrast[:, None, None]
    # Gray stays gray, so the offset does not need to be rotated.
    offset = pivot * (1 - contrast) + brightness
    return ops.swapaxes(matrix, 1, 2), ops.repeat(offset[:, None], 3, axis=1)


def apply_color(images, matrices, offsets):
    """Apply `color_matrices` to (B, H, W, 3) images; identity maps return the image unchanged."""
    # A matrix product, since XLA would fuse a sum of products with the code that made the images
    # and compute the images once per channel.
    mapped = ops.matmul(images, matrices[:, None]) + offsets[:, None, None]
    has_matrix = ops.any(matrices != np.eye(3, dtype="float32"), axis=(1, 2))
    changed = has_matrix | ops.any(offsets != 0, axis=1)
    # A product with the identity is not exact on GPUs (TF32), so unchanged images are selected.
    return ops.where(changed[:, None, None, None], mapped, images)


def blur(images, sigma):
    """Apply a Gaussian blur, with one sigma per image.

    The border is mirrored once, which is enough for sigmas up to a third of the image's sides.

    Args:
        images: (B, H, W, C) floating.
        sigma: (B,) in pixels; 0 leaves the image unchanged.

    Returns:
        (B, H, W, C).
    """
    rows = _gaussian_matrices(sigma, images.shape[1])
    images = ops.einsum("bij,bjwc->biwc", rows, images)
    columns = _gaussian_matrices(sigma, images.shape[2])
    return ops.einsum("bij,bwjc->bwic", columns, images)


def _gaussian_matrices(sigma, length):
    """Return (B, length, length): row i contains the weights of all pixels in blurred pixel i.

    Example: with length 3, blurred pixel 0 weights pixel 1 by its own distance, 1, by that of its
    mirror image before the first pixel (at -2), 2, and by that behind the last (at 4), 4.
    """
    position = np.arange(length, dtype="float32")
    first, second = position[:, None], position[None, :]
    distances = (first - second, first + second + 1, 2 * length - 1 - first - second)
    spread = 2 * ops.square(ops.maximum(sigma, 1e-3))[:, None, None]
    weights = sum(ops.exp(-np.square(distance) / spread) for distance in distances)
    return weights / ops.sum(weights, axis=2, keepdims=True)


def noise(images, sigma, keys):
    """Add approximately Gaussian noise computed from hashed keys.

    Each value is the scaled sum of the four bytes of one hash, so it is within 3.45 standard
    deviations. Hash streams are counted down from the last one, so `uniform` can use the same keys.

    Args:
        images: (B, H, W, C) floating.
        sigma: (B,) standard deviation.
        keys: (B, K) integers.

    Returns:
        (B, H, W, C).
    """
    size = int(np.prod(images.shape[1:]))
    bits = random_bits(keys, -1 - ops.arange(size, dtype="int32"))
    total = _byte(bits, 0) + _byte(bits, 8) + _byte(bits, 16) + _byte(bits, 24)
    # A byte has mean 127.5 and variance (256**2 - 1) / 12; the sum of four has 4 times both.
    std = np.sqrt(4 * (256**2 - 1) / 12)
    values = (ops.cast(total, "float32") - 510) * (1 / std)
    values = ops.reshape(values, (-1, *images.shape[1:]))
    return images + sigma[:, None, None, None] * values


def _byte(bits, shift):
    """Return bits `shift` to `shift` + 7 of uint32 values."""
    shifted = ops.right_shift(bits, ops.cast(shift, "uint32"))
    return ops.bitwise_and(shifted, ops.cast(255, "uint32"))


def jpeg(images, quality):
    """Apply the losses of JPEG compression, with one quality per image.

    Uses blocks of 8 x 8, the tables of ITU-T T.81 annex K scaled as libjpeg does, and color at full
    resolution.

    Args:
        images: (B, H, W, 1 or 3) floating, values 0..255.
        quality: (B,) in [1, 100].

    Returns:
        (B, H, W, 1 or 3), values 0..255.
    """
    height, width, channels = images.shape[1:]
    x = _pad_to_blocks(images)
    if channels == 3:
        x = ops.matmul(x, YCBCR.T)
    shift = np.array([128.0, 0, 0][:channels], "float32")
    # Rounded before the transform, as files contain whole numbers: it affects the quantization.
    blocks = ops.reshape(
        ops.round(x) - shift, (-1, x.shape[1] // 8, 8, x.shape[2] // 8, 8, channels)
    )
    table = _quantization_steps(quality, channels)
    dct = _dct_matrix()
    frequencies = ops.einsum("uy,bhywxc,vx->bhuwvc", dct, blocks, dct)
    frequencies = ops.round(frequencies / table) * table
    x = ops.reshape(ops.einsum("uy,bhuwvc,vx->bhywxc", dct, frequencies, dct), ops.shape(x)) + shift
    if channels == 3:
        x = ops.matmul(x, np.linalg.inv(YCBCR).T)
    return ops.clip(x, 0, 255)[:, :height, :width]


def _pad_to_blocks(x):
    """Repeat the last row and column, as libjpeg does, up to multiples of 8."""
    height, width = x.shape[1:3]
    if height % 8:
        x = ops.concatenate([x, ops.repeat(x[:, -1:], -height % 8, axis=1)], axis=1)
    if width % 8:
        x = ops.concatenate([x, ops.repeat(x[:, :, -1:], -width % 8, axis=2)], axis=2)
    return x


def _quantization_steps(quality, channels):
    """Return (B, 1, 8, 1, 8, C) quantization steps, scaled by quality as libjpeg does.

    Example: quality 25 scales the tables by 200 %, quality 75 by 50 %.
    """
    percent = ops.floor(ops.where(quality < 50, 5000 / ops.maximum(quality, 1), 200 - 2 * quality))
    tables = np.stack([LUMA_TABLE, CHROMA_TABLE, CHROMA_TABLE][:channels], axis=-1)
    scaled = percent[:, None, None, None] * tables.astype("float32")
    return ops.clip(ops.floor((scaled + 50) / 100), 1, 255)[:, None, :, None]


def _dct_matrix():
    """Return the orthonormal discrete cosine transform of length 8 (type II)."""
    k, n = np.mgrid[:8, :8]
    matrix = np.cos(np.pi * (2 * n + 1) * k / 16) / 2
    matrix[0] /= np.sqrt(2)
    return matrix.astype("float32")
