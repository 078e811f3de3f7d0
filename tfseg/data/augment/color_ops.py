"""The color operations of an augmentation: an affine map, then gamma, blur, noise and JPEG."""

import math

from keras import ops

from tfseg.ops import apply_color, blur, color_matrices, jpeg, noise


def change_colors(augment, image, params, keys):
    """Apply the color operations of an `Augment`.

    Args:
        augment: the `Augment`.
        image: (B, height, width, C) float32.
        params: parameters from `to_params`.
        keys: (B, 2) integers, the seed and the number of each sample.

    Returns:
        (B, height, width, C) float32, clipped to the value range if there is any color operation.
    """
    low, high = augment.value_range
    span = high - low
    original, operations = image, augment.ranges.keys()
    if operations & {"brightness", "contrast", "saturation", "hue"}:
        image = _change_linearly(augment, image, params)
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
    return image if image is original else ops.clip(image, low, high)


def _change_linearly(augment, image, params):
    """Apply brightness, contrast, saturation and hue as one affine map."""
    low, high = augment.value_range
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
