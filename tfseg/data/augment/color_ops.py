"""The colors of an augmentation: one affine map of the channels, and what is not affine."""

import math

from keras import ops

from tfseg.ops import apply_color, blur, color_matrices, jpeg, noise


def colored(augment, image, drawn, keys):
    """Change the colors of a batch as an `Augment` says.

    Args:
        augment: the `Augment`.
        image: (B, height, width, C) float32.
        drawn: what `draw` gives.
        keys: (B, 2) integers.

    Returns:
        (B, height, width, C) float32, within the value range if any operation may change a value.
    """
    low, high = augment.value_range
    span = high - low
    before, shown = image, augment.ranges.keys()
    if shown & {"brightness", "contrast", "saturation", "hue"}:
        image = _mapped(augment, image, drawn)
    if "gamma" in shown:
        share = ops.clip((image - low) / span, 1e-6, 1.0)
        changed = low + span * ops.exp(ops.log(share) * drawn["gamma"][:, None, None, None])
        image = ops.where((drawn["gamma"] != 1)[:, None, None, None], changed, image)
    if "blur" in shown:
        # where nothing was drawn, a matrix product may still be rounded (TF32 on GPUs)
        image = ops.where(
            (drawn["blur"] > 0)[:, None, None, None], blur(image, drawn["blur"]), image
        )
    if "noise" in shown:
        image = noise(image, drawn["noise"] * span, keys)
    if "jpeg" in shown:
        _require_channels(image, "jpeg", (1, 3))
        packed = low + span / 255 * jpeg((image - low) * (255 / span), drawn["jpeg"])
        image = ops.where((drawn["jpeg"] <= 100)[:, None, None, None], packed, image)
    return image if image is before else ops.clip(image, low, high)


def _mapped(augment, image, drawn):
    low, high = augment.value_range
    middle, shift = (low + high) / 2, drawn["brightness"] * (high - low)
    if image.shape[-1] == 3:
        hue = drawn["hue"] * (math.pi / 180)
        return apply_color(
            image, *color_matrices(shift, drawn["contrast"], drawn["saturation"], hue, middle)
        )
    if augment.ranges.keys() & {"saturation", "hue"}:
        _require_channels(image, "saturation and hue", (3,))
    contrast = drawn["contrast"]
    offset = middle * (1 - contrast) + shift
    return image * contrast[:, None, None, None] + offset[:, None, None, None]


def _require_channels(image, names, allowed):
    if image.shape[-1] not in allowed:
        raise ValueError(
            f"Augment: {names} want images of {' or '.join(map(str, allowed))} channels; {image.shape[-1]} came. "
            "Leave them out."
        )
