"""Thresholds: pixels sorted into classes by their brightness, 0 the darkest.

Dark objects on bright ground are thus class 0: `otsu(image) == 0` is their mask. Colors are judged by their gray
levels. An image of one color has one class, so every pixel is 0.
"""

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import gray
from tfseg.classical.labels import connected_components

# A sum of a window is off by less than this many gray levels in float32: flat ground is never brighter than its mean.
_ROUNDING = 1e-3


def otsu(image):
    """Two classes, least spread within them (Otsu, IEEE Trans. SMC 9, 1979), as `cv2.threshold` finds them.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3); uint8, other integers or floats, see `tfseg.classical.image.levels`. What
            is not uint8 is counted in 256 equal bins between its own least and greatest level.

    Returns:
        (H, W) int32, 0 dark and 1 bright; all 0 if the image has one color.

    Raises:
        ValueError: no such image.
    """
    return _two_classes(gray("otsu", image), cv2.THRESH_OTSU)


def triangle(image):
    """Two classes by the triangle rule (Zack, Rogers and Latt 1977), as `cv2.threshold` finds them.

    The threshold is the level farthest below the line from the peak of the histogram to its far end. It suits a
    large even ground with few pixels of objects, where Otsu's classes of like size fail.

    Args:
        image: see `otsu`.

    Returns:
        (H, W) int32, 0 dark and 1 bright; all 0 if the image has one color.

    Raises:
        ValueError: no such image.
    """
    return _two_classes(gray("triangle", image), cv2.THRESH_TRIANGLE)


def multi_otsu(image, classes=3):
    """Several classes, least spread within them (Liao, Chen and Chung 2001), as `threshold_multiotsu` of scikit-image.

    Args:
        image: see `otsu`.
        classes: a whole number of at least 2, which gives the classes of `otsu`.

    Returns:
        (H, W) int32 in [0, classes). An image of fewer levels than classes has a class for each level.

    Raises:
        ValueError: no such image, or classes below 2.
    """
    if checks.positive_int("multi_otsu", "classes", classes) < 2:
        raise ValueError(f"multi_otsu: classes={classes} must be at least 2.")
    image = _in_bytes(gray("multi_otsu", image))
    counts = np.bincount(image.ravel(), minlength=256)
    levels = np.flatnonzero(counts)
    starts = _class_starts(levels, counts[levels], min(int(classes), len(levels)))
    numbers = np.searchsorted(levels[starts], np.arange(256), side="right") - 1
    return numbers.astype(np.int32)[image]


def _class_starts(levels, counts, classes):
    """Where each class begins among the levels, so that the sum of (sum of its gray levels)^2 / pixels is greatest.

    That sum is the spread between the classes but for a constant. It adds up class by class, so the best `c` classes
    of the levels below some start are kept for every start: scikit-image tries all sets of thresholds, for 5 classes
    in half a minute.
    """
    pixels, sums = (np.append(0.0, np.cumsum(part)) for part in (counts, counts * levels))
    first, last = np.indices((len(levels), len(levels) + 1))
    inside = last > first
    size = np.where(inside, pixels[last] - pixels[first], 1)
    gain = np.where(inside, (sums[last] - sums[first]) ** 2 / size, -np.inf)
    best, steps = gain[0], []  # of the levels below each end, in one class
    for _ in range(classes - 1):
        total = best[:-1, None] + gain
        steps.append(total.argmax(0))
        best = total.max(0)
    starts = [len(levels)]
    for step in reversed(steps):
        starts.append(int(step[starts[-1]]))
    return [0, *reversed(starts[1:])]


def adaptive(image, size=51, offset=0):
    """Two classes against the mean around each pixel, as `cv2.adaptiveThreshold`: for uneven light.

    A pixel is bright if it is above the mean of a Gaussian window less the offset. Within even ground there is only
    noise to tell apart, so give an offset of a few gray levels: above 0 even ground turns bright and what is darker
    by that much stays dark (ink on paper); below 0 even ground is dark (bright cells).

    Args:
        image: see `otsu`.
        size: side of the window in pixels, odd, at least 3: wider than the objects. The deviation of the Gaussian is
            that of cv2, 0.15 * size + 0.35: 8 for 51.
        offset: gray levels of 0..255, of either sign.

    Returns:
        (H, W) int32, 0 dark and 1 bright. On uint8 the mean is rounded, as cv2 does, else it is not.

    Raises:
        ValueError: no such image, an even or too small size, an offset that is not finite.
    """
    image, size = gray("adaptive", image), _window("adaptive", size)
    if not np.isfinite(offset):
        raise ValueError(f"adaptive: offset={offset!r} must be a finite number.")
    if image.min() == image.max():
        return np.zeros(image.shape, np.int32)
    if image.dtype == np.uint8:
        method, kind = cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY
        return cv2.adaptiveThreshold(image, 1, method, kind, size, float(offset)).astype(np.int32)
    mean = cv2.GaussianBlur(image, (size, size), 0, borderType=cv2.BORDER_REPLICATE)
    return (image - mean > _ROUNDING - offset).astype(np.int32)


def sauvola(image, size=25, k=0.2):
    """Two classes against mean and deviation around each pixel (Sauvola and Pietikainen 2000): for text on paper.

    A pixel is bright if it is above m * (1 + k * (s / 127.5 - 1)), where m is the mean and s the standard deviation
    of a square window: the threshold of `skimage.filters.threshold_sauvola`.

    Args:
        image: see `otsu`.
        size: side of the window in pixels, odd, at least 3: wider than a scribble of the pen.
        k: at least 0; the greater, the darker a pixel of even ground has to be for class 0.

    Returns:
        (H, W) int32, 0 dark and 1 bright; all 0 if the image has one color, be it blank paper.

    Raises:
        ValueError: no such image, an even or too small size, a negative k.
    """
    image, size = gray("sauvola", image).astype(np.float64), _window("sauvola", size)
    k = checks.at_least("sauvola", "k", k, 0)
    if image.min() == image.max():
        return np.zeros(image.shape, np.int32)
    mean = cv2.boxFilter(image, -1, (size, size))
    deviation = np.sqrt(np.maximum(cv2.boxFilter(image**2, -1, (size, size)) - mean**2, 0))
    return (image > mean * (1 + k * (deviation / 127.5 - 1))).astype(np.int32)


def hysteresis(image, low=None, high=None, connectivity=8):
    """Two classes by two thresholds: pixels above the low one that hang together with one above the high one.

    The second threshold of Canny (IEEE TPAMI 8, 1986), for any image or map: noise that passes a single threshold
    here and there is left out, and weak parts of what is strong elsewhere are kept.

    Args:
        image: see `otsu`.
        low: gray level of 0..255; None for Otsu's threshold.
        high: gray level of 0..255, not below `low`; None for halfway from `low` to the mean of the pixels above it.
        connectivity: 4 or 8 neighbors.

    Returns:
        (H, W) int32, 1 the pixels kept, 0 the others; all 0 if the image has one color and `low` is None.

    Raises:
        ValueError: no such image or connectivity, or thresholds that are no numbers or in the wrong order.
    """
    image = gray("hysteresis", image)
    low = otsu_level(image) if low is None else low
    weak = image > low
    if high is None:
        high = (low + image[weak].mean()) / 2 if weak.any() else low
    if not low <= high:  # nor is it true of NaN
        raise ValueError(
            f"hysteresis: low={low!r} and high={high!r}, expected numbers, the low one not above the other."
        )
    pieces = connected_components(weak, connectivity)
    strong = np.bincount(pieces[image > high], minlength=int(pieces.max()) + 1) > 0
    return strong.astype(np.int32)[pieces]


def otsu_level(levels):
    """Return Otsu's threshold of any numbers (H, W): the greatest of the dark class, or of all if they are equal."""
    return float(levels[_two_classes(levels, cv2.THRESH_OTSU) == 0].max())


def _two_classes(image, rule):
    if image.min() == image.max():
        return np.zeros(image.shape, np.int32)
    return cv2.threshold(_in_bytes(image), 0, 1, cv2.THRESH_BINARY | rule)[1].astype(np.int32)


def _in_bytes(image):
    """The image as uint8: as it is, or the numbers of 256 equal bins between its least and greatest level."""
    if image.dtype == np.uint8:
        return image
    low, high = float(image.min()), float(image.max())
    return np.minimum((image - np.float64(low)) * (256 / (high - low or 1)), 255).astype(np.uint8)


def _window(owner, size):
    if checks.positive_int(owner, "size", size) % 2 == 0 or size < 3:
        raise ValueError(
            f"{owner}: size={size!r} must be odd and at least 3, for the window has its pixel in the middle."
        )
    return int(size)
