"""Active contours: a closed line that moves until the image holds it, kept as the mask of its inside."""

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import gray, mask_of
from tfseg.classical.interactive import pixels_of_box

# The four lines of three pixels: where a mask covers none of them it is narrower than a line, and curved.
_LINES = np.array(
    [np.eye(3), np.eye(3)[::-1], [[0, 1, 0]] * 3, [[0] * 3, [1] * 3, [0] * 3]], np.uint8
)
_AROUND = np.ones((3, 3), np.uint8)
_STEEPNESS = 250  # of the falling edge function; the strength of an edge is an argument, so this one need not be


def chan_vese(image, mu=0.25, tolerance=1e-3, iterations=500):
    """Part an image into two regions of little variance with a short line between (Chan and Vese 2001).

    scikit-image's `chan_vese`, which solves the differential equation. Neither brightness nor contrast matter.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `levels`; colors are made gray.
        mu: at least 0, usually up to 1; the larger, the shorter and rounder the line.
        tolerance: the iteration stops where the level set moves less, root mean square.
        iterations: at most so many steps.

    Returns:
        (H, W) int32: 1 in the region that is brighter on average, 0 in the other. One flat color is all 0.

    Raises:
        ValueError: no image, or a number out of range.
        ImportError: scikit-image is not installed.
    """
    owner = "chan_vese"
    picture = gray(owner, image).astype(np.float32)
    inside = checks.require_package("skimage.segmentation", "classical").chan_vese(
        picture,
        mu=checks.at_least(owner, "mu", mu, 0),
        tol=checks.at_least(owner, "tolerance", tolerance, 0),
        max_num_iter=checks.positive_int(owner, "iterations", iterations),
    )
    return _brighter(picture, inside)


def morphological_chan_vese(image, iterations=100, smoothing=1):
    """Part an image into two regions of little variance by morphology (Marquez-Neila et al. 2014, "ACWE").

    The same aim as `chan_vese`, from a chessboard of squares of 5 x 5 pixels. The steps are scikit-image's, written
    anew because there the first smoothing depends on the calls before; and that smoothing rounds off whatever
    touches the border of the image, which is left out of account here. Neither brightness nor contrast matter.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `levels`; colors are made gray.
        iterations: how many steps.
        smoothing: how often the contour is smoothed in each; 0 is not at all, 3 is much.

    Returns:
        (H, W) int32: 1 in the region that is brighter on average, 0 in the other. One flat color is all 0.

    Raises:
        ValueError: no image, or numbers that are not whole or out of range.
    """
    picture = gray("morphological_chan_vese", image).astype(np.float64)
    rows, columns = (np.arange(size) // 5 % 2 for size in picture.shape)
    start = (rows[:, None] ^ columns).astype(np.uint8)

    def step(inside):
        without, within = (
            cv2.mean(picture, (inside == side).astype(np.uint8))[0] for side in (0, 1)
        )
        nearer = (within - without) * (picture - (within + without) / 2)
        contour = np.any([slope != 0 for slope in _slopes(inside)], axis=0)
        return _moved(inside, np.where(contour, nearer, 0))

    inside = _evolved("morphological_chan_vese", start, step, iterations, smoothing)
    return _brighter(picture, inside > 0)


def geodesic_active_contour(
    image, box=None, start=None, iterations=300, smoothing=1, balloon=-1, sigma=2.0, edge=0.04
):
    """Shrink or grow a contour until it meets edges (Caselles et al. 1997, by morphology: Marquez-Neila et al. 2014).

    The steps are scikit-image's `morphological_geodesic_active_contour` on its `inverse_gaussian_gradient`, see
    `morphological_chan_vese` for what differs. Neither brightness nor contrast matter.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `levels`; colors are made gray.
        box: x_min, y_min, x_max, y_max in pixels to start from, usually a little larger than the object.
        start: (H, W) bool or integers, 0 outside: the mask to start from, in place of a box.
        iterations: how many steps; the contour goes one pixel in each at most.
        smoothing: how often the contour is smoothed in each; 0 is not at all, 3 is much.
        balloon: -1 shrinks the contour where there is no edge, 1 lets it grow, 0 leaves it to the edges nearby.
        sigma: of the Gaussian before the slope is taken, in pixels.
        edge: the slope from which on the balloon rests, in standard deviations of the image a pixel.

    Returns:
        (H, W) int32: 1 inside the contour, 0 outside. It may have shrunk to nothing, as in one flat color.

    Raises:
        ValueError: not one of box and start, a box outside of the image, or a number out of range.
        ImportError: scikit-image is not installed.
    """
    owner = "geodesic_active_contour"
    picture = gray(owner, image).astype(np.float64)
    checks.one_of(owner, "balloon", balloon, (-1, 0, 1))
    inside = _start(owner, box, start, picture.shape)
    flatness = checks.require_package(
        "skimage.segmentation", "classical"
    ).inverse_gaussian_gradient(
        picture / (picture.std() or 1), _STEEPNESS, checks.above_zero(owner, "sigma", sigma)
    )
    flat = flatness > 1 / np.sqrt(1 + _STEEPNESS * checks.above_zero(owner, "edge", edge))
    towards_flat = _slopes(flatness)

    def step(inside):
        if balloon:
            inside = np.where(flat, _inflated(inside, balloon), inside)
        return _moved(
            inside, sum(a * b for a, b in zip(towards_flat, _slopes(inside), strict=True))
        )

    return _evolved(owner, inside, step, iterations, smoothing).astype(np.int32)


def _start(owner, box, start, shape):
    if (box is None) == (start is None):
        came = "neither came" if box is None else "both came"
        raise ValueError(
            f"{owner}: box or start, {came}. Pass box=(x_min, y_min, x_max, y_max) or start=(H, W) mask."
        )
    if start is not None:
        return mask_of(owner, "start", start, shape).astype(np.uint8)
    inside = np.zeros(shape, np.uint8)
    inside[pixels_of_box(owner, box, shape)] = 1
    return inside


def _brighter(picture, inside):
    """Turn a division into two so that 1 is the brighter side."""
    if np.ptp(picture) == 0 or inside.all() or not inside.any():
        return np.zeros(inside.shape, np.int32)
    return (inside ^ (picture[inside].mean() < picture[~inside].mean())).astype(np.int32)


def _evolved(owner, inside, step, iterations, smoothing):
    """Repeat a step and the smoothing, in which two operators take turns."""
    smoothing = checks.positive_int(owner, "smoothing", smoothing) if smoothing != 0 else 0
    turns = 0
    for _ in range(checks.positive_int(owner, "iterations", iterations)):
        inside = step(inside)
        for _ in range(smoothing):
            inside = _closed(_opened(inside)) if turns % 2 else _opened(_closed(inside))
            turns += 1
    return inside


def _opened(inside):
    """Keep the pixels through which a line of the mask goes (the paper's SI)."""
    return np.max([cv2.erode(inside, line) for line in _LINES], axis=0)


def _closed(inside):
    """Keep the pixels of which no line is outside of the mask (the paper's IS)."""
    return np.min([cv2.dilate(inside, line) for line in _LINES], axis=0)


def _inflated(inside, balloon):
    """One pixel more, or one less all around: outside of the image is outside of the contour."""
    morph = cv2.dilate if balloon > 0 else cv2.erode
    return morph(inside, _AROUND, borderType=cv2.BORDER_CONSTANT, borderValue=0)


def _moved(inside, pull):
    """Take in the pixels with a pull above 0, give up those below."""
    return np.where(pull == 0, inside, pull > 0).astype(np.uint8)


def _slopes(values):
    """Differences of the two neighbors, along y and along x."""
    return [
        cv2.Sobel(values, cv2.CV_64F, dx, 1 - dx, ksize=1, borderType=cv2.BORDER_REPLICATE)
        for dx in (0, 1)
    ]
