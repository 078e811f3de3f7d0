"""What is done to windows that are cut already: a hole, and parts of the batch's other windows."""

import numpy as np
from keras import ops

from tfseg.checks import IGNORE_INDEX
from tfseg.ops import box_area, clip_boxes

PARTNERS = 4  # a mosaic shows windows of four images


def regions(drawn, size, cutmix, mosaic):
    """Where in each window another image of the batch shows.

    A mosaic has four quarters about a point of the middle half, one an image: the window's own at the top left, then
    those of the next images in the batch. CutMix (arXiv:1905.04899) lays a rectangle of the next image over the
    window: its sides are those of the mosaic's lower right quarter, anywhere.

    Args:
        drawn: what `draw` gives.
        size: (height, width) of the window.
        cutmix, mosaic: probabilities.

    Returns:
        (B, PARTNERS, 4) float32 boxes, the k-th showing the k-th next image; empty where it shows nothing. The first
        is a mosaic's own quarter, or the whole window, lowest of all.
    """
    height, width = size
    split_y, split_x = (
        ops.round((0.25 + 0.5 * drawn[f"mix_{a}"]) * s) for a, s in (("y", height), ("x", width))
    )
    zero, full_x, full_y = (
        ops.zeros_like(split_x),
        ops.full_like(split_x, width),
        ops.full_like(split_y, height),
    )
    quarters = (
        (split_x, zero, full_x, split_y),
        (zero, split_y, split_x, full_y),
        (split_x, split_y, full_x, full_y),
    )
    left, top = ops.round(split_x * drawn["crop_x"]), ops.round(split_y * drawn["crop_y"])
    rectangle = (left, top, left + full_x - split_x, top + full_y - split_y)
    is_mosaic = drawn["mix"] < mosaic
    is_cutmix = ops.logical_and(ops.logical_not(is_mosaic), drawn["mix"] < mosaic + cutmix)
    own = ops.where(is_mosaic, split_x, full_x), ops.where(is_mosaic, split_y, full_y)
    boxes = [ops.stack([zero, zero, *own], -1)]
    for number, quarter in enumerate(quarters):
        shown = ops.where(is_mosaic[:, None], ops.stack(quarter, -1), 0.0)
        if number == 0:
            shown = ops.where(is_cutmix[:, None], ops.stack(rectangle, -1), shown)
        boxes.append(shown)
    return ops.stack(boxes, axis=1)


def mix(values, boxes, objects=None):
    """Show parts of other images of the batch: (B, h, w, ...) by `regions`.

    For instances give the number of `objects` an image: those of the k-th next image are numbered k times it higher.
    """
    images, height, width = ops.shape(values)[:3]
    partner = _partner_at(boxes, height, width)
    image = (ops.arange(images, dtype="int32")[:, None, None] + partner) % images
    row, column = ops.arange(height, dtype="int32")[:, None], ops.arange(width, dtype="int32")
    place = ops.reshape((image * height + row) * width + column, (-1,))
    # A gather: selecting among the images, XLA would make them anew for every partner.
    flat = ops.reshape(values, (images * height * width, -1))
    mixed = ops.reshape(ops.take(flat, place, axis=0), ops.shape(values))
    if objects is not None:
        mixed = ops.where(mixed > 0, mixed + ops.cast(objects * partner, values.dtype), mixed)
    return mixed


def _partner_at(boxes, height, width):
    """(B, height, width) int32: how many images farther in the batch the one lies that shows at each pixel."""
    x, y = (ops.cast(ops.arange(length), "float32") for length in (width, height))
    partner = 0
    for number in range(1, PARTNERS):
        x0, y0, x1, y1 = (boxes[:, number, i, None, None] for i in range(4))
        shown = (x >= x0) & (x < x1) & (y[:, None] >= y0) & (y[:, None] < y1)
        partner = partner + ops.cast(shown, "int32") * number  # they do not overlap
    return partner


def mix_boxes(boxes, classes, areas, shown):
    """The boxes of all images that show in each window.

    Args:
        boxes: (B, N, 4) in the window's pixels, not clipped.
        classes: (B, N), -1 where there is no object.
        areas: (B, N) of the whole objects, in the window's pixels.
        shown: (B, P, 4) `regions` of the P images that may show in a window.

    Returns:
        boxes (B, P N, 4) clipped to where their image shows, classes (B, P N), and the visible shares (B, P N).
    """
    parts = []
    for partner in range(shown.shape[1]):
        there, kind, area = (
            ops.roll(values, -partner, axis=0) for values in (boxes, classes, areas)
        )
        clipped = clip_boxes(there, shown[:, partner, None])
        visible = box_area(clipped)
        if partner == 0:  # it lies below the others, which do not overlap
            for other in range(1, shown.shape[1]):
                visible = visible - box_area(clip_boxes(clipped, shown[:, other, None]))
        parts.append((clipped, kind, visible / ops.maximum(area, 1e-6)))
    return tuple(ops.concatenate(values, axis=1) for values in zip(*parts, strict=True))


def mix_points(points, shown):
    """The keypoints of all images that show in each window: (B, K, 2) -> (B, P K, 2), NaN where they do not show."""

    def within(there, number):
        x, y = there[..., 0], there[..., 1]
        x0, y0, x1, y1 = (shown[:, number, i, None] for i in range(4))
        return (x >= x0) & (x < x1) & (y >= y0) & (y < y1)

    parts = []
    for partner in range(shown.shape[1]):
        there = ops.roll(points, -partner, axis=0)
        seen = within(there, partner)
        if partner == 0:
            for other in range(1, shown.shape[1]):
                seen = seen & ops.logical_not(within(there, other))
        parts.append(ops.where(seen[..., None], there, np.nan))
    return ops.concatenate(parts, axis=1)


def cut_out(image, mask, drawn, fill):
    """Blank a rectangle of each window (arXiv:1708.04552): the image is `fill` there, the mask ignored.

    `drawn["cutout"]` and `drawn["cutout_y"]` are its width and height as shares of the window's.
    """
    inside = True
    for axis, (side, place) in enumerate((("cutout_y", "hole_y"), ("cutout", "hole_x")), start=1):
        length = image.shape[axis]
        hole = drawn[side] * length
        first = drawn[place] * (length - hole) - 0.5
        shape = (-1, 1, 1)
        along = ops.reshape(
            ops.cast(ops.arange(length), "float32"), (1, -1, 1) if axis == 1 else (1, 1, -1)
        )
        first, hole = ops.reshape(first, shape), ops.reshape(hole, shape)
        inside = (along > first) & (along <= first + hole) & inside
    image = ops.where(inside[..., None], fill, image)
    return image, None if mask is None else ops.where(
        inside, ops.cast(IGNORE_INDEX, mask.dtype), mask
    )
