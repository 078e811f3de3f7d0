"""Find COCO files whose boxes are stored in another way than as x, y, width, height in pixels."""

from pathlib import Path

import numpy as np

LARGEST = 1e9  # pixels; larger numbers are faults of another kind
COMPARED = 1000  # objects whose boxes are compared with their polygons
BEYOND = 0.05  # of the image's side: boxes that reach farther out than this are not rounded badly
SOME = 0.25  # of the boxes
MIN_IOU = 0.5  # of a box and its segmentation; below it one of the two belongs to another object
ROUNDING = 2  # pixels by which the sides of tiny objects may be off


def check_box_layout(annotations: list, sizes: dict, path: Path) -> None:
    """Raise a ValueError if the boxes of a COCO file are corners, or fractions of the image.

    Args:
        annotations: entries of the file.
        sizes: {image id: (height, width)}.
        path: the file, for errors.
    """
    entries = [
        entry
        for entry in annotations
        if is_box(entry.get("bbox"))
        and isinstance(entry.get("image_id"), (int, float, str))
        and entry["image_id"] in sizes
    ]
    if not entries:
        return
    boxes = np.array([entry["bbox"] for entry in entries], np.float64)
    lengths = np.array([sizes[entry["image_id"]][::-1] for entry in entries], np.float64)
    if _are_fractions(boxes, lengths):
        raise ValueError(
            f"{path}: the boxes are fractions of the image's size, such as {_first(entries)}. "
            "Expected pixels: multiply x and width by the image's width, y and height by its "
            "height; polygons too."
        )
    wrong = _beyond_as_sizes(boxes, lengths) | _unlike_polygons(entries, boxes)
    if _could_be_corners(boxes, lengths) and wrong.mean() > SOME:
        number = int(np.argmax(wrong))
        raise ValueError(
            f"{path}: the boxes are stored as x_min, y_min, x_max, y_max: as x, y, width, height, "
            f"{int(wrong.sum())} of {len(boxes)} do not fit their image or polygon, such as "
            f"{_first(entries[number:])}. Store x, y, x_max - x, y_max - y."
        )


def is_box(box) -> bool:
    """Return whether a value is a list of four numbers of pixels."""
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(value, (int, float)) and abs(value) < LARGEST for value in box)
    )


def _first(entries):
    return f"annotation {entries[0].get('id')}: {entries[0]['bbox']}"


def _are_fractions(boxes, lengths):
    """Return whether no box is larger than a pixel, though the images are."""
    has_fractions = bool((boxes % 1 != 0).any())
    return has_fractions and boxes.min() >= 0 and boxes.max() <= 1 and lengths.min() > 1


def _could_be_corners(boxes, lengths):
    """Return whether all boxes are inside their image if read as corners."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return bool((low >= -1).all() and (high > low).all() and (high <= lengths + 1).all())


def _beyond_as_sizes(boxes, lengths):
    """Return (N,) bool: boxes that, read as x, y, width, height, reach far out of their image."""
    ends = boxes[:, :2] + boxes[:, 2:]
    return (ends > lengths * (1 + BEYOND)).any(axis=1)


def _unlike_polygons(entries, boxes):
    """Return (N,) bool: boxes that enclose their polygons if read as corners, and only then."""
    unlike = np.zeros(len(entries), bool)
    for index, entry in enumerate(entries[:COMPARED]):
        corners = _corners(entry.get("segmentation"))
        if corners is None:
            continue
        x, y, right, bottom = boxes[index]
        as_corners = np.abs(corners - boxes[index]).max()
        as_sizes = np.abs(corners - [x, y, x + right, y + bottom]).max()
        unlike[index] = as_corners <= 1 < as_sizes
    return unlike


def _corners(polygons):
    """Return x_min, y_min, x_max, y_max of a list of polygons; None for other segmentations."""
    try:
        points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in polygons])
        points = points.astype(np.float64)
    except (TypeError, ValueError):
        return None
    return np.concatenate([points.min(axis=0), points.max(axis=0)]) if len(points) else None


def disagreement(box, around) -> str | None:
    """Return a clause if a box and the box around its segmentation are of different objects.

    Args:
        box: x_min, y_min, x_max, y_max as annotated.
        around: the same of the segmentation.

    Example:
        >>> disagreement((0, 0, 10, 10), (0, 0, 10, 9)) is None
        True
        >>> disagreement((0, 0, 10, 10), (20, 0, 30, 10))
        'its box from 0, 0 to 10, 10 and its segmentation from 20, 0 to 30, 10 disagree'
    """
    box, around = np.asarray(box, float), np.asarray(around, float)
    low, high = np.maximum(box[:2], around[:2]), np.minimum(box[2:], around[2:])
    overlap = np.prod(np.maximum(high - low, 0))
    union = np.prod(box[2:] - box[:2]) + np.prod(around[2:] - around[:2]) - overlap
    if overlap >= MIN_IOU * union or np.abs(box - around).max() <= ROUNDING:
        return None
    texts = [f"{x0:g}, {y0:g} to {x1:g}, {y1:g}" for x0, y0, x1, y1 in (box, around)]
    return f"its box from {texts[0]} and its segmentation from {texts[1]} disagree"
