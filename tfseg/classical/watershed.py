"""Watershed: flood an image or a distance map from markers until the regions meet.

Flooding is done by `skimage.segmentation.watershed`. Unlike `cv2.watershed` it leaves no one-pixel
lines between regions (a large part of a small nucleus), supports a mask, and floods float images.
"""

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.edges import scharr
from tfseg.classical.image import to_gray, to_mask
from tfseg.classical.labels import connected_components
from tfseg.classical.thresholds import otsu_threshold

MARKERS = ("distance", "minima")


def watershed(
    image,
    markers="distance",
    mask=None,
    dark: bool = False,
    min_distance: int = 3,
    min_depth: float = 4,
    compactness: float = 0,
):
    """Segment an image by the marker-controlled watershed (Meyer 1994).

    - `markers="distance"` finds objects such as nuclei, and splits those that touch with
      `split_touching`. Without a mask the foreground is what is above Otsu's threshold of the
      square root of the gray levels (which gives bright and dim objects more equal weight), after
      an opening by a 3 x 3 cross.
    - `markers="minima"` divides the whole image into regions, one per valley of the gradient.
    - An array of markers floods the gradient from known places.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3); uint8, other integers or floats, see
            `tfseg.classical.image.to_0_255`.
        markers: "distance", "minima", or (H, W) integers: 0 where unknown, a positive number for
            each region.
        mask: (H, W) bool or integers; pixels where it is 0 belong to no region. None for the
            foreground (with "distance"), or for the whole image.
        dark: with "distance": whether objects are darker than the background.
        min_distance: with "distance": see `split_touching`.
        min_depth: with "minima": minimum depth of a valley of the gradient, in gray levels per
            pixel. The larger, the fewer regions.
        compactness: 0 follows the image only. The larger, the more the distance from the marker
            counts, and the rounder the regions (Neubert and Protzel 2014).

    Returns:
        (H, W) int32: 0 outside objects or mask, regions numbered from 1 in scan order. Regions of
        given markers keep the markers' numbers, and are 0 where no marker reaches. Up to ties, a
        rotated image gives the same regions.

    Raises:
        ValueError: the image, the markers or the mask is not valid, all markers are 0, or an
            argument is out of range.
        ImportError: scikit-image is not installed.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> y, x = np.indices((24, 40))
        >>> discs = (np.hypot(y - 12, x - 12) < 8) | (np.hypot(y - 12, x - 26) < 8)
        >>> labels = tfseg.classical.watershed(discs * np.uint8(200))
        >>> labels[12, [2, 12, 26, 38]].tolist()
        [0, 1, 2, 0]
    """
    checks.at_least("watershed", "compactness", compactness, 0)
    checks.one_of("watershed", "dark", dark, (False, True))
    gray = to_gray("watershed", image)
    if mask is not None:
        mask = to_mask("watershed", "mask", mask, gray.shape)
    if not isinstance(markers, str):
        markers = _check_markers(markers, gray.shape)
        return _flood(_gradient(image), markers, mask, compactness)
    if checks.one_of("watershed", "markers", markers, MARKERS) == "distance":
        checks.positive_int("watershed", "min_distance", min_distance)
        if mask is None:
            mask = _foreground(gray, dark)
        return _split(mask, min_distance, compactness)
    gradient = _gradient(image)
    minima = _minima(gradient, checks.at_least("watershed", "min_depth", min_depth, 0))
    return _number_regions(_flood(gradient, minima, mask, compactness), mask)


def split_touching(mask, min_distance: int = 3):
    """Split touching objects of a mask at their necks.

    The smoothed distance of each pixel to the background has one peak per object; it is flooded
    from the peaks. All pixels of the mask are kept.

    Args:
        mask: (H, W) bool or integers; 0 is background.
        min_distance: minimum distance between peaks in pixels along each axis, at least 1; of two
            closer peaks the higher one counts. About the radius of the smallest objects; the
            larger, the fewer parts. Distances are smoothed by a Gaussian with a std of a quarter
            of it. The default suits nuclei that are 8 to 25 pixels wide.

    Returns:
        (H, W) int32: 0 for background, objects numbered from 1 in scan order.

    Raises:
        ValueError: the mask or the distance is not valid.
        ImportError: scikit-image is not installed.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> y, x = np.indices((24, 40))
        >>> mask = (np.hypot(y - 12, x - 12) < 8) | (np.hypot(y - 12, x - 26) < 8)
        >>> tfseg.classical.split_touching(mask).max().item()
        2
    """
    checks.positive_int("split_touching", "min_distance", min_distance)
    return _split(to_mask("split_touching", "mask", mask), min_distance, 0)


def _foreground(gray, dark):
    roots = np.sqrt(255 - gray if dark else gray, dtype=np.float32)
    mask = (roots > otsu_threshold(roots)).astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return cv2.morphologyEx(mask, cv2.MORPH_OPEN, cross) > 0


def _split(mask, min_distance, compactness):
    if not mask.any():
        return np.zeros(mask.shape, np.int32)
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance = np.minimum(distance, sum(mask.shape))  # without background it is unbounded
    distance = cv2.GaussianBlur(distance, (0, 0), min_distance / 4, borderType=cv2.BORDER_REPLICATE)
    distance = np.round(distance, 3)  # so that equal peaks stay equal when the mask is rotated
    regions = _flood(-distance, _peaks(distance, mask, min_distance), mask, compactness)
    return _number_regions(regions, mask)


def _peaks(distance, mask, min_distance):
    """Number the maxima within windows of 2 * min_distance + 1.

    Equal maxima closer than `min_distance` get one number: the dilation connects them.
    """
    side = 2 * min_distance + 1
    window_maximum = cv2.dilate(distance, np.ones((side, side), np.uint8))
    peaks = mask & (distance == window_maximum)
    near = cv2.dilate(peaks.astype(np.uint8), np.ones((min_distance, min_distance), np.uint8))
    return connected_components(near > 0, connectivity=8) * peaks


def _gradient(image):
    return cv2.GaussianBlur(scharr(image), (0, 0), 1)


def _minima(gradient, min_depth):
    """Number the valleys of at least some depth; there is always at least one."""
    if np.ptp(gradient) <= min_depth:
        return np.ones(gradient.shape, np.int32)
    morphology = checks.require_package("skimage.morphology", "classical")
    minima = morphology.h_minima(gradient, min_depth)
    return connected_components(minima > 0, connectivity=8)


def _check_markers(markers, shape):
    markers = np.asarray(markers)
    fits = markers.shape == shape and markers.dtype.kind in "iu"
    if not fits or markers.min() < 0 or not 0 < markers.max() < 2**31:
        raise ValueError(
            f"watershed: got markers of shape {markers.shape} and dtype {markers.dtype}, expected "
            f"integers of shape {shape}, 0 where unknown and a number from 1 to 2**31 - 1 in each "
            f"region; or one of {', '.join(map(repr, MARKERS))}."
        )
    return markers.astype(np.int32)


def _flood(landscape, markers, mask, compactness):
    flood = checks.require_package("skimage.segmentation", "classical").watershed
    return flood(landscape, markers, mask=mask, compactness=compactness).astype(np.int32)


def _number_regions(regions, mask):
    """Number the regions in scan order, including parts of the mask that contain no marker.

    A region in two pieces is split: equal peaks of two objects that do not touch can share a
    marker.
    """
    if mask is not None:
        missed = connected_components(mask & (regions == 0))
        regions = np.where(missed > 0, missed + regions.max(), regions)
    return connected_components(regions)
