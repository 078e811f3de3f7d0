"""Refine the predictions of a network without training.

`crf` and `guided_filter` follow the edges of the image. They take logits and return logits, so
they can be chained. `absorb_small` takes class ids. `fill_holes`, `remove_small` and
`split_touching` are those of `tfseg.classical`, for objects.
"""

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import to_0_255
from tfseg.classical.labels import connected_components
from tfseg.classical.regions import fill_holes, remove_small
from tfseg.classical.watershed import split_touching
from tfseg.inference.crf import mean_field, softmax

__all__ = ["absorb_small", "crf", "fill_holes", "guided_filter", "remove_small", "split_touching"]

MAX_CHANNELS = 128  # limit of cv2.boxFilter
MIN_PROBABILITY = 1e-6  # lower results are raised to it before taking the logarithm


def crf(
    logits,
    image,
    iterations: int = 5,
    smoothness_weight: float = 3.0,
    smoothness_std: float = 3.0,
    bilateral_weight: float = 4.0,
    position_std: float = 60.0,
    color_std: float = 10.0,
):
    """Align class borders with image edges, by a fully connected conditional random field (CRF).

    Krähenbühl and Koltun 2011 (arXiv:1210.5644), with the Potts model and symmetric normalization;
    the results equal those of pydensecrf2. The default parameters are strong: they suit coarse
    predictions, but remove thin structures that a good network has found. Use `compare` to check
    whether they help.

    Args:
        logits: (H, W, C) of `predict_logits`; a single channel is a sigmoid.
        image: (H, W), (H, W, 1) or (H, W, 3), the predicted image.
        iterations: number of mean-field iterations.
        smoothness_weight, smoothness_std: weight of the kernel over positions, and its standard
            deviation in pixels. A weight of 0 disables the kernel.
        bilateral_weight, position_std, color_std: weight of the kernel over positions and colors,
            and its standard deviations in pixels and in gray levels (0..255). A weight of 0
            disables the kernel.

    Returns:
        (H, W, C) float32 logits.

    Raises:
        ValueError: the shapes do not match, the logits are probabilities or not finite, or a
            parameter is out of range.
        ImportError: SciPy is not installed; the message names the extra `classical`.

    Example:
        >>> import numpy as np
        >>> from tfseg.inference import refine
        >>> image = np.full((8, 8, 3), 50, np.uint8)
        >>> image[:, 4:] = 200
        >>> logits = np.where(image[..., :1] == 50, 1.0, -1.0)
        >>> logits[3, 3] = -1  # a wrong pixel
        >>> bool(refine.crf(logits, image)[3, 3, 0] > 0)
        True
    """
    image = _check_inputs("crf", logits, image)
    checks.positive_int("crf", "iterations", iterations)
    checks.at_least("crf", "smoothness_weight", smoothness_weight, 0)
    checks.at_least("crf", "bilateral_weight", bilateral_weight, 0)
    checks.above_zero("crf", "smoothness_std", smoothness_std)
    checks.above_zero("crf", "position_std", position_std)
    checks.above_zero("crf", "color_std", color_std)
    if smoothness_weight == bilateral_weight == 0:
        raise ValueError(
            "crf: smoothness_weight and bilateral_weight are both 0, so there is nothing to do. "
            "Set one of them above 0."
        )

    def refined(two_or_more):
        return mean_field(
            two_or_more,
            image,
            iterations,
            smoothness_weight,
            smoothness_std,
            bilateral_weight,
            position_std,
            color_std,
        )

    return _apply_to_classes(logits, refined)


def guided_filter(logits, image, radius: int = 4, epsilon: float = 0.01):
    """Smooth class probabilities within windows, but not across image edges.

    He, Sun and Tang 2010 (doi:10.1109/TPAMI.2012.213): in each window the probabilities are
    approximated by a linear function of the image's colors. Each pixel gets the mean of the
    functions of all windows that contain it.

    Args:
        logits: (H, W, C) of `predict_logits`; a single channel is a sigmoid.
        image: (H, W), (H, W, 1) or (H, W, 3), the predicted image.
        radius: windows are 2 * radius + 1 pixels wide.
        epsilon: variance of colors scaled to 0..1; windows with less variance are averaged.

    Returns:
        (H, W, C) float32 logits.

    Raises:
        ValueError: the shapes do not match, the logits are probabilities or not finite, or a
            parameter is out of range.

    Example:
        >>> import numpy as np
        >>> from tfseg.inference import refine
        >>> image = np.full((8, 8, 3), 50, np.uint8)
        >>> image[:, 4:] = 200
        >>> logits = np.where(image[..., :1] == 50, 1.0, -1.0)
        >>> logits[3, 3] = -1  # a wrong pixel
        >>> bool(refine.guided_filter(logits, image)[3, 3, 0] > 0)
        True
    """
    image = _check_inputs("guided_filter", logits, image)
    checks.positive_int("guided_filter", "radius", radius)
    checks.above_zero("guided_filter", "epsilon", epsilon)
    guide = image.reshape(*image.shape[:2], -1).astype(np.float32) / 255

    def refined(two_or_more):
        rows = two_or_more.reshape(-1, two_or_more.shape[-1])
        probabilities = softmax(rows).reshape(two_or_more.shape)
        filtered = _guided_filter(probabilities, guide, radius, epsilon)
        return np.log(np.maximum(filtered, MIN_PROBABILITY))

    return _apply_to_classes(logits, refined)


def absorb_small(class_ids, min_pixels: int = 50, connectivity: int = 4):
    """Replace each small region by the class of most pixels along its border.

    Pixels of other small regions do not count. A region surrounded only by small regions is
    replaced after one of them has been. If all regions are small, nothing changes.

    Args:
        class_ids: (H, W) integers.
        min_pixels: regions with fewer pixels are replaced.
        connectivity: 4 or 8 neighbors that connect a region.

    Returns:
        (H, W) class ids of the same dtype.

    Raises:
        ValueError: `class_ids` are not integers of shape (H, W), or a parameter is out of range.

    Example:
        >>> import numpy as np
        >>> from tfseg.inference import refine
        >>> refine.absorb_small(np.array([[0, 0, 0, 2], [0, 0, 1, 1]]), min_pixels=2).tolist()
        [[0, 0, 0, 0], [0, 0, 1, 1]]
    """
    class_ids = np.asarray(class_ids)
    checks.positive_int("absorb_small", "min_pixels", min_pixels)
    if class_ids.ndim != 2 or not class_ids.size or class_ids.dtype.kind not in "ui":
        raise ValueError(
            f"absorb_small: got class ids of shape {class_ids.shape} and dtype {class_ids.dtype}, "
            "expected (H, W) integers. Pass the result of `predict`."
        )
    values, ids = np.unique(class_ids, return_inverse=True)
    ids = ids.reshape(class_ids.shape)
    changed = True
    while changed:
        regions = connected_components(ids + 1, connectivity) - 1
        small = np.bincount(regions.ravel()) < min_pixels
        votes = _count_border_classes(regions, ids, small, len(values))
        replaceable = votes.any(1)
        changed = replaceable.any()
        ids = np.where(replaceable[regions], votes.argmax(1)[regions], ids)
    return values[ids]


def _check_inputs(owner, logits, image):
    """Return the image in 0..255; raise a ValueError if it does not fit the logits."""
    image = to_0_255(owner, image)
    if np.ndim(logits) != 3 or np.shape(logits)[:2] != image.shape[:2]:
        raise ValueError(
            f"{owner}: got logits of shape {np.shape(logits)} and an image of size "
            f"{image.shape[:2]}, expected (H, W, C) logits of the same size. Pass the result of "
            "`predict_logits`."
        )
    if not np.isfinite(logits).all():
        raise ValueError(
            f"{owner}: the logits contain values that are not finite. Convert probabilities by "
            "np.log(np.maximum(p, 1e-6)); if the model outputs such values, its training diverged."
        )
    _refuse_probabilities(owner, np.asarray(logits))
    return image


def _refuse_probabilities(owner, logits):
    # a single channel in [0, 1] may be logits or probabilities
    if logits.shape[-1] > 1 and logits.min() >= 0 and np.allclose(logits.sum(-1), 1, atol=1e-3):
        raise ValueError(
            f"{owner}: got probabilities (not negative, sum 1), expected logits. Pass the result "
            "of `predict_logits`, or np.log(np.maximum(p, 1e-6))."
        )


def _apply_to_classes(logits, function):
    """Apply a function of logits with two or more classes; extend a single sigmoid channel to two.

    sigmoid(x) = softmax(0, x)[1], and the logit of the result is the difference of its channels.
    """
    logits = np.ascontiguousarray(logits, np.float32)
    if logits.shape[-1] > 1:
        return function(logits)
    result = function(np.concatenate([np.zeros_like(logits), logits], -1))
    return result[..., 1:] - result[..., :1]


def _guided_filter(values, guide, radius, epsilon):
    """Filter (H, W, K) values with an (H, W, C) guide in 0..1.

    Per window: values = slope * guide + offset, with slope = covariance / (variance + epsilon).
    With several guide channels the variance is a C x C matrix.
    """
    height, width, num_classes = values.shape
    channels = guide.shape[-1]
    size = (2 * radius + 1, 2 * radius + 1)
    area = _box_sum(np.ones((height, width, 1), np.float32), size)

    def mean(x):  # over the pixels of a window that are inside the image
        return _box_sum(x, size) / area

    mean_guide, mean_values = mean(guide), mean(values)
    squares = mean((guide[..., :, None] * guide[..., None, :]).reshape(height, width, -1))
    squares = squares.reshape(height, width, channels, channels)
    variance = squares - mean_guide[..., None] * mean_guide[..., None, :]
    products = np.stack([mean(guide[..., i : i + 1] * values) for i in range(channels)], -2)
    covariance = products - mean_guide[..., None] * mean_values[..., None, :]
    regularization = np.float32(epsilon) * np.eye(channels, dtype=np.float32)
    slope = np.linalg.solve(variance + regularization, covariance)
    offset = mean_values - np.einsum("hwck,hwc->hwk", slope, mean_guide)
    slope = mean(slope.reshape(height, width, -1)).reshape(height, width, channels, num_classes)
    return np.einsum("hwck,hwc->hwk", slope, guide) + mean(offset)


def _box_sum(x, size):
    """Return the sums over windows around each pixel: (H, W, K) -> (H, W, K)."""
    sums = []
    for start in range(0, x.shape[-1], MAX_CHANNELS):
        part = np.ascontiguousarray(x[..., start : start + MAX_CHANNELS])
        sums.append(
            cv2.boxFilter(part, cv2.CV_32F, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
        )
    return np.dstack(sums)


def _count_border_classes(regions, ids, small, num_classes):
    """Count the classes along the border of each small region.

    Example: in [[0, 0], [5, 5]] with only the region of 0 small, two steps lead from it to class 5.

    Args:
        regions: (H, W) numbers of the R regions, from 0.
        ids: (H, W) class ids.
        small: (R,) bool.
        num_classes: number of classes.

    Returns:
        (R, num_classes) int: steps from a pixel of the region to a neighbor in a larger region.
    """
    votes = np.zeros(len(small) * num_classes, int)
    left, right = np.s_[:, :-1], np.s_[:, 1:]
    top, bottom = np.s_[:-1], np.s_[1:]
    for inside, outside in ((right, left), (left, right), (bottom, top), (top, bottom)):
        border = small[regions[inside]] & ~small[regions[outside]]
        pairs = regions[inside][border] * num_classes + ids[outside][border]
        votes += np.bincount(pairs, minlength=len(votes))
    return votes.reshape(len(small), num_classes)
