"""Find COCO files whose boxes are stored in another way than as x, y, width, height in pixels."""

from pathlib import Path

import numpy as np

LARGEST = 1e9  # pixels; larger numbers are faults of another kind
COMPARED = 1000  # objects whose boxes are compared with their polygons
BEYOND = 0.05  # of the image's side: boxes that reach farther out than this are not rounded badly
SOME = 0.25  # of the boxes


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
        if _is_box(entry.get("bbox"))
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


def _is_box(box):
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
