"""Edges, ridges and lines, and the regions that closed edges enclose."""

import functools

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import gray, levels, mask_of
from tfseg.classical.labels import connected_components, in_scan_order
from tfseg.classical.thresholds import otsu_level

# Sobel sums of 0..255 reach 4 * 255 in size; sixteenths of them still fit int16, which cv2.Canny takes.
_FINE = 16
# A Laplacian of even ground is off by less than this in float32.
_ROUNDING = 1e-3
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def sobel(image):
    """Gradient magnitude by Sobel's 3 x 3 masks, over their sum: a ramp of g gray levels a pixel gives g.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3); uint8, other integers or floats, see `tfseg.classical.image.levels`. Of
            colors the channel with the steepest gradient counts, as for `cv2.Canny`: an edge between colors
            that are equally bright is one.

    Returns:
        (H, W) float32, gray levels (0..255) a pixel.

    Raises:
        ValueError: no such image.
    """
    return _steepness(_gradient(levels("sobel", image), cv2.Sobel, 1 / 8))


def scharr(image):
    """Gradient magnitude by Scharr's 3 x 3 masks, which depend less on the direction of the edge; else as `sobel`."""
    return _steepness(_gradient(levels("scharr", image), cv2.Scharr, 1 / 32))


def canny(image, low=None, high=None, sigma=1.0):
    """Thin edges by Canny (IEEE TPAMI 8, 1986): crests of the gradient, with hysteresis.

    Args:
        image: see `sobel`.
        low, high: the thresholds of `cv2.Canny(image, low, high, L2gradient=True)`: sums of Sobel's masks, so 8 times
            the figures of `sobel`. high=None is Otsu's threshold of the gradient magnitudes, low=None half of `high`.
        sigma: deviation in pixels of the Gaussian before; 0 for none. Noisy images want 2 and more.

    Returns:
        (H, W) bool. An image of one color has no edge.

    Raises:
        ValueError: no such image, a negative sigma, or thresholds that are negative or in the wrong order.
    """
    image, sigma = levels("canny", image), checks.at_least("canny", "sigma", sigma, 0)
    if sigma:
        image = cv2.GaussianBlur(
            image.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE
        )
    dx, dy = _gradient(image, cv2.Sobel, 1)
    if high is None:
        high = otsu_level(_steepness((dx, dy)))
    low = high / 2 if low is None else checks.at_least("canny", "low", low, 0)
    if checks.at_least("canny", "high", high, 0) < low:
        raise ValueError(f"canny: low={low:g} is above high={high:g}. Pass both, or neither.")
    dx, dy = (np.rint(part * _FINE).astype(np.int16) for part in (dx, dy))
    return cv2.Canny(dx, dy, low * _FINE, high * _FINE, L2gradient=True) > 0


def laplacian_of_gaussian(image, sigma=2.0):
    """Laplacian of the image blurred by a Gaussian: below 0 on bright blobs and lines, above 0 on dark ones.

    Args:
        image: see `sobel`; of colors the gray levels count.
        sigma: deviation of the Gaussian in pixels, at least 1. Blobs of radius 1.4 * sigma answer most.

    Returns:
        (H, W) float32, gray levels (0..255) per square pixel; times sigma**2, scales compare.

    Raises:
        ValueError: no such image, or a sigma below 1, for which a grid of pixels is too coarse.
    """
    return _laplacian("laplacian_of_gaussian", image, sigma)


def marr_hildreth(image, sigma=2.0, contrast=None):
    """Edges where the Laplacian of Gaussian changes its sign (Marr and Hildreth, Proc. R. Soc. B 207, 1980).

    Args:
        image: see `laplacian_of_gaussian`.
        sigma: deviation of the Gaussian in pixels, at least 1.
        contrast: the least step of the Laplacian between a pixel and one of its 4 neighbors, in the unit of
            `laplacian_of_gaussian`; None for 0.75 times its mean size, as in MATLAB's `edge`. 0 gives closed curves.

    Returns:
        (H, W) bool: of the two pixels at a change of sign the one on the bright side.

    Raises:
        ValueError: no such image, a sigma below 1, or a negative contrast.
    """
    response = _laplacian("marr_hildreth", image, sigma)
    if contrast is None:
        contrast = 0.75 * float(np.abs(response).mean())
    contrast = checks.at_least("marr_hildreth", "contrast", contrast, 0)
    highest = cv2.dilate(response, _CROSS)
    return (response < -_ROUNDING) & (highest >= -_ROUNDING) & (highest - response > contrast)


def ridges(image, sigmas=(1, 2, 3), dark=True):
    """Strength of lines, such as membranes, vessels or roads (Sato et al., Medical Image Analysis 2, 1998).

    The greater eigenvalue of the Hessian of the image blurred by a Gaussian, times sigma**2, 0 where it is below 0;
    the greatest over all scales. It is `skimage.filters.sato` but for the margins: there the image is mirrored, and
    not its derivative.

    Args:
        image: see `sobel`; of colors the gray levels count.
        sigmas: deviations of the Gaussians in pixels, each at least 1: half the width of the lines. Scales below
            answer to noise.
        dark: whether the lines are darker than what is beside them.

    Returns:
        (H, W) float32, from 0, in gray levels (0..255).

    Raises:
        ValueError: no such image, no sigma, or one below 1.
    """
    image = gray("ridges", image)
    sigmas = [
        checks.at_least("ridges", "sigmas", sigma, 1)
        for sigma in checks.numbers("ridges", "sigmas", sigmas)
    ]
    if not sigmas:
        raise ValueError(
            "ridges: sigmas is empty. Pass at least one, half the width of the lines in pixels."
        )
    strength = np.zeros(image.shape, np.float32)
    for sigma in sigmas:
        xx, xy, yy = (part if dark else -part for part in _second_derivatives(image, sigma))
        greater = (xx + yy) / 2 + cv2.magnitude((xx - yy) / 2, xy)
        np.maximum(strength, np.float32(sigma**2) * greater, out=strength)
    return strength


def hough_lines(image, low=None, high=None, sigma=1.0, votes=None, min_length=None, max_gap=None):
    """Straight lines among the edges of `canny`: the probabilistic Hough transform (Matas et al., CVIU 78, 2000).

    Args:
        image: see `sobel`.
        low, high, sigma: see `canny`.
        votes: edge pixels on a line of any length, in steps of one pixel and one degree; None for half of `min_length`.
        min_length: pixels that a line spans along x or y, at least; None for a tenth of the image's diagonal.
        max_gap: pixels without an edge within a line; None for a tenth of `min_length`.

    Returns:
        (N, 4) float32, the longest line first: x1, y1, x2, y2 in pixels, the center of the first pixel at 0, 0.

    Raises:
        ValueError: see `canny`; or votes, a length or a gap that is no such number.
    """
    edges = canny(image, low, high, sigma)
    owner, diagonal = "hough_lines", float(np.hypot(*edges.shape))
    min_length = (
        diagonal / 10 if min_length is None else checks.above_zero(owner, "min_length", min_length)
    )
    max_gap = min_length / 10 if max_gap is None else checks.at_least(owner, "max_gap", max_gap, 0)
    votes = (
        max(1, round(min_length / 2))
        if votes is None
        else checks.positive_int(owner, "votes", votes)
    )
    found = cv2.HoughLinesP(
        edges.astype(np.uint8), 1, np.pi / 180, votes, None, min_length, max_gap
    )
    lines = (
        np.zeros((0, 4), np.float32) if found is None else found.reshape(-1, 4).astype(np.float32)
    )
    lengths = np.hypot(lines[:, 2] - lines[:, 0], lines[:, 3] - lines[:, 1])
    return lines[np.argsort(-lengths, kind="stable")]


def closed_regions(edges, gap=2, min_area=20, frame=False):
    """Number the regions that edges enclose.

    Small gaps are closed by a dilation of the edges; what is left over grows back to the edges, and where two regions
    meet in a gap each takes its half. Edges that touch at corners only are closed.

    Args:
        edges: (H, W) bool, or integers that are 0 beside the edges: of `canny`, or `ridges(image) > level`.
        gap: pixels missing between two ends, at most, to be closed; 0 for none. Regions narrower than this are lost.
        min_area: pixels of the smallest region kept.
        frame: whether the frame of the image encloses too, as for cells cut by it. Else what is open to the frame is
            outside.

    Returns:
        (H, W) int32: 0 on edges and outside, the regions 1 to N in scan order.

    Raises:
        ValueError: no such edges, or a negative gap or area.
    """
    edges = mask_of("closed_regions", "edges", edges)
    min_area = checks.at_least("closed_regions", "min_area", min_area, 0)
    reach = (checks.at_least("closed_regions", "gap", gap, 0) + 1) / 2 if gap else 0
    margin = int(reach) + 2  # a way around all edges, or a wall
    walls = np.pad(edges, margin, constant_values=bool(frame))
    away = cv2.distanceTransform(np.uint8(~walls), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    regions = _grown(connected_components(away > reach), walls)
    if not frame:
        regions[regions == regions[0, 0]] = 0
    regions = regions[margin:-margin, margin:-margin]
    large = np.bincount(regions.ravel()) >= min_area
    return in_scan_order(regions * large[regions])


def _grown(regions, walls):
    """Let all regions grow step by step until they fill what is no wall and can be reached."""
    regions = regions.astype(np.float32)
    free = (regions == 0) & ~walls
    while True:
        reached = np.where(free, cv2.dilate(regions, _CROSS), 0)
        if not reached.any():
            return regions.astype(np.int32)
        regions += reached
        free &= reached == 0


def _gradient(image, masks, scale):
    """The derivatives (dx, dy), float32, of the shape of the image; beyond the margin its levels are repeated."""
    dx, dy = (
        masks(image, cv2.CV_32F, *order, scale=scale, borderType=cv2.BORDER_REPLICATE)
        for order in ((1, 0), (0, 1))
    )
    return dx, dy


def _steepness(gradient):
    """The size of a gradient (H, W), that of the steepest channel."""
    size = cv2.magnitude(*gradient)
    return size if size.ndim == 2 else size.max(axis=-1)


def _laplacian(owner, image, sigma):
    xx, _, yy = _second_derivatives(gray(owner, image), checks.at_least(owner, "sigma", sigma, 1))
    return xx + yy


def _second_derivatives(image, sigma):
    """The second derivatives (xx, xy, yy), float32, of a gray image blurred by a Gaussian."""
    blur, first, second = _gaussian_kernels(float(sigma))
    image = (image - image.min()).astype(np.float32)  # so one color gives 0 to the last digit
    return [
        cv2.sepFilter2D(image, -1, along_x, along_y, borderType=cv2.BORDER_REFLECT)
        for along_x, along_y in ((second, blur), (first, first), (blur, second))
    ]


@functools.cache
def _gaussian_kernels(sigma):
    """The Gaussian and its first two derivatives, each in two steps of the deviation sigma / sqrt(2).

    So the second derivative is the first one twice and sums up to 0, which a sampled one would not.
    """
    half = sigma / np.sqrt(2)
    x = np.arange(-int(5 * half + 0.5), int(5 * half + 0.5) + 1)
    blur = np.exp(-(x**2) / (2 * half**2))
    blur /= blur.sum()
    slope = x / half**2 * blur
    return np.convolve(blur, blur), np.convolve(slope, blur), np.convolve(slope, slope)
