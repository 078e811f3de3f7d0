"""Pixels grouped by color and place: k-means, Gaussian mixtures, mean shift."""

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import as_bytes, levels, rgb
from tfseg.classical.labels import in_scan_order

SAMPLE = 20_000  # pixels that a model is fitted on: more move its centers by less than the noise of a photograph
ATTEMPTS = 5  # k-means ends in a local optimum; the best of so many is kept


def kmeans(image, clusters=4, position=0.0, seed=0):
    """Sort pixels into classes of like color by k-means, begun by k-means++ (Arthur and Vassilvitskii 2007).

    Colors are compared in CIELAB, gray levels as they are, scaled so that black and white are 100 apart in either.
    The centers are fitted on a random sample of the pixels of a large image.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `levels`.
        clusters: number of classes.
        position: weight of the place: how far apart the ends of the image's longer side are, in units of color.
            0 for color alone; near 100 the place counts as much as the color.
        seed: fixes sample and first centers.

    Returns:
        (H, W) int32 class ids from 0, in the order of their first pixels line by line.

    Raises:
        ValueError: no such image, a number out of range, or more clusters than different pixels.
    """
    position = checks.at_least("kmeans", "position", position, 0)
    features, shape = _features("kmeans", image, position)
    rng = np.random.default_rng(seed)
    sample = _sample("kmeans", features, clusters, rng)
    centers = _centers(sample, int(clusters), rng)
    return _sorted_pixels(features, lambda part: _nearest(part, centers), shape)


def gaussian_mixture(image, clusters=4, position=False, seed=0):
    """Sort pixels into the most probable of several normal distributions of color, fitted by EM.

    Colors as in `kmeans`. Each class has its own full covariance, so it may be long in one direction, and it may
    lie within a wider one. Needs scikit-learn, the extra `classical`.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `levels`.
        clusters: number of classes.
        position: whether row and column count as well. They have no weight: a covariance makes up for any scale.
        seed: fixes the sample of pixels and the first centers, those of k-means.

    Returns:
        (H, W) int32 class ids from 0, in the order of their first pixels line by line. A class that is nowhere the
        most probable one is absent.

    Raises:
        ValueError: no such image, a number out of range, or more clusters than different pixels.
        ImportError: no scikit-learn.
    """
    mixture = checks.require_package("sklearn.mixture", "classical")
    checks.one_of("gaussian_mixture", "position", position, (False, True))
    features, shape = _features("gaussian_mixture", image, 100.0 * position)
    sample = _sample("gaussian_mixture", features, clusters, np.random.default_rng(seed))
    if len(sample) == 1:  # scikit-learn wants two
        return np.zeros(shape, np.int32)
    # Without this floor a class of one exact color, such as clipped white, would shrink to a point.
    model = mixture.GaussianMixture(int(clusters), reg_covar=0.1, random_state=seed).fit(sample)
    return _sorted_pixels(features, model.predict, shape)


def mean_shift(image, space=5, color=15.0, min_size=50):
    """Divide an image into regions of like color by mean shift (Comaniciu and Meer, doi:10.1109/34.1000236).

    `cv2.pyrMeanShiftFiltering` moves every pixel to a mode of place and color; neighbors whose modes differ by at
    most a quarter of `color` are one region; one that is too small joins its neighbor of nearest mean mode. Colors
    are compared in RGB, rounded to bytes; gray counts as RGB of three equal values.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `levels`.
        space: radius of the window in pixels, a whole number; time grows with its square.
        color: radius of the window in RGB, a distance in levels of 0..255.
        min_size: pixels that a region has at least, unless the image has fewer.

    Returns:
        (H, W) int32: regions 1 to N in scan order, each one piece by 4 neighbors.

    Raises:
        ValueError: no such image, or a number out of range.
    """
    space = checks.positive_int("mean_shift", "space", space)
    color = checks.above_zero("mean_shift", "color", color)
    min_size = checks.positive_int("mean_shift", "min_size", min_size)
    picture = as_bytes(rgb("mean_shift", image))
    # Without its pyramid, which is a little faster and blurs edges into ramps that link what they part.
    modes = cv2.pyrMeanShiftFiltering(picture, space, color, maxLevel=0).astype(np.float32)
    across, down = (
        np.linalg.norm(np.diff(modes, axis=axis), axis=-1) <= color / 4 for axis in (1, 0)
    )
    return _without_specks(modes, linked_regions(across, down), min_size)


def colors(owner, image):
    """Return what distances of color are taken in: (H, W, 1) gray levels of 0..100 or (H, W, 3) CIELAB, float32."""
    share = np.ascontiguousarray(levels(owner, image), np.float32) / 255
    return 100 * share[..., None] if share.ndim == 2 else cv2.cvtColor(share, cv2.COLOR_RGB2LAB)


def linked_regions(across, down):
    """Number the regions of pixels that hang together by links.

    Args:
        across: (H, W - 1) bool, which pixels are linked with their right neighbor.
        down: (H - 1, W) bool, which with the one below.

    Returns:
        (H, W) int32: regions 1 to N in scan order.
    """
    height, width = across.shape[0], down.shape[1]
    grid = np.zeros(
        (2 * height - 1, 2 * width - 1), np.uint8
    )  # pixels, with the links drawn between them
    grid[::2, ::2] = 1
    grid[::2, 1::2] = across
    grid[1::2, ::2] = down
    _, numbers = cv2.connectedComponents(grid, connectivity=4, ltype=cv2.CV_32S)
    return in_scan_order(numbers[::2, ::2])


def region_means(values, labels):
    """Return pixels (N + 1,) and means (N + 1, C) of the regions 0 to N of (H, W, C) values; 0 for one of no pixel."""
    numbers = labels.ravel()
    pixels = np.bincount(numbers)
    totals = [np.bincount(numbers, channel.ravel()) for channel in np.moveaxis(values, -1, 0)]
    return pixels, np.stack(totals, axis=-1) / np.maximum(pixels, 1)[:, None]


def neighbors(labels):
    """Return (E, 2) the numbers of pixels side by side or one above the other that differ."""
    beside = np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], axis=-1)
    above = np.stack([labels[:-1].ravel(), labels[1:].ravel()], axis=-1)
    pairs = np.concatenate([beside, above])
    return pairs[pairs[:, 0] != pairs[:, 1]]


def _without_specks(values, labels, least):
    """Join regions of fewer than `least` pixels, all at once, to their neighbors until there are none."""
    while labels.max() > 1:
        pixels, means = region_means(values, labels)
        pairs = neighbors(labels)
        pairs = np.concatenate([pairs, pairs[:, ::-1]])
        pairs = pairs[pixels[pairs[:, 0]] < least]
        if not len(pairs):
            break
        distances = np.linalg.norm(means[pairs[:, 0]] - means[pairs[:, 1]], axis=-1)
        pairs = pairs[np.argsort(-distances, kind="stable")]
        goal = np.arange(len(pixels))
        goal[pairs[:, 0]] = pairs[:, 1]  # of several the last is kept: the nearest
        across = _one_goal(labels[:, :-1], labels[:, 1:], goal)
        labels = linked_regions(across, _one_goal(labels[:-1], labels[1:], goal))
    return labels


def _one_goal(one, other, goal):
    return (one == other) | (goal[one] == other) | (goal[other] == one)


def _features(owner, image, position):
    """Return (H * W, C) float32 colors, followed by row and column if they weigh anything, and (H, W)."""
    values = colors(owner, image)
    height, width = values.shape[:2]
    if position:
        places = np.moveaxis(np.indices((height, width), np.float32), 0, -1)
        values = np.concatenate(
            [values, places * np.float32(position / max(height - 1, width - 1, 1))], axis=-1
        )
    return values.reshape(height * width, -1), (height, width)


def _sample(owner, features, clusters, rng):
    """Draw the pixels to fit on; all of them if the draw has fewer different ones than there are to be clusters."""
    clusters = checks.positive_int(owner, "clusters", clusters)
    few = features
    if len(features) > SAMPLE:
        few = features[rng.choice(len(features), SAMPLE, replace=False)]
        if len(np.unique(few, axis=0)) >= clusters:
            return few
    different = len(np.unique(features, axis=0))
    if different < clusters:
        raise ValueError(
            f"{owner}: clusters={clusters}, but the pixels of the image take only {different} different values. "
            f"Pass clusters={different} or fewer."
        )
    return features


def _centers(sample, clusters, rng):
    """Return (K, D) centers: the best of several k-means."""
    limits = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 0.01)
    tries = []
    for _ in range(ATTEMPTS):
        # OpenCV's own first labels would come from its global random state.
        first = _nearest(sample, _spread(sample, clusters, rng)).astype(np.int32)
        points = sample[:, None]  # OpenCV takes one row of D columns for D points
        tries.append(cv2.kmeans(points, clusters, first, limits, 1, cv2.KMEANS_USE_INITIAL_LABELS))
    return min(tries, key=lambda result: result[0])[2].reshape(clusters, -1)


def _spread(sample, clusters, rng):
    """Draw first centers by k-means++: each with a chance that grows with its squared distance to the others."""
    centers = [sample[rng.integers(len(sample))]]
    distances = np.inf
    while len(centers) < clusters:
        distances = np.minimum(
            distances, np.square(sample - centers[-1], dtype=np.float64).sum(axis=1)
        )
        centers.append(sample[rng.choice(len(sample), p=distances / distances.sum())])
    return np.array(centers)


def _nearest(points, centers):
    """Return (N,) the center nearest to each point; of several the first."""
    return np.argmin([np.square(points - center).sum(axis=1) for center in centers], axis=0)


def _sorted_pixels(features, classes, shape):
    """Apply `classes` to the pixels, some at a time to spare memory, and number what comes in scan order."""
    parts = np.array_split(features, len(features) // 2**18 + 1)
    return in_scan_order(
        np.concatenate([classes(part) for part in parts]).reshape(shape), background=None
    )
