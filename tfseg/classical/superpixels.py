"""Superpixels: small regions that follow the edges of an image, and their merging into larger ones."""

import heapq
import math

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.clusters import colors, linked_regions, neighbors, region_means
from tfseg.classical.image import as_bytes, levels, mask_of, rgb
from tfseg.classical.labels import in_scan_order


def slic(image, count=250, compactness=10.0):
    """Divide an image into superpixels of near equal size by SLIC (doi:10.1109/TPAMI.2012.120), of scikit-image.

    k-means in CIELAB and place about the nodes of a grid. The image is first stretched to the full range, so
    contrast does not matter; gray counts as RGB of three equal values.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `levels`.
        count: number of superpixels, roughly: often a fifth fewer come, and sometimes half, since pieces that are too
            small are joined.
        compactness: weight of the place, the paper's m: the distance in CIELAB that counts as much as one step of
            the grid. Higher for squarer superpixels.

    Returns:
        (H, W) int32: superpixels 1 to N in scan order, each one piece by 4 neighbors.

    Raises:
        ValueError: no such image, or a number out of range.
        ImportError: no scikit-image, the extra `classical`.
    """
    segmentation = checks.require_package("skimage.segmentation", "classical")
    share = rgb("slic", image).astype(np.float32) / 255
    count = min(checks.positive_int("slic", "count", count), share.shape[0] * share.shape[1])
    compactness = checks.above_zero("slic", "compactness", compactness)
    return in_scan_order(segmentation.slic(share, count, compactness))


def felzenszwalb(image, scale=100.0, sigma=0.8, min_size=50):
    """Divide an image into regions by the graph of Felzenszwalb and Huttenlocher, of scikit-image.

    doi:10.1023/B:VISI.0000022288.19776.77. Two regions stay apart if the weakest edge between them is stronger than
    what either holds within. Edges are distances in RGB or of gray levels, in 0..255. The regions are of any size:
    large in the sky, small in a crowd; their number cannot be told beforehand.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `levels`.
        scale: the paper's k, in levels times pixels. Higher for larger regions.
        sigma: standard deviation in pixels of the Gaussian that smooths the image first.
        min_size: pixels that a region has at least, unless the image has fewer.

    Returns:
        (H, W) int32: regions 1 to N in scan order, each one piece by 8 neighbors.

    Raises:
        ValueError: no such image, or a number out of range.
        ImportError: no scikit-image, the extra `classical`.
    """
    segmentation = checks.require_package("skimage.segmentation", "classical")
    share = levels("felzenszwalb", image) / 255.0
    scale = checks.at_least("felzenszwalb", "scale", scale, 0)
    sigma = checks.at_least("felzenszwalb", "sigma", sigma, 0)
    min_size = checks.positive_int("felzenszwalb", "min_size", min_size)
    axis = -1 if share.ndim == 3 else None
    labels = segmentation.felzenszwalb(share, scale, sigma, min_size, channel_axis=axis)
    return in_scan_order(labels, background=None) + 1


def compact_watershed(image, count=250, compactness=0.1):
    """Divide an image into superpixels by compact watershed (doi:10.1109/ICPR.2014.181), of scikit-image.

    The gradient is flooded from the nodes of a grid. It is taken by Sobel's filter in CIELAB or of gray levels,
    scaled so that black and white are 100 apart in either, a pixel.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `levels`.
        count: number of superpixels; it comes within the rounding of the grid.
        compactness: cost in units of the gradient of one pixel's distance from the node. 0 is the plain watershed;
            1 all but squares.

    Returns:
        (H, W) int32: superpixels 1 to N in scan order, each one piece by 4 neighbors.

    Raises:
        ValueError: no such image, or a number out of range.
        ImportError: no scikit-image, the extra `classical`.
    """
    segmentation = checks.require_package("skimage.segmentation", "classical")
    values = colors("compact_watershed", image)
    count = min(
        checks.positive_int("compact_watershed", "count", count), values.shape[0] * values.shape[1]
    )
    compactness = checks.at_least("compact_watershed", "compactness", compactness, 0)
    steps = [cv2.Sobel(values, cv2.CV_32F, x, 1 - x, scale=1 / 8) for x in (0, 1)]
    gradient = np.linalg.norm(np.dstack(steps), axis=-1)
    return in_scan_order(segmentation.watershed(gradient, count, compactness=compactness))


def seeds(image, count=250):
    """Divide an image into superpixels by SEEDS (doi:10.1007/s11263-014-0744-2), of OpenCV's contrib build.

    Blocks, then single pixels, at the borders of a grid's cells move to the neighbor whose histogram they fit.
    Histograms have 5 x 5 x 5 bins of RGB, or 16 of gray levels, rounded to bytes.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `levels`.
        count: number of superpixels, roughly: a third to a half fewer come, since the grid is rounded to whole
            blocks. OpenCV takes 10 for anything lower.

    Returns:
        (H, W) int32: superpixels 1 to N in scan order, each one piece by 4 neighbors.

    Raises:
        ValueError: no such image, or one too small for that many.
        ImportError: OpenCV without its contrib modules.
    """
    if not hasattr(cv2, "ximgproc"):
        raise ImportError(
            "seeds: this OpenCV lacks `cv2.ximgproc`, which its contrib build has. Run: "
            "pip uninstall opencv-python-headless; pip install opencv-contrib-python-headless"
        )
    picture = np.ascontiguousarray(as_bytes(levels("seeds", image)))
    height, width = picture.shape[:2]
    channels, bins = (
        (3, 5) if picture.ndim == 3 else (1, 16)
    )  # with 5 of gray, nuclei and ground share one
    count = max(checks.positive_int("seeds", "count", count), 10)
    rows = int(math.sqrt(count * height / width))
    columns = rows * width // height
    if min(rows, columns) < 2 or height < 4 * rows or width < 4 * columns:  # OpenCV would crash
        raise ValueError(
            f"seeds: count={count} of an image of {height} x {width} makes a grid of {rows} x {columns}, expected at "
            "least 2 x 2 cells, each of 4 x 4 pixels or more. Pass a fitting count (10 at least), or use `slic`."
        )
    method = cv2.ximgproc.createSuperpixelSEEDS(
        width, height, channels, count, num_levels=3, histogram_bins=bins
    )
    method.iterate(picture, 10)
    labels = method.getLabels()  # a few are torn
    return linked_regions(labels[:, :-1] == labels[:, 1:], labels[:-1] == labels[1:])


def merge(image, labels, tolerance=4.0):
    """Merge neighboring regions, always the two of nearest mean color, until none are nearer than `tolerance`.

    The distance is that of the mean colors in CIELAB, or of the mean gray levels scaled to 0..100; the mean of a
    merged region is that of its pixels. Regions are neighbors by 4 neighbors of their pixels.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `levels`.
        labels: (H, W) integers, the regions; 0 is outside and stays so.
        tolerance: 0 merges nothing, above 100 most of all.

    Returns:
        (H, W) int32: 0 outside, regions 1 to N in scan order.

    Raises:
        ValueError: no such image or labels, or a tolerance below 0.
    """
    tolerance = checks.at_least("merge", "tolerance", tolerance, 0)
    values = colors("merge", image)
    mask_of("merge", "labels", labels, values.shape[:2])
    regions = in_scan_order(labels)
    pairs = np.sort(neighbors(regions), axis=1)
    pairs = np.unique(pairs[pairs[:, 0] > 0], axis=0)
    pixels, means = region_means(values, regions)
    return in_scan_order(
        _merged(pixels.tolist(), means.tolist(), pairs.tolist(), tolerance)[regions]
    )


def _merged(pixels, means, pairs, tolerance):
    """Return (N + 1,) the region that each is part of at last. Merged ones get numbers above N."""
    around = [set() for _ in pixels]
    for a, b in pairs:
        around[a].add(b)
        around[b].add(a)
    whole = [0] * len(pixels)  # what a region has been merged into
    heap = [(math.dist(means[a], means[b]), a, b) for a, b in pairs]
    heapq.heapify(heap)
    while heap and heap[0][0] < tolerance:
        _, a, b = heapq.heappop(heap)
        if whole[a] or whole[b]:
            continue
        new = whole[a] = whole[b] = len(whole)
        whole.append(0)
        pixels.append(pixels[a] + pixels[b])
        share = pixels[a] / pixels[new]
        means.append([share * x + (1 - share) * y for x, y in zip(means[a], means[b], strict=True)])
        around.append((around[a] | around[b]) - {a, b})
        for other in around[new]:
            around[other] -= {a, b}
            around[other].add(new)
            heapq.heappush(heap, (math.dist(means[other], means[new]), other, new))
    for region in range(
        len(whole) - 1, -1, -1
    ):  # the last first: each is in one of a higher number
        whole[region] = whole[whole[region]] if whole[region] else region
    return np.array(whole)
