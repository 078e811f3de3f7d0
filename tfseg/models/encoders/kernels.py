"""Give trained weights to the copy of a network, whose image may have other channels."""

import numpy as np


def copy_weights(pairs, channels, bgr):
    """Copy the weights of each layer to its copy; the first layer's kernel is fitted to the image's channels.

    Args:
        pairs: (layer, copy), the first a convolution of RGB.
        channels: of the image.
        bgr: whether the first layer was trained on blue, green, red; the copy reads red, green, blue.
    """
    for index, (layer, copy) in enumerate(pairs):
        values = layer.get_weights()
        if index == 0:
            values[0] = fit_kernel(values[0][:, :, ::-1] if bgr else values[0], channels)
        copy.set_weights(values)


def fit_kernel(kernel, channels):
    """Fit a kernel (h, w, 3, K) of RGB to `channels`, such that equal channels give what equal R, G and B gave.

    With fewer than three channels each takes an equal part of the sum of the three kernels; otherwise they take the
    three in turn, and those that take the same share it. Activations so keep the size that the layers after, and their
    statistics of batch normalization, were trained on.
    """
    if channels < 3:
        return np.repeat(kernel.sum(axis=2, keepdims=True) / channels, channels, axis=2)
    turns = np.arange(channels) % 3
    return kernel[:, :, turns] / np.bincount(turns)[turns][:, None]
