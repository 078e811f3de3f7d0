"""Superpixels: small regions that follow image edges, and merging them into larger ones."""

import heapq
import math

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.clusters import adjacent_pairs, linked_regions, region_means, to_lab
from tfseg.classical.image import to_0_255, to_mask, to_rgb, to_uint8
from tfseg.classical.labels import relabel


def slic(image, num_segments: int = 250, compactness: float = 10.0):
    """Divide an image into superpixels of similar size by SLIC (doi:10.1109/TPAMI.2012.120).

    k-means in CIELAB and position, around the nodes of a grid, as implemented in scikit-image. The
    image is first stretched to the full range, so contrast does not matter. Gray images are
    converted to RGB.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `to_0_255`.
        num_segments: approximate number of superpixels. Small pieces are merged afterwards, so the
            result often has a fifth fewer, sometimes half.
        compactness: weight of position, the paper's m: the distance in CIELAB that counts as much
            as one step of the grid. The larger, the squarer the superpixels.

    Returns:
        (H, W) int32: 4-connected superpixels, numbered from 1 in scan order.

    Raises:
        ValueError: the image is not valid, or an argument is out of range.
        ImportError: scikit-image is not installed (extra `classical`).

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.repeat(np.uint8([[20] * 8 + [200] * 8]), 8, axis=0)
        >>> tfseg.classical.slic(image, num_segments=2)[0, [0, 7, 8, 15]].tolist()
        [1, 1, 2, 2]
    """
    segmentation = checks.require_package("skimage.segmentation", "classical")
    fractions = to_rgb("slic", image).astype(np.float32) / 255
    num_segments = _check_num_segments("slic", num_segments, fractions)
    compactness = checks.above_zero("slic", "compactness", compactness)
    return relabel(segmentation.slic(fractions, num_segments, compactness))


def felzenszwalb(image, scale: float = 100.0, sigma: float = 0.8, min_pixels: int = 50):
    """Divide an image into regions by graph-based segmentation (Felzenszwalb and Huttenlocher).

    doi:10.1023/B:VISI.0000022288.19776.77, as implemented in scikit-image. Two regions stay
    separate if the weakest edge between them is stronger than the edges inside either. Edges are
    distances in RGB or of gray levels, in 0..255. The sizes vary: large regions in the sky, small
    ones in a crowd. The number of regions is not known in advance.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `to_0_255`.
        scale: the paper's k, in gray levels times pixels. The larger, the larger the regions.
        sigma: std in pixels of the Gaussian that smooths the image first.
        min_pixels: size of the smallest region in pixels.

    Returns:
        (H, W) int32: 8-connected regions, numbered from 1 in scan order.

    Raises:
        ValueError: the image is not valid, or an argument is out of range.
        ImportError: scikit-image is not installed (extra `classical`).

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.repeat(np.uint8([[20] * 8 + [200] * 8]), 8, axis=0)
        >>> tfseg.classical.felzenszwalb(image, sigma=0)[0, [0, 7, 8, 15]].tolist()
        [1, 1, 2, 2]
    """
    segmentation = checks.require_package("skimage.segmentation", "classical")
    fractions = to_0_255("felzenszwalb", image) / 255.0
    scale = checks.at_least("felzenszwalb", "scale", scale, 0)
    sigma = checks.at_least("felzenszwalb", "sigma", sigma, 0)
    min_pixels = checks.positive_int("felzenszwalb", "min_pixels", min_pixels)
    channel_axis = -1 if fractions.ndim == 3 else None
    labels = segmentation.felzenszwalb(
        fractions, scale, sigma, min_pixels, channel_axis=channel_axis
    )
    return relabel(labels, background=None) + 1


def compact_watershed(image, num_segments: int = 250, compactness: float = 0.1):
    """Divide an image into superpixels by compact watershed (doi:10.1109/ICPR.2014.181).

    The gradient is flooded from the nodes of a grid, as implemented in scikit-image. It is
    computed by Sobel filters in CIELAB or of gray levels, scaled so that black and white are 100
    apart, per pixel.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `to_0_255`.
        num_segments: number of superpixels, up to rounding of the grid.
        compactness: cost of one pixel's distance from the node, in units of the gradient. 0 is the
            plain watershed; 1 gives nearly squares.

    Returns:
        (H, W) int32: 4-connected superpixels, numbered from 1 in scan order.

    Raises:
        ValueError: the image is not valid, or an argument is out of range.
        ImportError: scikit-image is not installed (extra `classical`).

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.zeros((40, 40, 3), np.uint8)
        >>> tfseg.classical.compact_watershed(image, num_segments=4).max().item()
        4
    """
    segmentation = checks.require_package("skimage.segmentation", "classical")
    values = to_lab("compact_watershed", image)
    num_segments = _check_num_segments("compact_watershed", num_segments, values)
    compactness = checks.at_least("compact_watershed", "compactness", compactness, 0)
    dy = cv2.Sobel(values, cv2.CV_32F, 0, 1, scale=1 / 8)
    dx = cv2.Sobel(values, cv2.CV_32F, 1, 0, scale=1 / 8)
    gradient = np.linalg.norm(np.dstack([dy, dx]), axis=-1)
    return relabel(segmentation.watershed(gradient, num_segments, compactness=compactness))


def seeds(image, num_segments: int = 250):
    """Divide an image into superpixels by SEEDS (doi:10.1007/s11263-014-0744-2).

    Blocks, then single pixels, on the borders of a grid's cells move to the adjacent superpixel
    whose histogram they fit. Histograms have 5 x 5 x 5 bins of RGB, or 16 of gray levels, rounded
    to uint8. Needs the contrib build of OpenCV.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `to_0_255`.
        num_segments: approximate number of superpixels. The grid is rounded to whole blocks, so
            the result has a third to a half fewer. OpenCV uses at least 10.

    Returns:
        (H, W) int32: 4-connected superpixels, numbered from 1 in scan order.

    Raises:
        ValueError: the image is not valid, or too small for that many superpixels.
        ImportError: OpenCV has no contrib modules.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.zeros((64, 64, 3), np.uint8)
        >>> tfseg.classical.seeds(image, num_segments=16).shape  # doctest: +SKIP
        (64, 64)
    """
    if not hasattr(cv2, "ximgproc"):
        raise ImportError(
            "seeds: this OpenCV has no `cv2.ximgproc`, which is in its contrib build. Run: "
            "pip uninstall opencv-python-headless; pip install opencv-contrib-python-headless"
        )
    image = np.ascontiguousarray(to_uint8(to_0_255("seeds", image)))
    height, width = image.shape[:2]
    if image.ndim == 3:
        channels, bins = 3, 5
    else:
        channels, bins = 1, 16  # with 5 bins, nuclei and background would share one
    num_segments = max(checks.positive_int("seeds", "num_segments", num_segments), 10)
    rows = int(math.sqrt(num_segments * height / width))
    columns = rows * width // height
    if min(rows, columns) < 2 or height < 4 * rows or width < 4 * columns:  # OpenCV would crash
        raise ValueError(
            f"seeds: num_segments={num_segments} for an image of {height} x {width} makes a grid "
            f"of {rows} x {columns}, expected at least 2 x 2 cells of at least 4 x 4 pixels. "
            "Pass another `num_segments` (at least 10), or use `slic`."
        )
    method = cv2.ximgproc.createSuperpixelSEEDS(
        width, height, channels, num_segments, num_levels=3, histogram_bins=bins
    )
    method.iterate(image, 10)
    labels = method.getLabels()
    # Some superpixels are in several pieces; number the pieces.
    return linked_regions(labels[:, :-1] == labels[:, 1:], labels[:-1] == labels[1:])


def _check_num_segments(owner, num_segments, image):
    """Return the number of superpixels, at most one per pixel."""
    num_segments = checks.positive_int(owner, "num_segments", num_segments)
    return min(num_segments, image.shape[0] * image.shape[1])


def merge(image, labels, tolerance: float = 4.0):
    """Merge adjacent regions, the two of nearest mean color first, up to a distance.

    The distance is between mean colors in CIELAB, or between mean gray levels scaled to 0..100.
    The mean of a merged region is over all its pixels. Regions are adjacent if two of their pixels
    share a side.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `to_0_255`.
        labels: (H, W) integers, the regions; 0 is background and is kept.
        tolerance: merge regions closer than this. 0 merges nothing; above 100 nearly everything.

    Returns:
        (H, W) int32: 0 for background, regions numbered from 1 in scan order.

    Raises:
        ValueError: the image or the labels are not valid, or the tolerance is negative.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.array([[0, 10, 200, 210]], np.uint8)
        >>> tfseg.classical.merge(image, np.array([[1, 2, 3, 4]]), tolerance=5).tolist()
        [[1, 1, 2, 2]]
    """
    tolerance = checks.at_least("merge", "tolerance", tolerance, 0)
    values = to_lab("merge", image)
    to_mask("merge", "labels", labels, values.shape[:2])
    regions = relabel(labels)
    pairs = np.sort(adjacent_pairs(regions), axis=1)
    pairs = np.unique(pairs[pairs[:, 0] > 0], axis=0)
    pixels, means = region_means(values, regions)
    merged = _merge_nearest(pixels.tolist(), means.tolist(), pairs.tolist(), tolerance)
    return relabel(merged[regions])


def _merge_nearest(pixels, means, pairs, tolerance):
    """Return (N + 1,) the number of the merged region that each region ends in.

    Every merge makes a new region with the next free number. Merging 1 and 2 of the regions 0 to 3
    makes region 4, and `parent` is [0, 4, 4, 0, 0], where 0 means not merged. Pairs of regions
    that were merged in the meantime stay in the heap and are skipped.
    """
    neighbors = [set() for _ in pixels]
    for a, b in pairs:
        neighbors[a].add(b)
        neighbors[b].add(a)
    parent = [0] * len(pixels)
    heap = [(math.dist(means[a], means[b]), a, b) for a, b in pairs]
    heapq.heapify(heap)
    while heap and heap[0][0] < tolerance:
        _, a, b = heapq.heappop(heap)
        if parent[a] or parent[b]:
            continue
        new = len(parent)
        parent[a] = parent[b] = new
        parent.append(0)
        pixels.append(pixels[a] + pixels[b])
        fraction = pixels[a] / pixels[new]
        mean = [fraction * x + (1 - fraction) * y for x, y in zip(means[a], means[b], strict=True)]
        means.append(mean)
        neighbors.append((neighbors[a] | neighbors[b]) - {a, b})
        for other in neighbors[new]:
            neighbors[other] -= {a, b}
            neighbors[other].add(new)
            heapq.heappush(heap, (math.dist(means[other], mean), other, new))
    # A parent has a higher number than its children: resolve from the last to the first.
    for region in range(len(parent) - 1, -1, -1):
        parent[region] = parent[parent[region]] if parent[region] else region
    return np.array(parent)
