"""Group pixels by color and position: k-means, Gaussian mixtures, mean shift."""

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import to_0_255, to_rgb, to_uint8
from tfseg.classical.labels import relabel

# Pixels to fit a model on. More move its centers by less than the noise of a photograph.
SAMPLE_SIZE = 20_000
# k-means converges to a local optimum; keep the best of several runs.
ATTEMPTS = 5
PIXELS_AT_ONCE = 2**18


def kmeans(image, num_clusters: int = 4, position_weight: float = 0.0, seed: int = 0):
    """Cluster pixels by color with k-means, initialized by k-means++.

    Colors are compared in CIELAB, gray levels as they are; both are scaled so that black and white
    are 100 apart. For large images the centers are fitted on a random sample of the pixels
    (Arthur and Vassilvitskii 2007).

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `to_0_255`.
        num_clusters: number of clusters.
        position_weight: distance between the ends of the image's longer side, in color units. 0
            for color alone; near 100 position counts as much as color.
        seed: random seed for the sample and the initial centers.

    Returns:
        (H, W) int32 class ids from 0, in scan order.

    Raises:
        ValueError: the image is not valid, an argument is out of range, or the image has fewer
            distinct pixel values than clusters.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.array([[10, 12, 200], [11, 90, 210]], np.uint8)
        >>> tfseg.classical.kmeans(image, num_clusters=3).tolist()
        [[0, 0, 1], [0, 2, 1]]
    """
    position_weight = checks.at_least("kmeans", "position_weight", position_weight, 0)
    features, shape = _features("kmeans", image, position_weight)
    rng = np.random.default_rng(seed)
    sample = _sample("kmeans", features, num_clusters, rng)
    centers = _fit_centers(sample, int(num_clusters), rng)
    return _classify(features, lambda part: _nearest(part, centers), shape)


def gaussian_mixture(image, num_clusters: int = 4, use_position: bool = False, seed: int = 0):
    """Cluster pixels by color with a Gaussian mixture, fitted by EM.

    Colors are compared as in `kmeans`. Each cluster has its own full covariance, so it can be
    elongated, and a narrow cluster can sit inside a wide one. Needs scikit-learn (extra
    `classical`).

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `to_0_255`.
        num_clusters: number of clusters.
        use_position: whether to cluster by row and column as well. They need no weight: the
            covariance adapts to any scale.
        seed: random seed for the sample and the initial centers.

    Returns:
        (H, W) int32 class ids from 0, in scan order. A cluster that is nowhere the most probable
        one is missing.

    Raises:
        ValueError: the image is not valid, an argument is out of range, or the image has fewer
            distinct pixel values than clusters.
        ImportError: scikit-learn is not installed.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.array([[10, 12, 200, 205], [11, 14, 210, 202]], np.uint8)
        >>> tfseg.classical.gaussian_mixture(image, num_clusters=2).tolist()
        [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    mixture = checks.require_package("sklearn.mixture", "classical")
    checks.one_of("gaussian_mixture", "use_position", use_position, (False, True))
    features, shape = _features("gaussian_mixture", image, 100.0 * use_position)
    rng = np.random.default_rng(seed)
    sample = _sample("gaussian_mixture", features, num_clusters, rng)
    if len(sample) == 1:  # scikit-learn requires two samples
        return np.zeros(shape, np.int32)
    # Regularize: a cluster of one exact color, such as clipped white, would shrink to a point.
    model = mixture.GaussianMixture(int(num_clusters), reg_covar=0.1, random_state=seed)
    return _classify(features, model.fit(sample).predict, shape)


def mean_shift(image, spatial_radius: int = 5, color_radius: float = 15.0, min_pixels: int = 50):
    """Divide an image into regions of similar color by mean shift.

    `cv2.pyrMeanShiftFiltering` moves each pixel to a mode of position and color (Comaniciu and
    Meer, doi:10.1109/34.1000236). Adjacent pixels whose modes differ by at most a quarter of
    `color_radius` form a region; a small region joins the adjacent one with the nearest mean mode.
    Colors are compared in RGB, rounded to uint8.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `to_0_255`.
        spatial_radius: radius of the window in pixels; time grows with its square.
        color_radius: radius of the window in RGB space, in gray levels (0..255).
        min_pixels: size of the smallest region in pixels.

    Returns:
        (H, W) int32: 4-connected regions, numbered from 1 in scan order.

    Raises:
        ValueError: the image is not valid, or an argument is out of range.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.repeat(np.uint8([[20] * 10 + [90] * 10]), 10, axis=0)
        >>> tfseg.classical.mean_shift(image)[0, [0, 9, 10, 19]].tolist()
        [1, 1, 2, 2]
    """
    spatial_radius = checks.positive_int("mean_shift", "spatial_radius", spatial_radius)
    color_radius = checks.above_zero("mean_shift", "color_radius", color_radius)
    min_pixels = checks.positive_int("mean_shift", "min_pixels", min_pixels)
    image = to_uint8(to_rgb("mean_shift", image))
    # maxLevel=0: the image pyramid is slightly faster, but it blurs edges into ramps that connect
    # the regions on both sides.
    modes = cv2.pyrMeanShiftFiltering(image, spatial_radius, color_radius, maxLevel=0)
    modes = modes.astype(np.float32)
    limit = color_radius / 4
    right = np.linalg.norm(np.diff(modes, axis=1), axis=-1) <= limit
    below = np.linalg.norm(np.diff(modes, axis=0), axis=-1) <= limit
    return _merge_small(modes, linked_regions(right, below), min_pixels)


def to_lab(owner: str, image):
    """Convert an image to CIELAB, or scale its gray levels to 0..100.

    Returns:
        (H, W, 3) CIELAB or (H, W, 1) gray levels, float32. Black and white are 100 apart in both.
    """
    fractions = np.ascontiguousarray(to_0_255(owner, image), np.float32) / 255
    if fractions.ndim == 2:
        return 100 * fractions[..., None]
    return cv2.cvtColor(fractions, cv2.COLOR_RGB2LAB)


def linked_regions(right, below):
    """Number the regions of pixels that are connected by links.

    Args:
        right: (H, W - 1) bool, whether each pixel is linked to its right neighbor.
        below: (H - 1, W) bool, whether each pixel is linked to the one below.

    Returns:
        (H, W) int32: regions numbered from 1 in scan order.
    """
    height, width = right.shape[0], below.shape[1]
    # Draw pixels at even coordinates and links between them, then label connected components.
    # Two rows of two pixels, linked at the top and on the left:  1 1 1
    #                                                             1 0 0
    #                                                             1 0 1
    grid = np.zeros((2 * height - 1, 2 * width - 1), np.uint8)
    grid[::2, ::2] = 1
    grid[::2, 1::2] = right
    grid[1::2, ::2] = below
    _, numbers = cv2.connectedComponents(grid, connectivity=4, ltype=cv2.CV_32S)
    return relabel(numbers[::2, ::2])


def region_means(values, labels):
    """Return the pixel count (N + 1,) and the mean (N + 1, C) of each region of (H, W, C) values.

    The mean of a number that does not occur is 0.
    """
    numbers = labels.ravel()
    pixels = np.bincount(numbers)
    totals = [np.bincount(numbers, channel.ravel()) for channel in np.moveaxis(values, -1, 0)]
    return pixels, np.stack(totals, axis=-1) / np.maximum(pixels, 1)[:, None]


def adjacent_pairs(labels):
    """Return (E, 2) labels of all horizontally or vertically adjacent pixels that differ."""
    horizontal = np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], axis=-1)
    vertical = np.stack([labels[:-1].ravel(), labels[1:].ravel()], axis=-1)
    pairs = np.concatenate([horizontal, vertical])
    return pairs[pairs[:, 0] != pairs[:, 1]]


def _merge_small(values, labels, min_pixels):
    """Merge all regions below `min_pixels` into the nearest adjacent ones, until none is left."""
    while labels.max() > 1:
        pixels, means = region_means(values, labels)
        pairs = adjacent_pairs(labels)
        pairs = np.concatenate([pairs, pairs[:, ::-1]])
        pairs = pairs[pixels[pairs[:, 0]] < min_pixels]
        if not len(pairs):
            break
        distances = np.linalg.norm(means[pairs[:, 0]] - means[pairs[:, 1]], axis=-1)
        pairs = pairs[np.argsort(-distances, kind="stable")]
        target = np.arange(len(pixels))
        # For repeated indices NumPy keeps the last assignment: the nearest region.
        target[pairs[:, 0]] = pairs[:, 1]
        right = _same_target(labels[:, :-1], labels[:, 1:], target)
        below = _same_target(labels[:-1], labels[1:], target)
        labels = linked_regions(right, below)
    return labels


def _same_target(first, second, target):
    return (first == second) | (target[first] == second) | (target[second] == first)


def _features(owner, image, position_weight):
    """Return (H * W, C) float32 features, colors and weighted positions if any, and (H, W)."""
    values = to_lab(owner, image)
    height, width = values.shape[:2]
    if position_weight:
        positions = np.moveaxis(np.indices((height, width), np.float32), 0, -1)
        scale = np.float32(position_weight / max(height - 1, width - 1, 1))
        values = np.concatenate([values, positions * scale], axis=-1)
    return values.reshape(height * width, -1), (height, width)


def _sample(owner, features, num_clusters, rng):
    """Draw pixels to fit on; return all if the sample has fewer distinct values than clusters."""
    num_clusters = checks.positive_int(owner, "num_clusters", num_clusters)
    if len(features) > SAMPLE_SIZE:
        sample = features[rng.choice(len(features), SAMPLE_SIZE, replace=False)]
        if len(np.unique(sample, axis=0)) >= num_clusters:
            return sample
    distinct = len(np.unique(features, axis=0))
    if distinct < num_clusters:
        raise ValueError(
            f"{owner}: num_clusters={num_clusters}, but the image has only {distinct} distinct "
            f"pixel values. Pass num_clusters={distinct} or fewer."
        )
    return features


def _fit_centers(sample, num_clusters, rng):
    """Return (K, D) centers: the best of several runs of k-means."""
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 0.01)
    runs = []
    for _ in range(ATTEMPTS):
        # Pass initial labels: OpenCV would draw its own from the global random state.
        labels = _nearest(sample, _initial_centers(sample, num_clusters, rng)).astype(np.int32)
        points = sample[:, None]  # OpenCV reads a single row of D columns as D points
        flags = cv2.KMEANS_USE_INITIAL_LABELS
        runs.append(cv2.kmeans(points, num_clusters, labels, criteria, 1, flags))
    return min(runs, key=lambda run: run[0])[2].reshape(num_clusters, -1)


def _initial_centers(sample, num_clusters, rng):
    """Draw k-means++ centers, with probabilities proportional to the squared distances."""
    centers = [sample[rng.integers(len(sample))]]
    distances = np.inf
    while len(centers) < num_clusters:
        latest = np.square(sample - centers[-1], dtype=np.float64).sum(axis=1)
        distances = np.minimum(distances, latest)
        centers.append(sample[rng.choice(len(sample), p=distances / distances.sum())])
    return np.array(centers)


def _nearest(points, centers):
    """Return (N,) the index of the center nearest to each point; on ties the first."""
    return np.argmin([np.square(points - center).sum(axis=1) for center in centers], axis=0)


def _classify(features, predict, shape):
    """Predict the classes of all pixels, in chunks, and number them in scan order."""
    chunks = np.array_split(features, len(features) // PIXELS_AT_ONCE + 1)
    class_ids = np.concatenate([predict(chunk) for chunk in chunks])
    return relabel(class_ids.reshape(shape), background=None)
