"""Better masks out of a network's answers, without training: by the edges of the image, by area, by shape.

`crf` and `guided_filter` take logits and give logits, so that they follow each other; `absorb_small` takes class ids.
`fill_holes`, `remove_small` and `split_touching` are those of `tfseg.classical`, for objects.
"""

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import levels
from tfseg.classical.labels import connected_components
from tfseg.classical.regions import fill_holes, remove_small
from tfseg.classical.watershed import split_touching
from tfseg.inference.crf import mean_field, softmax

__all__ = ["absorb_small", "crf", "fill_holes", "guided_filter", "remove_small", "split_touching"]

CHANNELS = 128  # that OpenCV filters at once
_LEAST = 1e-6  # share of a class: what a filter takes to 0 or below would have no logarithm


def crf(logits, image, iterations=5, smooth=3.0, near=3.0, bilateral=4.0, far=60.0, color=10.0):
    """Draw the borders of classes to the edges of the image, by a fully connected conditional random field.

    Krähenbühl and Koltun 2011 (arXiv:1210.5644), with Potts' model and symmetrically normalized kernels: the answers
    are those of the package pydensecrf2. The default parameters are strong: they suit coarse scores, but take
    thin things away that a good network has found. `compare` tells.

    Args:
        logits: (H, W, C) of `predict_logits`; a single channel is a sigmoid.
        image: (H, W), (H, W, 1) or (H, W, 3): the image, of the same size.
        iterations: of the mean field, at least 1.
        smooth, near: weight of the kernel of places, and its standard deviation in pixels; a weight of 0 leaves it out.
        bilateral, far, color: weight of the kernel of places and colors, and its standard deviations in pixels and
            in gray levels of 0..255; a weight of 0 leaves it out.

    Returns:
        (H, W, C) float32 logits.

    Raises:
        ValueError: shapes that do not fit, probabilities, values that are not finite, or a parameter out of range.
        ImportError: SciPy is not installed; the message names the extra `classical`.
    """
    image = _picture("crf", logits, image)
    checks.positive_int("crf", "iterations", iterations)
    for name, value in {"smooth": smooth, "bilateral": bilateral}.items():
        checks.at_least("crf", name, value, 0)
    for name, value in {"near": near, "far": far, "color": color}.items():
        checks.above_zero("crf", name, value)
    if smooth == bilateral == 0:
        raise ValueError(
            "crf: smooth and bilateral are both 0, which leaves nothing to do. Raise one of them."
        )
    return _by_classes(
        logits, lambda x: mean_field(x, image, iterations, smooth, near, bilateral, far, color)
    )


def guided_filter(logits, image, radius=4, epsilon=0.01):
    """Smooth the shares of classes within windows, but along the edges of the image.

    In each window shares are taken for a linear function of the image's colors, and each pixel gets the mean of the
    functions of its windows: He, Sun and Tang 2010 (doi:10.1109/TPAMI.2012.213).

    Args:
        logits: (H, W, C) of `predict_logits`; a single channel is a sigmoid.
        image: (H, W), (H, W, 1) or (H, W, 3): the image, of the same size.
        radius: windows are 2 * radius + 1 pixels wide.
        epsilon: variance, of colors from 0 to 1, below which a window counts as flat and is averaged.

    Returns:
        (H, W, C) float32 logits.

    Raises:
        ValueError: shapes that do not fit, probabilities, values that are not finite, or a parameter out of range.
    """
    image = _picture("guided_filter", logits, image)
    checks.positive_int("guided_filter", "radius", radius)
    checks.above_zero("guided_filter", "epsilon", epsilon)
    guide = image.reshape(*image.shape[:2], -1).astype(np.float32) / 255

    def filtered(scores):
        shares = softmax(scores.reshape(-1, scores.shape[-1])).reshape(scores.shape)
        return np.log(np.maximum(_guided(shares, guide, radius, epsilon), _LEAST))

    return _by_classes(logits, filtered)


def absorb_small(class_ids, min_area=50, connectivity=4):
    """Give each small piece of a class to the class that most of the pixels around it have.

    Pixels of other small pieces do not count. Where a piece lies among small ones only, it waits until one of them has
    changed; in an image of small pieces only none changes.

    Args:
        class_ids: (H, W) integers.
        min_area: pixels; smaller pieces change.
        connectivity: 4 or 8 neighbors, of pieces.

    Returns:
        (H, W) class ids of the same dtype.

    Raises:
        ValueError: no such array, or a parameter out of range.
    """
    class_ids = np.asarray(class_ids)
    checks.positive_int("absorb_small", "min_area", min_area)
    if class_ids.ndim != 2 or not class_ids.size or class_ids.dtype.kind not in "ui":
        raise ValueError(
            f"absorb_small: class ids of shape {class_ids.shape} and dtype {class_ids.dtype} came, expected integers "
            "(H, W), such as those of `predict`."
        )
    values, ids = np.unique(class_ids, return_inverse=True)
    ids, changed = ids.reshape(class_ids.shape), True
    while changed:
        pieces = connected_components(ids + 1, connectivity) - 1
        small = np.bincount(pieces.ravel()) < min_area
        votes = _votes(pieces, ids, small, len(values))
        yielding = votes.any(1)
        changed = yielding.any()
        ids = np.where(yielding[pieces], votes.argmax(1)[pieces], ids)
    return values[ids]


def _picture(owner, logits, image):
    image = levels(owner, image)
    if np.ndim(logits) != 3 or np.shape(logits)[:2] != image.shape[:2]:
        raise ValueError(
            f"{owner}: logits of shape {np.shape(logits)} came with an image {image.shape[:2]}, expected (H, W, C) of "
            "the same height and width, such as those of `predict_logits`."
        )
    if not np.isfinite(logits).all():
        raise ValueError(
            f"{owner}: the logits hold values that are not finite. Of probabilities take np.log(np.maximum(p, 1e-6)); "
            "a model that gives such was not trained well."
        )
    _require_no_shares(owner, np.asarray(logits))
    return image


def _require_no_shares(owner, logits):
    # of a single channel nobody can tell
    if logits.shape[-1] > 1 and logits.min() >= 0 and np.allclose(logits.sum(-1), 1, atol=1e-3):
        raise ValueError(
            f"{owner}: probabilities came, which are 0 or more and add up to 1. Pass logits: those of "
            "`predict_logits`, or np.log(np.maximum(p, 1e-6))."
        )


def _by_classes(logits, function):
    """Apply a function of logits with one channel a class, also where a single channel is a sigmoid."""
    logits = np.ascontiguousarray(logits, np.float32)
    if logits.shape[-1] > 1:
        return function(logits)
    two = function(np.concatenate([np.zeros_like(logits), logits], -1))
    return two[..., 1:] - two[..., :1]


def _guided(values, guide, radius, epsilon):
    """(H, W, K) values and (H, W, C) guide -> (H, W, K)."""
    height, width, classes = values.shape
    channels, size = guide.shape[-1], (2 * radius + 1, 2 * radius + 1)

    def total(x):
        parts = (
            np.ascontiguousarray(x[..., i : i + CHANNELS]) for i in range(0, x.shape[-1], CHANNELS)
        )
        sums = [
            cv2.boxFilter(part, cv2.CV_32F, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
            for part in parts
        ]
        return np.dstack(sums)

    area = total(np.ones((height, width, 1), np.float32))

    def mean(x):  # over a window, or what of it lies in the image
        return total(x) / area

    mean_guide, mean_values = mean(guide), mean(values)
    squares = mean((guide[..., :, None] * guide[..., None, :]).reshape(height, width, -1))
    variance = (
        squares.reshape(height, width, channels, channels)
        - mean_guide[..., None] * mean_guide[..., None, :]
    )
    products = np.stack([mean(guide[..., i : i + 1] * values) for i in range(channels)], -2)
    covariance = products - mean_guide[..., None] * mean_values[..., None, :]
    slope = np.linalg.solve(
        variance + np.float32(epsilon) * np.eye(channels, dtype=np.float32), covariance
    )
    offset = mean_values - np.einsum("hwck,hwc->hwk", slope, mean_guide)
    slope = mean(slope.reshape(height, width, -1)).reshape(height, width, channels, classes)
    return np.einsum("hwck,hwc->hwk", slope, guide) + mean(offset)


def _votes(pieces, ids, small, classes):
    """(P, classes): how many steps lead from a pixel of each small piece to one of each class in a larger piece."""
    votes = np.zeros(len(small) * classes, int)
    for here, there in (np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1]):
        for inside, outside in (here, there), (there, here):
            border = small[pieces[inside]] & ~small[pieces[outside]]
            votes += np.bincount(
                pieces[inside][border] * classes + ids[outside][border], minlength=len(votes)
            )
    return votes.reshape(len(small), classes)
