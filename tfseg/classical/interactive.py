"""Interactive segmentation: from a box around the object, or from scribbles on each class.

Scribbles are a mask (H, W) of class ids, like any other: 255 where nothing is drawn.
"""

import math

import cv2
import numpy as np

from tfseg import checks
from tfseg.classical.image import to_0_255, to_rgb, to_uint8

# The direct solver of the random walker takes about 2 kB of memory per unlabeled pixel.
MAX_WALKER_PIXELS = 2**21
BACKGROUND, OBJECT = 0, 1


def grabcut(image, box=None, scribbles=None, iterations: int = 5, seed: int = 0):
    """Separate an object from its background with GrabCut (Rother, Kolmogorov and Blake 2004).

    Pixels outside the box and under scribbles of class 0 are fixed as background, pixels under
    scribbles of class 1 as object. The rest starts as object inside a box; without a box, as the
    class whose scribbles have the nearest color. A box plus a few scribbles on its mistakes works
    best. The implementation is OpenCV's.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `to_0_255`; rounded to uint8.
        box: x_min, y_min, x_max, y_max around the object in pixels; the image spans 0 to its width
            and height. A pixel is inside if its center is.
        scribbles: (H, W) integers: 0 background, 1 object, 255 not drawn. They override the box.
            Without a box both classes are needed.
        iterations: number of updates of color models and cut.
        seed: seed of OpenCV's random numbers, which initialize the color models. OpenCV's generator
            of this thread is left seeded.

    Returns:
        (H, W) int32: 1 for the object, 0 elsewhere.

    Raises:
        ValueError: neither a box nor scribbles are given; the box is outside the image; no pixel
            is left for the object or the background; the scribbles have another shape or class
            ids, cover every pixel, or draw only one class without a box.
        ImportError: scribbles are given without a box, and SciPy is not installed.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.full((20, 24, 3), 40, np.uint8)
        >>> image[6:14, 8:18] = 220, 180, 60
        >>> mask = tfseg.classical.grabcut(image, box=(5, 4, 21, 16))
        >>> mask.sum().item()  # 8 * 10 pixels
        80
    """
    owner = "grabcut"
    colors = to_uint8(to_rgb(owner, image))
    iterations = checks.positive_int(owner, "iterations", iterations)
    if box is None and scribbles is None:
        raise ValueError(
            f"{owner}: got neither a box nor scribbles. Pass box=(x_min, y_min, x_max, y_max) "
            "around the object, or scribbles (H, W) with 0 for background, 1 for the object and "
            "255 elsewhere."
        )
    shape = colors.shape[:2]
    if scribbles is None:
        scribbles = np.full(shape, checks.IGNORE_INDEX)
    scribbles = check_scribbles(owner, scribbles, shape, num_classes=2)
    cv2.setRNGSeed(seed)
    if box is None:
        state = _initialize_from_scribbles(colors, scribbles)
    else:
        state = _initialize_from_box(box, scribbles)
    _require_undrawn(owner, scribbles)
    cv2.grabCut(colors, state, None, None, None, iterations, cv2.GC_INIT_WITH_MASK)
    return (state % 2).astype(np.int32)  # GC_FGD and GC_PR_FGD are odd


def _initialize_from_box(box, scribbles):
    """Return OpenCV's (H, W) state: fixed or probable, object or background."""
    state = np.full(scribbles.shape, cv2.GC_BGD, np.uint8)
    state[box_slices("grabcut", box, scribbles.shape)] = cv2.GC_PR_FGD
    state[scribbles == BACKGROUND] = cv2.GC_BGD
    state[scribbles == OBJECT] = cv2.GC_FGD
    for side, name in ((BACKGROUND, "background"), (OBJECT, "object")):
        if not (state % 2 == side).any():
            raise ValueError(
                f"grabcut: box and scribbles leave no pixel for the {name}, but both object and "
                "background need pixels."
            )
    return state


def _initialize_from_scribbles(colors, scribbles):
    """Return OpenCV's (H, W) state, from the nearest color under a scribble.

    Color models fitted only to the few scribbled pixels would not fit the rest of the image.
    """
    drawn_classes("grabcut", scribbles)
    tree = checks.require_package("scipy.spatial", "classical").KDTree
    to_background = tree(np.unique(colors[scribbles == BACKGROUND], axis=0)).query(colors)[0]
    to_object = tree(np.unique(colors[scribbles == OBJECT], axis=0)).query(colors)[0]
    state = np.where(to_object < to_background, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    return np.where(scribbles == checks.IGNORE_INDEX, state, scribbles).astype(np.uint8)


def random_walker(image, scribbles=None, beta: float = 130.0):
    """Assign each pixel the class whose scribbles a random walk reaches first (Grady 2006).

    The walk avoids steps between different pixels: in gray images a step of d stds of the image has
    weight exp(-beta d**2 / 10); in color images d**2 is summed over channels and divided by
    sqrt(3). The result thus does not depend on brightness and contrast. The implementation is
    scikit-image's direct solver ("bf"); without the package pyamg the iterative ones are many times
    slower and less accurate. It takes 2 kB per pixel: 2 GB for a 1024 x 1024 image.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `to_0_255`.
        scribbles: (H, W) integers: class ids in 0..254, 255 where nothing is drawn. At least two
            classes.
        beta: at least 0; the larger, the harder it is to cross an edge.

    Returns:
        (H, W) int32 class ids, those of the scribbles.

    Raises:
        ValueError: the scribbles are missing, have another shape, draw fewer than two classes or
            cover every pixel; or more than 2**21 pixels are not drawn on.
        ImportError: scikit-image is not installed.

    Example:
        >>> import numpy as np
        >>> import tfseg
        >>> image = np.array([[20, 22, 21, 90, 91, 92]], np.uint8)
        >>> scribbles = np.array([[0, 255, 255, 255, 255, 1]])
        >>> tfseg.classical.random_walker(image, scribbles).tolist()
        [[0, 0, 0, 1, 1, 1]]
    """
    owner = "random_walker"
    image = to_0_255(owner, image)
    beta = checks.at_least(owner, "beta", beta, 0)
    scribbles = check_scribbles(owner, scribbles, image.shape[:2])
    classes = drawn_classes(owner, scribbles)
    _require_undrawn(owner, scribbles)
    drawn = scribbles != checks.IGNORE_INDEX
    if drawn.size - np.count_nonzero(drawn) > MAX_WALKER_PIXELS:
        raise ValueError(
            f"{owner}: got an image of shape {image.shape}, expected at most {MAX_WALKER_PIXELS} "
            "pixels without scribbles, to limit memory. Downscale image and scribbles, then "
            "upscale the result."
        )
    seeds = np.where(drawn, np.searchsorted(classes, scribbles) + 1, 0)
    return classes[_walk(image, seeds, beta) - 1].astype(np.int32)


def _walk(image, seeds, beta):
    segmentation = checks.require_package("skimage.segmentation", "classical")
    data = image.astype(np.float64)
    data -= data.mean(axis=(0, 1))
    std = data.std()
    if std > 0:
        data /= std
    else:
        # scikit-image divides by the std. With beta=0 the values do not matter, so use any.
        data, beta = np.arange(data.size, dtype=np.float64).reshape(data.shape), 0
    channel_axis = -1 if data.ndim == 3 else None
    return segmentation.random_walker(data, seeds, beta=beta, mode="bf", channel_axis=channel_axis)


def check_scribbles(owner: str, scribbles, shape, num_classes: int = checks.IGNORE_INDEX):
    """Validate scribbles and convert them to int32.

    Returns:
        (H, W) int32: class ids in [0, num_classes), 255 where nothing is drawn.

    Raises:
        ValueError: the scribbles are None, or have another shape, dtype or class ids.
    """
    if scribbles is None:
        raise ValueError(
            f"{owner}: got no scribbles. "
            "Pass scribbles (H, W) integers: class ids, 255 where nothing is drawn."
        )
    scribbles = np.asarray(scribbles)
    if scribbles.shape != tuple(shape) or scribbles.dtype.kind not in "ui":
        raise ValueError(
            f"{owner}: got scribbles of shape {scribbles.shape} and dtype {scribbles.dtype}, "
            f"expected integers of the image's shape {tuple(shape)}: class ids, 255 where nothing "
            "is drawn."
        )
    known = (scribbles >= 0) & (scribbles < num_classes)
    unknown = scribbles[~known & (scribbles != checks.IGNORE_INDEX)]
    if unknown.size:
        raise ValueError(
            f"{owner}: scribbles contain {unknown[0]}, expected class ids in 0..{num_classes - 1}, "
            "and 255 where nothing is drawn."
        )
    return scribbles.astype(np.int32)


def drawn_classes(owner: str, *scribbles):
    """Return the class ids (K,) that are drawn, ascending; K is at least 2.

    Raises:
        ValueError: fewer than two classes are drawn.
    """
    drawn = [np.unique(mask[mask != checks.IGNORE_INDEX]) for mask in scribbles]
    classes = np.unique(np.concatenate(drawn))
    if len(classes) < 2:
        raise ValueError(
            f"{owner}: got scribbles of the classes {classes.tolist()}, expected at least two "
            "classes."
        )
    return classes


def _require_undrawn(owner, scribbles):
    if (scribbles != checks.IGNORE_INDEX).all():
        raise ValueError(
            f"{owner}: the scribbles cover every pixel, so nothing is left to segment. Use "
            f"{checks.IGNORE_INDEX}, not 0, where nothing is drawn."
        )


def box_slices(owner: str, box, shape):
    """Return the (rows, columns) slices of the pixels whose centers are in the box.

    Raises:
        ValueError: the box is not four finite numbers with min < max, or contains no pixel of the
            image.
    """
    edges = checks.numbers(owner, "box", box)
    if not _is_box(edges):
        raise ValueError(
            f"{owner}: got box={box!r}, expected finite x_min, y_min, x_max, y_max with each min "
            "below its max."
        )
    # Pixel i has its center at i + 0.5: a box from 1.5 to 5.5 contains the centers of 1 to 4.
    x_min, y_min, x_max, y_max = [max(0, math.ceil(edge - 0.5)) for edge in edges]
    rows = slice(y_min, min(y_max, shape[0]))
    columns = slice(x_min, min(x_max, shape[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        raise ValueError(
            f"{owner}: box={box!r} contains no pixel of the {shape[1]} x {shape[0]} image "
            "(width x height)."
        )
    return rows, columns


def _is_box(edges):
    if len(edges) != 4 or not all(math.isfinite(edge) for edge in edges):
        return False
    return edges[0] < edges[2] and edges[1] < edges[3]
