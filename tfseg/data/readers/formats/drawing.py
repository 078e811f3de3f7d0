"""Objects given as polygons or runs -> masks, as the reference implementation of COCO (pycocotools) rasterizes them."""

import numpy as np

from tfseg import checks
from tfseg.checks import IGNORE_INDEX


def draw(regions, classes, ignored, size):
    """Draw objects upon a background: the smaller on top, for the larger would hide it.

    Args:
        regions: the objects' N regions, as `polygon_region` and `runs_region` give them.
        classes: N class ids.
        ignored: regions whose pixels become 255 where no object lies.
        size: height and width.

    Returns:
        mask: (H, W) uint8 class ids, 0 where there is nothing.
        instances: (H, W) int32 in [0, N].
    """
    coco = checks.require_package("pycocotools.mask", "coco")
    upright = np.zeros(size[::-1], np.int32)  # (W, H), for pycocotools decodes down the columns
    void = np.zeros(size[::-1], bool)
    for region in ignored:
        void |= coco.decode(region).T.view(bool)
    for index in np.argsort(
        [-float(coco.area(region)) for region in regions], kind="stable"
    ).tolist():
        x, y, width, height = coco.toBbox(regions[index]).astype(int)
        window = np.s_[x : x + width, y : y + height]
        upright[window][coco.decode(regions[index]).T[window].view(bool)] = index + 1
    mask = np.array([0, *classes], np.uint8)[upright]
    mask[void & (upright == 0)] = IGNORE_INDEX
    return np.ascontiguousarray(mask.T), np.ascontiguousarray(upright.T)


def polygon_region(polygons, size):
    """Return the union of polygons [x1, y1, x2, y2, ...] of at least three points, in pixels."""
    coco = checks.require_package("pycocotools.mask", "coco")
    return coco.merge(coco.frPyObjects(polygons, *size))


def runs_region(runs, size):
    """Return the region of COCO's run lengths.

    Args:
        runs: {"size": [H, W], "counts": ...}: the lengths of runs of 0, 1, 0, ... down the columns, or the string into
            which pycocotools packs them.
        size: height and width of the image.

    Raises:
        ValueError: the runs do not fill the image. (pycocotools would read memory that is not theirs.)
    """
    coco = checks.require_package("pycocotools.mask", "coco")
    counts = runs["counts"]
    counts = unpacked(counts) if isinstance(counts, (str, bytes)) else np.asarray(counts, np.int64)
    if (
        tuple(runs["size"]) != tuple(size)
        or counts.sum() != size[0] * size[1]
        or counts.min(initial=0) < 0
    ):
        raise ValueError(
            f"runs of size {list(runs['size'])} fill {counts.sum()} pixels, but the image's height and width are "
            f"{list(size)}: {size[0] * size[1]} pixels"
        )
    return coco.frPyObjects({"size": list(size), "counts": counts.tolist()}, *size)


def unpacked(packed):
    """Return the (N,) int64 run lengths in COCO's string: 5 bits a character from the lowest, 32 for "more follow".

    From the third run but one on, what is packed is the difference to the run before the last.

    Raises:
        ValueError: the string is not of that kind.
    """
    text = packed.encode("latin-1", "replace") if isinstance(packed, str) else packed
    digits = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if digits.size == 0 or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise ValueError(f"the packed runs {packed[:20]!r} are damaged")
    starts = np.flatnonzero(np.append(True, ~(digits[:-1] & 32).astype(bool)))
    lengths = np.diff(np.append(starts, digits.size))
    if lengths.max() > 12:
        raise ValueError(f"the packed runs {packed[:20]!r} are damaged")
    place = np.arange(digits.size) - np.repeat(starts, lengths)
    values = np.add.reduceat((digits & 31) << (5 * place), starts)
    last = starts + lengths - 1
    values -= np.where(digits[last] & 16, 1 << (5 * lengths), 0)
    for parity in (1, 2):  # the first three runs are themselves
        values[parity::2] = np.cumsum(values[parity::2])
    return values


def polygon_area(polygon):
    """Return the area inside one polygon [x1, y1, x2, y2, ...] in square pixels (the shoelace formula)."""
    x, y = np.asarray(polygon, np.float64).reshape(-1, 2).T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def polygons_with_area(polygons):
    """Return (the polygons [x1, y1, ...] that have an area, None), or ([], why none has).

    Raises:
        ValueError: the numbers of a polygon are no points.
    """
    kept, why = [], "it has no polygon"
    for polygon in polygons:
        values = np.asarray(polygon, np.float64)
        if values.ndim != 1 or values.size % 2 or not np.isfinite(values).all():
            raise ValueError(
                f"a polygon of {np.size(polygon)} numbers is no list of finite x1, y1, x2, y2, ..."
            )
        if values.size < 6:
            points = values.size // 2
            why = f"its polygon has {points} point{'s' * (points != 1)}"
        elif polygon_area(values) == 0:
            why = "its polygon has no area"
        else:
            kept.append(values.tolist())
    return kept, None if kept else why


def clipped(box, size):
    """Return (the box cut off at the image's edges, None), or (None, why there is none).

    Raises:
        ValueError: the box is not made of finite numbers.
    """
    if not np.isfinite(box).all():
        raise ValueError(f"its box {box} is not made of finite numbers")
    x_min, y_min, x_max, y_max = np.clip(box, 0, [size[1], size[0]] * 2).astype(np.float32).tolist()
    if x_min < x_max and y_min < y_max:
        return (x_min, y_min, x_max, y_max), None
    return (
        None,
        f"its box from {box[0]:g}, {box[1]:g} to {box[2]:g}, {box[3]:g} has no area in the image",
    )
