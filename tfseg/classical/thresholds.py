"""Thresholding: divide pixels into classes by brightness, 0 the darkest.

Dark objects on a bright background are class 0: `otsu(image) == 0` is their mask. Color images are
converted to gray. If all pixels have the same value, all are class 0.
"""

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import to_gray
from tfseg.classical.labels import connected_components

# Rounding error, in gray levels, of a float32 window mean. With this margin a pixel of a constant
# area is never brighter than its mean.
_ROUNDING = 1e-3


def otsu(image):
    """Divide pixels into two classes with Otsu's threshold, as `cv2.threshold` does.

    The threshold minimizes the variance within the classes (Otsu, IEEE Trans. SMC 9, 1979).

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3); uint8, other integers or floats, see
            `tfseg.classical.image.to_0_255`. Unless it is uint8, the histogram has 256 equal bins
            between the lowest and the highest gray level.

    Returns:
        (H, W) int32: 0 dark, 1 bright.

    Raises:
        ValueError: the image is not valid.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.array([[10, 12, 200], [11, 90, 210]], np.uint8)
        >>> tfseg.classical.otsu(image).tolist()
        [[0, 0, 1], [0, 0, 1]]
    """
    return _two_classes(to_gray("otsu", image), cv2.THRESH_OTSU)


def triangle(image):
    """Divide pixels into two classes by the triangle method, as `cv2.threshold` does.

    The threshold is the gray level farthest below the line from the peak of the histogram to its
    far end (Zack, Rogers and Latt 1977). Prefer it to `otsu` for a large, uniform background with
    few object pixels.

    Args:
        image: see `otsu`.

    Returns:
        (H, W) int32: 0 dark, 1 bright.

    Raises:
        ValueError: the image is not valid.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.array([[9, 10, 10, 11], [10, 10, 12, 90]], np.uint8)
        >>> tfseg.classical.triangle(image).tolist()
        [[0, 0, 0, 0], [0, 0, 0, 1]]
    """
    return _two_classes(to_gray("triangle", image), cv2.THRESH_TRIANGLE)


def multi_otsu(image, num_classes: int = 3):
    """Divide pixels into several classes, as `skimage.filters.threshold_multiotsu` does.

    The thresholds minimize the variance within the classes (Liao, Chen and Chung 2001).

    Args:
        image: see `otsu`.
        num_classes: number of classes, at least 2.

    Returns:
        (H, W) int32 in [0, num_classes). If the image has fewer gray levels than classes, each
        gray level is a class.

    Raises:
        ValueError: the image is not valid, or `num_classes` is below 2.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.array([[10, 12, 200], [11, 90, 210]], np.uint8)
        >>> tfseg.classical.multi_otsu(image, num_classes=3).tolist()
        [[0, 0, 2], [0, 1, 2]]
    """
    num_classes = checks.positive_int("multi_otsu", "num_classes", num_classes)
    if num_classes < 2:
        raise ValueError(f"multi_otsu: num_classes={num_classes} must be at least 2.")
    image = _to_bins(to_gray("multi_otsu", image))
    counts = np.bincount(image.ravel(), minlength=256)
    levels = np.flatnonzero(counts)
    starts = _class_starts(levels, counts[levels], min(num_classes, len(levels)))
    class_ids = np.searchsorted(levels[starts], np.arange(256), side="right") - 1
    return class_ids.astype(np.int32)[image]


def _class_starts(levels, counts, num_classes):
    """Return the index of the first gray level of each class.

    Minimizing the variance within the classes is the same as maximizing the sum over classes of
    (sum of gray levels)^2 / pixels. The sum is separable, so dynamic programming finds the optimum:
    after k steps, `best[end]` is the maximum over all ways to divide the levels below `end` into
    k classes. scikit-image tries all sets of thresholds, which takes half a minute for 5 classes.

    Example: levels (10, 20, 90) with one pixel each, 2 classes. The divisions 10 | 20 90 and
    10 20 | 90 have the sums 100 + 110^2 / 2 = 6150 and 30^2 / 2 + 8100 = 8550: the second is
    better, and the classes start at the indices 0 and 2.
    """
    pixels = np.append(0.0, np.cumsum(counts))
    sums = np.append(0.0, np.cumsum(counts * levels))
    first, last = np.indices((len(levels), len(levels) + 1))
    inside = last > first
    size = np.where(inside, pixels[last] - pixels[first], 1)
    gain = np.where(inside, (sums[last] - sums[first]) ** 2 / size, -np.inf)
    best = gain[0]
    last_starts = []
    for _ in range(num_classes - 1):
        total = best[:-1, None] + gain
        last_starts.append(total.argmax(0))
        best = total.max(0)
    starts = [len(levels)]
    for last_start in reversed(last_starts):
        starts.append(int(last_start[starts[-1]]))
    return [0, *reversed(starts[1:])]


def adaptive(image, size: int = 51, offset: float = 0):
    """Divide pixels into two classes by a local threshold, as `cv2.adaptiveThreshold` does.

    For uneven illumination. A pixel is bright if it is above the Gaussian-weighted mean of its
    window, minus `offset`. In uniform areas only noise decides, so pass an offset of a few gray
    levels: positive for dark objects (ink on paper; uniform areas become bright), negative for
    bright objects (cells; uniform areas become dark).

    Args:
        image: see `otsu`.
        size: width of the window in pixels, odd and at least 3; larger than the objects. The std
            of the Gaussian is 0.15 * size + 0.35, as in OpenCV: 8 for 51.
        offset: gray levels (0..255), positive or negative.

    Returns:
        (H, W) int32: 0 dark, 1 bright. For uint8 images the mean is rounded, as in OpenCV; for
        other dtypes it is not.

    Raises:
        ValueError: the image is not valid, `size` is even or below 3, or `offset` is not finite.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.array([[50, 51, 50, 150, 151, 150], [50, 40, 50, 150, 140, 150]], np.uint8)
        >>> tfseg.classical.adaptive(image, size=3, offset=4).tolist()
        [[1, 1, 0, 1, 1, 1], [1, 0, 0, 1, 0, 1]]
    """
    image = to_gray("adaptive", image)
    size = _window_size("adaptive", size)
    if not np.isfinite(offset):
        raise ValueError(f"adaptive: offset={offset!r} must be a finite number.")
    if image.min() == image.max():
        return np.zeros(image.shape, np.int32)
    if image.dtype == np.uint8:
        method, kind = cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY
        return cv2.adaptiveThreshold(image, 1, method, kind, size, float(offset)).astype(np.int32)
    mean = cv2.GaussianBlur(image, (size, size), 0, borderType=cv2.BORDER_REPLICATE)
    return (image - mean > _ROUNDING - offset).astype(np.int32)


def sauvola(image, size: int = 25, k: float = 0.2):
    """Divide pixels into two classes by the local mean and std, for text on paper.

    A pixel is bright if it is above m * (1 + k * (s / 127.5 - 1)), where m and s are the mean and
    the std of a square window (Sauvola and Pietikainen 2000), as in
    `skimage.filters.threshold_sauvola`.

    Args:
        image: see `otsu`.
        size: width of the window in pixels, odd and at least 3; larger than a pen line is wide.
        k: at least 0. The larger, the darker a pixel of a uniform area must be for class 0.

    Returns:
        (H, W) int32: 0 dark, 1 bright.

    Raises:
        ValueError: the image is not valid, `size` is even or below 3, or `k` is negative.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.full((5, 5), 230, np.uint8)
        >>> image[2, 1:4] = 40
        >>> tfseg.classical.sauvola(image, size=5)[2].tolist()
        [1, 0, 0, 0, 1]
    """
    image = to_gray("sauvola", image).astype(np.float64)
    size = _window_size("sauvola", size)
    k = checks.at_least("sauvola", "k", k, 0)
    if image.min() == image.max():
        return np.zeros(image.shape, np.int32)
    mean = cv2.boxFilter(image, -1, (size, size))
    std = np.sqrt(np.maximum(cv2.boxFilter(image**2, -1, (size, size)) - mean**2, 0))
    return (image > mean * (1 + k * (std / 127.5 - 1))).astype(np.int32)


def hysteresis(image, low: float | None = None, high: float | None = None, connectivity: int = 8):
    """Keep pixels above a low threshold that are connected to a pixel above a high threshold.

    The two thresholds of Canny (IEEE TPAMI 8, 1986), for any image. It drops noise that passes the
    low threshold in isolated places, and keeps the weak parts of strong objects.

    Args:
        image: see `otsu`.
        low: gray level (0..255); None for Otsu's threshold.
        high: gray level (0..255), at least `low`; None for halfway between `low` and the mean of
            the pixels above it.
        connectivity: 4 or 8 neighbors.

    Returns:
        (H, W) int32: 1 for pixels kept, 0 for the rest.

    Raises:
        ValueError: the image is not valid, the connectivity is unknown, or the thresholds are NaN
            or in the wrong order.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.array([[100, 200, 0, 100]], np.uint8)
        >>> tfseg.classical.hysteresis(image, low=90, high=150).tolist()
        [[1, 1, 0, 0]]
    """
    image = to_gray("hysteresis", image)
    low = otsu_threshold(image) if low is None else low
    weak = image > low
    if high is None:
        high = (low + image[weak].mean()) / 2 if weak.any() else low
    if not low <= high:  # also catches NaN
        raise ValueError(
            f"hysteresis: got low={low!r} and high={high!r}, expected numbers with low <= high."
        )
    components = connected_components(weak, connectivity)
    count = int(components.max()) + 1
    strong = np.bincount(components[image > high], minlength=count) > 0
    return strong.astype(np.int32)[components]


def otsu_threshold(values):
    """Return Otsu's threshold of (H, W) numbers: the maximum of the dark class.

    If all numbers are equal, it is that number.
    """
    return float(values[_two_classes(values, cv2.THRESH_OTSU) == 0].max())


def _two_classes(image, rule):
    if image.min() == image.max():
        return np.zeros(image.shape, np.int32)
    return cv2.threshold(_to_bins(image), 0, 1, cv2.THRESH_BINARY | rule)[1].astype(np.int32)


def _to_bins(image):
    """Return the bin of each pixel: 256 equal bins over the range; uint8 values are the bins."""
    if image.dtype == np.uint8:
        return image
    low, high = float(image.min()), float(image.max())
    return np.minimum((image - np.float64(low)) * (256 / (high - low or 1)), 255).astype(np.uint8)


def _window_size(owner, size):
    if checks.positive_int(owner, "size", size) % 2 == 0 or size < 3:
        raise ValueError(
            f"{owner}: size={size!r} must be odd and at least 3, so that the window has a center."
        )
    return int(size)
