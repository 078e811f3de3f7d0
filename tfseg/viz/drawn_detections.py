"""Images with detected objects: masks, boxes, names and scores."""

import math
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tfseg.ops import MASK_THRESHOLD, paste_mask
from tfseg.viz.class_colors import palette
from tfseg.viz.fonts import font_file
from tfseg.viz.rgb import as_rgb

SMALLEST_SIDE = 400  # of the longer side in pixels; smaller images are enlarged
FONT_SIZE = 13  # in pixels, on images with a longer side of up to 780
SIDES_PER_FONT = 60  # the longer side of larger images, in font sizes
BRIGHT = 110  # luminance above which black text is readable


def draw_detections(
    image,
    detections: dict,
    class_names: list[str],
    score_threshold: float = 0.5,
    alpha: float = 0.4,
):
    """Draw the detected objects of an image: masks, boxes, class names and scores.

    Objects of higher scores are drawn over the others. A name that would cover another one has no
    place and is left out; the color still shows the class.

    Args:
        image: (H, W, C) or (H, W), see `as_rgb`.
        detections: dict of "boxes" (M, 4) as x_min, y_min, x_max, y_max in pixels and "classes"
            (M,) from 0, -1 for padding; and, if there are any, "scores" (M,), and as "masks" either
            (M, H, W) bool or (M, S, S) float probabilities inside the boxes. A sample of a reader
            fits too; its "instances" (H, W) are then the masks.
        class_names: names of the object classes in the order of their ids, without background.
        score_threshold: lowest score of the objects that are drawn.
        alpha: opacity of the masks in [0, 1].

    Returns:
        (s H, s W, 3) uint8 RGB. s is 1, but images whose longer side is below 400 pixels are
        enlarged by a whole number, so that names are legible.

    Raises:
        ValueError: a class has no name, or the masks have another size than the image.

    Example:
        >>> import numpy as np, tfseg
        >>> found = {"boxes": np.array([[10, 20, 200, 300]]), "classes": np.array([0]),
        ...          "scores": np.array([0.9])}
        >>> image = np.zeros((480, 640, 3), np.uint8)
        >>> tfseg.viz.draw_detections(image, found, ["cat"]).shape
        (480, 640, 3)
    """
    image = as_rgb(image)
    size = image.shape[:2]
    objects = _drawn_objects(detections, class_names, score_threshold)
    scale = max(1, math.ceil(SMALLEST_SIDE / max(size)))
    # `as_rgb` may return the caller's own array
    canvas = np.array(image.repeat(scale, axis=0).repeat(scale, axis=1))
    font_size = max(FONT_SIZE, max(canvas.shape) // SIDES_PER_FONT)
    line = font_size // 6
    for drawn in objects[::-1]:  # the highest score last
        region = _region(detections, drawn, size)
        if region is not None:
            _paint_region(canvas, region, scale, drawn.color, alpha)
    drawing = Image.fromarray(canvas)
    pen = ImageDraw.Draw(drawing)
    for drawn in objects[::-1]:
        _draw_box(pen, drawn.box * scale, drawn.color, line)
    _write_names(pen, objects, scale, font_size, drawing.size)
    return np.array(drawing)


class _Object(NamedTuple):
    row: int
    box: np.ndarray
    color: tuple
    text: str
    fallback: str  # for texts that no font can draw


def _drawn_objects(detections, class_names, score_threshold):
    """Return the objects to draw, in descending order of score."""
    classes = np.asarray(detections["classes"]).astype(int)
    boxes = np.asarray(detections["boxes"], float).reshape(-1, 4)
    if classes.max(initial=-1) >= len(class_names):
        raise ValueError(
            f"draw_detections: got class {classes.max()} and {len(class_names)} names, expected "
            "one name per class, without background."
        )
    scores = detections.get("scores")
    crowd = np.asarray(detections.get("crowd", np.zeros(len(classes), bool)))
    order, endings = np.arange(len(classes)), np.where(crowd, " (crowd)", "").tolist()
    if scores is not None:
        scores = np.asarray(scores, float)
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] >= score_threshold]
        endings = [f" {score:.2f}" for score in scores]
    colors = palette(max(1, len(class_names))).tolist()
    return [
        _Object(
            row=row,
            box=boxes[row],
            color=tuple(colors[classes[row]]),
            text=class_names[classes[row]] + endings[row],
            fallback=f"class {classes[row]}" + endings[row],
        )
        for row in order.tolist()
        if classes[row] >= 0  # others are padding
    ]


def _region(detections, drawn, size):
    """Return an object's mask as (bool (h, w), row, column of its first pixel); None without."""
    if "masks" not in detections:
        if "instances" not in detections:
            return None
        inside = np.asarray(detections["instances"]) == drawn.row + 1
    else:
        inside = np.asarray(detections["masks"][drawn.row])
        if inside.dtype.kind == "f":
            crop, top, left = paste_mask(inside, drawn.box, *size)
            return crop > MASK_THRESHOLD, top, left
    if inside.shape != size:
        raise ValueError(
            f"draw_detections: a mask has the shape {inside.shape}, expected {size} as the image, "
            "or floating point probabilities inside the box."
        )
    return inside.astype(bool), 0, 0


def _paint_region(canvas, region, scale, color, alpha):
    """Color the pixels of a mask, and draw its outline in black."""
    inside, top, left = region
    rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    if not len(rows):
        return
    inside = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    inside = inside.repeat(scale, axis=0).repeat(scale, axis=1)
    top, left = (top + rows[0]) * scale, (left + columns[0]) * scale
    part = canvas[top : top + inside.shape[0], left : left + inside.shape[1]]
    part[inside] = part[inside] * (1 - alpha) + np.multiply(color, alpha)
    padded = np.pad(inside, 1).astype(np.uint8)
    core = cv2.erode(padded, np.ones((3, 3), np.uint8))[1:-1, 1:-1]
    part[inside & (core == 0)] = 0


def _draw_box(pen, box, color, line):
    """Draw a box in a color between two lines of its contrast, to be seen on every image."""
    x_min, y_min, x_max, y_max = np.rint(box).astype(int).tolist()
    x_max, y_max = max(x_min, x_max - 1), max(y_min, y_max - 1)  # the last pixel inside
    pen.rectangle(
        (x_min - 1, y_min - 1, x_max + 1, y_max + 1), outline=_contrast(color), width=line + 2
    )
    pen.rectangle((x_min, y_min, x_max, y_max), outline=color, width=line)


def _write_names(pen, objects, scale, font_size, size):
    """Write each name beside its box, where it covers no name of a higher score."""
    taken = []
    centers = np.array([drawn.box.reshape(2, 2).mean(0) * scale for drawn in objects])
    for drawn in objects:
        text, font = _font(drawn.text, drawn.fallback, font_size)
        width = int(pen.textlength(text, font=font)) + font_size // 2
        places = _places(drawn.box * scale, width, font_size + font_size // 2, size)
        free = [place for place in places if not any(_overlap(place, other) for other in taken)]
        if free:
            place = min(free, key=lambda place: _count_inside(place, centers))
            taken.append(place)
            _write(pen, place, drawn, text, font)


def _font(text, fallback, font_size):
    """Return the text, or its replacement if no font can draw it, and the font."""
    file = font_file(text)
    if file is None:
        text, file = fallback, font_file(fallback)
    return text, ImageFont.truetype(file, font_size)


def _places(box, width, height, size):
    """Return places for a name: above, inside and below the box, on the left and on the right.

    Args:
        box: (4,).
        width, height: of the name.
        size: (width, height) of the image, which names do not leave.
    """
    x_min, y_min, x_max, y_max = np.rint(box).astype(int).tolist()
    corners = [
        (x, y)
        for x in (x_min, x_max - width)
        for y in (y_min - height, y_max, y_min, y_max - height)
    ]
    limit_x, limit_y = max(0, size[0] - width), max(0, size[1] - height)
    corners = [(min(max(x, 0), limit_x), min(max(y, 0), limit_y)) for x, y in corners]
    return [(x, y, x + width, y + height) for x, y in corners]


def _count_inside(place, points):
    """Return how many (N, 2) points a place covers."""
    return np.count_nonzero(((points >= place[:2]) & (points < place[2:])).all(1))


def _overlap(place, other):
    return (
        place[0] < other[2] and other[0] < place[2] and place[1] < other[3] and other[1] < place[3]
    )


def _write(pen, place, drawn, text, font):
    """Write a name on a patch of the class color."""
    x_min, y_min, x_max, y_max = place
    ink = _contrast(drawn.color)
    pen.rectangle((x_min, y_min, x_max - 1, y_max - 1), fill=drawn.color, outline=ink)
    middle = (x_min + x_max) / 2, (y_min + y_max) / 2
    pen.text(middle, text, fill=ink, font=font, anchor="mm")


def _contrast(color):
    luminance = np.dot(color, (0.299, 0.587, 0.114))
    return "black" if luminance > BRIGHT else "white"
