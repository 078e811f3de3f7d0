"""Fully connected conditional random fields: labels that follow the edges of the image."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from tfseg.inference.permutohedral import Permutohedral


def mean_field(logits, image, iterations, smooth, near, bilateral, far, color):
    """Approximate the labels' distribution, Krähenbühl and Koltun 2011 (arXiv:1210.5644), algorithm 1.

    Pixels of like place, and of like place and color, draw each other to the same class: Potts' model over two
    Gaussian kernels K, each normalized symmetrically, D^-1/2 K D^-1/2 with D the sums of its rows.

    Args:
        logits: (H, W, C) float32, C >= 2.
        image: (H, W) or (H, W, 3) in 0..255.
        iterations: number of updates of all pixels at once.
        smooth, near: weight of the kernel of places, and its standard deviation in pixels.
        bilateral, far, color: weight of the kernel of places and colors, and its standard deviations in pixels and
            in gray levels.

    Returns:
        (H, W, C) float32 logarithms of the distribution, up to a constant a pixel.
    """
    height, width, classes = logits.shape
    places = np.mgrid[:height, :width][::-1].reshape(2, -1).astype(np.float32)
    colors = image.reshape(height * width, -1).T.astype(np.float32)
    kernels = [(smooth, places / near), (bilateral, np.concatenate([places / far, colors / color]))]
    weights, points = zip(
        *((np.float32(weight), points) for weight, points in kernels if weight > 0), strict=True
    )
    unary = scores = logits.reshape(-1, classes)
    with ThreadPoolExecutor(len(points)) as pool:
        kernels = list(pool.map(Permutohedral, points))
        for _ in range(iterations):
            shares = softmax(scores)
            scores = unary.copy()
            for weight, drawn in zip(
                weights, [pool.submit(kernel, shares) for kernel in kernels], strict=True
            ):
                scores += weight * drawn.result()
    return scores.reshape(logits.shape)


def softmax(scores):
    """(N, C) float32 -> (N, C) float32 shares."""
    shares = scores - cv2.reduce(
        scores, 1, cv2.REDUCE_MAX
    )  # NumPy takes ten times as long over short rows
    np.exp(shares, out=shares)
    shares /= cv2.reduce(shares, 1, cv2.REDUCE_SUM)
    return shares
