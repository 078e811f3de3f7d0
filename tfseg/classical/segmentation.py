"""All methods behind one door."""

import difflib
import inspect

from tfseg import checks
from tfseg.classical import clusters, edges, interactive, snakes, superpixels, thresholds
from tfseg.classical.pixel_classifier import pixel_classification
from tfseg.classical.region_growing import flood_fill, region_growing
from tfseg.classical.split_merge import split_and_merge
from tfseg.classical.watershed import watershed


def edge_regions(image, low=None, high=None, sigma=1.0, gap=2, min_area=20):
    """Number the regions that the edges of `canny` enclose, see `canny` and `closed_regions`.

    Returns:
        (H, W) int32: 0 on edges and outside, the regions 1 to N in scan order.
    """
    return edges.closed_regions(edges.canny(image, low, high, sigma), gap, min_area)


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


def segment(image, method="watershed", **options):
    """Segment an image without training.

        labels = segment(image, "slic", count=400)

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), uint8, other integers or floats: see `tfseg.classical.image.levels`.
        method: a name in `METHODS`, whose functions say what they do and take.
        **options: of that function; some must be given, such as seeds, scribbles or a box.

    Returns:
        (H, W) int32, as the function says: class ids from 0, of thresholds, clusters, scribbles and contours, or regions
        numbered from 1 in scan order, 0 being outside. Regions of given seeds or markers keep their numbers.

    Raises:
        ValueError: an unknown method or option, and what the function says.
    """
    check_options(method, options)
    return METHODS[method](image, **options)


def check_options(method, options):
    """Raise a ValueError for an unknown method or an option that it does not take; the nearest are offered."""
    checks.one_of("segment", "method", method, tuple(METHODS))
    known = list(inspect.signature(METHODS[method]).parameters)[1:]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"segment: the method {method!r} has no option {name!r}. It takes {', '.join(known) or 'none'}.{hint}"
            )
