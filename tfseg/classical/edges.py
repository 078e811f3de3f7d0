"""Edges, ridges and lines, and the regions that edges enclose."""

import functools

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import to_0_255, to_gray, to_mask
from tfseg.classical.labels import connected_components, relabel
from tfseg.classical.thresholds import otsu_threshold

# cv2.Canny takes int16 gradients. Sobel sums of 0..255 are at most 4 * 255, so there is headroom to
# store them in sixteenths.
_CANNY_SCALE = 16
# Rounding error, in gray levels, of a float32 Laplacian in uniform areas.
_ROUNDING = 1e-3
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def sobel(image):
    """Compute the gradient magnitude with 3 x 3 Sobel filters.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3); uint8, other integers or floats, see
            `tfseg.classical.image.to_0_255`. In color images the channel with the largest gradient
            counts, as in `cv2.Canny`: an edge between equally bright colors is found.

    Returns:
        (H, W) float32, gray levels (0..255) per pixel: a ramp of g levels per pixel gives g.

    Raises:
        ValueError: the image is not valid.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> ramp = np.tile(np.arange(0, 50, 10, dtype=np.uint8), (3, 1))
        >>> tfseg.classical.sobel(ramp)[1].tolist()
        [5.0, 10.0, 10.0, 10.0, 5.0]
    """
    return _magnitude(*_gradient(to_0_255("sobel", image), cv2.Sobel, 1 / 8))


def scharr(image):
    """Compute the gradient magnitude with 3 x 3 Scharr filters.

    They depend less on the direction of the edge than those of `sobel`. Arguments and result are
    the same.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> ramp = np.tile(np.arange(0, 50, 10, dtype=np.uint8), (3, 1))
        >>> tfseg.classical.scharr(ramp)[1].tolist()
        [5.0, 10.0, 10.0, 10.0, 5.0]
    """
    return _magnitude(*_gradient(to_0_255("scharr", image), cv2.Scharr, 1 / 32))


def canny(image, low: float | None = None, high: float | None = None, sigma: float = 1.0):
    """Detect thin edges with the Canny algorithm (IEEE TPAMI 8, 1986).

    Args:
        image: see `sobel`.
        low, high: hysteresis thresholds, as in `cv2.Canny(image, low, high, L2gradient=True)`:
            unnormalized Sobel sums, 8 times the values of `sobel`. high=None is Otsu's threshold
            of the gradient magnitude, low=None is half of `high`.
        sigma: std of the Gaussian blur in pixels; 0 for none. Use 2 or more for noisy images.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: the image is not valid, or sigma or a threshold is negative, or the thresholds
            are in the wrong order.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.repeat(np.uint8([[20, 20, 20, 200, 200, 200]]), 4, axis=0)
        >>> tfseg.classical.canny(image)[1].tolist()
        [False, False, True, False, False, False]
    """
    image = to_0_255("canny", image)
    sigma = checks.at_least("canny", "sigma", sigma, 0)
    if sigma:
        image = image.astype(np.float32)
        image = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    dx, dy = _gradient(image, cv2.Sobel, 1)
    if high is None:
        high = otsu_threshold(_magnitude(dx, dy))
    low = high / 2 if low is None else checks.at_least("canny", "low", low, 0)
    if checks.at_least("canny", "high", high, 0) < low:
        raise ValueError(
            f"canny: low={low:g} is greater than high={high:g}. Pass both thresholds, or neither."
        )
    dx = np.rint(dx * _CANNY_SCALE).astype(np.int16)
    dy = np.rint(dy * _CANNY_SCALE).astype(np.int16)
    return cv2.Canny(dx, dy, low * _CANNY_SCALE, high * _CANNY_SCALE, L2gradient=True) > 0


def laplacian_of_gaussian(image, sigma: float = 2.0):
    """Compute the Laplacian of the blurred image: negative on bright blobs, positive on dark ones.

    Args:
        image: see `sobel`; color images are converted to gray.
        sigma: std of the Gaussian in pixels, at least 1. Blobs of radius 1.4 * sigma respond most.

    Returns:
        (H, W) float32, gray levels (0..255) per square pixel. Multiply by sigma**2 to compare
        scales.

    Raises:
        ValueError: the image is not valid, or sigma is below 1: too small to sample on the pixel
            grid.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> y, x = np.indices((9, 9))
        >>> blob = (np.hypot(y - 4, x - 4) < 3) * np.uint8(200)
        >>> bool(tfseg.classical.laplacian_of_gaussian(blob)[4, 4] < 0)
        True
    """
    return _laplacian("laplacian_of_gaussian", image, sigma)


def marr_hildreth(image, sigma: float = 2.0, contrast: float | None = None):
    """Detect edges at the zero crossings of the Laplacian of Gaussian.

    Marr and Hildreth, Proc. R. Soc. B 207, 1980.

    Args:
        image: see `laplacian_of_gaussian`.
        sigma: std of the Gaussian in pixels, at least 1.
        contrast: minimum change of the Laplacian between a pixel and one of its 4 neighbors, in
            the unit of `laplacian_of_gaussian`. None for 0.75 times the mean absolute Laplacian,
            as in MATLAB's `edge`; 0 gives closed curves.

    Returns:
        (H, W) bool: True for the pixel on the bright side of each zero crossing.

    Raises:
        ValueError: the image is not valid, sigma is below 1, or the contrast is negative.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.repeat(np.uint8([[20] * 6 + [200] * 6]), 4, axis=0)
        >>> tfseg.classical.marr_hildreth(image)[1].nonzero()[0].tolist()
        [6]
    """
    response = _laplacian("marr_hildreth", image, sigma)
    if contrast is None:
        contrast = 0.75 * float(np.abs(response).mean())
    contrast = checks.at_least("marr_hildreth", "contrast", contrast, 0)
    highest = cv2.dilate(response, _CROSS)
    return (response < -_ROUNDING) & (highest >= -_ROUNDING) & (highest - response > contrast)


def ridges(image, sigmas=(1, 2, 3), dark: bool = True):
    """Compute the strength of lines such as membranes, vessels or roads.

    The filter of Sato et al. (Medical Image Analysis 2, 1998): the larger eigenvalue of the Hessian
    of the blurred image, times sigma**2, clipped at 0; the maximum over all scales. It equals
    `skimage.filters.sato` except near the border, where the image is mirrored instead of its
    derivative.

    Args:
        image: see `sobel`; color images are converted to gray.
        sigmas: stds of the Gaussians in pixels, at least 1: half the width of the lines. Smaller
            scales respond to noise.
        dark: whether the lines are darker than their surroundings.

    Returns:
        (H, W) float32, nonnegative, in gray levels (0..255).

    Raises:
        ValueError: the image is not valid, `sigmas` is empty, or a sigma is below 1.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.full((15, 15), 200, np.uint8)
        >>> image[6:9] = 50
        >>> tfseg.classical.ridges(image)[:, 7].argmax().item()
        7
    """
    image = to_gray("ridges", image)
    sigmas = checks.numbers("ridges", "sigmas", sigmas)
    for sigma in sigmas:
        checks.at_least("ridges", "sigmas", sigma, 1)
    if not sigmas:
        raise ValueError(
            "ridges: sigmas is empty. Pass at least one, half the width of the lines in pixels."
        )
    strength = np.zeros(image.shape, np.float32)
    for sigma in sigmas:
        xx, xy, yy = _second_derivatives(image, sigma)
        if not dark:
            xx, xy, yy = -xx, -xy, -yy
        larger = (xx + yy) / 2 + cv2.magnitude((xx - yy) / 2, xy)
        np.maximum(strength, np.float32(sigma**2) * larger, out=strength)
    return strength


def hough_lines(
    image,
    low: float | None = None,
    high: float | None = None,
    sigma: float = 1.0,
    min_votes: int | None = None,
    min_length: float | None = None,
    max_gap: float | None = None,
):
    """Detect straight lines with the probabilistic Hough transform on the edges of `canny`.

    Matas et al., CVIU 78, 2000.

    Args:
        image: see `sobel`.
        low, high, sigma: see `canny`.
        min_votes: minimum number of edge pixels on the infinite line, at a resolution of one pixel
            and one degree; None for half of `min_length`.
        min_length: minimum extent of a line along x or y in pixels; None for a tenth of the
            image's diagonal.
        max_gap: longest gap within a line in pixels; None for a tenth of `min_length`.

    Returns:
        (N, 4) float32 x1, y1, x2, y2 in pixels, the longest line first. The center of the top left
        pixel is (0, 0).

    Raises:
        ValueError: see `canny`; or `min_votes`, `min_length` or `max_gap` is out of range.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.repeat(np.uint8([[20] * 20 + [200] * 20]), 40, axis=0)
        >>> tfseg.classical.hough_lines(image).tolist()
        [[19.0, 39.0, 19.0, 0.0]]
    """
    owner = "hough_lines"
    edges = canny(image, low, high, sigma)
    if min_length is None:
        min_length = float(np.hypot(*edges.shape)) / 10
    min_length = checks.above_zero(owner, "min_length", min_length)
    if max_gap is None:
        max_gap = min_length / 10
    max_gap = checks.at_least(owner, "max_gap", max_gap, 0)
    if min_votes is None:
        min_votes = max(1, round(min_length / 2))
    min_votes = checks.positive_int(owner, "min_votes", min_votes)
    edges = edges.astype(np.uint8)
    found = cv2.HoughLinesP(edges, 1, np.pi / 180, min_votes, None, min_length, max_gap)
    if found is None:
        return np.zeros((0, 4), np.float32)
    lines = found.reshape(-1, 4).astype(np.float32)
    lengths = np.hypot(lines[:, 2] - lines[:, 0], lines[:, 3] - lines[:, 1])
    return lines[np.argsort(-lengths, kind="stable")]


def closed_regions(edges, max_gap: float = 2, min_pixels: int = 20, border_as_edge: bool = False):
    """Number the regions that edges enclose.

    A dilation of the edges closes small gaps. Then the regions grow back to the edges; where two
    regions meet in a gap, each takes its half. Edges that touch only at corners are closed.

    Args:
        edges: (H, W) bool, or integers that are 0 off the edges: for example from `canny`, or
            `ridges(image) > threshold`.
        max_gap: longest gap in pixels to close; 0 for none. Narrower regions are lost.
        min_pixels: size of the smallest region in pixels.
        border_as_edge: whether the image border encloses regions too, as for cells that it cuts.
            If not, regions open to the border are background.

    Returns:
        (H, W) int32: 0 on edges and background, regions numbered from 1 in scan order.

    Raises:
        ValueError: the edges are not valid, or the gap or the size is negative.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> edges = np.array([[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]], bool)
        >>> tfseg.classical.closed_regions(edges, max_gap=0, min_pixels=1).tolist()
        [[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    edges = to_mask("closed_regions", "edges", edges)
    min_pixels = checks.at_least("closed_regions", "min_pixels", min_pixels, 0)
    max_gap = checks.at_least("closed_regions", "max_gap", max_gap, 0)
    radius = (max_gap + 1) / 2 if max_gap else 0
    # Pad by a margin, so that the background is connected around all edges (or is a wall).
    margin = int(radius) + 2
    walls = np.pad(edges, margin, constant_values=bool(border_as_edge))
    distance = cv2.distanceTransform(np.uint8(~walls), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    regions = _grow(connected_components(distance > radius), walls)
    if not border_as_edge:
        regions[regions == regions[0, 0]] = 0
    regions = regions[margin:-margin, margin:-margin]
    large = np.bincount(regions.ravel()) >= min_pixels
    return relabel(regions * large[regions])


def _grow(regions, walls):
    """Dilate all regions by one pixel at a time until they fill what they can reach."""
    regions = regions.astype(np.float32)
    free = (regions == 0) & ~walls
    while True:
        reached = np.where(free, cv2.dilate(regions, _CROSS), 0)
        if not reached.any():
            return regions.astype(np.int32)
        regions += reached
        free &= reached == 0


def _gradient(image, kernel, scale):
    """Return the derivatives dx, dy as float32, in the shape of the image."""
    border = cv2.BORDER_REPLICATE
    dx = kernel(image, cv2.CV_32F, 1, 0, scale=scale, borderType=border)
    dy = kernel(image, cv2.CV_32F, 0, 1, scale=scale, borderType=border)
    return dx, dy


def _magnitude(dx, dy):
    """Return the gradient magnitude (H, W), the maximum over channels."""
    magnitude = cv2.magnitude(dx, dy)
    return magnitude if magnitude.ndim == 2 else magnitude.max(axis=-1)


def _laplacian(owner, image, sigma):
    image = to_gray(owner, image)
    xx, _, yy = _second_derivatives(image, checks.at_least(owner, "sigma", sigma, 1))
    return xx + yy


def _second_derivatives(image, sigma):
    """Return the derivatives xx, xy, yy of the blurred gray image, float32."""
    blur, first, second = _gaussian_kernels(float(sigma))
    # Subtract the minimum: a constant image then gives exactly 0.
    image = (image - image.min()).astype(np.float32)

    def derivative(along_x, along_y):
        return cv2.sepFilter2D(image, -1, along_x, along_y, borderType=cv2.BORDER_REFLECT)

    return derivative(second, blur), derivative(first, first), derivative(blur, second)


@functools.cache
def _gaussian_kernels(sigma):
    """Return kernels of the Gaussian and its first two derivatives.

    Each is a convolution of two kernels of std sigma / sqrt(2). The second derivative is thus the
    first derivative applied twice and sums to exactly 0, which a sampled one would not.
    """
    half = sigma / np.sqrt(2)
    x = np.arange(-int(5 * half + 0.5), int(5 * half + 0.5) + 1)
    blur = np.exp(-(x**2) / (2 * half**2))
    blur /= blur.sum()
    slope = x / half**2 * blur
    return np.convolve(blur, blur), np.convolve(slope, blur), np.convolve(slope, slope)
