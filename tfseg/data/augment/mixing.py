"""Operations on finished crops: a blank rectangle, and parts of other crops of the batch."""

import numpy as np
from keras import ops

from tfseg.ops import box_area, clip_boxes

MOSAIC_IMAGES = 4


def mixing_regions(params, size, cutmix, mosaic):
    """Return where in each crop other images of the batch are shown.

    A mosaic (arXiv:2004.10934) has four quarters that meet at a random point of the middle half.
    The upper left shows the crop itself, the others the next three images of the batch. CutMix
    (arXiv:1905.04899) pastes a rectangle of the next image at a random position; it is as large as
    the lower right quarter of a mosaic.

    Args:
        params: parameters from `to_params`.
        size: (height, width) of the crop.
        cutmix: probability of CutMix.
        mosaic: probability of a mosaic.

    Returns:
        (B, MOSAIC_IMAGES, 4) float32 boxes. Box k shows the k-th next image and is empty if that is
        not shown. Box 0 is the crop itself, below the others: all of it, or a mosaic's quarter.
    """
    height, width = size
    split_x = ops.round((0.25 + 0.5 * params["mix_x"]) * width)
    split_y = ops.round((0.25 + 0.5 * params["mix_y"]) * height)
    zero = ops.zeros_like(split_x)
    right, bottom = ops.full_like(split_x, width), ops.full_like(split_y, height)
    # A crop of 10 x 10, split at x 6 and y 4: quarters of 4 x 4, 6 x 6 and 4 x 6 pixels (width x
    # height), and a CutMix rectangle of 4 x 6 with its corner anywhere from (0, 0) to (6, 4).
    quarters = (
        ops.stack([split_x, zero, right, split_y], -1),
        ops.stack([zero, split_y, split_x, bottom], -1),
        ops.stack([split_x, split_y, right, bottom], -1),
    )
    left, top = ops.round(split_x * params["crop_x"]), ops.round(split_y * params["crop_y"])
    rectangle = ops.stack([left, top, left + right - split_x, top + bottom - split_y], -1)
    is_mosaic = params["mix"] < mosaic
    is_cutmix = ops.logical_and(ops.logical_not(is_mosaic), params["mix"] < mosaic + cutmix)
    own_right = ops.where(is_mosaic, split_x, right)
    own_bottom = ops.where(is_mosaic, split_y, bottom)
    boxes = [ops.stack([zero, zero, own_right, own_bottom], -1)]
    boxes += [ops.where(is_mosaic[:, None], quarter, 0.0) for quarter in quarters]
    boxes[1] = ops.where(is_cutmix[:, None], rectangle, boxes[1])
    # Not `stack`: in tf.data graphs TensorFlow 2.21 drops the new axis of `stack(...)[:, k, None]`.
    return ops.concatenate([box[:, None] for box in boxes], axis=1)


def mix(values, regions, num_objects=None):
    """Show parts of other images of the batch.

    Args:
        values: (B, height, width, ...) crops.
        regions: (B, P, 4) boxes from `mixing_regions`.
        num_objects: for instances, the number N of objects per image. Object i of the k-th next
            image becomes k N + i.

    Returns:
        The mixed crops, of the same shape and dtype.
    """
    count, height, width = ops.shape(values)[:3]
    partner = _partners(regions, height, width)
    image = (ops.arange(count, dtype="int32")[:, None, None] + partner) % count
    row, column = ops.arange(height, dtype="int32")[:, None], ops.arange(width, dtype="int32")
    # A gather from one row of all pixels: row 2, column 3 of image 1 is at (1 * height + 2) * width
    # + 3. To select among rolled batches, XLA would compute the crops again for every partner.
    index = ops.reshape((image * height + row) * width + column, (-1,))
    flat = ops.reshape(values, (count * height * width, -1))
    mixed = ops.reshape(ops.take(flat, index, axis=0), ops.shape(values))
    if num_objects is None:
        return mixed
    return ops.where(mixed > 0, mixed + ops.cast(num_objects * partner, values.dtype), mixed)


def _partners(regions, height, width):
    """Return (B, height, width) int32: k where a pixel shows the k-th next image of the batch."""
    x = ops.cast(ops.arange(width), "float32")
    y = ops.cast(ops.arange(height), "float32")[:, None]
    partner = 0
    for k in range(1, MOSAIC_IMAGES):
        x0, y0, x1, y1 = (regions[:, k, i, None, None] for i in range(4))
        inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
        partner = partner + ops.cast(inside, "int32") * k  # regions 1, 2 and 3 do not overlap
    return partner


def mix_boxes(boxes, classes, areas, regions):
    """Collect the boxes of all images that each crop shows.

    Args:
        boxes: (B, N, 4) in pixels of the crop, not clipped.
        classes: (B, N), -1 for padding.
        areas: (B, N) areas of the whole objects in pixels of the crop.
        regions: (B, P, 4) boxes from `mixing_regions`.

    Returns:
        boxes (B, P N, 4), clipped to the regions of their images; classes (B, P N); and the visible
        fractions of the objects (B, P N).
    """
    num_images = regions.shape[1]
    mixed_boxes, mixed_visible = [], []
    for k in range(num_images):
        clipped = clip_boxes(ops.roll(boxes, -k, axis=0), regions[:, k, None])
        visible = box_area(clipped)
        if k == 0:  # the other regions cover parts of the crop itself
            for other in range(1, num_images):
                visible = visible - box_area(clip_boxes(clipped, regions[:, other, None]))
        area = ops.maximum(ops.roll(areas, -k, axis=0), 1e-6)
        mixed_boxes.append(clipped)
        mixed_visible.append(visible / area)
    return (
        ops.concatenate(mixed_boxes, axis=1),
        mix_rows(classes, regions),
        ops.concatenate(mixed_visible, axis=1),
    )


def mix_rows(values, regions):
    """Collect a value per object, (B, N), of all images that each crop shows: (B, P N)."""
    rolled = [ops.roll(values, -k, axis=0) for k in range(regions.shape[1])]
    return ops.concatenate(rolled, axis=1)


def mix_points(points, regions):
    """Collect the keypoints of all images that each crop shows.

    Args:
        points: (B, K, 2) x and y in pixels of the crop.
        regions: (B, P, 4) boxes from `mixing_regions`.

    Returns:
        (B, P K, 2), NaN where a point is not visible.
    """
    num_images = regions.shape[1]
    parts = []
    for k in range(num_images):
        rolled = ops.roll(points, -k, axis=0)
        visible = _inside(rolled, regions[:, k])
        if k == 0:  # the other regions cover parts of the crop itself
            for other in range(1, num_images):
                visible = visible & ops.logical_not(_inside(rolled, regions[:, other]))
        parts.append(ops.where(visible[..., None], rolled, np.nan))
    return ops.concatenate(parts, axis=1)


def _inside(points, region):
    """Return (B, K) bool: whether points (B, K, 2) are inside one box (B, 4) per image."""
    x, y = points[..., 0], points[..., 1]
    x0, y0, x1, y1 = (region[:, i, None] for i in range(4))
    return (x >= x0) & (x < x1) & (y >= y0) & (y < y1)


def cutout(image, mask, params, fill, ignore_index):
    """Blank a rectangle of each crop (arXiv:1708.04552).

    Args:
        image: (B, height, width, C) float32.
        mask: (B, height, width) class ids, or None.
        params: parameters from `to_params`: "cutout" and "cutout_y" are the rectangle's width and
            height as fractions of the crop's, "hole_x" and "hole_y" its position in [0, 1).
        fill: value of the image in the rectangle; a number, or one value per channel.
        ignore_index: value of the mask in the rectangle.

    Returns:
        The image, and the mask.
    """
    rows = _hole(image.shape[1], params["cutout_y"], params["hole_y"])[:, :, None]
    columns = _hole(image.shape[2], params["cutout"], params["hole_x"])[:, None, :]
    inside = columns & rows
    image = ops.where(inside[..., None], fill, image)
    if mask is not None:
        mask = ops.where(inside, ops.cast(ignore_index, mask.dtype), mask)
    return image, mask


def _hole(length, fraction, position):
    """Return (B, length) bool: which pixels along one axis are blanked.

    Of 10 pixels a fraction of 0.2 are 2; position 0.25 of the 8 others puts 2 before the hole. The
    hole reaches from 1.5 to 3.5 where pixel centers are whole numbers: pixels 2 and 3.
    """
    size = fraction * length
    first = (position * (length - size) - 0.5)[:, None]
    index = ops.cast(ops.arange(length), "float32")
    return (index > first) & (index <= first + size[:, None])
