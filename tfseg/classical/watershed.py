"""Watersheds: an image or a distance map as a landscape, flooded from markers until the waters meet.

The flooding is scikit-image's `watershed`: it leaves no lines between the regions, keeps to a mask and floods float
landscapes. `cv2.watershed` leaves lines one pixel wide, much of a small nucleus, and takes 8-bit colors only.
"""

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.edges import scharr
from tfseg.classical.image import gray, mask_of
from tfseg.classical.labels import connected_components
from tfseg.classical.thresholds import otsu_level

MARKERS = ("distance", "minima")


def watershed(
    image, markers="distance", mask=None, dark=False, min_distance=3, depth=4, compactness=0
):
    """Segment by the marker-controlled watershed (Meyer, 1994), compact if wished (Neubert and Protzel, 2014).

    `markers="distance"` finds objects, such as nuclei, and parts those that touch: the foreground is split by
    `split_touching`. Without a mask it is what is brighter than Otsu's threshold of the square roots of the gray
    levels, under which bright and dim objects weigh more alike, less specks that a 3 x 3 cross does not fit in.
    `markers="minima"` cuts the whole image into regions, one for each valley of the gradient. An array of markers
    floods the gradient from places that are known.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3); uint8, other integers or floats, see `tfseg.classical.image.levels`.
        markers: "distance", "minima", or integers (H, W): 0 where unknown, and a number above it for each region.
        mask: (H, W) bool or integers; pixels where it is 0 belong to no region. None for the foreground as above if
            the markers are "distance", else for the whole image.
        dark: with "distance": whether the objects are darker than the ground.
        min_distance: with "distance": see `split_touching`.
        depth: with "minima": how deep a valley of the gradient is at least, in gray levels a pixel: the greater, the
            fewer regions.
        compactness: 0 follows the landscape only, above it the nearest marker counts too, and regions grow rounder.

    Returns:
        (H, W) int32, 0 outside the objects or the mask, regions 1 to N in scan order; or the numbers of the markers,
        if these were given, and 0 where none of them reaches. Apart from ties, an image turned by 90 degrees
        gives the same regions.

    Raises:
        ValueError: no such image, markers or mask, markers all 0, or an option out of range.
        ImportError: scikit-image is not installed.
    """
    checks.at_least("watershed", "compactness", compactness, 0)
    checks.one_of("watershed", "dark", dark, (False, True))
    bright = gray("watershed", image)
    mask = None if mask is None else mask_of("watershed", "mask", mask, bright.shape)
    if not isinstance(markers, str):
        return _flood(_gradient(image), _given(markers, bright.shape), mask, compactness)
    if checks.one_of("watershed", "markers", markers, MARKERS) == "distance":
        checks.positive_int("watershed", "min_distance", min_distance)
        return _split(
            _foreground(bright, dark) if mask is None else mask, min_distance, compactness
        )
    gradient = _gradient(image)
    minima = _minima(gradient, checks.at_least("watershed", "depth", depth, 0))
    return _numbered(_flood(gradient, minima, mask, compactness), mask)


def split_touching(mask, min_distance=3):
    """Part the objects of a mask that touch, at their necks.

    The distance of each pixel to the outside, smoothed a little, is a landscape of one summit an object; it is flooded
    from its summits downwards. All pixels of the mask stay in it.

    Args:
        mask: (H, W) bool or integers, 0 outside.
        min_distance: pixels along each axis, from 1: of two summits no farther apart the higher counts. About the
            radius of the smallest objects; the greater, the fewer parts. The distances are smoothed by a Gaussian of
            a quarter of it. The default suits nuclei 8 to 25 pixels wide.

    Returns:
        (H, W) int32, 0 outside, objects 1 to N in scan order.

    Raises:
        ValueError: no such mask or distance.
        ImportError: scikit-image is not installed.
    """
    checks.positive_int("split_touching", "min_distance", min_distance)
    return _split(mask_of("split_touching", "mask", mask), min_distance, 0)


def _foreground(bright, dark):
    roots = np.sqrt(255 - bright if dark else bright, dtype=np.float32)
    mask = (roots > otsu_level(roots)).astype(np.uint8)
    return (
        cv2.morphologyEx(mask, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
        > 0
    )


def _split(mask, min_distance, compactness):
    if not mask.any():
        return np.zeros(mask.shape, np.int32)
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance = np.minimum(distance, sum(mask.shape))  # without any outside it is boundless
    distance = cv2.GaussianBlur(distance, (0, 0), min_distance / 4, borderType=cv2.BORDER_REPLICATE)
    distance = np.round(distance, 3)  # so equal summits are equal, whichever way they are turned
    return _numbered(
        _flood(-distance, _summits(distance, mask, min_distance), mask, compactness), mask
    )


def _summits(distance, mask, min_distance):
    """Number the highest pixels of all windows about them; equal ones within a window are one summit."""
    side = 2 * min_distance + 1
    summits = mask & (distance == cv2.dilate(distance, np.ones((side, side), np.uint8)))
    near = cv2.dilate(
        summits.astype(np.uint8), np.ones((min_distance, min_distance), np.uint8)
    )  # these touch
    return connected_components(near > 0, connectivity=8) * summits


def _gradient(image):
    return cv2.GaussianBlur(scharr(image), (0, 0), 1)


def _minima(gradient, depth):
    """Number the valleys of at least some depth; the deepest is one at any rate."""
    if np.ptp(gradient) <= depth:
        return np.ones(gradient.shape, np.int32)
    minima = checks.require_package("skimage.morphology", "classical").h_minima(gradient, depth)
    return connected_components(minima > 0, connectivity=8)


def _given(markers, shape):
    markers = np.asarray(markers)
    fits = markers.shape == shape and markers.dtype.kind in "iu"
    if not fits or markers.min() < 0 or not 0 < markers.max() < 2**31:
        raise ValueError(
            f"watershed: markers of shape {markers.shape} and dtype {markers.dtype} came, expected integers {shape}, 0 "
            f"where unknown and a number from 1 to 2**31 - 1 in each region; or one of {', '.join(map(repr, MARKERS))}."
        )
    return markers.astype(np.int32)


def _flood(landscape, markers, mask, compactness):
    flood = checks.require_package("skimage.segmentation", "classical").watershed
    return flood(landscape, markers, mask=mask, compactness=compactness).astype(np.int32)


def _numbered(regions, mask):
    """Number the regions in scan order, and with them the pieces of the mask that no marker was in.

    A region that is in two pieces came from equal summits of two objects that do not touch.
    """
    if mask is not None:
        rest = connected_components(mask & (regions == 0))
        regions = np.where(rest > 0, rest + regions.max(), regions)
    return connected_components(regions)
