"""The color operations of an augmentation: an affine map, then gamma, blur, noise and JPEG."""

import math

import keras
from keras import ops

from tfseg.data.value_range import DEFAULT_RANGE
from tfseg.ops import apply_color, blur, color_matrices, jpeg, noise

COLORS = frozenset(
    ("brightness", "contrast", "saturation", "hue", "gamma", "blur", "noise", "jpeg")
)


def color_range(augment, dtype) -> tuple[float, float] | None:
    """Return the range (low, high) that color operations clip to, or None if there are none.

    Args:
        augment: the `Augment`.
        dtype: of the images, before they become float32.

    Raises:
        ValueError: the images are not uint8, and `augment.value_range` is None.
    """
    if not augment.changes_colors:
        return None
    if augment.value_range is not None:
        return augment.value_range
    dtype = keras.backend.standardize_dtype(dtype)
    if dtype != "uint8":
        names = ", ".join(name for name in augment.ranges if name in COLORS)
        raise ValueError(
            f"Augment: {names} of {dtype} images needs to know the range of their values, which is "
            "0 to 255 for uint8 images only. Pass value_range=(lowest, highest), such as (0, 4095) "
            "for 12-bit images."
        )
    return DEFAULT_RANGE


def change_colors(augment, image, params, keys, value_range):
    """Apply the color operations of an `Augment`.

    Args:
        augment: the `Augment`.
        image: (B, height, width, C) float32.
        params: parameters from `to_params`.
        keys: (B, 2) integers, the seed and the number of each sample.
        value_range: (low, high) from `color_range`.

    Returns:
        (B, height, width, C) float32, clipped to the value range if there is any color operation.
    """
    if value_range is None:
        return image
    low, high = value_range
    span = high - low
    operations = augment.ranges.keys()
    if operations & {"brightness", "contrast", "saturation", "hue"}:
        image = _change_linearly(augment, image, params, low, high)
    if "gamma" in operations:
        gamma = params["gamma"][:, None, None, None]
        fraction = ops.clip((image - low) / span, 1e-6, 1.0)
        changed = low + span * ops.exp(ops.log(fraction) * gamma)
        image = ops.where(gamma != 1, changed, image)
    if "blur" in operations:
        # GPUs may round the matrix product (TF32) even where sigma is 0.
        is_blurred = (params["blur"] > 0)[:, None, None, None]
        image = ops.where(is_blurred, blur(image, params["blur"]), image)
    if "noise" in operations:
        image = noise(image, params["noise"] * span, keys)
    if "jpeg" in operations:
        _require_channels(image, "jpeg", (1, 3))
        compressed = low + span / 255 * jpeg((image - low) * (255 / span), params["jpeg"])
        image = ops.where((params["jpeg"] <= 100)[:, None, None, None], compressed, image)
    return ops.clip(image, low, high)


def _change_linearly(augment, image, params, low, high):
    """Apply brightness, contrast, saturation and hue as one affine map."""
    middle, shift = (low + high) / 2, params["brightness"] * (high - low)
    contrast = params["contrast"]
    if image.shape[-1] == 3:
        hue = params["hue"] * (math.pi / 180)
        matrices = color_matrices(shift, contrast, params["saturation"], hue, middle)
        return apply_color(image, *matrices)
    if augment.ranges.keys() & {"saturation", "hue"}:
        _require_channels(image, "saturation and hue", (3,))
    # Value 100, contrast 2, middle 127.5: 2 * 100 + 127.5 * (1 - 2) = 72.5 = 127.5 - 2 * 27.5.
    offset = middle * (1 - contrast) + shift
    return image * contrast[:, None, None, None] + offset[:, None, None, None]


def _require_channels(image, names, allowed):
    if image.shape[-1] not in allowed:
        raise ValueError(
            f"Augment: {names} must have images of {' or '.join(map(str, allowed))} channels, but "
            f"got {image.shape[-1]}. Remove {names}."
        )
