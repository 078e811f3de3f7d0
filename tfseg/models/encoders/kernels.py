"""Copy trained weights to the copy of a network, whose images may have other channels."""

import numpy as np


def copy_weights(pairs: list, channels: int, bgr: bool) -> None:
    """Copy the weights of each layer to its copy; fit the first kernel to the image's channels.

    Args:
        pairs: list of (layer, copy); the first is the convolution of the RGB image.
        channels: number of channels of the image.
        bgr: whether the first layer was trained on blue, green, red; the copy reads red, green,
            blue.
    """
    for index, (layer, copy) in enumerate(pairs):
        values = layer.get_weights()
        if index == 0:
            kernel = values[0][:, :, ::-1] if bgr else values[0]
            values[0] = fit_kernel(kernel, channels)
        copy.set_weights(values)


def fit_kernel(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Fit an RGB kernel (h, w, 3, K) to `channels` channels.

    Equal channels give what equal R, G and B gave, so the activations keep the scale that the later
    layers and their batch normalization were trained on. With one or two channels, each gets the
    sum of the three kernels divided by `channels`. With more, channels take the kernels of R, G and
    B in turn, divided by how often each is used: four channels get R / 2, G, B, R / 2.
    """
    if channels < 3:
        return np.repeat(kernel.sum(axis=2, keepdims=True) / channels, channels, axis=2)
    source = np.arange(channels) % 3
    times_used = np.bincount(source)[source]
    return kernel[:, :, source] / times_used[:, None]
