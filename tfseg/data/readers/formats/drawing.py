"""Draw objects given as polygons or RLE as masks, in the same way as pycocotools."""

import numpy as np

from tfseg import checks
from tfseg.checks import IGNORE_INDEX, ignore_index_for
from tfseg.data.readers.base import mask_dtype_for

FARTHEST = 10**6  # largest coordinate of a polygon


def draw_objects(regions, label_ids, crowd, size, num_classes: int = IGNORE_INDEX):
    """Draw objects on a background, smaller objects on top of larger ones.

    Args:
        regions: RLE of the N objects, from `polygons_to_rle` or `validated_rle`.
        label_ids: N class ids of the mask.
        crowd: N bools. Crowds are not instances: their pixels become `ignore_index` in the mask
            where there is no object.
        size: (height, width).
        num_classes: number of class ids, with the background.

    Returns:
        mask: (H, W) class ids, 0 for background; uint8, or int32 with more than 255 classes.
        instances: (H, W) int32: k for the k-th of the N objects.
    """
    coco = checks.require_package("pycocotools.mask", "coco")
    # Transposed, since pycocotools decodes column by column.
    instances = np.zeros(size[::-1], np.int32)
    void = np.zeros(size[::-1], bool)
    for index in np.argsort(-region_areas(regions), kind="stable").tolist():
        if crowd[index]:
            void |= coco.decode(regions[index]).T.view(bool)
            continue
        x, y, width, height = coco.toBbox(regions[index]).astype(int)
        inside = np.s_[x : x + width, y : y + height]
        instances[inside][coco.decode(regions[index]).T[inside].view(bool)] = index + 1
    mask = np.array([0, *label_ids], mask_dtype_for(num_classes))[instances]
    mask[void & (instances == 0)] = ignore_index_for(num_classes)
    return np.ascontiguousarray(mask.T), np.ascontiguousarray(instances.T)


def region_areas(regions):
    """Return the (N,) float32 numbers of pixels of N regions in RLE."""
    coco = checks.require_package("pycocotools.mask", "coco")
    return np.array([coco.area(region) for region in regions], np.float32)


def polygons_to_rle(polygons, size):
    """Return the RLE of the union of polygons.

    Args:
        polygons: list of [x1, y1, x2, y2, ...] in pixels, at least three points each.
        size: (height, width) of the image.
    """
    coco = checks.require_package("pycocotools.mask", "coco")
    return coco.merge(coco.frPyObjects(polygons, *size))


def validated_rle(rle: dict, size):
    """Return an RLE for pycocotools that is sure to fill the image.

    pycocotools does not check this, and would read memory outside its arrays.

    Args:
        rle: {"size": [H, W], "counts": ...}. The counts are the lengths of runs of 0, 1, 0, ...,
            column by column, or a string that pycocotools packed them into.
        size: (height, width) of the image.

    Raises:
        ValueError: the runs do not fill the image.
    """
    coco = checks.require_package("pycocotools.mask", "coco")
    counts = rle["counts"]
    if isinstance(counts, (str, bytes)):
        counts = decode_counts(counts)
    else:
        counts = np.asarray(counts, np.int64)
    pixels = size[0] * size[1]
    fits = tuple(rle["size"]) == tuple(size) and counts.sum() == pixels
    if not fits or counts.min(initial=0) < 0:
        raise ValueError(
            f"its RLE of size {list(rle['size'])} fills {counts.sum()} pixels, but the image of "
            f"height and width {list(size)} has {pixels} pixels"
        )
    return coco.frPyObjects({"size": list(size), "counts": counts.tolist()}, *size)


def decode_counts(packed: str | bytes):
    """Return the run lengths in the packed string of an RLE.

    Each character is 48 plus 6 bits: the lowest 5 bits are a digit of the number, lowest digit
    first, and bit 32 means that more digits follow. In the last digit bit 16 is the sign. From the
    fourth run on, the number is the difference from the second last run.

    "0b0X2" has the 6 bits 0, 50, 0, 40, 2. 0 is the first run, 50 = 32 + 18 and 0 the second, 18,
    and 40 = 32 + 8 and 2 the third, 8 + 32 * 2 = 72.

    Returns:
        (N,) int64.

    Raises:
        ValueError: the string is damaged.

    Example:
        >>> decode_counts("0b0X2").tolist()
        [0, 18, 72]
    """
    text = packed.encode("latin-1", "replace") if isinstance(packed, str) else packed
    digits = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if digits.size == 0 or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise ValueError(f"the packed RLE {packed[:20]!r} is damaged")
    starts = np.flatnonzero(np.append(True, ~(digits[:-1] & 32).astype(bool)))
    lengths = np.diff(np.append(starts, digits.size))
    if lengths.max() > 12:  # more than 60 bits
        raise ValueError(f"the packed RLE {packed[:20]!r} is damaged")
    place = np.arange(digits.size) - np.repeat(starts, lengths)
    values = np.add.reduceat((digits & 31) << (5 * place), starts)
    last = starts + lengths - 1
    values -= np.where(digits[last] & 16, 1 << (5 * lengths), 0)
    # Undo the differences of every second run; the first three runs are stored as they are.
    for start in (1, 2):
        values[start::2] = np.cumsum(values[start::2])
    return values


def polygon_area(polygon) -> float:
    """Return the area of a polygon [x1, y1, x2, y2, ...] by the shoelace formula.

    Example:
        >>> float(polygon_area([0, 0, 4, 0, 0, 3]))
        6.0
    """
    x, y = np.asarray(polygon, np.float64).reshape(-1, 2).T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def valid_polygons(polygons):
    """Return the polygons that have an area.

    Args:
        polygons: list of [x1, y1, x2, y2, ...].

    Returns:
        polygons: list of lists of floats.
        reason: why there are none, or None.

    Raises:
        ValueError: the numbers of a polygon are not points, or no polygon has 3 points.
    """
    kept = []
    reason = "it has no polygon"
    most = 0
    for polygon in polygons:
        values = np.asarray(polygon, np.float64)
        if values.ndim != 1 or values.size % 2 or not np.isfinite(values).all():
            raise ValueError(
                f"a polygon of {np.size(polygon)} numbers is not a list of finite x1, y1, x2, y2, "
                "..."
            )
        if np.abs(values).max(initial=0) > FARTHEST:  # pycocotools would walk along the edges
            raise ValueError(
                f"a polygon reaches to {values[np.argmax(np.abs(values))]:g} pixels, expected "
                "pixels of the image"
            )
        most = max(most, values.size // 2)
        if values.size < 6:
            continue
        if polygon_area(values) == 0:
            reason = "its polygon has no area"
        else:
            kept.append(values.tolist())
    if polygons and most < 3:
        raise ValueError(f"its polygon has fewer than 3 points ({most})")
    return kept, None if kept else reason


def clip_box(box, size):
    """Clip a box to the image.

    Args:
        box: x_min, y_min, x_max, y_max in pixels.
        size: (height, width) of the image.

    Returns:
        box: tuple of floats, or None if the box has no area in the image.
        reason: a clause that says so, or None.

    Raises:
        ValueError: the box contains NaN or infinity.

    Example:
        >>> clip_box((-5, 2, 8, 4), size=(10, 6))
        ((0.0, 2.0, 6.0, 4.0), None)
    """
    if not np.isfinite(box).all():
        raise ValueError(f"its box {box} contains NaN or infinity")
    height, width = size
    clipped = np.clip(box, 0, [width, height, width, height]).astype(np.float32).tolist()
    x_min, y_min, x_max, y_max = clipped
    if x_min < x_max and y_min < y_max:
        return tuple(clipped), None
    corners = f"{box[0]:g}, {box[1]:g} to {box[2]:g}, {box[3]:g}"
    return None, f"its box from {corners} has no area in the image"


def annotated_area(value) -> float:
    """Return the area of an annotation as a float; NaN if it is none above 0."""
    is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value < np.inf else np.nan
