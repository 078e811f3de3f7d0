"""Average the outputs of an instance model over the flips of an image."""

from collections.abc import Callable

import numpy as np

from tfseg.models.instance_settings import InstanceSettings

FLIPS = ((), (0,), (1,), (0, 1))  # axes of the image: rows, columns


def average_over_flips(predict: Callable, image, settings: InstanceSettings) -> dict:
    """Return the mean of a model's outputs for an image and its three flips.

    The outputs for a flip are flipped back, so that the mean is that of four predictions of each
    sample. It is exact: distances change their rays, offsets their signs, and where the samples of
    the flipped image would lie between those of the image, a border of pixels moves them.

    Args:
        predict: function of an image (H, W, C) that returns the dict of outputs of the model.
        image: (H, W, C).
        settings: see `tfseg.models.instance_settings`.

    Returns:
        dict, the mean of the outputs; of logits the mean logits.
    """
    total = {}
    for axes in FLIPS:
        outputs = predict(_flip_image(image, axes, settings.grid))
        for name, values in outputs.items():
            values = _flip_back(name, values, axes, image.shape, settings)
            total[name] = values if name not in total else total[name] + values
    return {name: values / len(FLIPS) for name, values in total.items()}


def _flip_image(image, axes, grid):
    """Return the flipped image, with its first pixels repeated so that the samples stay theirs.

    Example: of 6 pixels and a grid of 2, the samples are 0, 2 and 4. Of the flipped pixels 5, 4,
    ... 0 they would be 5, 3 and 1; of 5, 5, 4, ... 0 they are 5, 4, 2 and 0.
    """
    flipped = np.flip(image, axes)
    before = [(1 - image.shape[axis]) % grid if axis in axes else 0 for axis in (0, 1)]
    return np.pad(flipped, ((before[0], 0), (before[1], 0), (0, 0)), mode="edge")


def _flip_back(name, values, axes, shape, settings):
    """Return outputs (h, w, C) of a flipped image as those of the image.

    Args:
        name: of the output.
        values: the output for the flipped image.
        axes: axes of the flip.
        shape: (H, W, C) of the image.
        settings: see `average_over_flips`.
    """
    for axis in axes:
        count = -(-shape[axis] // settings.grid)
        values = np.flip(np.take(values, range(-count, 0), axis), axis)
        if name == "distances":
            values = values[..., _flipped_rays(settings.rays, axis)]
        if name == "offsets":
            sign = np.ones(2, np.float32)
            sign[axis] = -1
            values = values * sign
    return values


def _flipped_rays(rays, axis):
    """Return which ray of the flipped image each ray of the image is: y or x changes its sign."""
    turn = 0 if axis == 0 else rays / 2
    return ((turn - np.arange(rays)) % rays).astype(int)
