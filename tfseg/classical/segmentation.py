"""All classical methods behind one function."""

import difflib
import inspect

from tfseg import checks
from tfseg.classical import clusters, edges, interactive, snakes, superpixels, thresholds
from tfseg.classical.pixel_classifier import pixel_classification
from tfseg.classical.region_growing import flood_fill, region_growing
from tfseg.classical.split_merge import split_and_merge
from tfseg.classical.watershed import watershed


def edge_regions(
    image,
    low: float | None = None,
    high: float | None = None,
    sigma: float = 1.0,
    max_gap: float = 2,
    min_pixels: int = 20,
):
    """Number the regions that Canny edges enclose.

    See `canny` and `closed_regions` for the arguments.

    Returns:
        (H, W) int32: 0 on edges and background, regions numbered from 1 in scan order.
    """
    return edges.closed_regions(edges.canny(image, low, high, sigma), max_gap, min_pixels)


METHODS = {
    "adaptive": thresholds.adaptive,
    "chan_vese": snakes.chan_vese,
    "compact_watershed": superpixels.compact_watershed,
    "edges": edge_regions,
    "felzenszwalb": superpixels.felzenszwalb,
    "flood_fill": flood_fill,
    "gaussian_mixture": clusters.gaussian_mixture,
    "geodesic_active_contour": snakes.geodesic_active_contour,
    "grabcut": interactive.grabcut,
    "hysteresis": thresholds.hysteresis,
    "kmeans": clusters.kmeans,
    "mean_shift": clusters.mean_shift,
    "morphological_chan_vese": snakes.morphological_chan_vese,
    "multi_otsu": thresholds.multi_otsu,
    "otsu": thresholds.otsu,
    "pixel_classifier": pixel_classification,
    "random_walker": interactive.random_walker,
    "region_growing": region_growing,
    "sauvola": thresholds.sauvola,
    "seeds": superpixels.seeds,
    "slic": superpixels.slic,
    "split_and_merge": split_and_merge,
    "triangle": thresholds.triangle,
    "watershed": watershed,
}


def segment(image, method: str = "watershed", **options):
    """Segment an image without training.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), uint8, other integers or floats, see
            `tfseg.classical.image.to_0_255`.
        method: a name in `METHODS`; the function of that name documents the method.
        **options: arguments of that function. Some methods require one, such as seeds, scribbles
            or a box.

    Returns:
        (H, W) int32. Thresholds, clusters, scribbles and contours give class ids from 0; the other
        methods give regions numbered from 1 in scan order, 0 is background. Regions of given seeds
        or markers keep their numbers.

    Raises:
        ValueError: the method or an option is unknown; or see the function.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.array([[10, 12, 200], [11, 90, 210]], np.uint8)
        >>> tfseg.classical.segment(image, "multi_otsu", num_classes=2).tolist()
        [[0, 0, 1], [0, 0, 1]]
    """
    check_options(method, options)
    return METHODS[method](image, **options)


def check_options(method: str, options: dict):
    """Raise a ValueError, with the closest match, if the method or an option is unknown."""
    checks.one_of("segment", "method", method, tuple(METHODS))
    known = list(inspect.signature(METHODS[method]).parameters)[1:]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            choices = ", ".join(known) or "none"
            raise ValueError(
                f"segment: the method {method!r} has no option {name!r}. Its options: {choices}."
                f"{hint}"
            )
