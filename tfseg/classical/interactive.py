"""Segmentation that a person guides: by a box around the object, or by scribbles drawn on the classes.

Scribbles are a mask (H, W) of class ids like any other: 255 where nothing was drawn.
"""

import math

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import as_bytes, levels, rgb

# Two kilobytes a pixel are needed to solve for them all at once.
MOST_PIXELS_TO_WALK = 2**21


def grabcut(image, box=None, scribbles=None, iterations=5, seed=0):
    """Cut an object out of its background (GrabCut: Rother, Kolmogorov and Blake 2004, as OpenCV implements it).

    Pixels outside the box and under scribbles of class 0 are background for certain, those under scribbles of class 1
    object. The rest begins as object inside a box; without one, as the class whose scribbles have the nearest color.
    A box and a few scribbles on what it got wrong do best.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `levels`; rounded to bytes.
        box: x_min, y_min, x_max, y_max around the object in pixels, the image reaching from 0 to its width and
            height; a pixel is inside if its center is.
        scribbles: (H, W) integers: 0 background, 1 object, 255 not drawn on. They overrule the box; without one both
            classes must be drawn.
        iterations: how often color models and cut are improved.
        seed: of OpenCV's random numbers, which the color models begin with; the thread's generator is left so.

    Returns:
        (H, W) int32: 1 on the object, 0 elsewhere.

    Raises:
        ValueError: neither box nor scribbles; no pixel left for the object or for the background; scribbles of one class
            without a box, of other classes, of another shape or on every pixel; a box outside of the image.
        ImportError: scribbles came without a box and SciPy is not installed.
    """
    colors = as_bytes(rgb("grabcut", image))
    count = checks.positive_int("grabcut", "iterations", iterations)
    if box is None and scribbles is None:
        raise ValueError(
            "grabcut: neither a box nor scribbles came. Pass box=(x_min, y_min, x_max, y_max) around the object, or "
            "scribbles=(H, W) with 0 on background, 1 on the object and 255 elsewhere."
        )
    shape = colors.shape[:2]
    scribbles = np.full(shape, checks.IGNORE_INDEX) if scribbles is None else scribbles
    scribbles = checked_scribbles("grabcut", scribbles, shape, classes=2)
    cv2.setRNGSeed(seed)
    state = _by_scribbles(colors, scribbles) if box is None else _by_box(box, scribbles)
    _require_undecided("grabcut", scribbles)
    cv2.grabCut(colors, state, None, None, None, count, cv2.GC_INIT_WITH_MASK)
    return (state % 2).astype(np.int32)


def _by_box(box, scribbles):
    """OpenCV's mask: what is object or background for certain (1, 0), what probably (3, 2)."""
    state = np.full(scribbles.shape, cv2.GC_BGD, np.uint8)
    state[pixels_of_box("grabcut", box, scribbles.shape)] = cv2.GC_PR_FGD
    state[scribbles == 0] = cv2.GC_BGD
    state[scribbles == 1] = cv2.GC_FGD
    for side, name in enumerate(("background", "object")):
        if not (state % 2 == side).any():
            raise ValueError(
                f"grabcut: box and scribbles leave no pixel for the {name}, but both sides are needed."
            )
    return state


def _by_scribbles(colors, scribbles):
    """The same by the nearest color under a scribble: a color model of few pixels fits no others."""
    classes_drawn("grabcut", scribbles)
    tree = checks.require_package("scipy.spatial", "classical").KDTree
    background, thing = (
        tree(np.unique(colors[scribbles == side], axis=0)).query(colors)[0] for side in (0, 1)
    )
    state = np.where(thing < background, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    return np.where(scribbles == checks.IGNORE_INDEX, state, scribbles).astype(np.uint8)


def random_walker(image, scribbles=None, beta=130.0):
    """Give each pixel the class whose scribbles a random walk from it reaches first (Grady 2006).

    The walk avoids steps between pixels that differ: a step of d standard deviations of the image has the weight
    exp(-beta d**2 / 10) in a gray one; in colors d**2 is summed over the three and divided by sqrt(3). So neither
    brightness nor contrast matter. This is scikit-image's `random_walker`, by its direct solver ("bf"): without the
    package pyamg the iterative ones are many times slower and less exact. It takes 2 kB a pixel, thus 2 GB for a
    image of 1024 x 1024.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `levels`.
        scribbles: (H, W) integers: class ids in 0..254, 255 where nothing was drawn. Two classes at least.
        beta: at least 0; the larger, the more an edge is in the way.

    Returns:
        (H, W) int32 class ids, those of the scribbles.

    Raises:
        ValueError: no scribbles, scribbles of one class only, of another shape or on every pixel, or more than 2**21 pixels
            to solve for.
        ImportError: scikit-image is not installed.
    """
    colors = levels("random_walker", image)
    beta = checks.at_least("random_walker", "beta", beta, 0)
    scribbles = checked_scribbles("random_walker", scribbles, colors.shape[:2])
    classes = classes_drawn("random_walker", scribbles)
    _require_undecided("random_walker", scribbles)
    drawn = scribbles != checks.IGNORE_INDEX
    if drawn.size - np.count_nonzero(drawn) > MOST_PIXELS_TO_WALK:
        raise ValueError(
            f"random_walker: an image of shape {colors.shape}, expected at most {MOST_PIXELS_TO_WALK} pixels without "
            "a scribble, for memory's sake. Shrink image and scribbles, and enlarge the result."
        )
    seeds = np.where(drawn, np.searchsorted(classes, scribbles) + 1, 0)
    return classes[_walk(colors, seeds, beta) - 1].astype(np.int32)


def _walk(colors, seeds, beta):
    segmentation = checks.require_package("skimage.segmentation", "classical")
    data = colors.astype(np.float64)
    data -= data.mean(axis=(0, 1))
    deviation = data.std()
    if deviation > 0:
        data /= deviation
    else:  # scikit-image would divide by it; without beta any values will do
        data, beta = np.arange(data.size, dtype=np.float64).reshape(data.shape), 0
    channel = -1 if data.ndim == 3 else None
    return segmentation.random_walker(data, seeds, beta=beta, mode="bf", channel_axis=channel)


def checked_scribbles(owner, scribbles, shape, classes=checks.IGNORE_INDEX):
    """Return scribbles as (H, W) int32: class ids from 0 to below `classes`, 255 where nothing was drawn.

    Raises:
        ValueError: None, another shape or dtype, or other numbers.
    """
    if scribbles is None:
        raise ValueError(
            f"{owner}: no scribbles came. Pass scribbles=(H, W) integers: class ids, 255 where none is drawn."
        )
    scribbles = np.asarray(scribbles)
    if scribbles.shape != tuple(shape) or scribbles.dtype.kind not in "ui":
        raise ValueError(
            f"{owner}: scribbles of shape {scribbles.shape} and dtype {scribbles.dtype} came, expected integers of the "
            f"image's shape {tuple(shape)}: class ids, 255 where none is drawn."
        )
    wrong = scribbles[
        ((scribbles < 0) | (scribbles >= classes)) & (scribbles != checks.IGNORE_INDEX)
    ]
    if wrong.size:
        raise ValueError(
            f"{owner}: scribbles hold {wrong[0]}, expected class ids in 0..{classes - 1}, and 255 where none is drawn."
        )
    return scribbles.astype(np.int32)


def classes_drawn(owner, *scribbles):
    """Return the class ids (K,) that were drawn, ascending; K is at least 2.

    Raises:
        ValueError: fewer were drawn.
    """
    classes = np.unique(
        np.concatenate([np.unique(each[each != checks.IGNORE_INDEX]) for each in scribbles])
    )
    if len(classes) < 2:
        raise ValueError(
            f"{owner}: scribbles of the classes {classes.tolist()} came, expected two classes at least."
        )
    return classes


def _require_undecided(owner, scribbles):
    if (scribbles != checks.IGNORE_INDEX).all():
        raise ValueError(
            f"{owner}: the scribbles cover every pixel, which leaves nothing to find. Where nothing was drawn they hold "
            f"{checks.IGNORE_INDEX}, not 0."
        )


def pixels_of_box(owner, box, shape):
    """Return the rows and columns, two slices, of the pixels whose centers are in the box.

    Raises:
        ValueError: not four finite numbers in order, or no pixel of the image is inside.
    """
    edges = checks.numbers(owner, "box", box)
    if (
        len(edges) != 4
        or not all(map(math.isfinite, edges))
        or edges[0] >= edges[2]
        or edges[1] >= edges[3]
    ):
        raise ValueError(
            f"{owner}: box={box!r}, expected finite x_min, y_min, x_max, y_max with each min below its max."
        )
    x_min, y_min, x_max, y_max = (max(0, math.ceil(edge - 0.5)) for edge in edges)
    rows, columns = slice(y_min, min(y_max, shape[0])), slice(x_min, min(x_max, shape[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        raise ValueError(
            f"{owner}: box={box!r} holds no pixel of the image of {shape[1]} x {shape[0]} (width, height)."
        )
    return rows, columns
