"""Active contours: a closed curve, stored as the mask of its inside, evolves to fit the image."""

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import to_gray, to_mask
from tfseg.classical.interactive import box_slices

# The four lines of three pixels through the center of a 3 x 3 window.
_LINES = np.array(
    [np.eye(3), np.eye(3)[::-1], [[0, 1, 0]] * 3, [[0] * 3, [1] * 3, [0] * 3]], np.uint8
)
_WINDOW = np.ones((3, 3), np.uint8)
# Steepness of the edge function. `edge_threshold` sets where it acts, so this can be constant.
_STEEPNESS = 250


def chan_vese(image, mu: float = 0.25, tolerance: float = 1e-3, iterations: int = 500):
    """Divide an image into two regions of low variance with a short border (Chan and Vese 2001).

    `skimage.segmentation.chan_vese`, which solves the differential equation. The result does not
    depend on brightness and contrast.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `to_0_255`; converted to gray.
        mu: at least 0, usually up to 1; the larger, the shorter and rounder the border.
        tolerance: stop when the level set changes less than this (root mean square).
        iterations: maximum number of steps.

    Returns:
        (H, W) int32: 1 in the region with the higher mean, 0 in the other; all 0 for a constant
        image.

    Raises:
        ValueError: the image is not valid, or an argument is out of range.
        ImportError: scikit-image is not installed.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.full((20, 20), 40, np.uint8)
        >>> image[6:14, 6:14] = 200
        >>> bool((tfseg.classical.chan_vese(image) == (image > 100)).mean() > 0.95)
        True
    """
    owner = "chan_vese"
    gray = to_gray(owner, image).astype(np.float32)
    inside = checks.require_package("skimage.segmentation", "classical").chan_vese(
        gray,
        mu=checks.at_least(owner, "mu", mu, 0),
        tol=checks.at_least(owner, "tolerance", tolerance, 0),
        max_num_iter=checks.positive_int(owner, "iterations", iterations),
    )
    return _brighter_side(gray, inside)


def morphological_chan_vese(image, iterations: int = 100, smoothing: int = 1):
    """Divide an image into two regions of low variance by morphology ("ACWE").

    Marquez-Neila et al. 2014. The same goal as `chan_vese`, starting from a checkerboard of 5 x 5
    squares. The steps are those of scikit-image with two differences: there the order of the first
    smoothing depends on earlier calls, and smoothing rounds off whatever touches the image border,
    which is ignored here. The result does not depend on brightness and contrast.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `to_0_255`; converted to gray.
        iterations: number of steps.
        smoothing: number of times the contour is smoothed per step: 0 is none, 3 is a lot.

    Returns:
        (H, W) int32: 1 in the region with the higher mean, 0 in the other; all 0 for a constant
        image.

    Raises:
        ValueError: the image is not valid, or an argument is not an integer or out of range.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> y, x = np.indices((61, 71))
        >>> disc = np.hypot(y - 28, x - 37) < 15
        >>> image = np.where(disc, 150, 80).astype(np.uint8)
        >>> found = tfseg.classical.morphological_chan_vese(image) == 1
        >>> bool((found & disc).sum() > 0.9 * (found | disc).sum())
        True
    """
    owner = "morphological_chan_vese"
    gray = to_gray(owner, image).astype(np.float64)
    squares = [np.arange(size) // 5 % 2 for size in gray.shape]
    checkerboard = (squares[0][:, None] ^ squares[1]).astype(np.uint8)

    def step(inside):
        mean_outside = cv2.mean(gray, (inside == 0).astype(np.uint8))[0]
        mean_inside = cv2.mean(gray, (inside == 1).astype(np.uint8))[0]
        # Positive where the pixel is closer to the mean of the inside.
        force = (mean_inside - mean_outside) * (gray - (mean_inside + mean_outside) / 2)
        dy, dx = _gradient(inside)
        return _move(inside, np.where((dy != 0) | (dx != 0), force, 0))

    inside = _evolve(owner, checkerboard, step, iterations, smoothing)
    return _brighter_side(gray, inside > 0)


def geodesic_active_contour(
    image,
    box=None,
    initial_mask=None,
    iterations: int = 300,
    smoothing: int = 1,
    balloon: int = -1,
    sigma: float = 2.0,
    edge_threshold: float = 0.04,
):
    """Shrink or grow a contour until it meets edges (Caselles et al. 1997).

    The morphological version of Marquez-Neila et al. 2014: scikit-image's
    `morphological_geodesic_active_contour` on its `inverse_gaussian_gradient`, with the differences
    described in `morphological_chan_vese`. The result does not depend on brightness and contrast.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `to_0_255`; converted to gray.
        box: initial x_min, y_min, x_max, y_max in pixels, usually slightly larger than the object.
        initial_mask: initial (H, W) bool or integers, 0 outside, instead of a box.
        iterations: number of steps; the contour moves by at most one pixel per step.
        smoothing: number of times the contour is smoothed per step: 0 is none, 3 is a lot.
        balloon: force away from edges: -1 shrinks the contour, 1 grows it, 0 only follows nearby
            edges.
        sigma: std in pixels of the Gaussian blur before the gradient.
        edge_threshold: gradient above which the balloon force stops, in stds of the image per
            pixel.

    Returns:
        (H, W) int32: 1 inside the contour, 0 outside. A contour can shrink to nothing, as it does
        in a constant image.

    Raises:
        ValueError: neither or both of `box` and `initial_mask` are given, the box is outside the
            image, or an argument is out of range.
        ImportError: scikit-image is not installed.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> y, x = np.indices((60, 60))
        >>> disc = np.hypot(y - 30, x - 30) < 15
        >>> image = np.where(disc, 180, 60).astype(np.uint8)
        >>> found = tfseg.classical.geodesic_active_contour(image, box=(8, 8, 52, 52)) == 1
        >>> bool((found & disc).sum() > 0.9 * (found | disc).sum())
        True
    """
    owner = "geodesic_active_contour"
    gray = to_gray(owner, image).astype(np.float64)
    checks.one_of(owner, "balloon", balloon, (-1, 0, 1))
    inside = _initial_mask(owner, box, initial_mask, gray.shape)
    sigma = checks.above_zero(owner, "sigma", sigma)
    edge_threshold = checks.above_zero(owner, "edge_threshold", edge_threshold)
    segmentation = checks.require_package("skimage.segmentation", "classical")
    # 1 / sqrt(1 + _STEEPNESS * gradient): 1 in uniform areas, near 0 on edges.
    flatness = segmentation.inverse_gaussian_gradient(gray / (gray.std() or 1), _STEEPNESS, sigma)
    flat = flatness > 1 / np.sqrt(1 + _STEEPNESS * edge_threshold)
    flatness_dy, flatness_dx = _gradient(flatness)

    def step(inside):
        if balloon:
            inside = np.where(flat, _inflate(inside, balloon), inside)
        dy, dx = _gradient(inside)
        return _move(inside, flatness_dy * dy + flatness_dx * dx)

    return _evolve(owner, inside, step, iterations, smoothing).astype(np.int32)


def _initial_mask(owner, box, initial_mask, shape):
    if (box is None) == (initial_mask is None):
        received = "neither" if box is None else "both"
        raise ValueError(
            f"{owner}: got {received} of `box` and `initial_mask`, expected one of them. "
            "Pass box=(x_min, y_min, x_max, y_max) or initial_mask=(H, W)."
        )
    if initial_mask is not None:
        return to_mask(owner, "initial_mask", initial_mask, shape).astype(np.uint8)
    inside = np.zeros(shape, np.uint8)
    inside[box_slices(owner, box, shape)] = 1
    return inside


def _brighter_side(gray, inside):
    """Return (H, W) int32, 1 on the side of the contour with the higher mean."""
    if np.ptp(gray) == 0 or inside.all() or not inside.any():
        return np.zeros(inside.shape, np.int32)
    return (inside ^ (gray[inside].mean() < gray[~inside].mean())).astype(np.int32)


def _evolve(owner, inside, step, iterations, smoothing):
    """Alternate a step and the smoothing, which in turn alternates the order of two operators."""
    smoothing = checks.positive_int(owner, "smoothing", smoothing) if smoothing != 0 else 0
    iterations = checks.positive_int(owner, "iterations", iterations)
    count = 0
    for _ in range(iterations):
        inside = step(inside)
        for _ in range(smoothing):
            inside = _open(_close(inside)) if count % 2 == 0 else _close(_open(inside))
            count += 1
    return inside


def _open(inside):
    """Keep the pixels that are the center of a line inside the mask (the paper's SI)."""
    return np.max([cv2.erode(inside, line) for line in _LINES], axis=0)


def _close(inside):
    """Add the pixels that are not the center of a line outside the mask (the paper's IS)."""
    return np.min([cv2.dilate(inside, line) for line in _LINES], axis=0)


def _inflate(inside, balloon):
    """Move the contour out or in by one pixel; beyond the image border is outside."""
    morph = cv2.dilate if balloon > 0 else cv2.erode
    return morph(inside, _WINDOW, borderType=cv2.BORDER_CONSTANT, borderValue=0)


def _move(inside, force):
    """Add the pixels with a positive force, remove those with a negative one."""
    return np.where(force == 0, inside, force > 0).astype(np.uint8)


def _gradient(values):
    """Return the differences of the two neighbors along y and along x."""
    border = cv2.BORDER_REPLICATE
    dy = cv2.Sobel(values, cv2.CV_64F, 0, 1, ksize=1, borderType=border)
    dx = cv2.Sobel(values, cv2.CV_64F, 1, 0, ksize=1, borderType=border)
    return dy, dx
